//! The w² rule, for layers whose inputs are unbounded (Table 3.1).

use super::z_plus::{check_conv, check_weights};
use super::{EPS, PackedPart, add_lost};
use crate::Kernels;
use crate::conv::{Conv, conv};
use crate::elementwise::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::gemm::epilogue::Epilogue;
use crate::gemm::{Init, gemm};
use crate::profile::Work;
use crate::shape::{ConvShape, MatMut, MatRef, volume};

/// `c[m,k] = r[m,k] / (z[m mod P, k] + ε)`: a ratio whose denominators are already known.
struct Ratio<'a> {
    r: MatRef<'a>,
    z: MatRef<'a>,
    eps: f32,
    c: MatMut<'a>,
}

impl Loop for Ratio<'_> {
    #[inline(always)]
    fn run(mut self) {
        for i in 0..self.r.rows {
            let (r, z) = (self.r.row(i), self.z.row(i % self.z.rows));
            for ((c, &r), &z) in self.c.row_mut(i).iter_mut().zip(r).zip(z) {
                *c = r / (z + self.eps);
            }
        }
    }
}

pub(super) fn ratio(kernels: &Kernels, r: MatRef, z: MatRef, eps: f32, c: MatMut) {
    run(kernels.backend(), Ratio { r, z, eps, c });
}

/// The denominators `Σ_j w²[j,k]` of a dense layer, one row `[1, K]`.
pub fn dense_denominators(square: &PackedPart) -> Vec<f32> {
    let w = square.forward();
    (0..w.n()).map(|k| (0..w.k()).fold(0.0, |sum, j| sum + w.at(j, k))).collect()
}

/// The denominators of a convolution, `[rows·cols, outputs]`: at the edge of the image the sum has
/// fewer terms.
///
/// # Errors
/// [`ShapeError`] if the weights are not the convolution's.
pub fn conv_denominators(
    kernels: &Kernels,
    shape: &ConvShape,
    square: &PackedPart,
) -> Result<Vec<f32>, ShapeError> {
    const NAME: &str = "conv_denominators";
    shape.check(NAME)?;
    axis(NAME, "patch", "w", square.k, shape.patch())?;
    axis(NAME, "outputs", "w", square.n, shape.outputs)?;
    let plane = shape.input();
    let mut ones = vec![0.0; plane.len()];
    let mut inside = plane.pixels_mut(&mut ones, 1);
    for i in 0..plane.pixels() {
        inside.row_mut(i).fill(1.0);
    }
    let mut z = vec![0.0; plane.pixels() * shape.outputs];
    let out = MatMut::new(&mut z, plane.pixels(), shape.outputs);
    conv(
        kernels,
        Conv {
            shape,
            x: &ones,
            images: 1,
            w: square.forward(),
            init: Init::Zero,
            epilogue: Epilogue::Store,
            y: out,
        },
    )?;
    Ok(z)
}

/// Redistributes relevance onto unbounded inputs: the w² rule.
///
/// `r_in[n,j] = Σ_k w²[j,k] / (Σ_j w²[j,k] + ε) · r_out[n,k]`
///
/// - `square` the part w² of `[J, K]` weights, `z` `[K]` from [`dense_denominators`]
/// - `r_out` `[N, K]` in, `r_in` `[N, J]` overwritten; `c` `[N, K]` scratch; `lost` `[N]` added to
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands; nothing is written then.
pub fn w_square(
    kernels: &Kernels,
    square: &PackedPart,
    z: &[f32],
    r_out: MatRef,
    r_in: MatMut,
    c: &mut [f32],
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    const NAME: &str = "w_square";
    let _span = kernels.span(NAME, || {
        let (n, j, k) = (r_out.rows, r_in.cols, r_out.cols);
        Work::products(1, [n, j, k], "", n * (j + 2 * k))
    });
    let (n, k) = (r_out.rows, r_out.cols);
    axis(NAME, "K", "z", z.len(), k)?;
    axis(NAME, "N·K", "c", c.len(), volume([n, k]))?;
    check_weights(NAME, square, r_out, &r_in, lost)?;
    ratio(kernels, r_out, MatRef::new(z, 1, k), EPS, MatMut::new(c, n, k));
    let c = MatRef::new(c, n, k);
    add_lost(c, EPS, lost);
    gemm(kernels, c, square.back(), Init::Zero, Epilogue::Store, r_in)
}

/// The w² rule of a convolution: `z` from [`conv_denominators`], `c` planes with a zero border as in
/// [`super::z_plus::z_plus_conv`].
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape; nothing is written then.
#[allow(clippy::too_many_arguments)]
pub fn w_square_conv(
    kernels: &Kernels,
    shape: &ConvShape,
    square: &PackedPart,
    z: &[f32],
    r_out: MatRef,
    r_in: MatMut,
    c: &mut [f32],
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    const NAME: &str = "w_square_conv";
    let _span = kernels.span(NAME, || {
        let pixels = lost.len() * shape.rows * shape.cols;
        Work::convs(1, lost.len(), &shape.reversed(), "", pixels * (shape.inputs + 2 * shape.outputs))
    });
    let (images, plane) = (lost.len(), shape.output());
    check_conv(NAME, shape, square, r_out, &r_in, c, images)?;
    axis(NAME, "pixels·outputs", "z", z.len(), volume([plane.pixels(), shape.outputs]))?;
    let z = MatRef::new(z, plane.pixels(), shape.outputs);
    ratio(kernels, r_out, z, EPS, plane.pixels_mut(c, images));
    add_lost(plane.pixels_of(c, images), EPS, lost);
    conv(
        kernels,
        Conv {
            shape: &shape.reversed(),
            x: c,
            images,
            w: square.back(),
            init: Init::Zero,
            epilogue: Epilogue::Store,
            y: r_in,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::z_plus::tests::{assert_lost, expected};
    use super::*;
    use crate::gemm::pack::{self, Part};
    use crate::reference;
    use crate::shape::Panels;
    use crate::testing::{SameBits, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    /// Weights `[j, k]` whose column `dead` is zero.
    fn with_dead_unit(j: usize, k: usize, dead: usize, seed: u64) -> Vec<f32> {
        let mut w = floats(j * k, seed);
        w.chunks_exact_mut(k).for_each(|row| row[dead] = 0.0);
        w
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_backend_shares_as_the_equation_says(
            n in 0usize..60, j in 1usize..80, k in 1usize..80, seed in 1u64..1000,
        ) {
            let w = with_dead_unit(j, k, seed as usize % k, seed);
            let r = floats(n * k, seed + 1);
            let (want, want_lost) = expected(&r, n, |_, r| reference::w_square(j, &w, r, f64::from(EPS)));
            let packed = pack::pack(&w, j, k);
            let square = PackedPart::dense(Panels::new(&packed, j, k), Part::Square);
            let z = dense_denominators(&square);
            let view = MatRef::new(&r, n, k);
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let (mut r_in, mut c, mut lost) = (vec![f32::NAN; n * j], vec![0.0; n * k], vec![0.0; n]);
                let out = MatMut::new(&mut r_in, n, j);
                w_square(&kernels, &square, &z, view, out, &mut c, &mut lost).expect("fits");
                assert_close("w²", &r_in, &want, 1e-4);
                assert_lost(&lost, &want_lost, &r);
                bits.check(&kernels, "w²", &r_in);
            }
        }

        #[test]
        fn a_convolution_shares_as_its_dense_reference(
            rows in 1usize..6, cols in 1usize..6, half in 0usize..3, inputs in 1usize..5,
            outputs in 1usize..20, images in 1usize..4, seed in 1u64..1000,
        ) {
            let shape = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
            let (j, k) = (rows * cols * inputs, rows * cols * outputs);
            let w = with_dead_unit(shape.patch(), outputs, seed as usize % outputs, seed);
            let r = floats(images * k, seed + 1);
            let dense = reference::conv_as_dense(&shape, &w);
            let (want, want_lost) =
                expected(&r, images, |_, r| reference::w_square(j, &dense, r, f64::from(EPS)));
            let packed = pack::pack(&w, shape.patch(), outputs);
            let weights = Panels::new(&packed, shape.patch(), outputs);
            let square = PackedPart::conv(&shape, weights, Part::Square);
            let pixels = images * rows * cols;
            let mut bits = [SameBits::default(), SameBits::default()];
            for kernels in kernel_sets() {
                let z = conv_denominators(&kernels, &shape, &square).expect("fits");
                bits[0].check(&kernels, "w² denominators", &z);
                let (mut r_in, mut lost) = (vec![f32::NAN; pixels * inputs], vec![0.0; images]);
                let mut c = vec![0.0; images * shape.output().len()];
                let (view, out) = (MatRef::new(&r, pixels, outputs), MatMut::new(&mut r_in, pixels, inputs));
                w_square_conv(&kernels, &shape, &square, &z, view, out, &mut c, &mut lost).expect("fits");
                assert_close("w² conv", &r_in, &want, 1e-4);
                assert_lost(&lost, &want_lost, &r);
                bits[1].check(&kernels, "w² conv", &r_in);
            }
        }
    }

    #[test]
    fn a_unit_without_weights_loses_its_relevance_and_gives_no_nan() {
        let packed = pack::pack(&[0.0, 1.0, -0.0, -2.0], 2, 2);
        let square = PackedPart::dense(Panels::new(&packed, 2, 2), Part::Square);
        let (z, r) = (dense_denominators(&square), [3.0, 5.0]);
        assert_eq!(z, [0.0, 5.0]);
        for kernels in kernel_sets() {
            let (mut r_in, mut lost, mut c) = ([f32::NAN; 2], [0.0], [0.0; 2]);
            let (r, out) = (MatRef::new(&r, 1, 2), MatMut::new(&mut r_in, 1, 2));
            w_square(&kernels, &square, &z, r, out, &mut c, &mut lost).expect("fits");
            assert_eq!(r_in, [1.0, 4.0], "{kernels:?}");
            assert!((lost[0] - 3.0).abs() < 1e-6, "{lost:?}");
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_refused_and_r_in_stays() {
        let packed = pack::pack(&[1.0; 6], 3, 2);
        let square = PackedPart::dense(Panels::new(&packed, 3, 2), Part::Square);
        let refused = |z: usize, c: usize, r: (usize, usize), out: (usize, usize)| {
            let (ones, mut r_in, mut c) = ([1.0; 8], [5.0; 8], vec![0.0; c]);
            let (view, to) = (MatRef::new(&ones, r.0, r.1), MatMut::new(&mut r_in, out.0, out.1));
            let found =
                w_square(&Kernels::default(), &square, &ones[..z], view, to, &mut c, &mut vec![0.0; r.0]);
            assert_eq!(r_in, [5.0; 8]);
            found.expect_err("does not fit").to_string()
        };
        assert_eq!(refused(3, 2, (1, 2), (1, 3)), "w_square: axis K is 3 in `z`, 2 expected");
        assert_eq!(refused(2, 3, (1, 2), (1, 3)), "w_square: axis N·K is 3 in `c`, 2 expected");
        assert_eq!(refused(2, 2, (1, 2), (1, 4)), "w_square: axis J is 4 in `r_in`, 3 expected");
        assert_eq!(refused(2, 2, (1, 2), (2, 3)), "w_square: axis N is 2 in `r_in`, 1 expected");
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        let packed = pack::pack(&[1.0; 6], 3, 2);
        let square = PackedPart::dense(Panels::new(&packed, 3, 2), Part::Square);
        let (ones, mut r_in, mut c, mut lost) = ([1.0; 3], [5.0; 3], [5.0; 3], [5.0]);
        let (r, out) = (MatRef::new(&ones, 1, 3), MatMut::new(&mut r_in, 1, 3));
        let found = w_square(&Kernels::default(), &square, &ones, r, out, &mut c, &mut lost);
        assert_eq!(found.expect_err("K is 2").to_string(), "w_square: axis K is 2 in `w`, 3 expected");
        assert_eq!((r_in, c, lost), ([5.0; 3], [5.0; 3], [5.0]));
    }

    #[test]
    fn denominators_of_an_image_beyond_all_memory_are_refused() {
        let packed = pack::pack(&[1.0], 1, 1);
        let square = PackedPart::dense(Panels::new(&packed, 1, 1), Part::Square);
        let shape = ConvShape { rows: 1 << 33, cols: 1 << 33, size: 1, inputs: 1, outputs: 1 };
        let found = conv_denominators(&Kernels::default(), &shape, &square);
        assert_eq!(found, Err(ShapeError::TooLarge { kernel: "conv_denominators" }));
    }
}

//! The z⁺ rule, for layers that see relu activations (Table 3.1, section 3.3).

use super::{EPS, PackedPart, Pool, add_lost, pools};
use crate::Kernels;
use crate::conv::{Conv, conv};
use crate::error::{ShapeError, axis};
use crate::gemm::Init;
use crate::gemm::epilogue::{Epilogue, Stabiliser};
use crate::profile::Work;
use crate::shape::{ConvShape, MatMut, MatRef, volume};

/// Redistributes the relevance of a dense relu layer onto its inputs: the z⁺ rule.
///
/// `r_in[n,j] = a[n,j] · Σ_k w⁺[j,k] · r_out[n,k] / (Σ_j a[n,j]·w⁺[j,k] + ε)`
///
/// - `a` `[N, J]` activations, ≥ 0; `positive` the part w⁺ of `[J, K]` weights
/// - `r_out` `[N, K]` in, `r_in` `[N, J]` overwritten: relevance, in units of the explained logit
/// - `lost` `[N]`: the relevance that dead units lose is added
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands; `r_in` is untouched then.
///
/// # Example
/// ```
/// use kernels::pack::{self, Part};
/// use kernels::relevance::{PackedPart, z_plus::z_plus};
/// use kernels::{Kernels, MatMut, MatRef, Panels};
/// let w = pack::pack(&[1.0, 3.0], 2, 1);
/// let positive = PackedPart::dense(Panels::new(&w, 2, 1), Part::Positive);
/// let (a, r_out, mut r_in, mut lost) = ([1.0, 1.0], [8.0], [0.0; 2], [0.0]);
/// let (a, r_out) = (MatRef::new(&a, 1, 2), MatRef::new(&r_out, 1, 1));
/// z_plus(&Kernels::default(), a, &positive, r_out, MatMut::new(&mut r_in, 1, 2), &mut lost)?;
/// assert_eq!(r_in, [2.0, 6.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn z_plus(
    kernels: &Kernels,
    a: MatRef,
    positive: &PackedPart,
    r_out: MatRef,
    r_in: MatMut,
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    let _span = kernels.span("z_plus", || dense_work(1, a, r_out));
    check_dense("z_plus", a, positive, r_out, &r_in, lost)?;
    let pool = Pool { weights: positive, coefficient: 1.0, eps: EPS };
    pools(kernels, a, &[pool], r_out, r_in, lost);
    Ok(())
}

/// A rule of a dense layer that multiplies twice a pool: activations and relevances once each.
pub(super) fn dense_work(pools: usize, a: MatRef, r_out: MatRef) -> Work {
    let (n, j, k) = (a.rows, a.cols, r_out.cols);
    Work::products(2 * pools, [n, k, j], "", n * (2 * j + k))
}

/// The same of a convolution.
pub(super) fn conv_work(pools: usize, images: usize, shape: &ConvShape) -> Work {
    let pixels = images * shape.rows * shape.cols;
    Work::convs(2 * pools, images, shape, "", pixels * (2 * shape.inputs + shape.outputs))
}

pub(super) fn check_dense(
    name: &'static str,
    a: MatRef,
    w: &PackedPart,
    r_out: MatRef,
    r_in: &MatMut,
    lost: &[f64],
) -> Result<(), ShapeError> {
    axis(name, "J", "w", w.k, a.cols)?;
    axis(name, "N", "r_out", r_out.rows, a.rows)?;
    check_weights(name, w, r_out, r_in, lost)
}

/// Weights, relevances and `lost` of a dense layer; what a rule reads besides is its own.
pub(super) fn check_weights(
    name: &'static str,
    w: &PackedPart,
    r_out: MatRef,
    r_in: &MatMut,
    lost: &[f64],
) -> Result<(), ShapeError> {
    axis(name, "K", "w", w.n, r_out.cols)?;
    // A convolution's way back sums over more than its outputs: not for this rule.
    axis(name, "K", "w (way back)", w.back_k, w.n)?;
    axis(name, "J", "w (way back)", w.back_n, w.k)?;
    axis(name, "N", "r_in", r_in.rows, r_out.rows)?;
    axis(name, "J", "r_in", r_in.cols, w.k)?;
    axis(name, "N", "lost", lost.len(), r_out.rows)
}

/// Everything that the rules of a convolution have, before any of it is written: weights, `images` planes
/// `c` of ratios, relevances.
pub(super) fn check_conv(
    name: &'static str,
    shape: &ConvShape,
    w: &PackedPart,
    r_out: MatRef,
    r_in: &MatMut,
    c: &[f32],
    images: usize,
) -> Result<(), ShapeError> {
    shape.check(name)?;
    axis(name, "patch", "w", w.k, shape.patch())?;
    axis(name, "outputs", "w", w.n, shape.outputs)?;
    axis(name, "patch", "w (way back)", w.back_k, shape.reversed().patch())?;
    axis(name, "inputs", "w (way back)", w.back_n, shape.inputs)?;
    let (plane, pixels) = (shape.output(), volume([images, shape.rows, shape.cols]));
    axis(name, "images·plane", "c", c.len(), volume([images, plane.len()]))?;
    axis(name, "pixels", "r_out", r_out.rows, pixels)?;
    axis(name, "outputs", "r_out", r_out.cols, shape.outputs)?;
    axis(name, "pixels", "r_in", r_in.rows, pixels)?;
    axis(name, "inputs", "r_in", r_in.cols, shape.inputs)
}

/// The z⁺ rule of a convolution.
///
/// - `a` padded NHWC activations, [`ConvShape::input`] planes
/// - `r_out` `[images·pixels, outputs]` in, `r_in` `[images·pixels, inputs]` overwritten
/// - `c` `images` [`ConvShape::output`] planes of scratch, whose border is zero and stays so
/// - `lost` `[images]`: the relevance that dead units lose is added
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape; nothing is written then.
#[allow(clippy::too_many_arguments)]
pub fn z_plus_conv(
    kernels: &Kernels,
    shape: &ConvShape,
    a: &[f32],
    positive: &PackedPart,
    r_out: MatRef,
    r_in: MatMut,
    c: &mut [f32],
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    let _span = kernels.span("z_plus_conv", || conv_work(1, lost.len(), shape));
    let pool = Pool { weights: positive, coefficient: 1.0, eps: EPS };
    conv_pools("z_plus_conv", kernels, shape, a, &[pool], r_out, r_in, c, lost)
}

#[allow(clippy::too_many_arguments)]
pub(super) fn conv_pools(
    name: &'static str,
    kernels: &Kernels,
    shape: &ConvShape,
    a: &[f32],
    pools: &[Pool],
    r_out: MatRef,
    mut r_in: MatMut,
    c: &mut [f32],
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    let (images, plane) = (lost.len(), shape.output());
    for pool in pools {
        check_conv(name, shape, pool.weights, r_out, &r_in, c, images)?;
    }
    axis(name, "images·plane", "a", a.len(), volume([images, shape.input().len()]))?;
    for (i, pool) in pools.iter().enumerate() {
        let (coefficient, eps) = (pool.coefficient, pool.eps);
        let ratio = Epilogue::Ratio { r: r_out, coefficient, stabiliser: Stabiliser::Constant(eps) };
        let out = plane.pixels_mut(c, images);
        conv(
            kernels,
            Conv {
                shape,
                x: a,
                images,
                w: pool.weights.forward(),
                init: Init::Zero,
                epilogue: ratio,
                y: out,
            },
        )?;
        add_lost(plane.pixels_of(c, images), eps, lost);
        let init = if i == 0 { Init::Zero } else { Init::Accumulate };
        let epilogue = if i + 1 == pools.len() {
            Epilogue::Times { a: shape.input().pixels_of(a, images), shift: 0.0, add: false }
        } else {
            Epilogue::Store
        };
        let back = shape.reversed();
        conv(
            kernels,
            Conv { shape: &back, x: c, images, w: pool.weights.back(), init, epilogue, y: r_in.reborrow() },
        )?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::gemm::pack::{self, Part};
    use crate::reference;
    use crate::shape::{Panels, Rows};
    use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    /// Relevance and loss of each sample by a naive reference implementation, `r` row by row.
    pub fn expected(
        r: &[f32],
        samples: usize,
        one: impl Fn(usize, &[f64]) -> (Vec<f64>, f64),
    ) -> (Vec<f64>, Vec<f64>) {
        let (mut r_in, mut lost) = (Vec::new(), Vec::new());
        for i in 0..samples {
            let k = r.len() / samples;
            let r: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
            let (found, loss) = one(i, &r);
            r_in.extend(found);
            lost.push(loss);
        }
        (r_in, lost)
    }

    /// Compares what was lost, relative to the relevance there was.
    pub fn assert_lost(found: &[f64], want: &[f64], r: &[f32]) {
        assert_eq!(found.len(), want.len());
        let scale = r.iter().fold(1e-30f64, |max, &r| max.max(f64::from(r).abs()));
        for (i, (found, want)) in found.iter().zip(want).enumerate() {
            assert!((found - want).abs() <= 1e-5 * scale, "lost[{i}] is {found}, {want} expected");
        }
    }

    /// Weights `[j, k]` whose column `dead` has no positive entry.
    pub fn with_dead_unit(j: usize, k: usize, dead: usize, seed: u64) -> Vec<f32> {
        let mut w = floats(j * k, seed);
        for row in w.chunks_exact_mut(k) {
            row[dead] = -row[dead].abs();
        }
        w
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_backend_shares_as_the_equation_says(
            n in 0usize..60, j in 1usize..80, k in 1usize..80, gap in 0usize..3, dead in 0usize..80,
            seed in 1u64..1000,
        ) {
            let stride = j + gap;
            let w = with_dead_unit(j, k, dead % k, seed);
            let (a, r) = (activations(n * stride, seed + 1), floats(n * k, seed + 2));
            let (want, want_lost) = expected(&r, n, |i, r| {
                reference::z_plus(&a[i * stride..][..j], &w, r, f64::from(EPS))
            });
            let packed = pack::pack(&w, j, k);
            let positive = PackedPart::dense(Panels::new(&packed, j, k), Part::Positive);
            let (a, view) = (MatRef::mapped(&a, n, j, Rows::linear(stride)), MatRef::new(&r, n, k));
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let (mut r_in, mut lost) = (vec![f32::NAN; n * stride], vec![0.0; n]);
                let out = MatMut::mapped(&mut r_in, n, j, Rows::linear(stride));
                z_plus(&kernels, a, &positive, view, out, &mut lost).expect("fits");
                let (mine, between): (Vec<_>, Vec<_>) =
                    r_in.iter().enumerate().partition(|(at, _)| at % stride < j);
                let mine: Vec<f32> = mine.into_iter().map(|(_, &r)| r).collect();
                assert_close("z⁺", &mine, &want, 1e-4);
                prop_assert!(between.iter().all(|(_, r)| r.is_nan()), "written between the rows");
                assert_lost(&lost, &want_lost, &r);
                bits.check(&kernels, "z⁺", &mine);
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
            let (a, r) = (activations(images * j, seed + 1), floats(images * k, seed + 2));
            let dense = reference::conv_as_dense(&shape, &w);
            let (want, want_lost) = expected(&r, images, |i, r| {
                reference::z_plus(&a[i * j..][..j], &dense, r, f64::from(EPS))
            });
            let packed = pack::pack(&w, shape.patch(), outputs);
            let weights = Panels::new(&packed, shape.patch(), outputs);
            let positive = PackedPart::conv(&shape, weights, Part::Positive);
            let a = shape.input().padded(&a, images);
            let pixels = images * rows * cols;
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let (mut r_in, mut lost) = (vec![f32::NAN; pixels * inputs], vec![0.0; images]);
                let mut c = vec![0.0; images * shape.output().len()];
                let (view, out) = (MatRef::new(&r, pixels, outputs), MatMut::new(&mut r_in, pixels, inputs));
                z_plus_conv(&kernels, &shape, &a, &positive, view, out, &mut c, &mut lost).expect("fits");
                assert_close("z⁺ conv", &r_in, &want, 1e-4);
                assert_lost(&lost, &want_lost, &r);
                bits.check(&kernels, "z⁺ conv", &r_in);
            }
        }
    }

    #[test]
    fn a_dead_unit_loses_its_relevance_and_gives_no_nan() {
        // Unit 0 has no positive weight; unit 1 has one, but its input is silent.
        let packed = pack::pack(&[-1.0, 0.0, -0.0, 2.0], 2, 2);
        let positive = PackedPart::dense(Panels::new(&packed, 2, 2), Part::Positive);
        let (a, r) = ([1.0, 0.0], [3.0, 4.0]);
        for kernels in kernel_sets() {
            let (mut r_in, mut lost) = ([f32::NAN; 2], [1.0]);
            let (a, r) = (MatRef::new(&a, 1, 2), MatRef::new(&r, 1, 2));
            z_plus(&kernels, a, &positive, r, MatMut::new(&mut r_in, 1, 2), &mut lost).expect("fits");
            assert_eq!(r_in, [0.0; 2], "{kernels:?}");
            assert!((lost[0] - 8.0).abs() < 1e-6, "1 was lost before, 3 + 4 now: {lost:?}");
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_refused_and_r_in_stays() {
        let packed = pack::pack(&[1.0; 6], 3, 2);
        let positive = PackedPart::dense(Panels::new(&packed, 3, 2), Part::Positive);
        let refused = |a: (usize, usize), r: (usize, usize), out: (usize, usize), lost: usize| {
            let (ones, mut r_in, mut lost) = ([1.0; 8], [5.0; 8], vec![0.0; lost]);
            let (a, r) = (MatRef::new(&ones, a.0, a.1), MatRef::new(&ones, r.0, r.1));
            let out = MatMut::new(&mut r_in, out.0, out.1);
            let found = z_plus(&Kernels::default(), a, &positive, r, out, &mut lost);
            assert_eq!(r_in, [5.0; 8]);
            found.expect_err("does not fit").to_string()
        };
        assert_eq!(refused((1, 4), (1, 2), (1, 4), 1), "z_plus: axis J is 3 in `w`, 4 expected");
        assert_eq!(refused((1, 3), (1, 3), (1, 3), 1), "z_plus: axis K is 2 in `w`, 3 expected");
        assert_eq!(refused((2, 3), (1, 2), (2, 3), 2), "z_plus: axis N is 1 in `r_out`, 2 expected");
        assert_eq!(refused((1, 3), (1, 2), (1, 2), 1), "z_plus: axis J is 2 in `r_in`, 3 expected");
        assert_eq!(refused((1, 3), (1, 2), (1, 3), 2), "z_plus: axis N is 2 in `lost`, 1 expected");
    }

    #[test]
    fn images_whose_number_of_pixels_wraps_around_are_refused() {
        let shape = ConvShape { rows: 1 << 63, cols: 1, size: 1, inputs: 1, outputs: 1 };
        let packed = pack::pack(&[1.0], 1, 1);
        let positive = PackedPart::conv(&shape, Panels::new(&packed, 1, 1), Part::Positive);
        let (r, out) = (MatRef::new(&[], 0, 1), MatMut::new(&mut [], 0, 1));
        let found = z_plus_conv(&Kernels::default(), &shape, &[], &positive, r, out, &mut [], &mut [0.0; 2]);
        assert!(found.is_err());
    }

    #[test]
    fn scratch_of_another_size_is_refused() {
        let shape = ConvShape { rows: 2, cols: 2, size: 3, inputs: 1, outputs: 1 };
        let packed = pack::pack(&[1.0; 9], 9, 1);
        let positive = PackedPart::conv(&shape, Panels::new(&packed, 9, 1), Part::Positive);
        let (a, r, mut r_in) = ([1.0; 16], [1.0; 4], [5.0; 4]);
        let (r, out) = (MatRef::new(&r, 4, 1), MatMut::new(&mut r_in, 4, 1));
        let found =
            z_plus_conv(&Kernels::default(), &shape, &a, &positive, r, out, &mut [0.0; 4], &mut [0.0]);
        let error = found.expect_err("a plane without its border");
        assert_eq!(error.to_string(), "z_plus_conv: axis images·plane is 4 in `c`, 16 expected");
        assert_eq!(r_in, [5.0; 4]);
    }

    #[test]
    fn the_weights_of_a_convolution_are_no_dense_layer() {
        let shape = ConvShape { rows: 3, cols: 3, size: 3, inputs: 2, outputs: 3 };
        let w = pack::pack(&[0.5; 54], 18, 3);
        let part = PackedPart::conv(&shape, Panels::new(&w, 18, 3), Part::Positive);
        let (a, r, mut r_in, mut lost) = ([1.0; 18], [1.0; 3], [7.0; 18], [0.0]);
        let (a, r) = (MatRef::new(&a, 1, 18), MatRef::new(&r, 1, 3));
        let out = MatMut::new(&mut r_in, 1, 18);
        let found = z_plus(&Kernels::default(), a, &part, r, out, &mut lost);
        assert!(found.expect_err("27 terms back").to_string().contains("way back"));
        assert_eq!(r_in, [7.0; 18]);
    }

    #[test]
    fn no_images_are_no_work() {
        let shape = ConvShape { rows: 3, cols: 3, size: 3, inputs: 2, outputs: 3 };
        let w = pack::pack(&[0.5; 54], 18, 3);
        let part = PackedPart::conv(&shape, Panels::new(&w, 18, 3), Part::Positive);
        let (r_out, r_in) = (MatRef::new(&[], 0, 3), MatMut::new(&mut [], 0, 2));
        let found = z_plus_conv(&Kernels::default(), &shape, &[], &part, r_out, r_in, &mut [], &mut []);
        found.expect("nothing to do");
    }

    #[test]
    fn images_without_a_pixel_are_no_work() {
        let shape = ConvShape { rows: 0, cols: 3, size: 3, inputs: 2, outputs: 3 };
        let w = pack::pack(&[0.5; 54], 18, 3);
        let part = PackedPart::conv(&shape, Panels::new(&w, 18, 3), Part::Positive);
        let (a, mut c) = (vec![0.0; shape.input().len()], vec![0.0; shape.output().len()]);
        let (r_out, r_in) = (MatRef::new(&[], 0, 3), MatMut::new(&mut [], 0, 2));
        let found = z_plus_conv(&Kernels::default(), &shape, &a, &part, r_out, r_in, &mut c, &mut [0.0]);
        found.expect("nothing to do");
    }

    #[test]
    fn relevance_that_does_not_fit_is_refused_before_the_ratios_are_written() {
        let shape = ConvShape { rows: 2, cols: 2, size: 1, inputs: 1, outputs: 1 };
        let packed = pack::pack(&[1.0], 1, 1);
        let positive = PackedPart::conv(&shape, Panels::new(&packed, 1, 1), Part::Positive);
        let (a, r, mut r_in, mut c, mut lost) = ([1.0; 4], [1.0; 4], [5.0; 3], [0.0; 4], [5.0]);
        let (r, out) = (MatRef::new(&r, 4, 1), MatMut::new(&mut r_in, 3, 1));
        let found = z_plus_conv(&Kernels::default(), &shape, &a, &positive, r, out, &mut c, &mut lost);
        let error = found.expect_err("3 pixels");
        assert_eq!(error.to_string(), "z_plus_conv: axis pixels is 3 in `r_in`, 4 expected");
        assert_eq!((r_in, c, lost), ([5.0; 3], [0.0; 4], [5.0]));
    }
}

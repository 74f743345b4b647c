//! The z^β rule, for the layer that sees pixels `l ≤ x ≤ h` (Table 3.1 with the signs put right:
//! `−l·w⁺ − h·w⁻`, as the root point before it in section 3.3 demands).
//!
//! With constant bounds the denominator is the forward product minus a constant,
//! `z_k − v_k`, `v_k = l·Σ_j w⁺[j,k] + h·Σ_j w⁻[j,k]`, and the numerators are two products:
//! `(x − l)∘(c·W⁺ᵀ) + (x − h)∘(c·W⁻ᵀ)`.

use super::z_plus::{check_conv, check_weights};
use super::{EPS, PackedPart, add_lost};
use crate::Kernels;
use crate::conv::{Conv, conv};
use crate::elementwise::rows::{Map, each};
use crate::error::{ShapeError, axis};
use crate::gemm::epilogue::Epilogue;
use crate::gemm::pack::Part;
use crate::gemm::{Init, gemm};
use crate::profile::Work;
use crate::shape::{ConvShape, MatMut, MatRef, Panels, Rows, volume};
use crate::simd::Simd;

/// What z^β needs of a layer's weights and of the pixel range; made once per version of the weights.
#[derive(Clone, Debug)]
pub struct ZBeta {
    positive: PackedPart,
    negative: PackedPart,
    low: f32,
    high: f32,
    /// `v`, `[P, K]`: one row for a dense layer, one a pixel for a convolution.
    v: Vec<f32>,
    outputs: usize,
}

impl ZBeta {
    /// For dense `[J, K]` weights and pixels in `low..=high`.
    pub fn dense(w: Panels, low: f32, high: f32) -> Self {
        // One chain in the order of the forward product: where every pixel stands at its root point,
        // `z − v` is 0 to the bit.
        let v = (0..w.n())
            .map(|k| {
                (0..w.k()).fold(0.0f32, |sum, j| {
                    let w = w.at(j, k);
                    (if w > 0.0 { low } else { high }).mul_add(w, sum)
                })
            })
            .collect();
        ZBeta {
            positive: PackedPart::dense(w, Part::Positive),
            negative: PackedPart::dense(w, Part::Negative),
            low,
            high,
            v,
            outputs: w.n(),
        }
    }

    /// For a convolution; around the image the planes of `l` and `h` are 0, as the padding is.
    ///
    /// # Errors
    /// [`ShapeError`] if the weights are not the convolution's.
    pub fn conv(
        kernels: &Kernels,
        shape: &ConvShape,
        w: Panels,
        low: f32,
        high: f32,
    ) -> Result<Self, ShapeError> {
        let plane = shape.input();
        shape.check("z_beta_conv")?;
        axis("z_beta_conv", "patch", "w", w.k(), shape.patch())?;
        axis("z_beta_conv", "outputs", "w", w.n(), shape.outputs)?;
        let positive = PackedPart::conv(shape, w, Part::Positive);
        let negative = PackedPart::conv(shape, w, Part::Negative);
        let mut v = vec![0.0; plane.pixels() * shape.outputs];
        for (bound, part, init) in [(low, &positive, Init::Zero), (high, &negative, Init::Accumulate)] {
            let mut x = vec![0.0; plane.len()];
            let mut inside = plane.pixels_mut(&mut x, 1);
            for i in 0..plane.pixels() {
                inside.row_mut(i).fill(bound);
            }
            let out = MatMut::new(&mut v, plane.pixels(), shape.outputs);
            conv(
                kernels,
                Conv { shape, x: &x, images: 1, w: part.forward(), init, epilogue: Epilogue::Store, y: out },
            )?;
        }
        Ok(ZBeta { positive, negative, low, high, v, outputs: shape.outputs })
    }

    /// `v`, `[P, K]`.
    pub(super) fn into_constants(self) -> Vec<f32> {
        self.v
    }

    /// `z ← z − v`: from the forward product to the denominator, without its ε.
    ///
    /// `z` `[N·P, K]`, rows of a sample together.
    ///
    /// # Errors
    /// [`ShapeError`] if `K` differs.
    pub fn subtract_v(&self, kernels: &Kernels, z: MatMut) -> Result<(), ShapeError> {
        let _span = kernels.span("subtract_v", || Work::elements([z.rows, z.cols], 1, 2));
        axis("z_beta", "K", "z", z.cols, self.outputs)?;
        each(kernels, &Subtract, [self.v_of(z.rows)], z);
        Ok(())
    }

    /// `v` for as many rows: that of each pixel again for each sample.
    fn v_of(&self, rows: usize) -> MatRef<'_> {
        let pixels = (self.v.len() / self.outputs.max(1)).max(1);
        let again = Rows { width: pixels, height: 1, step: self.outputs, line: 0, image: 0 };
        MatRef::mapped(&self.v, rows, self.outputs, again)
    }

    /// The numerators of a dense layer: `r_in = (x−l)∘(c·W⁺ᵀ) + (x−h)∘(c·W⁻ᵀ)`, `c = R / (z − v + ε)`.
    ///
    /// - `x` `[N, J]` pixels, `c` `[N, K]`, `r_in` `[N, J]` overwritten
    ///
    /// # Errors
    /// [`ShapeError`] if `N`, `J` or `K` differ between operands.
    pub fn numerators(
        &self,
        kernels: &Kernels,
        x: MatRef,
        c: MatRef,
        mut r_in: MatMut,
    ) -> Result<(), ShapeError> {
        let _span = kernels.span("numerators", || {
            let (n, j, k) = (x.rows, x.cols, c.cols);
            Work::products(2, [n, j, k], "", n * (2 * j + k))
        });
        for (part, shift, add) in self.halves() {
            let times = Epilogue::Times { a: x, shift, add };
            gemm(kernels, c, part.back(), Init::Zero, times, r_in.reborrow())?;
        }
        Ok(())
    }

    fn halves(&self) -> [(&PackedPart, f32, bool); 2] {
        [(&self.positive, self.low, false), (&self.negative, self.high, true)]
    }
}

/// `z − v`
struct Subtract;

impl Map<1> for Subtract {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, _: usize, _: usize, [v]: [S::F; 1], z: S::F) -> S::F {
        simd.sub(z, v)
    }
}

/// `r / (z − v + ε)`
struct Ratio;

impl Map<2> for Ratio {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, _: usize, _: usize, [v, r]: [S::F; 2], z: S::F) -> S::F {
        simd.div(r, simd.add(simd.sub(z, v), simd.splat(EPS)))
    }
}

/// Redistributes the relevance of a dense layer onto its pixels: the z^β rule.
///
/// `r_in[n,j] = Σ_k (x[n,j]·w[j,k] − l·w⁺[j,k] − h·w⁻[j,k]) / (Σ_j (same) + ε) · r_out[n,k]`
///
/// - `x` `[N, J]` pixels; `z` `[N, K]` the forward product `x·W` without its bias; overwritten with
///   the ratios
/// - `r_out` `[N, K]` in, `r_in` `[N, J]` overwritten; `lost` `[N]` added to
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands; nothing is written then.
///
/// # Example
/// ```
/// use kernels::relevance::z_beta::{ZBeta, z_beta};
/// use kernels::{Kernels, MatMut, MatRef, Panels, pack};
/// let w = pack::pack(&[1.0, -1.0], 2, 1);
/// let rule = ZBeta::dense(Panels::new(&w, 2, 1), -1.0, 1.0);
/// // x = (1, 1): numerators (1 + 1)·1 and (1 − 1)·−1, so all goes to the first pixel.
/// let (x, mut z, r, mut r_in, mut lost) = ([1.0, 1.0], [0.0], [3.0], [0.0; 2], [0.0]);
/// let (x, r) = (MatRef::new(&x, 1, 2), MatRef::new(&r, 1, 1));
/// z_beta(&Kernels::default(), &rule, x, &mut z, r, MatMut::new(&mut r_in, 1, 2), &mut lost)?;
/// assert_eq!(r_in, [3.0, 0.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn z_beta(
    kernels: &Kernels,
    rule: &ZBeta,
    x: MatRef,
    z: &mut [f32],
    r_out: MatRef,
    r_in: MatMut,
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    const NAME: &str = "z_beta";
    let _span = kernels.span(NAME, || {
        let (n, j, k) = (x.rows, x.cols, r_out.cols);
        Work::products(2, [n, j, k], "", n * (2 * j + 3 * k))
    });
    let (n, k) = (r_out.rows, r_out.cols);
    axis(NAME, "N", "x", x.rows, n)?;
    axis(NAME, "N·K", "z", z.len(), volume([n, k]))?;
    axis(NAME, "J", "x", x.cols, rule.positive.k)?;
    check_weights(NAME, &rule.positive, r_out, &r_in, lost)?;
    each(kernels, &Ratio, [rule.v_of(n), r_out], MatMut::new(z, n, k));
    add_lost(MatRef::new(z, n, k), EPS, lost);
    rule.numerators(kernels, x, MatRef::new(z, n, k), r_in)
}

/// The z^β rule of a convolution.
///
/// - `x` padded NHWC pixels, [`ConvShape::input`] planes
/// - `z` `images` [`ConvShape::output`] planes that hold the forward product without its bias and
///   a zero border; overwritten with the ratios
/// - `r_out` `[images·pixels, outputs]` in, `r_in` `[images·pixels, inputs]` overwritten
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape; nothing is written then.
#[allow(clippy::too_many_arguments)]
pub fn z_beta_conv(
    kernels: &Kernels,
    rule: &ZBeta,
    shape: &ConvShape,
    x: &[f32],
    z: &mut [f32],
    r_out: MatRef,
    mut r_in: MatMut,
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    const NAME: &str = "z_beta_conv";
    let _span = kernels.span(NAME, || {
        let pixels = lost.len() * shape.rows * shape.cols;
        Work::convs(2, lost.len(), &shape.reversed(), "", pixels * (2 * shape.inputs + 3 * shape.outputs))
    });
    let (images, plane) = (lost.len(), shape.output());
    check_conv(NAME, shape, &rule.positive, r_out, &r_in, z, images)?;
    axis(NAME, "pixels·outputs", "rule", rule.v.len(), volume([plane.pixels(), shape.outputs]))?;
    axis(NAME, "images·plane", "x", x.len(), volume([images, shape.input().len()]))?;
    each(kernels, &Ratio, [rule.v_of(r_out.rows), r_out], plane.pixels_mut(z, images));
    add_lost(plane.pixels_of(z, images), EPS, lost);
    let pixels = shape.input().pixels_of(x, images);
    for (part, shift, add) in rule.halves() {
        let times = Epilogue::Times { a: pixels, shift, add };
        let back = shape.reversed();
        conv(
            kernels,
            Conv {
                shape: &back,
                x: z,
                images,
                w: part.back(),
                init: Init::Zero,
                epilogue: times,
                y: r_in.reborrow(),
            },
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::z_plus::tests::{assert_lost, expected};
    use super::*;
    use crate::gemm::pack;
    use crate::reference;
    use crate::testing::{SameBits, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    /// Pixels in `low..=high`; some of them are a bound, as a background is.
    fn pixels(len: usize, (low, high): (f32, f32), seed: u64) -> Vec<f32> {
        let place = |x: f32| low + (high - low) * (0.5 * x + 0.5);
        let bounded = |(i, x): (usize, f32)| match i % 5 {
            0 => low,
            1 => high,
            _ => place(x).clamp(low, high),
        };
        floats(len, seed).into_iter().enumerate().map(bounded).collect()
    }

    /// The weights of unit `dead` are zero, so that its denominator is; the others have enough inputs
    /// for one that is not near zero.
    fn with_dead_unit(j: usize, k: usize, dead: usize, seed: u64) -> Vec<f32> {
        let mut w = floats(j * k, seed);
        w.chunks_exact_mut(k).for_each(|row| row[dead] = 0.0);
        w
    }

    const RANGES: [(f32, f32); 3] = [(-1.0, 1.0), (0.0, 1.0), (-0.5, 2.0)];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_backend_shares_as_the_equation_says(
            n in 0usize..60, j in 14usize..80, k in 1usize..80, range in 0usize..3, seed in 1u64..1000,
        ) {
            let (low, high) = RANGES[range];
            let w = with_dead_unit(j, k, seed as usize % k, seed);
            let (x, r) = (pixels(n * j, (low, high), seed + 1), floats(n * k, seed + 2));
            let (want, want_lost) = expected(&r, n, |i, r| {
                reference::z_beta(&x[i * j..][..j], &w, (low, high), r, f64::from(EPS))
            });
            let packed = pack::pack(&w, j, k);
            let weights = Panels::new(&packed, j, k);
            let rule = ZBeta::dense(weights, low, high);
            let (x, view) = (MatRef::new(&x, n, j), MatRef::new(&r, n, k));
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let (mut z, mut r_in, mut lost) = (vec![0.0; n * k], vec![f32::NAN; n * j], vec![0.0; n]);
                let product = MatMut::new(&mut z, n, k);
                gemm(&kernels, x, weights, Init::Zero, Epilogue::Store, product).expect("fits");
                let out = MatMut::new(&mut r_in, n, j);
                z_beta(&kernels, &rule, x, &mut z, view, out, &mut lost).expect("fits");
                assert_close("z^β", &r_in, &want, 1e-4);
                assert_lost(&lost, &want_lost, &r);
                bits.check(&kernels, "z^β", &r_in);
            }
        }

        #[test]
        fn a_convolution_shares_as_its_dense_reference(
            rows in 2usize..6, cols in 2usize..6, half in 0usize..3, inputs in 4usize..7,
            outputs in 1usize..20, images in 1usize..4, range in 0usize..3, seed in 1u64..1000,
        ) {
            // A filter of one pixel sums over channels alone.
            let inputs = if half == 0 { inputs + 12 } else { inputs };
            let (low, high) = RANGES[range];
            let shape = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
            let (j, k) = (rows * cols * inputs, rows * cols * outputs);
            let w = with_dead_unit(shape.patch(), outputs, seed as usize % outputs, seed);
            let (x, r) = (pixels(images * j, (low, high), seed + 1), floats(images * k, seed + 2));
            let dense = reference::conv_as_dense(&shape, &w);
            let (want, want_lost) = expected(&r, images, |i, r| {
                reference::z_beta(&x[i * j..][..j], &dense, (low, high), r, f64::from(EPS))
            });
            let packed = pack::pack(&w, shape.patch(), outputs);
            let weights = Panels::new(&packed, shape.patch(), outputs);
            let x = shape.input().padded(&x, images);
            let count = images * rows * cols;
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let rule = ZBeta::conv(&kernels, &shape, weights, low, high).expect("fits");
                let (mut r_in, mut lost) = (vec![f32::NAN; count * inputs], vec![0.0; images]);
                let mut z = vec![0.0; images * shape.output().len()];
                let product = shape.output().pixels_mut(&mut z, images);
                conv(&kernels, Conv { shape: &shape, x: &x, images, w: weights, init: Init::Zero, epilogue: Epilogue::Store, y: product }).expect("fits");
                let (view, out) = (MatRef::new(&r, count, outputs), MatMut::new(&mut r_in, count, inputs));
                z_beta_conv(&kernels, &rule, &shape, &x, &mut z, view, out, &mut lost).expect("fits");
                assert_close("z^β conv", &r_in, &want, 1e-4);
                assert_lost(&lost, &want_lost, &r);
                bits.check(&kernels, "z^β conv", &r_in);
            }
        }
    }

    #[test]
    fn a_filter_that_the_background_cannot_lower_loses_its_relevance_and_gives_no_nan() {
        // Where all pixels are l and all weights excite, numerators and denominator are exactly zero.
        let shape = ConvShape { rows: 3, cols: 3, size: 3, inputs: 1, outputs: 1 };
        let w: Vec<f32> = floats(9, 3).into_iter().map(f32::abs).collect();
        let packed = pack::pack(&w, 9, 1);
        let weights = Panels::new(&packed, 9, 1);
        let (x, r) = (shape.input().padded(&[-1.0; 9], 1), [2.0; 9]);
        for kernels in kernel_sets() {
            let rule = ZBeta::conv(&kernels, &shape, weights, -1.0, 1.0).expect("fits");
            let (mut z, mut r_in, mut lost) = (vec![0.0; shape.output().len()], [f32::NAN; 9], [0.0]);
            let product = shape.output().pixels_mut(&mut z, 1);
            conv(
                &kernels,
                Conv {
                    shape: &shape,
                    x: &x,
                    images: 1,
                    w: weights,
                    init: Init::Zero,
                    epilogue: Epilogue::Store,
                    y: product,
                },
            )
            .expect("fits");
            let (view, out) = (MatRef::new(&r, 9, 1), MatMut::new(&mut r_in, 9, 1));
            z_beta_conv(&kernels, &rule, &shape, &x, &mut z, view, out, &mut lost).expect("fits");
            assert_eq!(r_in, [0.0; 9], "{kernels:?}");
            assert!((lost[0] - 18.0).abs() < 1e-4, "{kernels:?} {lost:?}");
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_refused_and_r_in_stays() {
        let packed = pack::pack(&[1.0; 6], 3, 2);
        let rule = ZBeta::dense(Panels::new(&packed, 3, 2), -1.0, 1.0);
        let refused = |x: (usize, usize), z: usize, r: (usize, usize)| {
            let (ones, mut r_in, mut z) = ([1.0; 8], [5.0; 8], vec![0.0; z]);
            let (x, view, out) =
                (MatRef::new(&ones, x.0, x.1), MatRef::new(&ones, r.0, r.1), MatMut::new(&mut r_in, r.0, 3));
            let found = z_beta(&Kernels::default(), &rule, x, &mut z, view, out, &mut vec![0.0; r.0]);
            assert_eq!(r_in, [5.0; 8]);
            found.expect_err("does not fit").to_string()
        };
        assert_eq!(refused((2, 3), 2, (1, 2)), "z_beta: axis N is 2 in `x`, 1 expected");
        assert_eq!(refused((1, 4), 2, (1, 2)), "z_beta: axis J is 4 in `x`, 3 expected");
        assert_eq!(refused((1, 3), 3, (1, 2)), "z_beta: axis N·K is 3 in `z`, 2 expected");
        assert_eq!(refused((1, 3), 3, (1, 3)), "z_beta: axis K is 2 in `w`, 3 expected");
    }

    #[test]
    fn pixels_at_their_root_point_lose_all_relevance() {
        // Every pixel at l where its weight is positive, at h where it is negative: z − v is 0 to the bit.
        let (j, k) = (28, 40);
        let column: Vec<f32> = floats(j, 9);
        let w: Vec<f32> = column.iter().flat_map(|&w| vec![w; k]).collect();
        let x: Vec<f32> = column.iter().map(|&w| if w > 0.0 { -1.0 } else { 1.0 }).collect();
        let packed = pack::pack(&w, j, k);
        let rule = ZBeta::dense(Panels::new(&packed, j, k), -1.0, 1.0);
        for kernels in kernel_sets().into_iter().filter(|kernels| kernels.promises_bits()) {
            let (mut z, mut r_in, mut lost) = (vec![0.0; k], vec![f32::NAN; j], [0.0]);
            let (x, panels) = (MatRef::new(&x, 1, j), Panels::new(&packed, j, k));
            gemm(&kernels, x, panels, Init::Zero, Epilogue::Store, MatMut::new(&mut z, 1, k)).expect("fits");
            let r = vec![1.0; k];
            let out = MatMut::new(&mut r_in, 1, j);
            z_beta(&kernels, &rule, x, &mut z, MatRef::new(&r, 1, k), out, &mut lost).expect("fits");
            assert!(r_in.iter().all(|&r| r == 0.0), "{r_in:?}");
            assert!((lost[0] - k as f64).abs() < 1e-4, "{}", lost[0]);
        }
    }

    #[test]
    fn weights_of_another_filter_are_refused() {
        let shape = ConvShape { rows: 4, cols: 4, size: 3, inputs: 1, outputs: 1 };
        let w = pack::pack(&[1.0; 8], 8, 1);
        let found = ZBeta::conv(&Kernels::default(), &shape, Panels::new(&w, 8, 1), -1.0, 1.0);
        assert_eq!(
            found.expect_err("8 weights").to_string(),
            "z_beta_conv: axis patch is 8 in `w`, 9 expected"
        );
    }
}

//! The z^β rule, for the layer that sees pixels `l ≤ x ≤ h` (Table 3.1 with the signs put right:
//! `−l·w⁺ − h·w⁻`, as the root point before it in section 3.3 demands).
//!
//! With constant bounds the denominator is the forward product minus a constant,
//! `z_k − v_k`, `v_k = l·Σ_j w⁺[j,k] + h·Σ_j w⁻[j,k]`, and the numerators are two products:
//! `(x − l)∘(c·W⁺ᵀ) + (x − h)∘(c·W⁻ᵀ)`.

use super::{EPS, PackedPart, add_lost};
use crate::Kernels;
use crate::conv::conv;
use crate::elementwise::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::gemm::epilogue::Epilogue;
use crate::gemm::pack::Part;
use crate::gemm::{Start, gemm};
use crate::shape::{ConvShape, MatMut, MatRef, Panels};

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
        let sum = |k: usize, pick: fn(f32) -> f32| (0..w.k()).fold(0.0, |s, j| s + f64::from(pick(w.at(j, k))));
        let v = (0..w.n())
            .map(|k| {
                let (plus, minus) = (sum(k, |w| w.max(0.0)), sum(k, |w| w.min(0.0)));
                (f64::from(low) * plus + f64::from(high) * minus) as f32
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
        let positive = PackedPart::conv(shape, w, Part::Positive);
        let negative = PackedPart::conv(shape, w, Part::Negative);
        let mut v = vec![0.0; plane.pixels() * shape.outputs];
        for (bound, part, start) in [(low, &positive, Start::Zero), (high, &negative, Start::C)] {
            let mut x = vec![0.0; plane.len()];
            let mut inside = plane.pixels_mut(&mut x, 1);
            for i in 0..plane.pixels() {
                inside.row_mut(i).fill(bound);
            }
            let out = MatMut::new(&mut v, plane.pixels(), shape.outputs);
            conv(kernels, shape, &x, 1, part.forward(), start, Epilogue::Store, out)?;
        }
        Ok(ZBeta { positive, negative, low, high, v, outputs: shape.outputs })
    }

    /// `z ← z − v`: from the forward product to the denominator, without its ε.
    ///
    /// `z` `[N·P, K]`, rows of a sample together.
    ///
    /// # Errors
    /// [`ShapeError`] if `K` differs.
    pub fn subtract_v(&self, kernels: &Kernels, z: MatMut) -> Result<(), ShapeError> {
        axis("z_beta", "K", "z", z.cols, self.outputs)?;
        run(kernels.backend(), Subtract { v: MatRef::new(&self.v, self.v.len() / self.outputs.max(1), self.outputs), z });
        Ok(())
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
        for (part, shift, add) in self.halves() {
            let times = Epilogue::Times { a: x, shift, add };
            gemm(kernels, c, part.back(), Start::Zero, times, r_in.reborrow())?;
        }
        Ok(())
    }

    fn halves(&self) -> [(&PackedPart, f32, bool); 2] {
        [(&self.positive, self.low, false), (&self.negative, self.high, true)]
    }
}


struct Subtract<'a> {
    v: MatRef<'a>,
    z: MatMut<'a>,
}

impl Loop for Subtract<'_> {
    #[inline(always)]
    fn run(mut self) {
        for i in 0..self.z.rows {
            let v = self.v.row(i % self.v.rows);
            for (z, &v) in self.z.row_mut(i).iter_mut().zip(v) {
                *z -= v;
            }
        }
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
/// [`ShapeError`] if `N`, `J` or `K` differ between operands.
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
    let (n, k) = (r_out.rows, r_out.cols);
    axis(NAME, "N", "x", x.rows, n)?;
    axis(NAME, "N·K", "z", z.len(), n * k)?;
    axis(NAME, "N", "lost", lost.len(), n)?;
    axis(NAME, "J", "x", x.cols, rule.positive.k)?;
    rule.subtract_v(kernels, MatMut::new(z, n, k))?;
    run(kernels.backend(), RatioInPlace { r: r_out, z: MatMut::new(z, n, k), eps: EPS });
    add_lost(MatRef::new(z, n, k), EPS, lost);
    rule.numerators(kernels, x, MatRef::new(z, n, k), r_in)
}

struct RatioInPlace<'a> {
    r: MatRef<'a>,
    z: MatMut<'a>,
    eps: f32,
}

impl Loop for RatioInPlace<'_> {
    #[inline(always)]
    fn run(mut self) {
        for i in 0..self.r.rows {
            for (z, &r) in self.z.row_mut(i).iter_mut().zip(self.r.row(i)) {
                *z = r / (*z + self.eps);
            }
        }
    }
}

/// The z^β rule of a convolution.
///
/// - `x` padded NHWC pixels, [`ConvShape::input`] planes
/// - `z` `images` [`ConvShape::output`] planes that hold the forward product without its bias and
///   a zero border; overwritten with the ratios
/// - `r_out` `[images·pixels, outputs]` in, `r_in` `[images·pixels, inputs]` overwritten
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape.
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
    let (images, plane) = (lost.len(), shape.output());
    axis(NAME, "images·plane", "z", z.len(), images * plane.len())?;
    axis(NAME, "images·plane", "x", x.len(), images * shape.input().len())?;
    axis(NAME, "pixels", "r_out", r_out.rows, images * plane.pixels())?;
    axis(NAME, "outputs", "r_out", r_out.cols, shape.outputs)?;
    rule.subtract_v(kernels, plane.pixels_mut(z, images))?;
    run(kernels.backend(), RatioInPlace { r: r_out, z: plane.pixels_mut(z, images), eps: EPS });
    add_lost(plane.pixels_of(z, images), EPS, lost);
    let pixels = shape.input().pixels_of(x, images);
    for (part, shift, add) in rule.halves() {
        let times = Epilogue::Times { a: pixels, shift, add };
        let back = shape.reversed();
        conv(kernels, &back, z, images, part.back(), Start::Zero, times, r_in.reborrow())?;
    }
    Ok(())
}

//! The z⁺ rule, for layers that see relu activations (Table 3.1, section 3.3).

use super::{EPS, PackedPart, Pool, add_lost, pools};
use crate::Kernels;
use crate::conv::conv;
use crate::error::{ShapeError, axis};
use crate::gemm::Start;
use crate::gemm::epilogue::Epilogue;
use crate::shape::{ConvShape, MatMut, MatRef};

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
    check_dense("z_plus", a, positive, r_out, &r_in, lost)?;
    let pool = Pool { weights: positive, coefficient: 1.0, eps: EPS };
    pools(kernels, a, &[pool], r_out, r_in, lost);
    Ok(())
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
    axis(name, "K", "w", w.n, r_out.cols)?;
    axis(name, "J·K", "w (dense)", w.back_n * w.back_k, w.k * w.n)?;
    axis(name, "N", "r_out", r_out.rows, a.rows)?;
    axis(name, "N", "r_in", r_in.rows, a.rows)?;
    axis(name, "J", "r_in", r_in.cols, a.cols)?;
    axis(name, "N", "lost", lost.len(), a.rows)
}

/// The z⁺ rule of a convolution.
///
/// - `a` padded NHWC activations, [`ConvShape::input`] planes
/// - `r_out` `[images·pixels, outputs]` in, `r_in` `[images·pixels, inputs]` overwritten
/// - `c` `images` [`ConvShape::output`] planes of scratch, whose border is zero and stays so
/// - `lost` `[images]`: the relevance that dead units lose is added
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape.
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
    axis(name, "images·plane", "c", c.len(), images * plane.len())?;
    for (i, pool) in pools.iter().enumerate() {
        let (coefficient, eps) = (pool.coefficient, pool.eps);
        let ratio = Epilogue::Ratio { r: r_out, coefficient, eps };
        let out = plane.pixels_mut(c, images);
        conv(kernels, shape, a, images, pool.weights.forward(), Start::Zero, ratio, out)?;
        add_lost(plane.pixels_of(c, images), eps, lost);
        let start = if i == 0 { Start::Zero } else { Start::C };
        let epilogue = if i + 1 == pools.len() {
            Epilogue::Times { a: shape.input().pixels_of(a, images), shift: 0.0, add: false }
        } else {
            Epilogue::Store
        };
        let back = shape.reversed();
        conv(kernels, &back, c, images, pool.weights.back(), start, epilogue, r_in.reborrow())?;
    }
    Ok(())
}

//! The LRP-αβ rule (Eq. 3.2, 3.3); z⁺ is its case α = 1, β = 0.

use super::z_plus::{check_dense, conv_pools};
use super::{EPS, PackedPart, Pool, pools};
use crate::Kernels;
use crate::error::ShapeError;
use crate::shape::{ConvShape, MatMut, MatRef};

/// Redistributes the relevance of a dense relu layer onto its inputs: the αβ rule, `α − β = 1`.
///
/// `r_in[n,j] = a[n,j] · Σ_k (α·w⁺[j,k] / (z⁺[n,k] + ε) − β·w⁻[j,k] / (z⁻[n,k] − ε)) · r_out[n,k]`
///
/// Shapes and units are those of [`super::z_plus::z_plus`]; `positive` and `negative` are the parts
/// w⁺ and w⁻ of the weights.
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands; `r_in` is untouched then.
#[allow(clippy::too_many_arguments)]
pub fn alpha_beta(
    kernels: &Kernels,
    (alpha, beta): (f32, f32),
    a: MatRef,
    positive: &PackedPart,
    negative: &PackedPart,
    r_out: MatRef,
    r_in: MatMut,
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    check_dense("alpha_beta", a, positive, r_out, &r_in, lost)?;
    check_dense("alpha_beta", a, negative, r_out, &r_in, lost)?;
    pools(kernels, a, &both(alpha, beta, positive, negative), r_out, r_in, lost);
    Ok(())
}

fn both<'a>(
    alpha: f32,
    beta: f32,
    positive: &'a PackedPart,
    negative: &'a PackedPart,
) -> [Pool<'a>; 2] {
    [
        Pool { weights: positive, coefficient: alpha, eps: EPS },
        Pool { weights: negative, coefficient: -beta, eps: -EPS },
    ]
}

/// The αβ rule of a convolution; operands as in [`super::z_plus::z_plus_conv`].
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape.
#[allow(clippy::too_many_arguments)]
pub fn alpha_beta_conv(
    kernels: &Kernels,
    (alpha, beta): (f32, f32),
    shape: &ConvShape,
    a: &[f32],
    positive: &PackedPart,
    negative: &PackedPart,
    r_out: MatRef,
    r_in: MatMut,
    c: &mut [f32],
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    let pools = both(alpha, beta, positive, negative);
    conv_pools("alpha_beta_conv", kernels, shape, a, &pools, r_out, r_in, c, lost)
}

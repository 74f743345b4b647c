//! The rule of the layer that sees pixels: z^β, or w².

use super::Method;
use crate::ModelError;
use kernels::pack::Part;
use kernels::relevance::PackedPart;
use kernels::relevance::w_square::{conv_denominators, dense_denominators, w_square, w_square_conv};
use kernels::relevance::z_beta::{ZBeta, z_beta, z_beta_conv};
use kernels::{ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, Panels, gemm};

/// What the pixel layer's rule needs of its weights.
#[derive(Clone, Debug)]
pub(crate) enum PixelRule {
    ZBeta(ZBeta),
    Square { part: PackedPart, z: Vec<f32>, c: Vec<f32> },
}

impl PixelRule {
    pub fn dense(method: Method, w: Panels, low: f32, high: f32, rows: usize) -> PixelRule {
        if method == Method::WSquare {
            let part = PackedPart::dense(w, Part::Square);
            let z = dense_denominators(&part);
            return PixelRule::Square { c: vec![0.0; rows * z.len()], part, z };
        }
        PixelRule::ZBeta(ZBeta::dense(w, low, high))
    }

    pub fn conv(
        kernels: &Kernels,
        method: Method,
        shape: &ConvShape,
        w: Panels,
        (low, high): (f32, f32),
        images: usize,
    ) -> Result<PixelRule, ModelError> {
        if method == Method::WSquare {
            let part = PackedPart::conv(shape, w, Part::Square);
            let z = conv_denominators(kernels, shape, &part)?;
            return Ok(PixelRule::Square { c: vec![0.0; images * shape.output().len()], part, z });
        }
        Ok(PixelRule::ZBeta(ZBeta::conv(kernels, shape, w, low, high)?))
    }

    /// The pixels' part of a denominator they share with relu activations, in place of `x·W`.
    pub fn shared_denominator(&self, kernels: &Kernels, mut z: MatMut) -> Result<(), ModelError> {
        match self {
            PixelRule::ZBeta(rule) => rule.subtract_v(kernels, z)?,
            PixelRule::Square { z: sums, .. } => {
                for i in 0..z.rows() {
                    z.row_mut(i).copy_from_slice(sums);
                }
            }
        }
        Ok(())
    }

    /// The pixels' messages, given the ratios over a shared denominator.
    pub fn numerators(
        &self,
        kernels: &Kernels,
        x: MatRef,
        c: MatRef,
        r_in: MatMut,
    ) -> Result<(), ModelError> {
        match self {
            PixelRule::ZBeta(rule) => rule.numerators(kernels, x, c, r_in)?,
            PixelRule::Square { part, .. } => {
                gemm(kernels, c, part.back(), Init::Zero, Epilogue::Store, r_in)?;
            }
        }
        Ok(())
    }

    /// The rule of a dense layer; `z` is `x·W` and is used up.
    pub fn dense_layer(
        &mut self,
        kernels: &Kernels,
        x: MatRef,
        z: &mut [f32],
        r_out: MatRef,
        r_in: MatMut,
        lost: &mut [f64],
    ) -> Result<(), ModelError> {
        match self {
            PixelRule::ZBeta(rule) => z_beta(kernels, rule, x, z, r_out, r_in, lost)?,
            PixelRule::Square { part, z, c } => {
                let c = &mut c[..r_out.rows() * r_out.cols()];
                w_square(kernels, part, z, r_out, r_in, c, lost)?;
            }
        }
        Ok(())
    }

    /// The rule of a convolution; `z` is `x ∗ W` in planes with a border and is used up.
    #[allow(clippy::too_many_arguments)]
    pub fn conv_layer(
        &mut self,
        kernels: &Kernels,
        shape: &ConvShape,
        x: &[f32],
        z: &mut [f32],
        r_out: MatRef,
        r_in: MatMut,
        lost: &mut [f64],
    ) -> Result<(), ModelError> {
        match self {
            PixelRule::ZBeta(rule) => z_beta_conv(kernels, rule, shape, x, z, r_out, r_in, lost)?,
            PixelRule::Square { part, z, c } => {
                let c = &mut c[..lost.len() * shape.output().len()];
                w_square_conv(kernels, shape, part, z, r_out, r_in, c, lost)?;
            }
        }
        Ok(())
    }
}

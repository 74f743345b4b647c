//! A dense relu layer of the encoder.

use crate::{ModelError, Network};
use kernels::elementwise::activation::bias_relu;
use kernels::elementwise::activation::softplus_gradient;
use kernels::elementwise::reduce::column_sums;
use kernels::{Dropout, Epilogue, Init, Kernels, MatMut, MatRef, WeightGradient, gemm, gemm_tn};

/// `y = relu(x·W − softplus(b))`, dropped out where asked; `z` takes `x·W` where a rule needs it.
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward(
    kernels: &Kernels,
    network: &Network,
    spec: usize,
    x: &[f32],
    rows: usize,
    dropout: Option<Dropout>,
    z: Option<&mut [f32]>,
    y: &mut [f32],
) -> Result<(), ModelError> {
    let (weight, bias) = (network.weight(spec), network.bias(spec));
    let x = MatRef::new(x, rows, weight.k());
    let y = MatMut::new(y, rows, weight.n());
    if let Some(z) = z {
        let product = MatMut::new(z, rows, weight.n());
        gemm(kernels, x, weight, Init::Zero, Epilogue::Store, product)?;
        bias_relu(kernels, MatRef::new(z, rows, weight.n()), bias, y)?;
        return Ok(());
    }
    let epilogue = match dropout {
        Some(dropout) => Epilogue::BiasReluDropout(bias, dropout),
        None => Epilogue::BiasRelu(bias),
    };
    Ok(gemm(kernels, x, weight, Init::Zero, epilogue, y)?)
}

/// Gradients of weight and bias from `d_h`, that of the pre-activation, into the flat buffer.
pub(crate) fn gradient(
    kernels: &Kernels,
    network: &Network,
    spec: usize,
    x: MatRef,
    d_h: MatRef,
    gradients: &mut [f32],
) -> Result<(), ModelError> {
    let spec = &network.plan.specs[spec];
    gemm_tn(
        kernels,
        WeightGradient {
            a: x,
            d_y: d_h,
            accumulate: false,
            d_w: &mut gradients[spec.weight.clone()],
            rows: spec.k,
            first_row: 0,
        },
    )?;
    bias_gradient(kernels, network, spec, d_h, gradients)
}

/// `d_b = −σ(b)·Σ d_h`
pub(crate) fn bias_gradient(
    kernels: &Kernels,
    network: &Network,
    spec: &crate::params::Spec,
    d_h: MatRef,
    gradients: &mut [f32],
) -> Result<(), ModelError> {
    let d_b = &mut gradients[spec.bias.clone()];
    column_sums(kernels, d_h, d_b)?;
    Ok(softplus_gradient(kernels, &network.values[spec.bias.clone()], d_b)?)
}

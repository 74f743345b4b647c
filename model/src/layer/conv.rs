//! A convolutional relu layer of the encoder.

use super::Op;
use super::dense::bias_gradient;
use crate::{ModelError, Network};
use kernels::conv::max_pool::{
    ConvMaxPool, ConvMaxPoolShape, ConvMaxPoolWeightGradient, MaxIndices, conv_max_pool,
    conv_max_pool_weight_gradient,
};
use kernels::elementwise::activation::bias_relu;
use kernels::{
    Conv, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, Panels, Plane, conv, conv_weight_gradient,
};

/// `y = relu(x ∗ W − softplus(b))`; `z` takes `x ∗ W`, with a border, where a rule needs it.
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward(
    kernels: &Kernels,
    network: &Network,
    spec: usize,
    shape: &ConvShape,
    x: &[f32],
    images: usize,
    z: Option<&mut [f32]>,
    y: &mut [f32],
) -> Result<(), ModelError> {
    let (weight, bias) = (network.weight(spec), network.bias(spec));
    let x = &x[..images * shape.input().len()];
    let y = MatMut::new(y, images * shape.output().pixels(), shape.outputs);
    if let Some(z) = z {
        let plane = shape.output();
        let product = plane.pixels_mut(z, images);
        conv(
            kernels,
            Conv { shape, x, images, w: weight, init: Init::Zero, epilogue: Epilogue::Store, y: product },
        )?;
        bias_relu(kernels, plane.pixels_of(z, images), bias, y)?;
        return Ok(());
    }
    Ok(conv(
        kernels,
        Conv { shape, x, images, w: weight, init: Init::Zero, epilogue: Epilogue::BiasRelu(bias), y },
    )?)
}

/// Room for the argmax positions, if the layer has a max-pool.
pub(crate) fn max_indices(op: &Op, images: usize) -> Option<MaxIndices> {
    match op {
        Op::ConvMaxPool { shape, .. } => Some(MaxIndices::new(shape, images)),
        Op::Dense { .. } | Op::Conv { .. } | Op::Pool { .. } => None,
    }
}

/// `y = max-pool(relu(x ∗ W − softplus(b)))`; `z` takes the maxima's `x ∗ W` where a rule needs it.
#[allow(clippy::too_many_arguments)]
pub(crate) fn forward_pooled(
    kernels: &Kernels,
    network: &Network,
    (spec, shape): (usize, &ConvMaxPoolShape),
    x: &[f32],
    images: usize,
    z: Option<&mut [f32]>,
    (plane, y): (&Plane, &mut [f32]),
    max_indices: &mut Option<MaxIndices>,
) -> Result<(), ModelError> {
    let (weight, bias) = (network.weight(spec), network.bias(spec));
    let x = &x[..images * shape.conv.input().len()];
    let z = z.map(|z| &mut z[..images * shape.windows() * shape.conv.outputs]);
    let max_indices = max_indices.get_or_insert_with(|| MaxIndices::new(shape, images));
    Ok(conv_max_pool(
        kernels,
        ConvMaxPool { shape, x, images, w: weight, bias, y: plane.pixels_mut(y, images), max_indices, z },
    )?)
}

/// Gradients of weight and bias from `d_h`, that of the maxima's pre-activations, into the flat buffer.
#[allow(clippy::too_many_arguments)]
pub(crate) fn gradient_pooled(
    kernels: &Kernels,
    network: &Network,
    (spec, shape): (usize, &ConvMaxPoolShape),
    x: &[f32],
    max_indices: &MaxIndices,
    d_h: MatRef,
    images: usize,
    gradients: &mut [f32],
) -> Result<(), ModelError> {
    let spec = &network.plan.specs[spec];
    let (x, d_w) = (&x[..images * shape.conv.input().len()], &mut gradients[spec.weight.clone()]);
    conv_max_pool_weight_gradient(
        kernels,
        ConvMaxPoolWeightGradient { shape, x, max_indices, d_h, images, d_w },
    )?;
    bias_gradient(kernels, network, spec, d_h, gradients)
}

/// Gradients of weight and bias from `d_h`, planes with a border, into the flat buffer.
pub(crate) fn gradient(
    kernels: &Kernels,
    network: &Network,
    (spec, shape): (usize, &ConvShape),
    x: &[f32],
    d_h: &[f32],
    images: usize,
    gradients: &mut [f32],
) -> Result<(), ModelError> {
    let spec = &network.plan.specs[spec];
    let (input, output) = (shape.input(), shape.output());
    let (x, d_h) = (&x[..images * input.len()], &d_h[..images * output.len()]);
    conv_weight_gradient(kernels, shape, x, d_h, images, &mut gradients[spec.weight.clone()])?;
    bias_gradient(kernels, network, spec, output.pixels_of(d_h, images), gradients)
}

/// The gradient of the input: the reversed convolution.
pub(crate) fn backward(
    kernels: &Kernels,
    shape: &ConvShape,
    reversed: Panels,
    d_h: &[f32],
    images: usize,
    plane: Plane,
    d_x: &mut [f32],
) -> Result<(), ModelError> {
    let d_h = &d_h[..images * shape.output().len()];
    let d_x = plane.pixels_mut(d_x, images);
    let back = shape.reversed();
    Ok(conv(
        kernels,
        Conv {
            shape: &back,
            x: d_h,
            images,
            w: reversed,
            init: Init::Zero,
            epilogue: Epilogue::Store,
            y: d_x,
        },
    )?)
}

//! A convolutional relu layer of the encoder.

use super::dense::bias_gradient;
use crate::{ModelError, Network};
use kernels::elementwise::activation::bias_relu;
use kernels::{ConvShape, Epilogue, Kernels, MatMut, Panels, Plane, Start, conv, conv_weight_gradient};

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
        conv(kernels, shape, x, images, weight, Start::Zero, Epilogue::Store, product)?;
        bias_relu(kernels, plane.pixels_of(z, images), bias, y)?;
        return Ok(());
    }
    Ok(conv(kernels, shape, x, images, weight, Start::Zero, Epilogue::BiasRelu(bias), y)?)
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
    Ok(conv(kernels, &back, d_h, images, reversed, Start::Zero, Epilogue::Store, d_x)?)
}

//! The gradients of weights, bias and input. Those of the windows are spread over the pixels of a few images at a
//! time.

use super::active::{ActivePixels, Spread};
use crate::conv::pooled::ConvPoolShape;
use crate::conv::{ByImages, GradientOfImages, images_a_chunk};
use crate::elementwise::reduce::add_column_sums;
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::problem::{Epilogue, Init, Output, check_ends};
use crate::layout::{MatMut, MatRef, volume};
use crate::panels::{Panels, panels_len};
use crate::profile::Work;
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// The operands of [`conv_sum_pool_weight_gradient`].
#[derive(Debug)]
pub struct ConvSumPoolWeightGradient<'a> {
    /// The layer.
    pub shape: &'a ConvPoolShape,
    /// Images in the batch.
    pub images: usize,
    /// Padded NHWC input, planes of [`ConvShape::input`](crate::ConvShape::input).
    pub x: &'a [f32],
    /// What [`conv_sum_pool`](super::conv_sum_pool) has written.
    pub active: &'a ActivePixels,
    /// `[images·windows, outputs]`: the gradient of the pooled outputs.
    pub d_h: MatRef<'a>,
    /// Packed `[size·size·inputs, outputs]`, overwritten.
    pub d_w: &'a mut [f32],
    /// `[outputs]`, overwritten: the gradient of the bias.
    pub d_b: &'a mut [f32],
}

/// The gradients of weights and bias, `d_w[q,o] = Σ_p patch(p)[q]·d_h[window of p,o]` and `d_b[o] = Σ_p d_h[window of
/// p,o]` over the pixels `p` that are active in `o`, in the order of images, rows and columns.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape; nothing is written then.
pub fn conv_sum_pool_weight_gradient(
    kernels: &Kernels,
    operands: ConvSumPoolWeightGradient,
) -> Result<(), ShapeError> {
    const NAME: &str = "conv_sum_pool_weight_gradient";
    let ConvSumPoolWeightGradient { shape, images, x, active, d_h, d_w, d_b } = operands;
    let conv = &shape.conv;
    let windows = 2 * d_h.rows * d_h.cols;
    let _span = kernels.span(NAME, || Work::convs(1, images, conv, "", x.len() + windows));
    shape.check(NAME)?;
    let (input, output) = (conv.input(), conv.output());
    axis(NAME, "images·plane", "x", x.len(), volume([images, input.len()]))?;
    active.check(NAME, shape, images)?;
    shape.check_values(NAME, "d_h", images, &d_h)?;
    axis(NAME, "patch·outputs", "d_w", d_w.len(), panels_len(conv.patch(), conv.outputs))?;
    axis(NAME, "outputs", "d_b", d_b.len(), conv.outputs)?;
    if volume([images, output.pixels(), conv.outputs]) == 0 {
        d_w.fill(0.0);
        d_b.fill(0.0);
        return Ok(());
    }
    let chunk = images_a_chunk(conv).min(images);
    let (d_w, d_b) = (Shared::new(d_w), Shared::new(d_b));
    let cost = images * input.pixels() * conv.patch() * conv.outputs;
    kernels.threads().split(conv.patch(), cost, &|rows| {
        with_scratch(chunk * output.len(), |planes| {
            output.clear_border(planes);
            for first in (0..images).step_by(chunk) {
                let images = first..images.min(first + chunk);
                let planes = &mut planes[..images.len() * output.len()];
                let (x, accumulate) = (&x[first * input.len()..images.end * input.len()], first > 0);
                kernels.backend().run(Spread { shape, images: images.clone(), active, d_h, planes });
                let gradient =
                    GradientOfImages { shape: conv, images: images.len(), x, d_y: planes, accumulate };
                // SAFETY: the parts of a split own different rows of `d_w`; the first alone writes `d_b`.
                unsafe {
                    gradient.run(kernels, rows.clone(), &d_w);
                    if rows.start == 0 {
                        let d_y = output.pixels_of(planes, images.len());
                        add_column_sums(kernels, d_y, accumulate, d_b.slice(0..conv.outputs));
                    }
                }
            }
        });
    });
    Ok(())
}

/// The operands of [`conv_sum_pool_input_gradient`].
#[derive(Debug)]
pub struct ConvSumPoolInputGradient<'a> {
    /// The layer.
    pub shape: &'a ConvPoolShape,
    /// Images in the batch.
    pub images: usize,
    /// What [`conv_sum_pool`](super::conv_sum_pool) has written.
    pub active: &'a ActivePixels,
    /// `[images·windows, outputs]`: the gradient of the pooled outputs.
    pub d_h: MatRef<'a>,
    /// Packed weights of the [reversed](crate::ConvShape::reversed) convolution.
    pub w: Panels<'a>,
    /// What is done with each sum.
    pub epilogue: Epilogue<'a>,
    /// `[images·pixels, inputs]`, overwritten.
    pub d_x: MatMut<'a>,
}

/// The gradient of the input: the reversed convolution of `d_h`, spread over the active pixels of its windows.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape; `d_x` is untouched then.
pub fn conv_sum_pool_input_gradient(
    kernels: &Kernels,
    operands: ConvSumPoolInputGradient,
) -> Result<(), ShapeError> {
    const NAME: &str = "conv_sum_pool_input_gradient";
    let ConvSumPoolInputGradient { shape, images, active, d_h, w, epilogue, mut d_x } = operands;
    let (conv, reversed) = (&shape.conv, &shape.conv.reversed());
    let floats = 2 * (d_h.rows * d_h.cols + d_x.rows * d_x.cols);
    let _span = kernels.span(NAME, || Work::convs(1, images, reversed, "", floats));
    let mut room = Vec::new();
    let epilogue = epilogue.padded(d_x.cols, &mut room);
    shape.check(NAME)?;
    let plane = conv.output();
    active.check(NAME, shape, images)?;
    shape.check_values(NAME, "d_h", images, &d_h)?;
    axis(NAME, "patch", "w", w.k, reversed.patch())?;
    axis(NAME, "inputs", "w", w.n, conv.inputs)?;
    axis(NAME, "pixels", "d_x", d_x.rows, volume([images, plane.pixels()]))?;
    axis(NAME, "inputs", "d_x", d_x.cols, conv.inputs)?;
    check_ends(NAME, d_x.rows, d_x.cols, &Init::Zero, &epilogue)?;
    if images == 0 {
        return Ok(());
    }
    let chunk = (BLOCK / plane.len().max(1)).clamp(1, images);
    let d_x = Output::of(&mut d_x);
    let cost = images * plane.pixels() * conv.patch() * conv.outputs;
    kernels.threads().split(images, cost, &|range: Range<usize>| {
        with_scratch(chunk * plane.len(), |planes| {
            plane.clear_border(planes);
            for first in range.clone().step_by(chunk) {
                let images = first..range.end.min(first + chunk);
                kernels.backend().run(Spread { shape, images: images.clone(), active, d_h, planes });
                // The scratch holds only these images, whose indices count from the first of the batch.
                let from = planes.as_ptr().wrapping_sub(first * plane.len());
                let product = ByImages::new(reversed, from, w, Init::Zero, epilogue, &d_x);
                // SAFETY: these images are readable, with a border of zeros; the rest was checked, and the parts of a
                // split have different images.
                unsafe { product.run(kernels, images) };
            }
        });
    });
    Ok(())
}

/// Floats of planes that stay in L2 between being spread and being read.
const BLOCK: usize = 64 * 1024;

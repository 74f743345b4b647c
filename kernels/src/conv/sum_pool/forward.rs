//! The forward pass: bias, relu and sum-pool of the convolution's sums.

use super::active::{ActivePixels, MAX_WINDOW, bit};
use crate::conv::pooled::ConvPoolShape;
use crate::conv::pooled::convolve::{Forward, terms};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::epilogue::relu;
use crate::gemm::problem::padded_bias;
use crate::layout::{MatMut, Rows, STRIP, volume};
use crate::panels::Panels;
use crate::profile::Work;
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use crate::threads::Shared;
use std::ops::Range;

/// The operands of [`conv_sum_pool`].
#[derive(Debug)]
pub struct ConvSumPool<'a> {
    /// The layer; its window has at most four rows.
    pub shape: &'a ConvPoolShape,
    /// Images in the batch.
    pub images: usize,
    /// Padded NHWC input, planes of [`ConvShape::input`](crate::ConvShape::input).
    pub x: &'a [f32],
    /// Packed `[size·size·inputs, outputs]` weights (HWIO).
    pub w: Panels<'a>,
    /// One value per output. It is copied unless it is padded to whole strips of 16.
    pub bias: &'a [f32],
    /// `[images·windows, outputs]`, overwritten.
    pub y: MatMut<'a>,
    /// Overwritten for these images, if gradients will follow.
    pub active: Option<&'a mut ActivePixels>,
    /// `[images·pixels, outputs]`, overwritten, if relevance will follow: the convolution without its bias.
    pub z: Option<&'a mut [f32]>,
}

/// `y[window] = Σ over its pixels of relu(x ∗ w + bias)`.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape; nothing is written then.
///
/// # Example
/// ```
/// use kernels::conv::sum_pool::{ConvPoolShape, ConvSumPool, conv_sum_pool};
/// use kernels::{ConvShape, Kernels, MatMut, Panels, pack};
/// let conv = ConvShape { rows: 1, cols: 2, size: 1, inputs: 1, outputs: 1 };
/// let shape = ConvPoolShape { conv, window: 2 };
/// let w = pack::pack(&[3.0], 1, 1);
/// let (mut y, mut z) = ([0.0], [0.0; 2]);
/// let (w, out) = (Panels::new(&w, 1, 1), MatMut::new(&mut y, 1, 1));
/// conv_sum_pool(&Kernels::default(), ConvSumPool { shape: &shape, images: 1, x: &[1.0, 2.0], w, bias: &[-1.0; 16], y: out, active: None, z: Some(&mut z) })?;
/// assert_eq!((y, z), ([7.0], [3.0, 6.0]));
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn conv_sum_pool(kernels: &Kernels, operands: ConvSumPool) -> Result<(), ShapeError> {
    const NAME: &str = "conv_sum_pool";
    let ConvSumPool { shape, images, x, w, bias, y, active, z } = operands;
    let _span =
        kernels.span(NAME, || Work::conv_pool(images, shape, "relu, sum-pool", terms(shape), x.len()));
    let mut room = Vec::new();
    let bias = padded_bias(bias, shape.conv.outputs, &mut room);
    let forward = Forward { shape, images, x, w, bias };
    forward.check(NAME, &y)?;
    axis(NAME, "size", "window", shape.window.min(MAX_WINDOW), shape.window)?;
    if let Some(active) = &active {
        active.check(NAME, shape, images)?;
    }
    if let Some(z) = &z {
        let conv = &shape.conv;
        axis(NAME, "pixels·outputs", "z", z.len(), volume([images, conv.rows, conv.cols, conv.outputs]))?;
    }
    if volume([images, shape.windows(), shape.conv.outputs]) == 0 {
        return Ok(());
    }
    let (y_map, y) = (y.map, Shared::new(y.data));
    let (active, z) = (active.map(|active| Shared::new(&mut active.values)), z.map(Shared::new));
    forward.run(kernels, &|images, sums| {
        let (y, active, z) = (&y, active.as_ref(), z.as_ref());
        kernels.backend().run(Pool { shape, images, sums, bias, y, y_map, active, z });
    });
    Ok(())
}

/// Pools the sums of some images.
struct Pool<'a> {
    shape: &'a ConvPoolShape,
    images: Range<usize>,
    /// `[pixels, outputs]` of these images.
    sums: &'a [f32],
    bias: &'a [f32],
    y: &'a Shared<f32>,
    y_map: Rows,
    active: Option<&'a Shared<f32>>,
    z: Option<&'a Shared<f32>>,
}

impl Kernel for Pool<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pool { shape, images, sums, bias, y, y_map, active, z } = self;
        let (rows, cols, outputs, size) =
            (shape.conv.rows, shape.conv.cols, shape.conv.outputs, shape.window);
        let of_image = rows * cols * outputs;
        let sums = &sums[..images.len() * of_image];
        assert!(bias.len() >= outputs.next_multiple_of(STRIP));
        if let Some(z) = z {
            // SAFETY: `z` was checked to have these images, which are in one part only.
            unsafe { z.slice(images.start * of_image..images.end * of_image) }.copy_from_slice(sums);
        }
        for line in images.start * shape.out_rows()..images.end * shape.out_rows() {
            let (image, top) = (line / shape.out_rows(), line % shape.out_rows() * size);
            let height = size.min(rows - top);
            let first = line * shape.out_cols();
            let y_first = y_map.offset(first);
            let pixels = ((image - images.start) * rows + top) * cols;
            for window in 0..shape.out_cols() {
                let left = window * size;
                let width = size.min(cols - left);
                for n in (0..outputs).step_by(STRIP) {
                    let lanes = STRIP.min(outputs - n);
                    // SAFETY: the bias is padded to whole strips.
                    let bias = unsafe { simd.load(bias.as_ptr().add(n)) };
                    let (mut sum, mut bits) = (simd.splat(0.0), simd.splat(0.0));
                    for dy in 0..height {
                        for dx in 0..width {
                            let pixel = pixels + dy * cols + left + dx;
                            // SAFETY: channels of a pixel of these images.
                            let s = unsafe { load(simd, sums.as_ptr().add(pixel * outputs + n), lanes) };
                            let a = relu(simd, simd.add(s, bias));
                            let of_pixel = simd.where_positive(a, simd.splat(bit(dy * size + dx)));
                            (sum, bits) = (simd.add(sum, a), simd.add(bits, of_pixel));
                        }
                    }
                    // SAFETY: channels of this window, which no other part of the split writes.
                    unsafe {
                        store(simd, y.as_ptr().add(y_first + window * y_map.step + n), lanes, sum);
                        if let Some(active) = active {
                            let at = (first + window) * outputs + n;
                            store(simd, active.as_ptr().add(at), lanes, bits);
                        }
                    }
                }
            }
        }
    }
}

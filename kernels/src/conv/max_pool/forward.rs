//! The forward pass: bias, relu and max-pool of the convolution's sums.

use super::indices::MaxIndices;
use crate::conv::pooled::ConvPoolShape;
use crate::conv::pooled::convolve::{Forward, terms};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::epilogue::relu;
use crate::gemm::problem::padded_bias;
use crate::layout::{MatMut, Rows, STRIP};
use crate::panels::Panels;
use crate::profile::Work;
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use crate::threads::Shared;
use std::ops::Range;

/// The operands of [`conv_max_pool`].
#[derive(Debug)]
pub struct ConvMaxPool<'a> {
    /// The layer.
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
    /// Overwritten for these images: the first of equal maxima.
    pub max_indices: &'a mut MaxIndices,
    /// `[images·windows, outputs]` if it is wanted: the sum at the argmax position, without its bias.
    pub z: Option<&'a mut [f32]>,
}

/// `y[window] = max over its pixels of relu(x ∗ w + bias)`, and the position of each maximum.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape; nothing is written then.
///
/// # Example
/// ```
/// use kernels::conv::max_pool::{MaxIndices, ConvPoolShape, ConvMaxPool, conv_max_pool};
/// use kernels::{ConvShape, Kernels, MatMut, PackedWeights};
/// let conv = ConvShape { rows: 1, cols: 2, size: 1, inputs: 1, outputs: 1 };
/// let shape = ConvPoolShape { conv, window: 2 };
/// let w = PackedWeights::new(&[3.0], 1, 1)?;
/// let (mut y, mut max_indices, mut z) = ([0.0], MaxIndices::new(&shape, 1), [0.0]);
/// let (w, out) = (w.panels(), MatMut::new(&mut y, 1, 1));
/// conv_max_pool(&Kernels::default(), ConvMaxPool { shape: &shape, x: &[1.0, 2.0], images: 1, w, bias: &[-1.0], y: out, max_indices: &mut max_indices, z: Some(&mut z) })?;
/// assert_eq!((y, z), ([5.0], [6.0]));
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn conv_max_pool(kernels: &Kernels, operands: ConvMaxPool) -> Result<(), ShapeError> {
    const NAME: &str = "conv_max_pool";
    let ConvMaxPool { shape, images, x, w, bias, y, max_indices, z } = operands;
    let _span =
        kernels.span(NAME, || Work::conv_pool(images, shape, "relu, max-pool", terms(shape), x.len()));
    let mut room = Vec::new();
    let bias = padded_bias(bias, shape.conv.outputs, &mut room);
    let forward = Forward { shape, images, x, w, bias };
    forward.check(NAME, &y)?;
    max_indices.check(NAME, shape, images)?;
    let max_indices = &mut max_indices.values[..images * shape.windows() * shape.conv.outputs];
    if let Some(z) = &z {
        axis(NAME, "windows·outputs", "z", z.len(), max_indices.len())?;
    }
    if max_indices.is_empty() {
        return Ok(());
    }
    let (y_map, y, max_indices) = (y.map, Shared::new(y.data), Shared::new(max_indices));
    let z = z.map(Shared::new);
    forward.run(kernels, &|images, sums| {
        let (y, max_indices, z) = (&y, &max_indices, z.as_ref());
        kernels.backend().run(Pool { shape, images, sums, bias, y, y_map, max_indices, z });
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
    max_indices: &'a Shared<f32>,
    z: Option<&'a Shared<f32>>,
}

impl Kernel for Pool<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Pool { shape, images, sums, bias, y, y_map, max_indices, z } = self;
        let (rows, cols, outputs, size) =
            (shape.conv.rows, shape.conv.cols, shape.conv.outputs, shape.window);
        assert!(
            sums.len() >= images.len() * rows * cols * outputs
                && bias.len() >= outputs.next_multiple_of(STRIP)
        );
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
                    let zero = simd.splat(0.0);
                    let (mut most, mut index, mut sum) = (zero, zero, zero);
                    for dy in 0..height {
                        for dx in 0..width {
                            let pixel = pixels + dy * cols + left + dx;
                            // SAFETY: channels of a pixel of these images.
                            let s = unsafe { load(simd, sums.as_ptr().add(pixel * outputs + n), lanes) };
                            let a = relu(simd, simd.add(s, bias));
                            if dy + dx == 0 {
                                (most, sum) = (a, s);
                                continue;
                            }
                            let more = simd.sub(a, most);
                            most = simd.select(more, a, most);
                            sum = simd.select(more, s, sum);
                            index = simd.select(more, simd.splat((dy * size + dx) as f32), index);
                        }
                    }
                    let at = (first + window) * outputs + n;
                    // SAFETY: channels of this window, which no other part of the split writes.
                    unsafe {
                        store(simd, y.as_ptr().add(y_first + window * y_map.step + n), lanes, most);
                        store(simd, max_indices.as_ptr().add(at), lanes, index);
                        if let Some(z) = z {
                            store(simd, z.as_ptr().add(at), lanes, sum);
                        }
                    }
                }
            }
        }
    }
}

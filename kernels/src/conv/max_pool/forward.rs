//! The forward pass: convolution, bias, relu and max-pool of a few images at a time, so that the sums of the
//! convolution stay in the cache.

use super::shape::{Columns, ConvMaxPoolShape, MaxIndices};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::epilogue::relu;
use crate::gemm::problem::{Epilogue, Init, Output, PanelProduct, ReductionLoops, padded_bias};
use crate::image::ConvShape;
use crate::layout::{MatMut, Rows, STRIP, volume};
use crate::panels::{Panels, panel_index, panels_len};
use crate::profile::Work;
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// The operands of [`conv_max_pool`].
#[derive(Debug)]
pub struct ConvMaxPool<'a> {
    /// The layer.
    pub shape: &'a ConvMaxPoolShape,
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
/// use kernels::conv::max_pool::{MaxIndices, ConvMaxPoolShape, ConvMaxPool, conv_max_pool};
/// use kernels::{ConvShape, Kernels, MatMut, PackedWeights};
/// let conv = ConvShape { rows: 1, cols: 2, size: 1, inputs: 1, outputs: 1 };
/// let shape = ConvMaxPoolShape { conv, window: 2 };
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
    let _span = kernels.span(NAME, || Work::conv_max_pool(images, shape, terms(shape), x.len()));
    shape.check(NAME)?;
    let conv = &shape.conv;
    let plane = conv.input();
    axis(NAME, "patch", "w", w.k, conv.patch())?;
    axis(NAME, "outputs", "w", w.n, conv.outputs)?;
    let mut room = Vec::new();
    let bias = padded_bias(bias, conv.outputs, &mut room);
    axis(NAME, "outputs", "bias", bias.len(), conv.outputs.next_multiple_of(STRIP))?;
    axis(NAME, "images·plane", "x", x.len(), volume([images, plane.len()]))?;
    axis(NAME, "windows", "y", y.rows, volume([images, shape.windows()]))?;
    axis(NAME, "outputs", "y", y.cols, conv.outputs)?;
    let even = y.map.width == usize::MAX || y.map.width.is_multiple_of(shape.out_cols().max(1));
    axis(NAME, "windows (lines of equal spacing)", "y", if even { y.rows } else { 0 }, y.rows)?;
    max_indices.check(NAME, shape, images)?;
    let max_indices = &mut max_indices.values[..images * shape.windows() * conv.outputs];
    if let Some(z) = &z {
        axis(NAME, "windows·outputs", "z", z.len(), max_indices.len())?;
    }
    if max_indices.is_empty() {
        return Ok(());
    }
    let sums_an_image = plane.pixels() * conv.outputs;
    let images_a_chunk = (IN_L2 / sums_an_image.max(1)).clamp(1, images);
    let (y_map, y, max_indices) = (y.map, Shared::new(y.data), Shared::new(max_indices));
    let z = z.map(Shared::new);
    let cost = images * plane.pixels() * conv.patch() * conv.outputs;
    kernels.threads().split(images, cost, &|range: Range<usize>| {
        let (k, pair_len) = pair_len(shape);
        with_scratch(pair_len + images_a_chunk.min(range.len()) * sums_an_image, |scratch| {
            let (pair, sums) = scratch.split_at_mut(pair_len);
            if pairs(shape) {
                pack_pair(shape, w, pair);
            }
            let weights =
                Weights { one: w, pair: pairs(shape).then(|| Panels::new(pair, k, 2 * conv.outputs)) };
            for first in range.clone().step_by(images_a_chunk) {
                let images = first..range.end.min(first + images_a_chunk);
                let batch = Batch { shape, images: images.len(), x: &x[first * plane.len()..] };
                batch.convolve(kernels, weights, sums);
                let (y, max_indices, z) = (&y, &max_indices, z.as_ref());
                kernels.backend().run(Pool { shape, images, sums, bias, y, y_map, max_indices, z });
            }
        });
    });
    Ok(())
}

/// Floats of sums that stay in L2 until they are pooled.
const IN_L2: usize = 96 * 1024;

/// Multiply-adds of an image.
fn terms(shape: &ConvMaxPoolShape) -> usize {
    let a_line: usize = shape.columns().map(|columns| columns.pixels.len() * columns.run).sum();
    a_line * shape.conv.rows * shape.conv.size * shape.conv.outputs
}

/// Whether two adjacent pixels are one row of the product. This pays if the outputs of two pixels fill
/// registers and those of one do not; the patch of two pixels is only one pixel wider.
fn pairs(shape: &ConvMaxPoolShape) -> bool {
    let ConvShape { cols, size, outputs, .. } = shape.conv;
    size >= 5 && cols >= 2 && !outputs.is_multiple_of(STRIP) && (2 * outputs).is_multiple_of(STRIP)
}

/// Sums over the patch of a pair, and floats of its packed weights.
fn pair_len(shape: &ConvMaxPoolShape) -> (usize, usize) {
    let ConvShape { size, inputs, outputs, .. } = shape.conv;
    let k = size * (size + 1) * inputs;
    (k, if pairs(shape) { panels_len(k, 2 * outputs) } else { 0 })
}

/// Packed weights of a pair of pixels: those of one pixel, and the same shifted by one pixel. The rest is 0;
/// `0·x` changes no sum.
fn pack_pair(shape: &ConvMaxPoolShape, w: Panels, packed: &mut [f32]) {
    let ConvShape { size, inputs, outputs, .. } = shape.conv;
    let k = pair_len(shape).0;
    packed.fill(0.0);
    for line in 0..size {
        for q in 0..size * inputs {
            for o in 0..outputs {
                let w = w.at(line * size * inputs + q, o);
                for pixel in 0..2 {
                    let row = (line * (size + 1) + pixel) * inputs + q;
                    packed[panel_index(k, row, pixel * outputs + o)] = w;
                }
            }
        }
    }
}

/// Packed weights of one pixel, and of a pair of pixels if pairs are used.
#[derive(Clone, Copy)]
struct Weights<'a> {
    one: Panels<'a>,
    pair: Option<Panels<'a>>,
}

/// Adjacent columns, of which `pixels` adjacent ones are a row of the product with weights `w`.
struct Group<'a> {
    w: Panels<'a>,
    pixels: usize,
    columns: Columns,
}

/// A few images, the first of those in `x`.
struct Batch<'a> {
    shape: &'a ConvMaxPoolShape,
    images: usize,
    x: &'a [f32],
}

impl Batch<'_> {
    /// The convolution's sums, `[pixels, outputs]`.
    fn convolve(&self, kernels: &Kernels, weights: Weights, sums: &mut [f32]) {
        let cols = self.shape.conv.cols;
        let paired = if weights.pair.is_some() { cols - cols % 2 } else { 0 };
        for (pixels, range, w) in [(2, 0..paired, weights.pair), (1, paired..cols, Some(weights.one))] {
            let Some(w) = w else { continue };
            for columns in self.shape.columns_of(range, pixels) {
                self.convolve_columns(kernels, Group { w, pixels, columns }, sums);
            }
        }
    }

    /// The sums of some columns.
    fn convolve_columns(&self, kernels: &Kernels, group: Group, sums: &mut [f32]) {
        let Batch { shape: ConvMaxPoolShape { conv, .. }, images, x } = *self;
        let Group { w, pixels: unit, columns: Columns { pixels, skipped, run } } = group;
        let (plane, height, outputs) = (conv.input(), conv.rows, conv.outputs);
        let line = (conv.size + unit - 1) * conv.inputs;
        let loops = ReductionLoops {
            count: [1, conv.size, run],
            a: [0, plane.line(), 1],
            b: [0, line * STRIP, STRIP],
        };
        let width = pixels.len() / unit;
        let a_rows = Rows { width, step: unit * plane.channels, ..plane.map() };
        let to_line = conv.cols * outputs;
        let to = Rows { width, height, step: unit * outputs, line: to_line, image: height * to_line };
        let rows = images * height * width;
        let mut to = MatMut::mapped(&mut sums[pixels.start * outputs..], rows, unit * outputs, to);
        // A patch starts above and to the left of its pixel. In the padded plane this is the position of the
        // pixel itself.
        let a = x.as_ptr().wrapping_add(pixels.start * conv.inputs + skipped);
        let (init, epilogue, c) = (Init::Zero, Epilogue::Store, &Output::of(&mut to));
        let mut product = PanelProduct { a, a_rows, loops, b: w, init, epilogue, c }.problem();
        product.b = product.b.wrapping_add(skipped * STRIP);
        // SAFETY: the patch of the last pixel ends with the last float of its padded plane, of which `x` has
        // `images`; the loops leave out some taps of each line of patch and panel.
        unsafe { product.run_rows(kernels, 0..rows) };
    }
}

/// Pools the sums of some images.
struct Pool<'a> {
    shape: &'a ConvMaxPoolShape,
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

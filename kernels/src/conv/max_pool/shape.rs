//! The layer as data: its shape, its argmax positions, and which taps of a filter lie in the image.

use crate::buffer::Buffer;
use crate::error::{ShapeError, axis};
use crate::image::ConvShape;
use crate::layout::{MatRef, STRIP, volume};
use crate::profile::{Shape, Work};
use crate::threads::with_scratch;
use std::ops::Range;

/// A SAME convolution, relu, and a max-pool whose stride is its window; windows at the edge are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvMaxPoolShape {
    /// The convolution.
    pub conv: ConvShape,
    /// Rows and columns of the window.
    pub window: usize,
}

/// The argmax position in each window of each channel: the index of its pixel in the window, row-major.
///
/// Only [`conv_max_pool`](super::conv_max_pool) writes them, so each index is inside its image.
#[derive(Clone, Debug)]
pub struct MaxIndices {
    shape: ConvMaxPoolShape,
    images: usize,
    /// `[images·windows, outputs]`
    pub(super) values: Buffer,
}

impl MaxIndices {
    /// Argmax indices of `images` images. They are 0, the first pixel of each window, until [`conv_max_pool`](super::conv_max_pool)
    /// is called.
    ///
    /// # Panics
    /// If the layer's windows have no pixel.
    pub fn new(shape: &ConvMaxPoolShape, images: usize) -> Self {
        let values = Buffer::zeroed(volume([images, shape.windows(), shape.conv.outputs]));
        MaxIndices { shape: *shape, images, values }
    }

    /// The indices of the first `images` images, after a check that they belong to this layer.
    pub(crate) fn of(
        &self,
        kernel: &'static str,
        shape: &ConvMaxPoolShape,
        images: usize,
    ) -> Result<&[f32], ShapeError> {
        self.check(kernel, shape, images)?;
        Ok(&self.values[..images * shape.windows() * shape.conv.outputs])
    }

    pub(super) fn check(
        &self,
        kernel: &'static str,
        shape: &ConvMaxPoolShape,
        images: usize,
    ) -> Result<(), ShapeError> {
        let windows = if self.shape == *shape { shape.windows() } else { 0 };
        axis(kernel, "windows", "max_indices (of this layer)", windows, shape.windows())?;
        axis(kernel, "images", "max_indices", self.images.min(images), images)
    }
}

/// Adjacent columns of pixels that use the same taps of a filter line.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub pixels: Range<usize>,
    /// Floats of a line before the first tap.
    pub skipped: usize,
    /// Floats of these taps.
    pub run: usize,
}

impl Columns {
    /// Registers that these taps fill.
    pub fn strips(&self) -> usize {
        self.run.div_ceil(STRIP)
    }
}

/// An image is narrow if it has at most this many columns, in halves of the filter size.
const NARROW: usize = 4;

/// Rows of the largest window.
pub(super) const MAX_WINDOW: usize = 15;

impl ConvMaxPoolShape {
    /// Rows of the pooled image.
    pub const fn out_rows(&self) -> usize {
        self.conv.rows.div_ceil(self.window)
    }

    /// Columns of the pooled image.
    pub const fn out_cols(&self) -> usize {
        self.conv.cols.div_ceil(self.window)
    }

    /// Windows of an image.
    pub const fn windows(&self) -> usize {
        volume([self.out_rows(), self.out_cols()])
    }

    /// Pixels of a window.
    pub(super) const fn window_area(&self) -> usize {
        self.window * self.window
    }

    /// Floats of a line of a filter.
    pub(super) const fn run(&self) -> usize {
        self.conv.size * self.conv.inputs
    }

    pub(crate) fn check(&self, kernel: &'static str) -> Result<(), ShapeError> {
        self.conv.check(kernel)?;
        axis(kernel, "size", "window", self.window.clamp(1, MAX_WINDOW), self.window)
    }

    /// Checks a gradient or relevance of the windows: a row for each, evenly spaced.
    pub(crate) fn check_values(
        &self,
        kernel: &'static str,
        name: &'static str,
        images: usize,
        v: &MatRef,
    ) -> Result<(), ShapeError> {
        axis(kernel, "windows", name, v.rows, volume([images, self.windows()]))?;
        axis(kernel, "outputs", name, v.cols, self.conv.outputs)?;
        let even = if v.map.width >= v.rows { v.rows } else { 0 };
        axis(kernel, "windows (rows of equal spacing)", name, even, v.rows)
    }

    /// Columns of pixels by the taps of a filter's line that lie in the image there.
    ///
    /// A tap outside the image would add `0·w`, which changes no sum. In an image that is hardly wider than
    /// the filter there are many such taps, so each group of columns leaves them out. A wide image is one
    /// group.
    pub(super) fn columns(&self) -> impl Iterator<Item = Columns> + use<> {
        self.columns_of(0..self.conv.cols, 1)
    }

    /// The same for some columns, if `unit` adjacent pixels share one patch.
    pub(super) fn columns_of(
        &self,
        pixels: Range<usize>,
        unit: usize,
    ) -> impl Iterator<Item = Columns> + use<> {
        self.columns_if(self.conv.cols <= NARROW * (self.conv.size / 2), pixels, unit)
    }

    /// The same for kernels that read whole registers from each line: one group if separate groups would read
    /// as many registers.
    pub(super) fn groups(&self) -> impl Iterator<Item = Columns> + use<> {
        let registers = |columns: Columns| columns.pixels.len() * columns.strips();
        let apart: usize = self.columns().map(registers).sum();
        self.columns_if(apart < self.conv.cols * self.run().div_ceil(STRIP), 0..self.conv.cols, 1)
    }

    pub(super) fn columns_if(
        &self,
        apart: bool,
        pixels: Range<usize>,
        unit: usize,
    ) -> impl Iterator<Item = Columns> + use<> {
        let ConvShape { cols, size, inputs, .. } = self.conv;
        let (half, width, end) = (size / 2, size + unit - 1, pixels.end);
        let taps = move |x: usize| match apart {
            true => half.saturating_sub(x)..width.min(cols + half - x),
            false => 0..width,
        };
        let mut from = pixels.start;
        std::iter::from_fn(move || {
            let first = (from < end).then_some(from)?;
            from = (first..end).step_by(unit).find(|&x| taps(x) != taps(first)).unwrap_or(end);
            let taps = taps(first);
            Some(Columns { pixels: first..from, skipped: taps.start * inputs, run: taps.len() * inputs })
        })
    }

    /// Calls `use_planes` with the gradient or relevance `v` of the windows, scattered to the argmax positions in
    /// padded planes: the operand of the general convolution kernels.
    pub(super) fn with_expanded<R>(
        &self,
        max_indices: &[f32],
        v: &MatRef,
        images: usize,
        use_planes: impl FnOnce(&[f32]) -> R,
    ) -> R {
        with_scratch(images * self.conv.output().len(), |planes| {
            planes.fill(0.0);
            self.expand(max_indices, v, images, planes);
            use_planes(planes)
        })
    }

    fn expand(&self, max_indices: &[f32], v: &MatRef, images: usize, dense: &mut [f32]) {
        let mut pixels = self.conv.output().pixels_mut(dense, images);
        for (window, max_indices) in max_indices.chunks_exact(self.conv.outputs.max(1)).enumerate() {
            for (o, (&index, &v)) in max_indices.iter().zip(v.row(window)).enumerate() {
                if v != 0.0 {
                    pixels.row_mut(self.pixel(window, index as usize))[o] = v;
                }
            }
        }
    }

    /// The pixel, counted over all images, of an index in a window.
    pub(crate) fn pixel(&self, window: usize, index: usize) -> usize {
        let (image, window) = (window / self.windows(), window % self.windows());
        let row = window / self.out_cols() * self.window + index / self.window;
        let col = window % self.out_cols() * self.window + index % self.window;
        (image * self.conv.rows + row) * self.conv.cols + col
    }
}

impl Work {
    /// A convolution of `terms` multiply-adds per image, followed by a max-pool; `x` are the floats of the
    /// input.
    pub(crate) fn conv_max_pool(images: usize, shape: &ConvMaxPoolShape, terms: usize, x: usize) -> Work {
        let conv = shape.conv;
        let weights = conv.patch() * conv.outputs;
        let windows = 2 * images * shape.windows() * conv.outputs;
        let shape = Shape::Conv { images, shape: conv, then: "relu, max-pool" };
        Work::new(shape, 2 * images * terms, 4 * (x + weights + windows))
    }

    /// The work of `products` convolutions at the argmax positions of a max-pool only; `x` are the floats of
    /// the input.
    pub(crate) fn max_pool(products: usize, images: usize, shape: &ConvMaxPoolShape, x: usize) -> Work {
        let conv = shape.conv;
        let weights = conv.patch() * conv.outputs;
        let windows = images * shape.windows();
        let shape = Shape::Conv { images, shape: conv, then: "argmax" };
        let bytes = 4 * (x + products * weights + 2 * windows * conv.outputs);
        Work::new(shape, 2 * products * windows * weights, bytes)
    }
}

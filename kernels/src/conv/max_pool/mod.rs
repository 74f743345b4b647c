//! A relu convolution with a max-pool behind it, as one layer.
//!
//! A max-pool lets one pixel of each window through, so what comes back to the convolution is zero at
//! the others: three of four in a 2×2 window. Forwards, the convolution's sums go through bias, relu
//! and pool while they are in the cache, and the place of each maximum is kept. Backwards, for
//! gradients as for relevance, only the positions are visited.

pub(crate) mod back;
pub(crate) mod filters;
mod forward;
mod gradient;
pub(crate) mod ratios;
#[cfg(test)]
mod tests;
pub(crate) mod visit;

pub use back::{ConvMaxPoolInputGradient, conv_max_pool_input_gradient};
pub use filters::Filters;
pub use forward::{ConvMaxPool, conv_max_pool};
pub use gradient::{ConvMaxPoolWeightGradient, conv_max_pool_weight_gradient};

use crate::buffer::Buffer;
use crate::error::{ShapeError, axis};
use crate::shape::{ConvShape, MatRef, STRIP, volume};
use std::ops::Range;

/// A SAME convolution, relu, and a max-pool whose stride is its window; the window at the edge is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvMaxPoolShape {
    /// The convolution.
    pub conv: ConvShape,
    /// Rows and columns of the window.
    pub window: usize,
}

/// The place of the maximum in each window of each channel: its pixel's number in the window, row-major.
///
/// Only [`conv_max_pool`] writes them, so a place is always one of its image.
#[derive(Clone, Debug)]
pub struct MaxIndices {
    shape: ConvMaxPoolShape,
    images: usize,
    /// `[images·windows, outputs]`
    values: Buffer,
}

impl MaxIndices {
    /// Room for the max_indices of `images` images; the first of each window, until [`conv_max_pool`] is called.
    ///
    /// # Panics
    /// If the layer's windows have no pixel.
    pub fn new(shape: &ConvMaxPoolShape, images: usize) -> Self {
        let values = Buffer::zeroed(volume([images, shape.windows(), shape.conv.outputs]));
        MaxIndices { shape: *shape, images, values }
    }

    /// Those of the first `images` images, if they are the layer's.
    pub(crate) fn of(
        &self,
        kernel: &'static str,
        shape: &ConvMaxPoolShape,
        images: usize,
    ) -> Result<&[f32], ShapeError> {
        self.check(kernel, shape, images)?;
        Ok(&self.values[..images * shape.windows() * shape.conv.outputs])
    }

    fn check(&self, kernel: &'static str, shape: &ConvMaxPoolShape, images: usize) -> Result<(), ShapeError> {
        let windows = if self.shape == *shape { shape.windows() } else { 0 };
        axis(kernel, "windows", "max_indices (of this layer)", windows, shape.windows())?;
        axis(kernel, "images", "max_indices", self.images.min(images), images)
    }
}

/// Adjacent columns of pixels that meet the same taps of a filter's line.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    pub pixels: Range<usize>,
    /// Floats of a line before the first tap,
    pub skipped: usize,
    /// and from there to behind the last.
    pub run: usize,
}

impl Columns {
    /// Registers of the taps.
    pub fn strips(&self) -> usize {
        self.run.div_ceil(STRIP)
    }
}

/// Columns of a narrow image, in halves of the filter.
const NARROW: usize = 4;

/// Rows of the largest window.
const MAX_WINDOW: usize = 15;

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

    /// MaxIndices of a window.
    const fn window_area(&self) -> usize {
        self.window * self.window
    }

    /// Floats of a line of a filter.
    const fn run(&self) -> usize {
        self.conv.size * self.conv.inputs
    }

    pub(crate) fn check(&self, kernel: &'static str) -> Result<(), ShapeError> {
        self.conv.check(kernel)?;
        axis(kernel, "size", "window", self.window.clamp(1, MAX_WINDOW), self.window)
    }

    /// Checks what the windows hand back: a row for each, evenly spaced.
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
    /// A tap beside the image would add `0·w`, which changes no sum. In an image that is hardly wider than
    /// the filter those are many: each group of columns leaves them out. A wide image is one group.
    fn columns(&self) -> impl Iterator<Item = Columns> + use<> {
        self.columns_of(0..self.conv.cols, 1)
    }

    /// The same of some columns, where `unit` adjacent pixels are one and have one patch.
    fn columns_of(&self, pixels: Range<usize>, unit: usize) -> impl Iterator<Item = Columns> + use<> {
        self.columns_if(self.conv.cols <= NARROW * (self.conv.size / 2), pixels, unit)
    }

    /// The same where whole registers are read from each line: one group if the others take as many.
    fn groups(&self) -> impl Iterator<Item = Columns> + use<> {
        let registers = |columns: Columns| columns.pixels.len() * columns.strips();
        let apart: usize = self.columns().map(registers).sum();
        self.columns_if(apart < self.conv.cols * self.run().div_ceil(STRIP), 0..self.conv.cols, 1)
    }

    fn columns_if(
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

    /// The gradient or relevance `v` of the windows, at the positions' pixels in padded planes: what the
    /// kernels for any convolution take.
    fn expand(&self, max_indices: &[f32], v: &MatRef, images: usize) -> Vec<f32> {
        let plane = self.conv.output();
        let mut dense = vec![0.0; images * plane.len()];
        let mut pixels = plane.pixels_mut(&mut dense, images);
        for (window, max_indices) in max_indices.chunks_exact(self.conv.outputs.max(1)).enumerate() {
            for (o, (&place, &v)) in max_indices.iter().zip(v.row(window)).enumerate() {
                if v != 0.0 {
                    pixels.row_mut(self.pixel(window, place as usize))[o] = v;
                }
            }
        }
        dense
    }

    /// The pixel, counted through all images, of a place in a window.
    pub(crate) fn pixel(&self, window: usize, place: usize) -> usize {
        let (image, window) = (window / self.windows(), window % self.windows());
        let row = window / self.out_cols() * self.window + place / self.window;
        let col = window % self.out_cols() * self.window + place % self.window;
        (image * self.conv.rows + row) * self.conv.cols + col
    }
}

//! Convolution, relu and pool as data: the shape, and which taps of a filter lie in the image.

use crate::error::{ShapeError, axis};
use crate::image::ConvShape;
use crate::layout::{MatRef, STRIP, volume};
use crate::profile::{Shape, Work};
use std::ops::Range;

/// A SAME convolution, relu, and a pool whose stride is its window; windows at the edge are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvPoolShape {
    /// The convolution.
    pub conv: ConvShape,
    /// Rows and columns of the window.
    pub window: usize,
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
pub(in crate::conv) const MAX_WINDOW: usize = 15;

impl ConvPoolShape {
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
    pub(in crate::conv) const fn window_area(&self) -> usize {
        self.window * self.window
    }

    /// Floats of a line of a filter.
    pub(in crate::conv) const fn run(&self) -> usize {
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
    pub(in crate::conv) fn columns(&self) -> impl Iterator<Item = Columns> + use<> {
        self.columns_of(0..self.conv.cols, 1)
    }

    /// The same for some columns, if `unit` adjacent pixels share one patch.
    pub(in crate::conv) fn columns_of(
        &self,
        pixels: Range<usize>,
        unit: usize,
    ) -> impl Iterator<Item = Columns> + use<> {
        self.columns_if(self.conv.cols <= NARROW * (self.conv.size / 2), pixels, unit)
    }

    /// The same for kernels that read whole registers from each line: one group if separate groups would read
    /// as many registers.
    pub(in crate::conv) fn groups(&self) -> impl Iterator<Item = Columns> + use<> {
        let registers = |columns: Columns| columns.pixels.len() * columns.strips();
        let apart: usize = self.columns().map(registers).sum();
        self.columns_if(apart < self.conv.cols * self.run().div_ceil(STRIP), 0..self.conv.cols, 1)
    }

    pub(in crate::conv) fn columns_if(
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

    /// The pixel, counted over all images, of an index in a window.
    pub(crate) fn pixel(&self, window: usize, index: usize) -> usize {
        let (image, window) = (window / self.windows(), window % self.windows());
        let row = window / self.out_cols() * self.window + index / self.window;
        let col = window % self.out_cols() * self.window + index % self.window;
        (image * self.conv.rows + row) * self.conv.cols + col
    }
}

impl Work {
    /// A convolution of `terms` multiply-adds per image, `then` relu and a pool; `x` are the floats of the input.
    pub(crate) fn conv_pool(
        images: usize,
        shape: &ConvPoolShape,
        then: &'static str,
        terms: usize,
        x: usize,
    ) -> Work {
        let conv = shape.conv;
        let weights = conv.patch() * conv.outputs;
        let windows = 2 * images * shape.windows() * conv.outputs;
        let shape = Shape::Conv { images, shape: conv, then };
        Work::new(shape, 2 * images * terms, 4 * (x + weights + windows))
    }
}

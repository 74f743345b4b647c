//! A relu convolution with a max-pool behind it, as one layer.
//!
//! A max-pool lets one pixel of each window through, so what comes back to the convolution is zero at
//! the others: three of four in a 2×2 window. Forwards, the convolution's sums go through bias, relu
//! and pool while they are in the cache, and the place of each maximum is kept. Backwards, for
//! gradients as for relevance, only the winners are visited.

pub(crate) mod back;
mod filters;
mod forward;
mod gradient;
pub(crate) mod lists;
#[cfg(test)]
mod tests;
pub(crate) mod winners;

pub use back::conv_pool_back;
pub use filters::Filters;
pub use forward::conv_pool;
pub use gradient::conv_pool_weight_gradient;

use crate::error::{ShapeError, axis};
use crate::shape::{ConvShape, MatRef, Rows};

/// A SAME convolution, relu, and a max-pool whose stride is its window; the window at the edge is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PooledConv {
    /// The convolution.
    pub conv: ConvShape,
    /// Rows and columns of the window.
    pub window: usize,
}

/// The place of the maximum in each window of each channel: its pixel's number in the window, row-major.
///
/// Only [`conv_pool`] writes them, so a place is always one of its image.
#[derive(Clone, Debug)]
pub struct Places {
    shape: PooledConv,
    images: usize,
    /// `[images·windows, outputs]`
    values: Vec<f32>,
}

impl Places {
    /// Room for the places of `images` images; the first of each window, until [`conv_pool`] is called.
    pub fn new(shape: &PooledConv, images: usize) -> Self {
        let values = vec![0.0; images * shape.windows() * shape.conv.outputs];
        Places { shape: *shape, images, values }
    }

    /// Those of the first `images` images, if they are the layer's.
    fn of(&self, kernel: &'static str, shape: &PooledConv, images: usize) -> Result<&[f32], ShapeError> {
        self.check(kernel, shape, images)?;
        Ok(&self.values[..images * shape.windows() * shape.conv.outputs])
    }

    fn check(&self, kernel: &'static str, shape: &PooledConv, images: usize) -> Result<(), ShapeError> {
        let windows = if self.shape == *shape { shape.windows() } else { 0 };
        axis(kernel, "windows", "places (of this layer)", windows, shape.windows())?;
        axis(kernel, "images", "places", self.images.min(images), images)
    }
}

/// Rows of the largest window.
const MOST_WINDOW: usize = 15;

impl PooledConv {
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
        self.out_rows() * self.out_cols()
    }

    /// Places of a window.
    const fn places(&self) -> usize {
        self.window * self.window
    }

    /// Floats of a line of a filter.
    const fn run(&self) -> usize {
        self.conv.size * self.conv.inputs
    }

    fn check(&self, kernel: &'static str) -> Result<(), ShapeError> {
        self.conv.check(kernel)?;
        axis(kernel, "size", "window", self.window.clamp(1, MOST_WINDOW), self.window)
    }

    /// Checks what stands in windows: a row for each of so many images' windows, their lines evenly spaced.
    fn check_windows(
        &self,
        kernel: &'static str,
        name: &'static str,
        images: usize,
        (rows, cols, map): (usize, usize, &Rows),
    ) -> Result<(), ShapeError> {
        axis(kernel, "windows", name, rows, images * self.windows())?;
        axis(kernel, "outputs", name, cols, self.conv.outputs)?;
        let even = map.width == usize::MAX || map.width.is_multiple_of(self.out_cols().max(1));
        let lines = "windows (lines of equal spacing)";
        axis(kernel, lines, name, if even { self.out_cols() } else { 0 }, self.out_cols())
    }

    /// The largest window's worth of offsets: where each place of a window is, in floats of the padded input.
    fn offsets(&self) -> [u32; MOST_WINDOW * MOST_WINDOW] {
        let plane = self.conv.input();
        let mut offsets = [0; MOST_WINDOW * MOST_WINDOW];
        for (place, offset) in offsets[..self.places()].iter_mut().enumerate() {
            *offset = (place / self.window * plane.line() + place % self.window * plane.channels) as u32;
        }
        offsets
    }

    /// The gradient or relevance `v` of the windows, at the winners' pixels in padded planes: what the
    /// kernels for any convolution take.
    fn expand(&self, places: &[f32], v: &MatRef, images: usize) -> Vec<f32> {
        let plane = self.conv.output();
        let mut dense = vec![0.0; images * plane.len()];
        let mut pixels = plane.pixels_mut(&mut dense, images);
        for (window, places) in places.chunks_exact(self.conv.outputs.max(1)).enumerate() {
            for (o, (&place, &v)) in places.iter().zip(v.row(window)).enumerate() {
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

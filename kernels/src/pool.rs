//! Max- and sum-pooling, stride equal to the window, SAME: the window at the edge is smaller.

use crate::elementwise::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::shape::{MatMut, MatRef};
use crate::Kernels;

/// How a window becomes one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest value; gradient and relevance go to the first place in row-major order that has it.
    Max,
    /// The sum; relevance is shared in proportion to the activations.
    Sum,
}

/// A pooling layer over `rows × cols` pixels of `channels` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Image rows.
    pub rows: usize,
    /// Image columns.
    pub cols: usize,
    /// Channels.
    pub channels: usize,
    /// Rows and columns of the window, and its stride.
    pub size: usize,
    /// How a window becomes one value.
    pub kind: PoolKind,
}

impl PoolShape {
    /// Rows of the pooled image.
    pub const fn out_rows(&self) -> usize {
        self.rows.div_ceil(self.size)
    }

    /// Columns of the pooled image.
    pub const fn out_cols(&self) -> usize {
        self.cols.div_ceil(self.size)
    }

    /// Calls `visit(pooled pixel, place in the window, pixel)` window by window, row-major.
    #[inline(always)]
    fn windows(&self, images: usize, mut visit: impl FnMut(usize, usize, usize)) {
        let mut out = 0;
        for image in 0..images {
            for y in 0..self.out_rows() {
                for x in 0..self.out_cols() {
                    for dy in 0..self.size.min(self.rows - y * self.size) {
                        for dx in 0..self.size.min(self.cols - x * self.size) {
                            let (row, col) = (y * self.size + dy, x * self.size + dx);
                            let pixel = (image * self.rows + row) * self.cols + col;
                            visit(out, dy * self.size + dx, pixel);
                        }
                    }
                    out += 1;
                }
            }
        }
    }

    fn check(
        &self,
        kernel: &'static str,
        images: usize,
        x: (usize, usize),
        y: (usize, usize),
    ) -> Result<(), ShapeError> {
        axis(kernel, "size", "window", self.size.clamp(1, 15), self.size)?;
        axis(kernel, "pixels", "x", x.0, images * self.rows * self.cols)?;
        axis(kernel, "channels", "x", x.1, self.channels)?;
        axis(kernel, "pixels", "y", y.0, images * self.out_rows() * self.out_cols())?;
        axis(kernel, "channels", "y", y.1, self.channels)
    }
}

struct Forward<'a> {
    shape: PoolShape,
    images: usize,
    x: MatRef<'a>,
    y: MatMut<'a>,
    places: &'a mut [u8],
}

impl Loop for Forward<'_> {
    #[inline(always)]
    fn run(mut self) {
        let (shape, channels) = (self.shape, self.shape.channels);
        shape.windows(self.images, |out, place, pixel| {
            let (x, y) = (self.x.row(pixel), self.y.row_mut(out));
            if place == 0 {
                y.copy_from_slice(x);
                self.places[out * channels..][..channels].fill(0);
            } else if shape.kind == PoolKind::Sum {
                y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
            } else {
                let places = &mut self.places[out * channels..][..channels];
                for ((y, &x), at) in y.iter_mut().zip(x).zip(places) {
                    let larger = x > *y;
                    *y = if larger { x } else { *y };
                    *at = if larger { place as u8 } else { *at };
                }
            }
        });
    }
}

/// `y[window] = max or sum of x`, with the place of the maximum for the way back.
///
/// - `x` `[images·rows·cols, channels]`, `y` `[images·out_rows·out_cols, channels]` overwritten
/// - `places` as many as `y` has values, overwritten
///
/// # Errors
/// [`ShapeError`] if an operand has another shape.
pub fn pool(
    kernels: &Kernels,
    shape: PoolShape,
    images: usize,
    x: MatRef,
    y: MatMut,
    places: &mut [u8],
) -> Result<(), ShapeError> {
    shape.check("pool", images, (x.rows, x.cols), (y.rows, y.cols))?;
    axis("pool", "pixels·channels", "places", places.len(), y.rows * y.cols)?;
    run(kernels.backend(), Forward { shape, images, x, y, places });
    Ok(())
}

/// What comes back through a pooling layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PoolBack {
    /// A gradient, through the relu in front of the pool as well; `guided` cuts what is negative.
    Gradient {
        /// Guided backprop.
        guided: bool,
    },
    /// Relevance; a sum-pool shares it as `a / (Σa + ε)`.
    Relevance {
        /// `ε`
        eps: f32,
    },
}

struct Backward<'a> {
    shape: PoolShape,
    images: usize,
    what: PoolBack,
    a: MatRef<'a>,
    pooled: MatRef<'a>,
    places: &'a [u8],
    back: MatRef<'a>,
    out: MatMut<'a>,
}

impl Loop for Backward<'_> {
    #[inline(always)]
    fn run(mut self) {
        let (shape, channels) = (self.shape, self.shape.channels);
        shape.windows(self.images, |window, place, pixel| {
            let (a, back) = (self.a.row(pixel), self.back.row(window));
            let out = self.out.row_mut(pixel);
            let places = &self.places[window * channels..][..channels];
            let pooled = self.pooled.row(window);
            for i in 0..channels {
                let mine = shape.kind == PoolKind::Sum || places[i] == place as u8;
                let share = match self.what {
                    PoolBack::Gradient { guided } => {
                        let cut = a[i] <= 0.0 || guided && back[i] < 0.0;
                        if cut { 0.0 } else { back[i] }
                    }
                    PoolBack::Relevance { eps } if shape.kind == PoolKind::Sum => {
                        back[i] * a[i] / (pooled[i] + eps)
                    }
                    PoolBack::Relevance { .. } => back[i],
                };
                out[i] = if mine { share } else { 0.0 };
            }
        });
    }
}

/// Takes a gradient or relevance `back` of the pooled pixels back to the pixels.
///
/// - `a` `[images·rows·cols, channels]` what was pooled, `pooled` and `places` what came of it
/// - `back` like `pooled`, `out` like `a`, overwritten
///
/// # Errors
/// [`ShapeError`] if an operand has another shape.
#[allow(clippy::too_many_arguments)]
pub fn pool_back(
    kernels: &Kernels,
    shape: PoolShape,
    images: usize,
    what: PoolBack,
    a: MatRef,
    pooled: MatRef,
    places: &[u8],
    back: MatRef,
    out: MatMut,
) -> Result<(), ShapeError> {
    const NAME: &str = "pool_back";
    shape.check(NAME, images, (a.rows, a.cols), (back.rows, back.cols))?;
    shape.check(NAME, images, (out.rows, out.cols), (pooled.rows, pooled.cols))?;
    axis(NAME, "pixels·channels", "places", places.len(), pooled.rows * pooled.cols)?;
    run(kernels.backend(), Backward { shape, images, what, a, pooled, places, back, out });
    Ok(())
}

//! Max- and sum-pooling, stride equal to the window, SAME: windows at the edge are smaller.

use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::layout::{MatMut, MatRef, Rows, STRIP, volume};
use crate::profile::{Shape, Work};
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use crate::threads::Shared;
use std::ops::Range;

/// The reduction of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest value; gradient and relevance go to its first position in row-major order.
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

    /// Rows of windows in a batch, which are split between threads.
    fn window_rows(&self, images: usize) -> usize {
        images * self.out_rows()
    }

    /// Where the lines of pixels of a row of windows start; only as many as the image has.
    #[inline(always)]
    fn lines(&self, window_row: usize, map: &Rows) -> [usize; MAX_WINDOW] {
        let (image, row) = (window_row / self.out_rows(), window_row % self.out_rows() * self.size);
        let mut lines = [0; MAX_WINDOW];
        for (dy, line) in lines[..self.size.min(self.rows - row)].iter_mut().enumerate() {
            *line = map.offset((image * self.rows + row + dy) * self.cols);
        }
        lines
    }

    /// Calls `visit(number in the row, pixels)` for each window of a row of windows.
    #[inline(always)]
    fn windows(&self, window_row: usize, mut visit: impl FnMut(usize, Window)) {
        let height = self.size.min(self.rows - window_row % self.out_rows() * self.size);
        for window in 0..self.out_cols() {
            let col = window * self.size;
            visit(window, Window { height, cols: col..self.cols.min(col + self.size) });
        }
    }

    fn check(
        &self,
        kernel: &'static str,
        images: usize,
        x: [usize; 2],
        y: [usize; 2],
    ) -> Result<(), ShapeError> {
        axis(kernel, "size", "window", self.size.clamp(1, MAX_WINDOW), self.size)?;
        axis(kernel, "pixels", "x", x[0], volume([images, self.rows, self.cols]))?;
        axis(kernel, "channels", "x", x[1], self.channels)?;
        axis(kernel, "pixels", "y", y[0], volume([images, self.out_rows(), self.out_cols()]))?;
        axis(kernel, "channels", "y", y[1], self.channels)
    }

    /// Lines of pixels must be evenly spaced, as they are in images and planes.
    fn check_lines(&self, kernel: &'static str, x: &[&Rows], y: &[&Rows]) -> Result<(), ShapeError> {
        let even = |map: &Rows, cols: usize| map.width == usize::MAX || map.width.is_multiple_of(cols.max(1));
        let x = x.iter().all(|map| even(map, self.cols));
        let y = y.iter().all(|map| even(map, self.out_cols()));
        axis(kernel, "cols", "x (lines of equal spacing)", if x { self.cols } else { 0 }, self.cols)?;
        axis(kernel, "cols", "y (lines of equal spacing)", if y { self.cols } else { 0 }, self.cols)
    }
}

/// Rows of the largest window.
const MAX_WINDOW: usize = 15;

/// The pixels of a window.
#[derive(Clone)]
struct Window {
    height: usize,
    cols: Range<usize>,
}

impl Window {
    /// Calls `visit(line of the window, column of the image)` for each pixel, row-major.
    #[inline(always)]
    fn each(&self, mut visit: impl FnMut(usize, usize)) {
        for line in 0..self.height {
            for col in self.cols.clone() {
                visit(line, col);
            }
        }
    }
}

struct Forward<'a> {
    shape: PoolShape,
    rows: Range<usize>,
    x: MatRef<'a>,
    y: &'a Shared<f32>,
    y_map: Rows,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Forward { shape, rows, x, y, y_map } = self;
        for window_row in rows {
            let lines = shape.lines(window_row, &x.map);
            let y_at = y_map.offset(window_row * shape.out_cols());
            shape.windows(window_row, |window, pixels| {
                for n in (0..shape.channels).step_by(STRIP) {
                    let lanes = STRIP.min(shape.channels - n);
                    let mut result = None;
                    pixels.each(|line, col| {
                        let at = lines[line] + col * x.map.step + n;
                        // SAFETY: channels of a pixel of `x`.
                        let x = unsafe { load(simd, x.data.as_ptr().add(at), lanes) };
                        result = Some(match (result, shape.kind) {
                            (None, _) => x,
                            (Some(sum), PoolKind::Sum) => simd.add(sum, x),
                            (Some(most), PoolKind::Max) => simd.select(simd.sub(x, most), x, most),
                        });
                    });
                    let result = result.unwrap_or(simd.splat(0.0));
                    // SAFETY: `y` was checked to hold this window, which is in one part only.
                    unsafe { store(simd, y.as_ptr().add(y_at + window * y_map.step + n), lanes, result) };
                }
            });
        }
    }
}

/// A kernel in the place of [`fn@pool`], see [`Kernels::swap`].
#[derive(Clone, Copy, Debug)]
pub struct OwnPool(pub fn(&Kernels, PoolOperands) -> Result<(), ShapeError>);

/// The operands of [`fn@pool`].
#[derive(Debug)]
pub struct PoolOperands<'a> {
    /// The layer.
    pub shape: PoolShape,
    /// Images in the batch.
    pub images: usize,
    /// The pixels of the input.
    pub x: MatRef<'a>,
    /// Those of the output, overwritten.
    pub y: MatMut<'a>,
}

/// `y[window] = max or sum of x`.
///
/// - `x` `[images·rows·cols, channels]`, `y` `[images·out_rows·out_cols, channels]` overwritten
///
/// # Errors
/// [`ShapeError`] if an operand has another shape.
pub fn pool(
    kernels: &Kernels,
    shape: PoolShape,
    images: usize,
    x: MatRef,
    y: MatMut,
) -> Result<(), ShapeError> {
    let _span = kernels.span("pool", || Work::pool(images, shape, 1));
    shape.check("pool", images, [x.rows, x.cols], [y.rows, y.cols])?;
    shape.check_lines("pool", &[&x.map], &[&y.map])?;
    if let Some(OwnPool(own)) = kernels.swapped() {
        return own(&kernels.unswapped(), PoolOperands { shape, images, x, y });
    }
    let (y_map, y) = (y.map, &Shared::new(y.data));
    split(kernels, shape, images, &|rows| {
        kernels.backend().run(Forward { shape, rows, x, y, y_map });
    });
    Ok(())
}

/// Splits the rows of windows between threads; one channel of a pixel costs about as much as sixteen
/// multiply-adds.
fn split(kernels: &Kernels, shape: PoolShape, images: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    let cost = 16 * images * shape.rows * shape.cols * shape.channels;
    kernels.threads().split(shape.window_rows(images), cost, work);
}

/// The quantity that a pooling layer propagates to its input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PoolBack {
    /// The gradient of the pool and of the relu before it; `guided` sets negative gradients to zero.
    Gradient {
        /// Guided backprop.
        guided: bool,
    },
    /// Relevance; a sum-pool distributes it as `a / (Σa + ε)`.
    Relevance {
        /// `ε`
        eps: f32,
    },
}

struct Backward<'a> {
    shape: PoolShape,
    rows: Range<usize>,
    what: PoolBack,
    a: MatRef<'a>,
    pooled: MatRef<'a>,
    back: MatRef<'a>,
    out: &'a Shared<f32>,
    out_map: Rows,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Backward { shape, rows, what, a, pooled, back, out, out_map } = self;
        let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
        for window_row in rows {
            let (lines, out_lines) = (shape.lines(window_row, &a.map), shape.lines(window_row, &out_map));
            let first = window_row * shape.out_cols();
            let (pooled_at, back_at) = (pooled.map.offset(first), back.map.offset(first));
            shape.windows(window_row, |window, pixels| {
                for n in (0..shape.channels).step_by(STRIP) {
                    let lanes = STRIP.min(shape.channels - n);
                    // SAFETY: channels of this window.
                    let (most, r) = unsafe {
                        let pooled_at = pooled_at + window * pooled.map.step + n;
                        let back_at = back_at + window * back.map.step + n;
                        (
                            load(simd, pooled.data.as_ptr().add(pooled_at), lanes),
                            load(simd, back.data.as_ptr().add(back_at), lanes),
                        )
                    };
                    // 1 until the argmax pixel of the window is found.
                    let mut free = one;
                    pixels.each(|line, col| {
                        // SAFETY: channels of a pixel of `a`.
                        let a = unsafe {
                            load(simd, a.data.as_ptr().add(lines[line] + col * a.map.step + n), lanes)
                        };
                        let share = match what {
                            PoolBack::Gradient { guided } => {
                                let r = if guided { simd.where_positive(r, r) } else { r };
                                simd.where_positive(a, r)
                            }
                            PoolBack::Relevance { eps } if shape.kind == PoolKind::Sum => {
                                simd.div(simd.mul(r, a), simd.add(most, simd.splat(eps)))
                            }
                            PoolBack::Relevance { .. } => r,
                        };
                        let share = if shape.kind == PoolKind::Max {
                            let mine = simd.select(simd.sub(most, a), zero, free);
                            free = simd.select(mine, zero, free);
                            simd.where_positive(mine, share)
                        } else {
                            share
                        };
                        let to = out_lines[line] + col * out_map.step + n;
                        // SAFETY: `out` was checked to hold this pixel, which is in one part only.
                        unsafe { store(simd, out.as_ptr().add(to), lanes, share) };
                    });
                }
            });
        }
    }
}

/// The operands of [`pool_backward`].
#[derive(Debug)]
pub struct PoolBackward<'a> {
    /// The layer.
    pub shape: PoolShape,
    /// Images in the batch.
    pub images: usize,
    /// Gradient or relevance.
    pub what: PoolBack,
    /// `[images·rows·cols, channels]`: the layer's input.
    pub a: MatRef<'a>,
    /// `[images·out_rows·out_cols, channels]`: the layer's output.
    pub pooled: MatRef<'a>,
    /// Gradient or relevance of the output.
    pub back: MatRef<'a>,
    /// Gradient or relevance of the input, overwritten.
    pub out: MatMut<'a>,
}

/// Propagates a gradient or a relevance from the output of a pool to its input.
///
/// # Errors
/// [`ShapeError`] if an operand has another shape.
pub fn pool_backward(kernels: &Kernels, operands: PoolBackward) -> Result<(), ShapeError> {
    const NAME: &str = "pool_backward";
    let PoolBackward { shape, images, what, a, pooled, back, out } = operands;
    let _span = kernels.span(NAME, || Work::pool(images, shape, 2));
    shape.check(NAME, images, [a.rows, a.cols], [back.rows, back.cols])?;
    shape.check(NAME, images, [out.rows, out.cols], [pooled.rows, pooled.cols])?;
    shape.check_lines(NAME, &[&a.map, &out.map], &[&pooled.map, &back.map])?;
    let (out_map, out) = (out.map, &Shared::new(out.data));
    split(kernels, shape, images, &|rows| {
        kernels.backend().run(Backward { shape, rows, what, a, pooled, back, out, out_map });
    });
    Ok(())
}

/// The relevance that the stabiliser of a sum-pool absorbs in a window, `Σ r·ε / (y + ε)`: nearly nothing, but all of a
/// window of zeros.
///
/// - `y`, `r` `[channels]` the pooled values and their relevance
pub fn sum_pool_absorbed(y: &[f32], r: &[f32], eps: f32) -> f64 {
    let eps = f64::from(eps);
    y.iter().zip(r).map(|(&y, &r)| f64::from(r) * (eps / (f64::from(y) + eps))).sum()
}

impl Work {
    /// A pool with `matrices` operands of the image's size and as many of the output's size.
    pub(crate) fn pool(images: usize, shape: PoolShape, matrices: usize) -> Work {
        let pixels = images * shape.rows * shape.cols * shape.channels;
        let pooled = images * shape.out_rows() * shape.out_cols() * shape.channels;
        let PoolShape { rows, cols, channels, .. } = shape;
        Work::new(
            Shape::Pool { images, rows, cols, channels },
            pixels,
            4 * matrices * (pixels + pooled) + pooled,
        )
    }
}

#[cfg(test)]
mod tests;

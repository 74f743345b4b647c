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
mod tests {
    use super::*;
    use crate::image::Plane;
    use crate::reference;
    use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    const EPS: f32 = 1e-9;

    /// The results of the reference implementations for a batch: pooled values, gradient, guided gradient and
    /// relevance.
    struct Expected {
        y: Vec<f64>,
        back: [Vec<f64>; 3],
    }

    const KINDS: [PoolBack; 3] = [
        PoolBack::Gradient { guided: false },
        PoolBack::Gradient { guided: true },
        PoolBack::Relevance { eps: EPS },
    ];

    fn expected(shape: PoolShape, x: &[f32], back: &[f32], images: usize) -> Expected {
        let (size, at) = (shape.size, [shape.rows, shape.cols, shape.channels]);
        let (pixels, pooled) = (x.len() / images, back.len() / images);
        let mut expected = Expected { y: Vec::new(), back: [vec![], vec![], vec![]] };
        for image in 0..images {
            let (x, back) = (&x[image * pixels..][..pixels], &back[image * pooled..][..pooled]);
            let (largest, from) = reference::max_pool(at, size, x);
            let (sums, into) = reference::sum_pool(at, size, x);
            for (i, &a) in x.iter().enumerate() {
                let is_argmax = shape.kind == PoolKind::Sum || from[into[i]] == i;
                let (a, r) = (f64::from(a), if is_argmax { f64::from(back[into[i]]) } else { 0.0 });
                let gradient = if a > 0.0 { r } else { 0.0 };
                let share = match shape.kind {
                    PoolKind::Max => r,
                    PoolKind::Sum => r * a / (sums[into[i]] + f64::from(EPS)),
                };
                for (kind, value) in expected.back.iter_mut().zip([gradient, gradient.max(0.0), share]) {
                    kind.push(value);
                }
            }
            match shape.kind {
                PoolKind::Max => expected.y.extend(largest.iter().map(|&y| f64::from(y))),
                PoolKind::Sum => expected.y.extend(sums),
            }
        }
        expected
    }

    /// Runs a pool, forward and backward, on every kernel set and compares them with the reference implementations.
    fn check(shape: PoolShape, images: usize, pad: usize, x: &[f32], back: &[f32]) {
        let PoolShape { rows, cols, channels, .. } = shape;
        let want = expected(shape, x, back, images);
        let plane = Plane { rows, cols, channels, pad };
        let padded = plane.padded(x, images);
        let a = plane.pixels_of(&padded, images);
        let pooled = images * shape.out_rows() * shape.out_cols();
        let mut bits: [SameBits; 4] = Default::default();
        for kernels in kernel_sets() {
            let mut y = vec![f32::NAN; pooled * channels];
            pool(&kernels, shape, images, a, MatMut::new(&mut y, pooled, channels)).expect("fits");
            assert_close("pool", &y, &want.y, 1e-5);
            bits[3].check(&kernels, "pool", &y);
            let (y, r) = (MatRef::new(&y, pooled, channels), MatRef::new(back, pooled, channels));
            for (i, kind) in KINDS.into_iter().enumerate() {
                let mut out = vec![7.0; images * plane.len()];
                let to = plane.pixels_mut(&mut out, images);
                pool_backward(
                    &kernels,
                    PoolBackward { shape, images, what: kind, a, pooled: y, back: r, out: to },
                )
                .expect("fits");
                let found = plane.pixels_of(&out, images);
                let found: Vec<f32> = (0..found.rows()).flat_map(|i| found.row(i).to_vec()).collect();
                assert_close(&format!("{shape:?} {kind:?}"), &found, &want.back[i], 1e-5);
                bits[i].check(&kernels, "pool_backward", &found);
                let mut inside = plane.pixels_mut(&mut out, images);
                (0..found.len() / channels).for_each(|i| inside.row_mut(i).fill(7.0));
                assert!(out.iter().all(|&x| x == 7.0), "the border stays");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_backend_pools_as_the_reference(
            rows in 1usize..8, cols in 1usize..8, channels in 1usize..40, size in 1usize..5,
            images in 1usize..4, pad in 0usize..3, sum in proptest::bool::ANY, seed in 1u64..1000,
        ) {
            let kind = if sum { PoolKind::Sum } else { PoolKind::Max };
            let shape = PoolShape { rows, cols, channels, size, kind };
            // Half of the activations are 0, so most windows have ties or are dead.
            let x = activations(images * rows * cols * channels, seed);
            let back = floats(images * shape.out_rows() * shape.out_cols() * channels, seed + 1);
            check(shape, images, pad, &x, &back);
        }
    }

    #[test]
    fn odd_images_pool_as_the_reference() {
        for (rows, cols) in [(7, 4), (1, 1), (5, 3), (4, 1)] {
            for kind in [PoolKind::Max, PoolKind::Sum] {
                let shape = PoolShape { rows, cols, channels: 17, size: 2, kind };
                let x = activations(2 * rows * cols * 17, 1);
                let back = floats(2 * shape.out_rows() * shape.out_cols() * 17, 2);
                check(shape, 2, 1, &x, &back);
            }
        }
    }

    #[test]
    fn relevance_goes_to_the_first_of_equal_pixels_and_stays_the_same_in_sum() {
        let shape = PoolShape { rows: 2, cols: 2, channels: 1, size: 2, kind: PoolKind::Max };
        let x = [1.0, 3.0, 3.0, 3.0];
        let (x, r) = (MatRef::new(&x, 4, 1), MatRef::new(&[8.0], 1, 1));
        for kernels in kernel_sets() {
            for (kind, want) in [(PoolKind::Max, [0.0, 8.0, 0.0, 0.0]), (PoolKind::Sum, [0.8, 2.4, 2.4, 2.4])]
            {
                let shape = PoolShape { kind, ..shape };
                let (mut y, mut out) = ([0.0], [f32::NAN; 4]);
                pool(&kernels, shape, 1, x, MatMut::new(&mut y, 1, 1)).expect("fits");
                let to = MatMut::new(&mut out, 4, 1);
                pool_backward(
                    &kernels,
                    PoolBackward {
                        shape,
                        images: 1,
                        what: KINDS[2],
                        a: x,
                        pooled: MatRef::new(&y, 1, 1),
                        back: r,
                        out: to,
                    },
                )
                .expect("fits");
                assert_close("share", &out, &want, 1e-6);
            }
        }
    }

    #[test]
    fn operands_of_inconsistent_shapes_are_refused_and_y_stays() {
        let shape = PoolShape { rows: 3, cols: 2, channels: 1, size: 2, kind: PoolKind::Max };
        let refused = |shape: PoolShape, pixels: usize, pooled: usize| {
            let (ones, mut y) = ([1.0; 8], [5.0; 8]);
            let (x, out) = (MatRef::new(&ones, pixels, 1), MatMut::new(&mut y, pooled, 1));
            let found = pool(&Kernels::default(), shape, 1, x, out);
            assert_eq!(y, [5.0; 8]);
            found.expect_err("does not fit").to_string()
        };
        assert_eq!(refused(shape, 5, 2), "pool: axis pixels is 5 in `x`, 6 expected");
        assert_eq!(refused(shape, 6, 1), "pool: axis pixels is 1 in `y`, 2 expected");
        let two = PoolShape { channels: 2, ..shape };
        assert_eq!(refused(two, 6, 2), "pool: axis channels is 1 in `x`, 2 expected");
        let none = PoolShape { size: 0, ..shape };
        assert!(refused(none, 6, 2).starts_with("pool: axis size is 1 in `window`"));
    }
}

//! Max- and sum-pooling, stride equal to the window, SAME: the window at the edge is smaller.

use crate::Kernels;
use crate::elementwise::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::profile::Work;
use crate::shape::{MatMut, MatRef, Rows};
use std::ops::Range;

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

    /// Rows of windows in a batch: what threads share.
    fn window_rows(&self, images: usize) -> usize {
        images * self.out_rows()
    }

    /// Calls `visit(window, place in the window, place in x, place in y)` for the windows of some rows
    /// of windows, pixel by pixel; places of `x` and `y` as their maps say.
    #[inline(always)]
    fn windows(
        &self,
        rows: Range<usize>,
        x: &Rows,
        y: &Rows,
        mut visit: impl FnMut(usize, usize, usize, usize),
    ) {
        for window_row in rows {
            let (image, row) = (window_row / self.out_rows(), window_row % self.out_rows() * self.size);
            let first = window_row * self.out_cols();
            let y_at = y.offset(first);
            for dy in 0..self.size.min(self.rows - row) {
                let x_at = x.offset((image * self.rows + row + dy) * self.cols);
                let (mut window, mut dx) = (0, 0);
                for col in 0..self.cols {
                    visit(first + window, dy * self.size + dx, x_at + col * x.step, y_at + window * y.step);
                    dx += 1;
                    if dx == self.size {
                        (window, dx) = (window + 1, 0);
                    }
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

    /// Lines of pixels must be evenly spaced, as they are in images and planes.
    fn check_lines(&self, kernel: &'static str, x: [&Rows; 2], y: [&Rows; 3]) -> Result<(), ShapeError> {
        let even = |map: &Rows, cols: usize| map.width == usize::MAX || map.width.is_multiple_of(cols.max(1));
        let x = x.iter().all(|map| even(map, self.cols));
        let y = y.iter().all(|map| even(map, self.out_cols()));
        axis(kernel, "cols", "x (lines of equal spacing)", if x { self.cols } else { 0 }, self.cols)?;
        axis(kernel, "cols", "y (lines of equal spacing)", if y { self.cols } else { 0 }, self.cols)
    }
}

/// Floats that a thread writes in rows of its own.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);
// SAFETY: the parts of a split write different rows, checked against the operands' shapes.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// Lanes that are worked on together: channels come in eights where a layer has many.
const LANES: usize = 8;

struct Forward<'a> {
    shape: PoolShape,
    rows: Range<usize>,
    x: MatRef<'a>,
    y: Shared<f32>,
    y_map: Rows,
    places: Shared<u8>,
}

impl Loop for Forward<'_> {
    #[inline(always)]
    fn run(self) {
        let (shape, channels) = (self.shape, self.shape.channels);
        shape.windows(self.rows, &self.x.map, &self.y_map, |window, place, x_at, y_at| {
            let x = &self.x.data[x_at..][..channels];
            // SAFETY: `y` and `places` were checked to hold this window, which is in one part only.
            let (y, places) = unsafe {
                (
                    std::slice::from_raw_parts_mut(self.y.0.add(y_at), channels),
                    std::slice::from_raw_parts_mut(self.places.0.add(window * channels), channels),
                )
            };
            if place == 0 {
                y.copy_from_slice(x);
                places.fill(0);
                return;
            }
            let larger = |y: &mut f32, x: f32, at: &mut u8| {
                let larger = x > *y;
                *y = if larger { x } else { *y };
                *at = if larger { place as u8 } else { *at };
            };
            let (ys, y_rest) = y.as_chunks_mut::<LANES>();
            let (xs, x_rest) = x.as_chunks::<LANES>();
            let (places, places_rest) = places.as_chunks_mut::<LANES>();
            match shape.kind {
                PoolKind::Sum => {
                    for (y, x) in ys.iter_mut().zip(xs) {
                        (0..LANES).for_each(|i| y[i] += x[i]);
                    }
                    y_rest.iter_mut().zip(x_rest).for_each(|(y, &x)| *y += x);
                }
                PoolKind::Max => {
                    for ((y, x), at) in ys.iter_mut().zip(xs).zip(places) {
                        (0..LANES).for_each(|i| larger(&mut y[i], x[i], &mut at[i]));
                    }
                    for ((y, &x), at) in y_rest.iter_mut().zip(x_rest).zip(places_rest) {
                        larger(y, x, at);
                    }
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
    let _span = kernels.span("pool", || Work::pool(images, shape, 1));
    shape.check("pool", images, (x.rows, x.cols), (y.rows, y.cols))?;
    axis("pool", "pixels·channels", "places", places.len(), y.rows * y.cols)?;
    shape.check_lines("pool", [&x.map; 2], [&y.map; 3])?;
    let (y_map, y, places) = (y.map, Shared(y.data.as_mut_ptr()), Shared(places.as_mut_ptr()));
    split(kernels, shape, images, &|rows| {
        run(kernels.backend(), Forward { shape, rows, x, y, y_map, places });
    });
    Ok(())
}

/// Shares the rows of windows; a pixel's channel costs about what sixteen multiply-adds do.
fn split(kernels: &Kernels, shape: PoolShape, images: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    let cost = 16 * images * shape.rows * shape.cols * shape.channels;
    kernels.threads().split(shape.window_rows(images), cost, work);
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

/// `out[i] = f(x[0][i], x[1][i], x[2][i], places[i])`
#[inline(always)]
fn each_lane(out: &mut [f32], x: [&[f32]; 3], places: &[u8], f: impl Fn(f32, f32, f32, u8) -> f32) {
    let (outs, out_rest) = out.as_chunks_mut::<LANES>();
    let whole = outs.len();
    let ([a, a_rest], [b, b_rest], [c, c_rest]) =
        (halves(x[0], whole), halves(x[1], whole), halves(x[2], whole));
    let (at, at_rest) = places.split_at(whole * LANES);
    let lanes = a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0).zip(c.as_chunks::<LANES>().0);
    for ((out, ((a, b), c)), at) in outs.iter_mut().zip(lanes).zip(at.as_chunks::<LANES>().0) {
        (0..LANES).for_each(|i| out[i] = f(a[i], b[i], c[i], at[i]));
    }
    for (i, out) in out_rest.iter_mut().enumerate() {
        *out = f(a_rest[i], b_rest[i], c_rest[i], at_rest[i]);
    }
}

/// Whole chunks of lanes, and the rest.
#[inline(always)]
fn halves(x: &[f32], whole: usize) -> [&[f32]; 2] {
    let (a, b) = x.split_at(whole * LANES);
    [a, b]
}

struct Backward<'a> {
    shape: PoolShape,
    rows: Range<usize>,
    what: PoolBack,
    a: MatRef<'a>,
    pooled: MatRef<'a>,
    places: &'a [u8],
    back: MatRef<'a>,
    out: Shared<f32>,
    out_map: Rows,
}

impl Loop for Backward<'_> {
    #[inline(always)]
    fn run(self) {
        let (shape, channels) = (self.shape, self.shape.channels);
        let x_map = &self.a.map;
        let (mut line, mut pooled_at, mut out_at) = (usize::MAX, 0, 0);
        shape.windows(self.rows.clone(), x_map, &self.back.map, |window, place, x_at, back_at| {
            // The other maps, once a line of windows.
            if line != window / shape.out_cols() || place % shape.size == 0 && window % shape.out_cols() == 0
            {
                line = window / shape.out_cols();
                let row = line / shape.out_rows() * shape.rows
                    + line % shape.out_rows() * shape.size
                    + place / shape.size;
                pooled_at = self.pooled.map.offset(line * shape.out_cols());
                out_at = self.out_map.offset(row * shape.cols);
            }
            let in_line = window % shape.out_cols();
            let col = in_line * shape.size + place % shape.size;
            let a = &self.a.data[x_at..][..channels];
            let back = &self.back.data[back_at..][..channels];
            let pooled = &self.pooled.data[pooled_at + in_line * self.pooled.map.step..][..channels];
            let places = &self.places[window * channels..][..channels];
            // SAFETY: `out` was checked to hold this pixel, which is in one part only.
            let out = unsafe {
                std::slice::from_raw_parts_mut(self.out.0.add(out_at + col * self.out_map.step), channels)
            };
            let place = place as u8;
            let sum = shape.kind == PoolKind::Sum;
            macro_rules! share {
                ($of:expr) => {
                    each_lane(out, [a, back, pooled], places, |a, back, pooled, at| {
                        let share: f32 = $of(a, back, pooled);
                        if sum || at == place { share } else { 0.0 }
                    })
                };
            }
            match self.what {
                PoolBack::Gradient { guided: false } => share!(|a, back, _| if a > 0.0 { back } else { 0.0 }),
                PoolBack::Gradient { guided: true } => {
                    share!(|a, back, _| if a > 0.0 && back > 0.0 { back } else { 0.0 });
                }
                PoolBack::Relevance { eps } if sum => share!(|a, back, pooled| back * a / (pooled + eps)),
                PoolBack::Relevance { .. } => share!(|_, back, _| back),
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
    let _span = kernels.span(NAME, || Work::pool(images, shape, 2));
    shape.check(NAME, images, (a.rows, a.cols), (back.rows, back.cols))?;
    shape.check(NAME, images, (out.rows, out.cols), (pooled.rows, pooled.cols))?;
    axis(NAME, "pixels·channels", "places", places.len(), pooled.rows * pooled.cols)?;
    shape.check_lines(NAME, [&a.map, &out.map], [&pooled.map, &back.map, &back.map])?;
    let (out_map, out) = (out.map, Shared(out.data.as_mut_ptr()));
    split(kernels, shape, images, &|rows| {
        run(kernels.backend(), Backward { shape, rows, what, a, pooled, places, back, out, out_map });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::shape::Plane;
    use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    const EPS: f32 = 1e-9;

    /// What the twins say of a batch: pooled values, and the ways back of a gradient, a guided gradient
    /// and relevance.
    struct Twin {
        y: Vec<f64>,
        back: [Vec<f64>; 3],
    }

    const WAYS: [PoolBack; 3] = [
        PoolBack::Gradient { guided: false },
        PoolBack::Gradient { guided: true },
        PoolBack::Relevance { eps: EPS },
    ];

    fn twin(shape: PoolShape, x: &[f32], back: &[f32], images: usize) -> Twin {
        let (size, at) = (shape.size, (shape.rows, shape.cols, shape.channels));
        let (pixels, pooled) = (x.len() / images, back.len() / images);
        let mut twin = Twin { y: Vec::new(), back: [vec![], vec![], vec![]] };
        for image in 0..images {
            let (x, back) = (&x[image * pixels..][..pixels], &back[image * pooled..][..pooled]);
            let (largest, from) = reference::max_pool(at, size, x);
            let (sums, into) = reference::sum_pool(at, size, x);
            for (i, &a) in x.iter().enumerate() {
                let wins = shape.kind == PoolKind::Sum || from[into[i]] == i;
                let (a, r) = (f64::from(a), if wins { f64::from(back[into[i]]) } else { 0.0 });
                let gradient = if a > 0.0 { r } else { 0.0 };
                let share = match shape.kind {
                    PoolKind::Max => r,
                    PoolKind::Sum => r * a / (sums[into[i]] + f64::from(EPS)),
                };
                for (way, value) in twin.back.iter_mut().zip([gradient, gradient.max(0.0), share]) {
                    way.push(value);
                }
            }
            match shape.kind {
                PoolKind::Max => twin.y.extend(largest.iter().map(|&y| f64::from(y))),
                PoolKind::Sum => twin.y.extend(sums),
            }
        }
        twin
    }

    /// Runs a pool and its ways back on every kernel set and compares them with the twins.
    fn check(shape: PoolShape, images: usize, pad: usize, x: &[f32], back: &[f32]) {
        let PoolShape { rows, cols, channels, .. } = shape;
        let want = twin(shape, x, back, images);
        let plane = Plane { rows, cols, channels, pad };
        let mut padded = vec![0.0; images * plane.len()];
        let mut inside = plane.pixels_mut(&mut padded, images);
        for (i, pixel) in x.chunks_exact(channels).enumerate() {
            inside.row_mut(i).copy_from_slice(pixel);
        }
        let a = plane.pixels_of(&padded, images);
        let pooled = images * shape.out_rows() * shape.out_cols();
        let mut bits: [SameBits; 4] = Default::default();
        for kernels in kernel_sets() {
            let mut y = vec![f32::NAN; pooled * channels];
            let mut places = vec![255; pooled * channels];
            pool(&kernels, shape, images, a, MatMut::new(&mut y, pooled, channels), &mut places)
                .expect("fits");
            assert_close("pool", &y, &want.y, 1e-5);
            bits[3].check(&kernels, "pool", &y);
            let (y, r) = (MatRef::new(&y, pooled, channels), MatRef::new(back, pooled, channels));
            for (i, way) in WAYS.into_iter().enumerate() {
                let mut out = vec![7.0; images * plane.len()];
                let to = plane.pixels_mut(&mut out, images);
                pool_back(&kernels, shape, images, way, a, y, &places, r, to).expect("fits");
                let found = plane.pixels_of(&out, images);
                let found: Vec<f32> = (0..found.rows()).flat_map(|i| found.row(i).to_vec()).collect();
                assert_close(&format!("{shape:?} {way:?}"), &found, &want.back[i], 1e-5);
                bits[i].check(&kernels, "pool_back", &found);
                let mut inside = plane.pixels_mut(&mut out, images);
                (0..found.len() / channels).for_each(|i| inside.row_mut(i).fill(7.0));
                assert!(out.iter().all(|&x| x == 7.0), "the border stays");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_backend_pools_as_the_twin(
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
    fn odd_images_pool_as_the_twin() {
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
                let (mut y, mut places, mut out) = ([0.0], [9], [f32::NAN; 4]);
                pool(&kernels, shape, 1, x, MatMut::new(&mut y, 1, 1), &mut places).expect("fits");
                let to = MatMut::new(&mut out, 4, 1);
                pool_back(&kernels, shape, 1, WAYS[2], x, MatRef::new(&y, 1, 1), &places, r, to)
                    .expect("fits");
                assert_close("share", &out, &want, 1e-6);
            }
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_refused_and_y_stays() {
        let shape = PoolShape { rows: 3, cols: 2, channels: 1, size: 2, kind: PoolKind::Max };
        let refused = |shape: PoolShape, pixels: usize, pooled: usize, places: usize| {
            let (ones, mut y) = ([1.0; 8], [5.0; 8]);
            let (x, out) = (MatRef::new(&ones, pixels, 1), MatMut::new(&mut y, pooled, 1));
            let found = pool(&Kernels::default(), shape, 1, x, out, &mut vec![0; places]);
            assert_eq!(y, [5.0; 8]);
            found.expect_err("does not fit").to_string()
        };
        assert_eq!(refused(shape, 5, 2, 2), "pool: axis pixels is 5 in `x`, 6 expected");
        assert_eq!(refused(shape, 6, 1, 2), "pool: axis pixels is 1 in `y`, 2 expected");
        assert_eq!(refused(shape, 6, 2, 3), "pool: axis pixels·channels is 3 in `places`, 2 expected");
        let two = PoolShape { channels: 2, ..shape };
        assert_eq!(refused(two, 6, 2, 2), "pool: axis channels is 1 in `x`, 2 expected");
        let none = PoolShape { size: 0, ..shape };
        assert!(refused(none, 6, 2, 2).starts_with("pool: axis size is 1 in `window`"));
    }
}

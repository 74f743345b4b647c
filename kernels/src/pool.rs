//! Max- and sum-pooling, stride equal to the window, SAME: the window at the edge is smaller.

use crate::Kernels;
use crate::elementwise::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::shape::{MatMut, MatRef};

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

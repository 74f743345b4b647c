//! The ratios `R / (z + ε)` of relevance rules, at the winners alone.

use super::PooledConv;
use super::back::Values;
use super::filters::Lines;
use super::visit::Winners;
use crate::elementwise::rows::{load, store};
use crate::shape::{MatRef, STRIP};
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// `c = coefficient·R / (z + ε)` with `z = patch(winner)·filter`.
pub(crate) struct Dots<'a> {
    pub shape: &'a PooledConv,
    pub filters: &'a Lines,
    /// Some padded images, with a register's room behind them.
    pub x: &'a [f32],
    /// The relevance of their windows.
    pub winners: &'a Winners<'a>,
    pub images: Range<usize>,
    pub coefficient: f32,
    pub eps: f32,
    /// `[windows, outputs]`
    pub c: &'a mut [f32],
}

/// Lines of a filter that the registers hold, where it has so many.
const HELD: usize = 3;

impl Kernel for Dots<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let (size, strips) = (self.shape.conv.size, self.filters.columns.strips());
        for o in 0..self.shape.conv.outputs {
            match (size, strips) {
                (HELD, 1) => self.held::<S, 1>(simd, o),
                (HELD, 2) => self.held::<S, 2>(simd, o),
                (HELD, 3) => self.held::<S, 3>(simd, o),
                (HELD, 4) => self.held::<S, 4>(simd, o),
                (HELD, 5) => self.held::<S, 5>(simd, o),
                _ => self.any(simd, o),
            }
        }
    }
}

impl Dots<'_> {
    /// A filter of `V` strips and three lines.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // unrolled, unlike iterators over arrays of arrays
    fn held<S: Simd, const V: usize>(&mut self, simd: S, o: usize) {
        let (step, skipped) = (self.shape.conv.input().line(), self.filters.columns.skipped);
        let mut filter = [[simd.splat(0.0); V]; HELD];
        for line in 0..HELD {
            let row = &self.filters.line(0, line)[o * V * STRIP..][..V * STRIP];
            for strip in 0..V {
                // SAFETY: a strip of the row.
                filter[line][strip] = unsafe { simd.load(row.as_ptr().add(strip * STRIP)) };
            }
        }
        let Dots { x, coefficient, eps, .. } = *self;
        self.winners.each(&self.images, o, |winner| {
            let mut acc = [simd.splat(0.0); V];
            debug_assert!(winner.patch + skipped + (HELD - 1) * step + V * STRIP <= x.len());
            for line in 0..HELD {
                let x = x.as_ptr().wrapping_add(winner.patch + skipped + line * step);
                for strip in 0..V {
                    // SAFETY: a winner's pixel is one of its image; its patch ends in it, and a register that
                    // begins in the patch ends in the room behind the images.
                    let x = unsafe { simd.load(x.add(strip * STRIP)) };
                    acc[strip] = simd.mul_add(x, filter[line][strip], acc[strip]);
                }
            }
            let mut sum = acc[0];
            for strip in 1..V {
                sum = simd.add(sum, acc[strip]);
            }
            self.c[winner.at] = winner.value * coefficient / (simd.sum(sum) + eps);
        });
    }

    /// A filter of any size.
    #[inline(always)]
    fn any<S: Simd>(&mut self, simd: S, o: usize) {
        let (step, skipped) = (self.shape.conv.input().line(), self.filters.columns.skipped);
        let padded = self.filters.columns.strips() * STRIP;
        let Dots { x, coefficient, eps, .. } = *self;
        self.winners.each(&self.images, o, |winner| {
            let mut sum = None;
            for strip in (0..padded).step_by(STRIP) {
                let mut acc = simd.splat(0.0);
                for line in 0..self.shape.conv.size {
                    let row = &self.filters.line(0, line)[o * padded + strip..][..STRIP];
                    let x = &x[winner.patch + skipped + line * step + strip..][..STRIP];
                    // SAFETY: a register of each.
                    acc = unsafe { simd.mul_add(simd.load(x.as_ptr()), simd.load(row.as_ptr()), acc) };
                }
                sum = Some(sum.map_or(acc, |sum| simd.add(sum, acc)));
            }
            let z = sum.map_or(0.0, |sum| simd.sum(sum));
            self.c[winner.at] = winner.value * coefficient / (z + eps);
        });
    }
}

/// `c = R / (z − v + ε)` for the windows of one image, where denominators are known: `z` of each window's
/// winner and `v` of each pixel; `c = R / (v + ε)` where there is no `z`.
pub(crate) struct Known<'a> {
    pub shape: &'a PooledConv,
    pub r: Values<'a>,
    /// `[windows, outputs]`
    pub z: Option<&'a [f32]>,
    /// `[pixels, outputs]`
    pub v: MatRef<'a>,
    pub eps: f32,
    /// `[windows, outputs]`
    pub c: &'a mut [f32],
}

impl Kernel for Known<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Known { shape, r, z, v, eps, c } = self;
        let PooledConv { conv, window } = *shape;
        let (outputs, of_image) = (conv.outputs, shape.windows() * conv.outputs);
        assert!(c.len() >= of_image && r.places.len() >= of_image && z.is_none_or(|z| z.len() >= of_image));
        assert!(v.cols == outputs && v.rows >= conv.rows * conv.cols);
        for at in 0..shape.windows() {
            let (top, left) = (at / shape.out_cols() * window, at % shape.out_cols() * window);
            let (height, width) = (window.min(conv.rows - top), window.min(conv.cols - left));
            let r = &r.v[at * r.step..][..outputs];
            for n in (0..outputs).step_by(STRIP) {
                let (lanes, of) = (STRIP.min(outputs - n), at * outputs + n);
                // SAFETY: channels of a window of the image, and of its pixels in `v`.
                unsafe {
                    let place = load(simd, self.r.places.as_ptr().add(of), lanes);
                    let v_at = |y: usize, x: usize| {
                        let pixel = (top + y) * conv.cols + left + x;
                        load(simd, v.data.as_ptr().add(v.map.offset(pixel) + n), lanes)
                    };
                    let mut of_winner = v_at(0, 0);
                    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).skip(1) {
                        // Places count up, so the last that is not beyond the winner's is its own.
                        let reached = simd.sub(place, simd.splat((y * window + x) as f32 - 0.5));
                        of_winner = simd.select(reached, v_at(y, x), of_winner);
                    }
                    let z = match z {
                        Some(z) => simd.sub(load(simd, z.as_ptr().add(of), lanes), of_winner),
                        None => of_winner,
                    };
                    let r = load(simd, r.as_ptr().add(n), lanes);
                    let ratio = simd.div(r, simd.add(z, simd.splat(eps)));
                    store(simd, c.as_mut_ptr().add(of), lanes, ratio);
                }
            }
        }
    }
}

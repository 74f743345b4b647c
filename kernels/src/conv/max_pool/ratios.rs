//! The ratios `R / (z + ε)` of relevance rules, at the argmax positions only.

use super::back::Values;
use super::filters::Lines;
use super::visit::{ArgmaxPositions, Live};
use crate::conv::pooled::ConvPoolShape;
use crate::gemm::problem::Stabiliser;
use crate::layout::STRIP;
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// `z = patch·filter` at each argmax position that has relevance, 0 elsewhere.
pub(crate) struct Dots<'a> {
    pub shape: &'a ConvPoolShape,
    pub filters: &'a Lines,
    /// Some padded images, followed by padding of one register.
    pub x: &'a [f32],
    /// The relevance of their windows.
    pub positions: &'a ArgmaxPositions<'a>,
    pub images: Range<usize>,
    /// `[windows, outputs]`
    pub z: &'a mut [f32],
}

/// Lines of a filter that are kept in registers, if it has this many.
const HELD: usize = 3;

impl Kernel for Dots<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let live = &mut Live::new();
        // `[0, 0]` selects the general code.
        let (size, strips) = match self.positions.fit_a_list(&self.images) {
            true => (self.shape.conv.size, self.filters.columns.strips()),
            false => (0, 0),
        };
        self.z.fill(0.0);
        for o in 0..self.shape.conv.outputs {
            match (size, strips) {
                (HELD, 1) => self.held::<S, 1>(simd, o, live),
                (HELD, 2) => self.held::<S, 2>(simd, o, live),
                (HELD, 3) => self.held::<S, 3>(simd, o, live),
                (HELD, 4) => self.held::<S, 4>(simd, o, live),
                (HELD, 5) => self.held::<S, 5>(simd, o, live),
                _ => self.any(simd, o),
            }
        }
    }
}

impl Dots<'_> {
    /// A filter of `V` strips and three lines, four positions at a time.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // unrolled, unlike iterators over arrays of arrays
    fn held<S: Simd, const V: usize>(&mut self, simd: S, o: usize, live: &mut Live) {
        let (step, skipped) = (self.shape.conv.input().line(), self.filters.columns.skipped);
        let mut filter = [[simd.splat(0.0); V]; HELD];
        for line in 0..HELD {
            let row = &self.filters.line(0, line)[o * V * STRIP..][..V * STRIP];
            for strip in 0..V {
                // SAFETY: a strip of the row.
                filter[line][strip] = unsafe { simd.load(row.as_ptr().add(strip * STRIP)) };
            }
        }
        self.positions.list::<false>(&self.images, o, live);
        for first in (0..live.count).step_by(4) {
            let mut sums = [simd.splat(0.0); 4];
            for i in 0..4 {
                let patch = live.patches[first + i] + skipped;
                debug_assert!(patch + (HELD - 1) * step + V * STRIP <= self.x.len());
                let mut acc = [simd.splat(0.0); V];
                for line in 0..HELD {
                    let x = self.x.as_ptr().wrapping_add(patch + line * step);
                    for strip in 0..V {
                        // SAFETY: an argmax position is a pixel of its image; its patch ends in it, and a register
                        // that begins in the patch ends in the padding after the images.
                        let x = unsafe { simd.load(x.add(strip * STRIP)) };
                        acc[strip] = simd.mul_add(x, filter[line][strip], acc[strip]);
                    }
                }
                sums[i] = acc[0];
                for strip in 1..V {
                    sums[i] = simd.add(sums[i], acc[strip]);
                }
            }
            let windows = &live.windows[first..live.count.min(first + 4)];
            for (&window, z) in windows.iter().zip(simd.sums(sums)) {
                self.z[window * self.shape.conv.outputs + o] = z;
            }
        }
    }

    /// A filter of any size.
    #[inline(always)]
    fn any<S: Simd>(&mut self, simd: S, o: usize) {
        let (step, skipped) = (self.shape.conv.input().line(), self.filters.columns.skipped);
        let padded = self.filters.columns.strips() * STRIP;
        let none = simd.splat(0.0);
        let mut z = self.z.iter_mut().skip(o).step_by(self.shape.conv.outputs);
        self.positions.each(&self.images, o, |argmax| {
            let Some(z) = z.next() else { return };
            if argmax.value == 0.0 {
                return;
            }
            let mut sum = none;
            for strip in (0..padded).step_by(STRIP) {
                let mut acc = none;
                for line in 0..self.shape.conv.size {
                    let row = &self.filters.line(0, line)[o * padded + strip..][..STRIP];
                    let x = &self.x[argmax.patch + skipped + line * step + strip..][..STRIP];
                    // SAFETY: a register of each.
                    acc = unsafe { simd.mul_add(simd.load(x.as_ptr()), simd.load(row.as_ptr()), acc) };
                }
                sum = simd.add(sum, acc);
            }
            *z = simd.sums([sum, none, none, none])[0];
        });
    }
}

/// `z` at the argmax positions of an image.
#[derive(Clone, Copy)]
pub(crate) enum Denominators<'a> {
    /// `z` is already in `c`, computed by [`Dots`].
    Found,
    /// `z[windows, outputs]` minus the constant of the argmax pixel, `[pixels, outputs]`.
    Less(&'a [f32], &'a [f32]),
    /// The constant of the argmax pixel, `[pixels, outputs]`.
    Constant(&'a [f32]),
}

/// `c = coefficient·R / (z + ε)` for the windows of one image.
pub(crate) struct Ratio<'a> {
    pub shape: &'a ConvPoolShape,
    pub r: Values<'a>,
    pub z: Denominators<'a>,
    pub coefficient: f32,
    pub stabiliser: Stabiliser,
    /// `[windows, outputs]`
    pub c: &'a mut [f32],
}

impl Kernel for Ratio<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Ratio { shape, r, z, coefficient, stabiliser, c } = self;
        let (conv, outputs) = (&shape.conv, shape.conv.outputs);
        let of_image = shape.windows() * outputs;
        assert!(c.len() >= of_image && r.max_indices.len() >= of_image);
        if let Denominators::Less(z, _) = z {
            assert!(z.len() >= of_image, "z of an image");
        }
        if let Denominators::Less(_, v) | Denominators::Constant(v) = z {
            assert_eq!(v.len(), conv.rows * conv.cols * outputs, "a constant of each pixel");
        }
        let coefficient = simd.splat(coefficient);
        for (row, col) in (0..shape.out_rows()).flat_map(|y| (0..shape.out_cols()).map(move |x| (y, x))) {
            let at = row * shape.out_cols() + col;
            let r_at = &r.v[at * r.step..][..outputs];
            for n in (0..outputs).step_by(STRIP) {
                let (lanes, of) = (STRIP.min(outputs - n), at * outputs + n);
                // SAFETY: channels of a window of the image, and of its pixels in `v`.
                unsafe {
                    let max_indices = load(simd, r.max_indices.as_ptr().add(of), lanes);
                    let z = match z {
                        Denominators::Found => load(simd, c.as_ptr().add(of), lanes),
                        Denominators::Less(z, v) => {
                            let v = at_max_indices(simd, shape, &v[n..], [row, col], max_indices, lanes);
                            simd.sub(load(simd, z.as_ptr().add(of), lanes), v)
                        }
                        Denominators::Constant(v) => {
                            at_max_indices(simd, shape, &v[n..], [row, col], max_indices, lanes)
                        }
                    };
                    let r = simd.mul(load(simd, r_at.as_ptr().add(n), lanes), coefficient);
                    store(simd, c.as_mut_ptr().add(of), lanes, simd.div(r, stabiliser.apply(simd, z)));
                }
            }
        }
    }
}

/// `lanes` of `v` `[pixels, outputs]`, which begins with the first of them, at the argmax positions of a window.
///
/// # Safety
/// The image has the window, and each of its pixels these lanes.
#[inline(always)]
unsafe fn at_max_indices<S: Simd>(
    simd: S,
    shape: &ConvPoolShape,
    v: &[f32],
    [row, col]: [usize; 2],
    max_indices: S::F,
    lanes: usize,
) -> S::F {
    let ConvPoolShape { conv, window } = *shape;
    let (top, left) = (row * window, col * window);
    let mut of_max_indices = simd.splat(0.0);
    for y in 0..window.min(conv.rows - top) {
        for x in 0..window.min(conv.cols - left) {
            let pixel = (top + y) * conv.cols + left + x;
            // SAFETY: the caller's promise.
            let of_pixel = unsafe { load(simd, v.as_ptr().add(pixel * conv.outputs), lanes) };
            // Indices ascend, so the last one not after the argmax position is the argmax position.
            let reached = simd.sub(max_indices, simd.splat((y * window + x) as f32 - 0.5));
            of_max_indices = simd.select(reached, of_pixel, of_max_indices);
        }
    }
    of_max_indices
}

//! The forward pass of convolution, relu and pool: convolution, then the pool, of a few images at a time, so that
//! the sums of the convolution stay in the cache.

use super::shape::{Columns, ConvPoolShape};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::problem::{Epilogue, Init, Output, PanelProduct, ReductionLoops};
use crate::image::ConvShape;
use crate::layout::{MatMut, Rows, STRIP, volume};
use crate::panels::{Panels, panel_index, panels_len};
use crate::threads::with_scratch;
use std::ops::Range;

/// The operands that every pool has.
pub(in crate::conv) struct Forward<'a> {
    pub shape: &'a ConvPoolShape,
    pub images: usize,
    /// Padded NHWC input.
    pub x: &'a [f32],
    pub w: Panels<'a>,
    /// Padded to whole strips.
    pub bias: &'a [f32],
}

impl Forward<'_> {
    /// Checks them, and the pooled output `y`, for a kernel of this name.
    pub fn check(&self, name: &'static str, y: &MatMut) -> Result<(), ShapeError> {
        let Forward { shape, images, x, w, bias } = *self;
        shape.check(name)?;
        let conv = &shape.conv;
        axis(name, "patch", "w", w.k, conv.patch())?;
        axis(name, "outputs", "w", w.n, conv.outputs)?;
        axis(name, "outputs", "bias", bias.len(), conv.outputs.next_multiple_of(STRIP))?;
        axis(name, "images·plane", "x", x.len(), volume([images, conv.input().len()]))?;
        axis(name, "windows", "y", y.rows, volume([images, shape.windows()]))?;
        axis(name, "outputs", "y", y.cols, conv.outputs)?;
        let even = y.map.width == usize::MAX || y.map.width.is_multiple_of(shape.out_cols().max(1));
        axis(name, "windows (lines of equal spacing)", "y", if even { y.rows } else { 0 }, y.rows)
    }

    /// Calls `pool` with the sums `[pixels, outputs]` of a few images after the other, on any thread.
    pub fn run(&self, kernels: &Kernels, pool: &(dyn Fn(Range<usize>, &[f32]) + Sync)) {
        let Forward { shape, images, x, w, .. } = *self;
        let conv = &shape.conv;
        let plane = conv.input();
        let sums_an_image = plane.pixels() * conv.outputs;
        let images_a_chunk = (IN_L2 / sums_an_image.max(1)).clamp(1, images.max(1));
        let cost = images * plane.pixels() * conv.patch() * conv.outputs;
        kernels.threads().split(images, cost, &|range: Range<usize>| {
            let (k, pair_len) = pair_len(shape);
            with_scratch(pair_len + images_a_chunk.min(range.len()) * sums_an_image, |scratch| {
                let (pair, sums) = scratch.split_at_mut(pair_len);
                if pairs(shape) {
                    pack_pair(shape, w, pair);
                }
                let weights =
                    Weights { one: w, pair: pairs(shape).then(|| Panels::new(pair, k, 2 * conv.outputs)) };
                for first in range.clone().step_by(images_a_chunk) {
                    let images = first..range.end.min(first + images_a_chunk);
                    let batch = Batch { shape, images: images.len(), x: &x[first * plane.len()..] };
                    batch.convolve(kernels, weights, sums);
                    pool(images, sums);
                }
            });
        });
    }
}

/// Floats of sums that stay in L2 until they are pooled.
const IN_L2: usize = 96 * 1024;

/// Multiply-adds of an image.
pub(in crate::conv) fn terms(shape: &ConvPoolShape) -> usize {
    let a_line: usize = shape.columns().map(|columns| columns.pixels.len() * columns.run).sum();
    a_line * shape.conv.rows * shape.conv.size * shape.conv.outputs
}

/// Whether two adjacent pixels are one row of the product. This pays if the outputs of two pixels fill
/// registers and those of one do not; the patch of two pixels is only one pixel wider.
fn pairs(shape: &ConvPoolShape) -> bool {
    let ConvShape { cols, size, outputs, .. } = shape.conv;
    size >= 5 && cols >= 2 && !outputs.is_multiple_of(STRIP) && (2 * outputs).is_multiple_of(STRIP)
}

/// Sums over the patch of a pair, and floats of its packed weights.
fn pair_len(shape: &ConvPoolShape) -> (usize, usize) {
    let ConvShape { size, inputs, outputs, .. } = shape.conv;
    let k = size * (size + 1) * inputs;
    (k, if pairs(shape) { panels_len(k, 2 * outputs) } else { 0 })
}

/// Packed weights of a pair of pixels: those of one pixel, and the same shifted by one pixel. The rest is 0;
/// `0·x` changes no sum.
fn pack_pair(shape: &ConvPoolShape, w: Panels, packed: &mut [f32]) {
    let ConvShape { size, inputs, outputs, .. } = shape.conv;
    let k = pair_len(shape).0;
    packed.fill(0.0);
    for line in 0..size {
        for q in 0..size * inputs {
            for o in 0..outputs {
                let w = w.at(line * size * inputs + q, o);
                for pixel in 0..2 {
                    let row = (line * (size + 1) + pixel) * inputs + q;
                    packed[panel_index(k, row, pixel * outputs + o)] = w;
                }
            }
        }
    }
}

/// Packed weights of one pixel, and of a pair of pixels if pairs are used.
#[derive(Clone, Copy)]
struct Weights<'a> {
    one: Panels<'a>,
    pair: Option<Panels<'a>>,
}

/// Adjacent columns, of which `pixels` adjacent ones are a row of the product with weights `w`.
struct Group<'a> {
    w: Panels<'a>,
    pixels: usize,
    columns: Columns,
}

/// A few images, the first of those in `x`.
struct Batch<'a> {
    shape: &'a ConvPoolShape,
    images: usize,
    x: &'a [f32],
}

impl Batch<'_> {
    /// The convolution's sums, `[pixels, outputs]`.
    fn convolve(&self, kernels: &Kernels, weights: Weights, sums: &mut [f32]) {
        let cols = self.shape.conv.cols;
        let paired = if weights.pair.is_some() { cols - cols % 2 } else { 0 };
        for (pixels, range, w) in [(2, 0..paired, weights.pair), (1, paired..cols, Some(weights.one))] {
            let Some(w) = w else { continue };
            for columns in self.shape.columns_of(range, pixels) {
                self.convolve_columns(kernels, Group { w, pixels, columns }, sums);
            }
        }
    }

    /// The sums of some columns.
    fn convolve_columns(&self, kernels: &Kernels, group: Group, sums: &mut [f32]) {
        let Batch { shape: ConvPoolShape { conv, .. }, images, x } = *self;
        let Group { w, pixels: unit, columns: Columns { pixels, skipped, run } } = group;
        let (plane, height, outputs) = (conv.input(), conv.rows, conv.outputs);
        let line = (conv.size + unit - 1) * conv.inputs;
        let loops = ReductionLoops {
            count: [1, conv.size, run],
            a: [0, plane.line(), 1],
            b: [0, line * STRIP, STRIP],
        };
        let width = pixels.len() / unit;
        let a_rows = Rows { width, step: unit * plane.channels, ..plane.map() };
        let to_line = conv.cols * outputs;
        let to = Rows { width, height, step: unit * outputs, line: to_line, image: height * to_line };
        let rows = images * height * width;
        let mut to = MatMut::mapped(&mut sums[pixels.start * outputs..], rows, unit * outputs, to);
        // A patch starts above and to the left of its pixel. In the padded plane this is the position of the
        // pixel itself.
        let a = x.as_ptr().wrapping_add(pixels.start * conv.inputs + skipped);
        let (init, epilogue, c) = (Init::Zero, Epilogue::Store, &Output::of(&mut to));
        let mut product = PanelProduct { a, a_rows, loops, b: w, init, epilogue, c }.problem();
        product.b = product.b.wrapping_add(skipped * STRIP);
        // SAFETY: the patch of the last pixel ends with the last float of its padded plane, of which `x` has
        // `images`; the loops leave out some taps of each line of patch and panel.
        unsafe { product.run_rows(kernels, 0..rows) };
    }
}

//! Input gradient of convolution + max-pool: the filter of each argmax position, times its gradient or ratio,
//! is added to its patch.

use super::filters::{Filters, Lines};
use super::indices::MaxIndices;
use crate::conv::pooled::{Columns, ConvPoolShape};
use crate::conv::{Conv, conv};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::epilogue::{Line, finish_line};
use crate::gemm::problem::{Epilogue, Init, check_ends};
use crate::image::Plane;
use crate::layout::{MatMut, MatRef, Rows, STRIP, volume};
use crate::profile::Work;
use crate::simd::lanes::load;
use crate::simd::{Kernel, Simd};
use crate::threads::{Shared, with_scratch};

/// The operands of [`conv_max_pool_input_gradient`].
#[derive(Debug)]
pub struct ConvMaxPoolInputGradient<'a> {
    /// The layer's weights.
    pub filters: &'a Filters,
    /// Images in the batch.
    pub images: usize,
    /// The argmax positions that [`conv_max_pool`](super::conv_max_pool) has written.
    pub max_indices: &'a MaxIndices,
    /// `[images·windows, outputs]`: the gradient by the pre-activation at each argmax position, or the
    /// ratios of a relevance rule.
    pub d_h: MatRef<'a>,
    /// One epilogue for each part of the filters; their matrices are lines `[images·rows, cols·inputs]` as
    /// [`Plane::lines_of`] gives them.
    pub epilogues: &'a [Epilogue<'a>],
    /// `[images·rows, cols·inputs]`, overwritten.
    pub d_x: MatMut<'a>,
}

/// `d_x = Σ_parts epilogue(Σ_windows d_h[window,o]·filter_part[o])`: the filter of each argmax position is
/// added to its patch.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape; `d_x` is untouched then.
pub fn conv_max_pool_input_gradient(
    kernels: &Kernels,
    operands: ConvMaxPoolInputGradient,
) -> Result<(), ShapeError> {
    const NAME: &str = "conv_max_pool_input_gradient";
    check(NAME, &operands)?;
    let ConvMaxPoolInputGradient { filters, images, max_indices, d_h, epilogues, d_x } = operands;
    let shape = &filters.shape;
    let parts = filters.parts().count();
    let _span = kernels.span(NAME, || Work::max_pool(parts, images, shape, d_x.rows * d_x.cols));
    let max_indices = max_indices.of(NAME, shape, images)?;
    let back = Back { filters, epilogues, out_map: d_x.map, out: Shared::new(d_x.data) };
    if kernels.prefers_products() {
        return shape.with_expanded(max_indices, &d_h, images, |d_h| {
            with_scratch(images * shape.conv.input().len(), |sums| dense(kernels, &back, images, d_h, sums))
        });
    }
    let cost = parts * images * shape.windows() * shape.conv.outputs * shape.conv.patch();
    kernels.threads().split(images, cost, &|range| {
        with_scratch(back.scratch(), |planes| {
            for image in range {
                back.image(kernels, image, Values::of(shape, &d_h, max_indices, image), planes);
            }
        });
    });
    Ok(())
}

/// Checks the operands of [`conv_max_pool_input_gradient`] for a kernel of this name.
pub(crate) fn check(name: &'static str, operands: &ConvMaxPoolInputGradient) -> Result<(), ShapeError> {
    let ConvMaxPoolInputGradient { filters, images, max_indices, d_h, epilogues, d_x } = operands;
    let (shape, images) = (&filters.shape, *images);
    let (rows, cols) = (volume([images, shape.conv.rows]), volume([shape.conv.cols, shape.conv.inputs]));
    shape.check_values(name, "d_h", images, d_h)?;
    axis(name, "parts", "epilogues", epilogues.len(), filters.parts().count())?;
    axis(name, "images·rows", "d_x", d_x.rows, rows)?;
    axis(name, "cols·inputs", "d_x", d_x.cols, cols)?;
    for epilogue in *epilogues {
        check_ends(name, rows, cols, &Init::Zero, epilogue)?;
    }
    max_indices.check(name, shape, images)
}

/// The same as a convolution of whole padded planes `d_h`, for an external GEMM backend.
fn dense(
    kernels: &Kernels,
    back: &Back,
    images: usize,
    d_h: &[f32],
    sums: &mut [f32],
) -> Result<(), ShapeError> {
    let Back { filters, epilogues, .. } = *back;
    let shape = filters.shape.conv.reversed();
    let plane = Plane { pad: 0, ..filters.shape.conv.input() };
    for (part, epilogue) in epilogues.iter().enumerate() {
        let (y, init) = (plane.pixels_mut(sums, images), Init::Zero);
        filters.with_panels(part, true, |w| {
            let epilogue = Epilogue::Store;
            conv(kernels, Conv { shape: &shape, x: d_h, images, w, init, epilogue, y })
        })?;
        for image in 0..images {
            let sums = &sums[image * plane.len()..][..plane.len()];
            kernels.backend().run(Finish { back, image, sums, line: plane.line(), epilogue });
        }
    }
    Ok(())
}

/// The values (gradient or ratio) of the windows of one image, and their argmax positions.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    /// `[windows, outputs]`
    pub max_indices: &'a [f32],
    pub v: &'a [f32],
    /// Floats from a window of `v` to the next.
    pub step: usize,
}

impl<'a> Values<'a> {
    /// The values of one image of a batch.
    pub fn of(shape: &ConvPoolShape, v: &MatRef<'a>, max_indices: &'a [f32], image: usize) -> Self {
        let of_image = shape.windows() * shape.conv.outputs;
        // The offset of a row without floats may be outside the slice.
        let step = if v.cols == 0 { 0 } else { v.map.step };
        Values {
            max_indices: &max_indices[image * of_image..][..of_image],
            v: &v.data[image * shape.windows() * step..],
            step,
        }
    }

    /// The values of one image, in a buffer.
    pub fn buffered(shape: &ConvPoolShape, v: &'a [f32], max_indices: &'a [f32]) -> Self {
        Values { max_indices, v, step: shape.conv.outputs }
    }
}

/// The input gradient, image by image.
pub(crate) struct Back<'a> {
    pub filters: &'a Filters,
    pub epilogues: &'a [Epilogue<'a>],
    pub out_map: Rows,
    pub out: Shared<f32>,
}

impl Back<'_> {
    /// The plane that holds the sums of an image. It is larger than the image, because windows at the edge
    /// and stores of whole registers reach outside.
    fn plane(&self) -> (usize, usize) {
        let shape = &self.filters.shape;
        let around = shape.conv.size - 1;
        // The halves of registers that a patch is stored in do not overlap one another.
        let line = ((shape.out_cols() * shape.window + around) * shape.conv.inputs).max(STRIP / 2);
        let floats = (shape.out_rows() * shape.window + around) * line + 2 * STRIP;
        (line, floats.next_multiple_of(STRIP))
    }

    /// Floats of scratch, which is aligned to a cache line.
    pub fn scratch(&self) -> usize {
        let (_, len) = self.plane();
        match self.filters.shifted() {
            Some(_) => self.filters.parts().count() * len,
            None => len + 2 * self.words(),
        }
    }

    /// Words with a bit for each output, of each pixel of each window of an image.
    fn words(&self) -> usize {
        let shape = &self.filters.shape;
        shape.windows() * shape.window_area() * shape.conv.outputs.div_ceil(WORD)
    }

    /// The input gradient of one image.
    pub fn image(&self, kernels: &Kernels, image: usize, values: Values, scratch: &mut [f32]) {
        let shape = &self.filters.shape;
        let (line, len) = self.plane();
        // The sums start after the border.
        let inside = shape.conv.size / 2 * (line + shape.conv.inputs);
        let finish = |part: usize, sums: &[f32]| {
            let (epilogue, sums) = (&self.epilogues[part], &sums[inside..]);
            kernels.backend().run(Finish { back: self, image, sums, line, epilogue });
        };
        let filters = self.filters;
        if let Some(shifted) = filters.shifted() {
            scratch.fill(0.0);
            let planes = &mut *scratch;
            kernels.backend().run(Windows { filters, shifted, values, line, planes, len });
            for (part, sums) in scratch.chunks_exact(len).enumerate() {
                finish(part, sums);
            }
            return;
        }
        let (sums, words) = scratch.split_at_mut(len);
        assert!(words.len() >= 2 * self.words() && words.as_ptr().cast::<u64>().is_aligned());
        // SAFETY: as many floats as there are bytes, aligned for a word; any bits are a word.
        let masks = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u64>(), self.words()) };
        kernels.backend().run(ArgmaxMasks { shape, values, masks: &mut *masks });
        for part in 0..self.epilogues.len() {
            sums.fill(0.0);
            let (masks, sums) = (&*masks, &mut *sums);
            kernels.backend().run(Pixels { filters, part, values, masks, line, sums: &mut *sums });
            finish(part, sums);
        }
    }
}

/// Applies the epilogue to an image's sums and writes the output, line by line.
struct Finish<'a> {
    back: &'a Back<'a>,
    image: usize,
    sums: &'a [f32],
    line: usize,
    epilogue: &'a Epilogue<'a>,
}

impl Kernel for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Finish { back, image, sums, line, epilogue } = self;
        let conv = &back.filters.shape.conv;
        let (rows, cols) = (conv.rows, conv.cols * conv.inputs);
        assert!(rows == 0 || sums.len() >= (rows - 1) * line + cols, "sums of an image");
        for y in 0..rows {
            let m = image * rows + y;
            let c = back.out.as_ptr().wrapping_add(back.out_map.offset(m));
            let sums = sums.as_ptr().wrapping_add(y * line);
            // SAFETY: a line of the sums; output and epilogue were checked to have this line, which this
            // image alone writes.
            unsafe { finish_line(simd, epilogue, Line { m, cols, sums, c }) };
        }
    }
}

/// For each pixel of each window, the outputs whose maximum is there and whose value is not zero:
/// `[window][pixel][word]`, a bit for each output.
struct ArgmaxMasks<'a> {
    shape: &'a ConvPoolShape,
    values: Values<'a>,
    masks: &'a mut [u64],
}

impl Kernel for ArgmaxMasks<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let ArgmaxMasks { shape, values, masks } = self;
        let (outputs, window_area) = (shape.conv.outputs, shape.window_area());
        let words = outputs.div_ceil(WORD);
        for (window, masks) in masks.chunks_exact_mut((window_area * words).max(1)).enumerate() {
            let of_window = &values.max_indices[window * outputs..][..outputs];
            let v = &values.v[window * values.step..][..outputs];
            masks.fill(0);
            for n in (0..outputs).step_by(STRIP) {
                let lanes = STRIP.min(outputs - n);
                // SAFETY: argmax positions and values of this window.
                let (at, v) = unsafe {
                    (load(simd, of_window.as_ptr().add(n), lanes), load(simd, v.as_ptr().add(n), lanes))
                };
                for index in 0..window_area {
                    let bits = simd.where_equal(at, simd.splat(index as f32), v);
                    masks[index * words + n / WORD] |= u64::from(bits) << (n % WORD);
                }
            }
        }
    }
}

/// Pixel by pixel: the filters whose maximum is at that pixel are summed in registers, then added to its
/// patch.
struct Pixels<'a> {
    filters: &'a Filters,
    part: usize,
    values: Values<'a>,
    /// From [`ArgmaxMasks`].
    masks: &'a [u64],
    line: usize,
    sums: &'a mut [f32],
}

/// Strips of a filter's line that the registers hold.
const MAX_STRIPS: usize = 6;
/// Outputs per word of the masks.
const WORD: usize = 64;

impl Kernel for Pixels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for group in self.filters.groups() {
            let strips = group.columns.strips();
            for line in 0..self.filters.shape.conv.size {
                for first in (0..strips).step_by(MAX_STRIPS) {
                    match strips - first {
                        1 => self.pass::<S, 1>(simd, group, line, first),
                        2 => self.pass::<S, 2>(simd, group, line, first),
                        3 => self.pass::<S, 3>(simd, group, line, first),
                        4 => self.pass::<S, 4>(simd, group, line, first),
                        5 => self.pass::<S, 5>(simd, group, line, first),
                        _ => self.pass::<S, MAX_STRIPS>(simd, group, line, first),
                    }
                }
            }
        }
    }
}

impl Pixels<'_> {
    /// Strips `first..first + V` of line `filter_line` of the filters, for a group of columns.
    #[inline(always)]
    fn pass<S: Simd, const V: usize>(&mut self, simd: S, group: &Lines, filter_line: usize, first: usize) {
        let (filters, values) = (self.filters, self.values);
        let ConvPoolShape { conv, window } = filters.shape;
        let Columns { pixels, skipped, .. } = &group.columns;
        let (outputs, padded) = (conv.outputs, group.columns.strips() * STRIP);
        let words = outputs.div_ceil(WORD);
        let rows = group.line(self.part, filter_line);
        assert!((first + V) * STRIP <= padded && rows.len() == outputs * padded);
        let rows = rows.as_ptr().wrapping_add(first * STRIP);
        // Column by column: the patch of a pixel then does not overlap the patch that was just stored.
        for x in pixels.clone() {
            let (col, dx) = (x / window, x % window);
            for row in 0..filters.shape.out_rows() {
                let at = row * filters.shape.out_cols() + col;
                let masks = &self.masks[at * filters.shape.window_area() * words..]
                    [..filters.shape.window_area() * words];
                let v = &values.v[at * values.step..][..outputs];
                for dy in 0..window.min(conv.rows - row * window) {
                    let (y, index) = (row * window + dy, dy * window + dx);
                    let to = (y + filter_line) * self.line + x * conv.inputs + skipped + first * STRIP;
                    let to = self.sums[to..][..V * STRIP].as_mut_ptr();
                    for (word, &masks) in masks[index * words..][..words].iter().enumerate() {
                        if masks == 0 {
                            continue;
                        }
                        let (mut masks, mut acc) = (masks, [simd.splat(0.0); V]);
                        while masks != 0 {
                            let o = word * WORD + masks.trailing_zeros() as usize;
                            masks &= masks - 1;
                            // SAFETY: a bit is an output, whose filter has these strips.
                            unsafe {
                                let value = simd.splat(*v.get_unchecked(o));
                                let row = rows.wrapping_add(o * padded);
                                for (strip, acc) in acc.iter_mut().enumerate() {
                                    *acc = simd.mul_add(value, simd.load(row.add(strip * STRIP)), *acc);
                                }
                            }
                        }
                        for (strip, acc) in acc.into_iter().enumerate() {
                            // SAFETY: `to` is long enough for these strips.
                            unsafe {
                                let to = to.add(strip * STRIP);
                                simd.store(to, simd.add(simd.load(to), acc));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Window by window: if its patch fits half a register, filters are stored shifted to each pixel of the
/// window, so that no branch depends on the argmax position.
struct Windows<'a> {
    filters: &'a Filters,
    shifted: &'a [f32],
    values: Values<'a>,
    line: usize,
    /// A plane of sums for each part.
    planes: &'a mut [f32],
    len: usize,
}

impl Kernel for Windows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        match self.filters.patch_lines() {
            1 => self.pass::<S, 1>(simd),
            2 => self.pass::<S, 2>(simd),
            3 => self.pass::<S, 3>(simd),
            4 => self.pass::<S, 4>(simd),
            5 => self.pass::<S, 5>(simd),
            6 => self.pass::<S, 6>(simd),
            7 => self.pass::<S, 7>(simd),
            8 => self.pass::<S, 8>(simd),
            lines => unreachable!("a patch of {lines} lines does not fit half a register"),
        }
    }
}

impl Windows<'_> {
    #[inline(always)]
    fn pass<S: Simd, const L: usize>(&mut self, simd: S) {
        let (filters, values, shifted) = (self.filters, self.values, self.shifted);
        let ConvPoolShape { conv, window } = filters.shape;
        let (outputs, window_area) = (conv.outputs, filters.shape.window_area());
        assert_eq!(shifted.len(), outputs * window_area * L * STRIP);
        let (zero, two) = (simd.splat(0.0), self.planes.len() > self.len);
        for row in 0..filters.shape.out_rows() {
            for col in 0..filters.shape.out_cols() {
                let at = row * filters.shape.out_cols() + col;
                let max_indices = &values.max_indices[at * outputs..][..outputs];
                let v = &values.v[at * values.step..][..outputs];
                let mut acc = [zero; L];
                for first in (0..outputs).step_by(WORD) {
                    let mut live = 0_u64;
                    for n in (first..outputs.min(first + WORD)).step_by(STRIP) {
                        // SAFETY: values of this window.
                        let v = unsafe { load(simd, v.as_ptr().add(n), STRIP.min(outputs - n)) };
                        live |= u64::from(simd.where_equal(zero, zero, v)) << (n - first);
                    }
                    while live != 0 {
                        let o = first + live.trailing_zeros() as usize;
                        live &= live - 1;
                        // SAFETY: a bit is an output; an index is a small whole number, one of the
                        // window's, for which this filter was shifted.
                        unsafe {
                            let value = simd.splat(*v.get_unchecked(o));
                            let index = max_indices.get_unchecked(o).to_int_unchecked::<u32>() as usize;
                            let at = (o * window_area + index) * L * STRIP;
                            debug_assert!(at + L * STRIP <= shifted.len());
                            let filter = shifted.as_ptr().wrapping_add(at);
                            for (line, acc) in acc.iter_mut().enumerate() {
                                *acc = simd.mul_add(value, simd.load(filter.add(line * STRIP)), *acc);
                            }
                        }
                    }
                }
                let to = row * window * self.line + col * window * conv.inputs;
                for (line, acc) in acc.into_iter().enumerate() {
                    let to = to + line * self.line;
                    let first = self.planes[to..][..STRIP / 2].as_mut_ptr();
                    // SAFETY: half a register of a plane.
                    unsafe { simd.store_half(first, simd.add(simd.load_half(first), simd.low(acc))) };
                    if two {
                        let second = self.planes[self.len + to..][..STRIP / 2].as_mut_ptr();
                        // SAFETY: as above.
                        unsafe { simd.store_half(second, simd.add(simd.load_half(second), simd.high(acc))) };
                    }
                }
            }
        }
    }
}

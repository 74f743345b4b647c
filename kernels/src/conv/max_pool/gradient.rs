//! The weight gradient: for each filter, the patches at its argmax positions are summed.

use super::indices::MaxIndices;
use super::visit::{ArgmaxPositions, Live, block_len, blocks, images_a_block};
use crate::conv::conv_weight_gradient;
use crate::conv::pooled::{Columns, ConvPoolShape};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::layout::{MatRef, STRIP, volume};
use crate::panels::{panel_index, panels_len};
use crate::profile::Work;
use crate::simd::{Kernel, Simd};
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// The operands of [`conv_max_pool_weight_gradient`].
#[derive(Debug)]
pub struct ConvMaxPoolWeightGradient<'a> {
    /// The layer.
    pub shape: &'a ConvPoolShape,
    /// Images in the batch.
    pub images: usize,
    /// Padded NHWC input, planes of [`ConvShape::input`](crate::ConvShape::input).
    pub x: &'a [f32],
    /// The argmax positions that [`conv_max_pool`](super::conv_max_pool) has written.
    pub max_indices: &'a MaxIndices,
    /// `[images·windows, outputs]`: the gradient by the pre-activation at each argmax position.
    pub d_h: MatRef<'a>,
    /// Packed `[size·size·inputs, outputs]`, overwritten.
    pub d_w: &'a mut [f32],
}

/// The weight gradient `d_w[q,o] = Σ_windows patch(argmax)[q]·d_h[window,o]`, in the order of the
/// windows, written as packed panels.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape; `d_w` is untouched then.
pub fn conv_max_pool_weight_gradient(
    kernels: &Kernels,
    operands: ConvMaxPoolWeightGradient,
) -> Result<(), ShapeError> {
    let ConvMaxPoolWeightGradient { shape, images, x, max_indices, d_h, d_w } = operands;
    const NAME: &str = "conv_max_pool_weight_gradient";
    let _span = kernels.span(NAME, || Work::max_pool(1, images, shape, x.len()));
    shape.check(NAME)?;
    let conv = &shape.conv;
    axis(NAME, "images·plane", "x", x.len(), volume([images, conv.input().len()]))?;
    let max_indices = max_indices.of(NAME, shape, images)?;
    shape.check_values(NAME, "d_h", images, &d_h)?;
    axis(NAME, "patch·outputs", "d_w", d_w.len(), panels_len(conv.patch(), conv.outputs))?;
    if kernels.prefers_products() {
        return shape.with_expanded(max_indices, &d_h, images, |d_y| {
            conv_weight_gradient(kernels, conv, x, d_y, images, d_w)
        });
    }
    // The padding of the last strip.
    d_w.fill(0.0);
    if max_indices.is_empty() || d_w.is_empty() {
        return Ok(());
    }
    let columns = shape.reach();
    let filter = conv.size * columns.strips() * STRIP;
    let positions = ArgmaxPositions::new(shape, max_indices, d_h);
    let block = images_a_block(shape).min(images);
    let cost = images * shape.windows() * conv.outputs * conv.patch();
    let d_w = Shared::new(d_w);
    kernels.threads().split(conv.outputs, cost, &|filters| {
        let sums = filters.len() * filter;
        with_scratch(sums + block_len(shape, block), |scratch| {
            let (sums, scratch) = scratch.split_at_mut(sums);
            sums.fill(0.0);
            blocks(shape, x, 0..images, block, scratch, |images, x| {
                let (filters, columns, positions, sums) = (filters.clone(), &columns, &positions, &mut *sums);
                kernels.backend().run(Sum { shape, columns, x, positions, images, filters, sums });
            });
            for (i, line) in sums.chunks_exact(columns.strips() * STRIP).enumerate() {
                let (o, first) = (filters.start + i / conv.size, i % conv.size * shape.run());
                for (q, &sum) in line[..columns.run].iter().enumerate() {
                    let at = panel_index(conv.patch(), first + columns.skipped + q, o);
                    // SAFETY: an element of `d_w`, whose column only this part writes.
                    unsafe { *d_w.as_ptr().add(at) = sum };
                }
            }
        });
    });
    Ok(())
}

/// Adds the patches of a block of images to the filters' sums.
struct Sum<'a> {
    shape: &'a ConvPoolShape,
    columns: &'a Columns,
    /// The images, followed by padding of one register.
    x: &'a [f32],
    positions: &'a ArgmaxPositions<'a>,
    images: Range<usize>,
    filters: Range<usize>,
    /// `[filter][line][strips·16]`
    sums: &'a mut [f32],
}

/// Strips of a line that are summed at a time, if the lines of a filter are summed one by one.
const MAX_STRIPS: usize = 6;

impl Kernel for Sum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Sum { shape, columns: &Columns { skipped, .. }, x, positions, images, filters, sums } = self;
        let (size, strips, half) = (shape.conv.size, self.columns.strips(), self.columns.run <= STRIP / 2);
        let live = &mut Live::new();
        let at = Lines { x, step: shape.conv.input().line(), positions, images: &images };
        // All lines at once, if the registers hold their sums.
        let all = if size * strips <= S::SUMS { (size, strips) } else { (0, 0) };
        for (o, sums) in filters.zip(sums.chunks_exact_mut(size * strips * STRIP)) {
            match all {
                // A line that fits half a register: a shorter load crosses a cache line less often.
                (1, 1) if half => at.add::<S, 1, 1, true>(simd, o, skipped, sums, live),
                (3, 1) if half => at.add::<S, 3, 1, true>(simd, o, skipped, sums, live),
                (5, 1) if half => at.add::<S, 5, 1, true>(simd, o, skipped, sums, live),
                (1, 1) => at.add::<S, 1, 1, false>(simd, o, skipped, sums, live),
                (3, 1) => at.add::<S, 3, 1, false>(simd, o, skipped, sums, live),
                (3, 2) => at.add::<S, 3, 2, false>(simd, o, skipped, sums, live),
                (3, 3) => at.add::<S, 3, 3, false>(simd, o, skipped, sums, live),
                (3, 4) => at.add::<S, 3, 4, false>(simd, o, skipped, sums, live),
                (3, 5) => at.add::<S, 3, 5, false>(simd, o, skipped, sums, live),
                (5, 1) => at.add::<S, 5, 1, false>(simd, o, skipped, sums, live),
                (5, 2) => at.add::<S, 5, 2, false>(simd, o, skipped, sums, live),
                (5, 3) => at.add::<S, 5, 3, false>(simd, o, skipped, sums, live),
                _ => {
                    for (line, sums) in sums.chunks_exact_mut(strips * STRIP).enumerate() {
                        for (strip, sums) in sums.chunks_mut(MAX_STRIPS * STRIP).enumerate() {
                            let first = skipped + line * at.step + strip * MAX_STRIPS * STRIP;
                            match sums.len() / STRIP {
                                1 => at.add::<S, 1, 1, false>(simd, o, first, sums, live),
                                2 => at.add::<S, 1, 2, false>(simd, o, first, sums, live),
                                3 => at.add::<S, 1, 3, false>(simd, o, first, sums, live),
                                4 => at.add::<S, 1, 4, false>(simd, o, first, sums, live),
                                5 => at.add::<S, 1, 5, false>(simd, o, first, sums, live),
                                _ => at.add::<S, 1, MAX_STRIPS, false>(simd, o, first, sums, live),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Lines of padded images.
#[derive(Clone, Copy)]
struct Lines<'a> {
    x: &'a [f32],
    step: usize,
    positions: &'a ArgmaxPositions<'a>,
    images: &'a Range<usize>,
}

impl Lines<'_> {
    /// Adds `value·patch` at the argmax positions of filter `o` to `L` lines of `V` strips of sums, from the float
    /// `first` of each patch on; with `HALF`, strips are half a register.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // unrolled, unlike iterators over arrays of arrays
    fn add<S: Simd, const L: usize, const V: usize, const HALF: bool>(
        self,
        simd: S,
        o: usize,
        first: usize,
        sums: &mut [f32],
        live: &mut Live,
    ) {
        assert_eq!(sums.len(), L * V * STRIP);
        let mut acc = [[simd.splat(0.0); V]; L];
        for line in 0..L {
            for strip in 0..V {
                // SAFETY: a strip of the sums.
                acc[line][strip] = unsafe { simd.load(sums.as_ptr().add((line * V + strip) * STRIP)) };
            }
        }
        // Making a list takes as long as summing five registers.
        if L * V > 5 && self.positions.fit_a_list(self.images) {
            self.positions.list::<true>(self.images, o, live);
            for (&patch, &value) in live.patches.iter().zip(&live.values[..live.count]) {
                self.add_patch::<S, L, V, HALF>(simd, patch + first, value, &mut acc);
            }
        } else {
            self.positions.each(self.images, o, |argmax| {
                self.add_patch::<S, L, V, HALF>(simd, argmax.patch + first, argmax.value, &mut acc);
            });
        }
        for line in 0..L {
            for strip in 0..V {
                // SAFETY: as above.
                unsafe { simd.store(sums.as_mut_ptr().add((line * V + strip) * STRIP), acc[line][strip]) };
            }
        }
    }

    /// Adds `value` times the floats that start at `at`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // as above
    fn add_patch<S: Simd, const L: usize, const V: usize, const HALF: bool>(
        self,
        simd: S,
        at: usize,
        value: f32,
        acc: &mut [[S::F; V]; L],
    ) {
        debug_assert!(at + (L - 1) * self.step + V * STRIP <= self.x.len());
        let value = simd.splat(value);
        for line in 0..L {
            let x = self.x.as_ptr().wrapping_add(at + line * self.step);
            for strip in 0..V {
                // SAFETY: an argmax position is a pixel of its image; its patch ends in it, and a register that
                // begins in the patch ends in the padding after the images.
                let x = unsafe {
                    let x = x.add(strip * STRIP);
                    if HALF { simd.load_half(x) } else { simd.load(x) }
                };
                acc[line][strip] = simd.mul_add(value, x, acc[line][strip]);
            }
        }
    }
}

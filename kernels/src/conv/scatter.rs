//! Convolution with one output channel: in the usual product 15 of 16 lanes would be padding. Instead the
//! channels of each pixel are multiplied by all taps of the filter in one product, `t[p, tap] = x(p)·w[tap]`,
//! and each output pixel sums the products of its neighbours, line by line.

use crate::exec::Kernels;
use crate::gemm::epilogue::finish_block;
use crate::gemm::problem::{BLOCK, Block, Epilogue, Init, Output, PanelProduct, Problem, ReductionLoops};
use crate::image::ConvShape;
use crate::layout::{MatMut, STRIP};
use crate::panels::{Panels, panel_index, panels_len};
use crate::threads::with_scratch;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Whether this is faster than the product over patches.
pub(super) fn pays(shape: &ConvShape) -> bool {
    shape.outputs == 1 && shape.inputs >= 8 && shape.size > 1
}

/// Some images, on the calling thread.
///
/// # Safety
/// `problem` is that of the convolution of the planes `x` with weights `w`, checked; the rows of `c` of
/// these images are written by no other thread. Only these images need to be readable.
pub(super) unsafe fn run(
    kernels: &Kernels,
    shape: &ConvShape,
    x: *const f32,
    w: Panels,
    problem: &Problem,
    images: Range<usize>,
) {
    let (plane, taps) = (shape.input(), shape.size * shape.size);
    let pixels = plane.pixels();
    let lens = [panels_len(shape.inputs, taps), pixels * taps, pixels.min(BLOCK) * STRIP];
    with_scratch(lens.iter().sum(), |scratch| {
        let (packed, scratch) = scratch.split_at_mut(lens[0]);
        let (t, sums) = scratch.split_at_mut(lens[1]);
        packed.fill(0.0);
        for tap in 0..taps {
            for i in 0..shape.inputs {
                packed[panel_index(shape.inputs, i, tap)] = w.at(tap * shape.inputs + i, 0);
            }
        }
        let packed = Panels::new(packed, shape.inputs, taps);
        let loops = ReductionLoops::row_times_panel(shape.inputs);
        for image in images {
            let (a, a_rows) = (x.wrapping_add(image * plane.len() + plane.interior()), plane.map());
            let c = &Output::of(&mut MatMut::new(t, pixels, taps));
            let (init, epilogue) = (Init::Zero, Epilogue::Store);
            let taps = PanelProduct { a, a_rows, loops, b: packed, init, epilogue, c }.problem();
            // SAFETY: the pixels of one image and their taps, in the scratch of this thread.
            unsafe { taps.run_rows(kernels, 0..pixels) };
            for from in (0..pixels).step_by(BLOCK) {
                let rows = from..pixels.min(from + BLOCK);
                sums.fill(0.0);
                for (sum, p) in sums.chunks_exact_mut(STRIP).zip(rows.clone()) {
                    sum[0] = add_taps(shape, t, p / shape.cols, p % shape.cols);
                }
                let first = image * pixels;
                let mut room = MaybeUninit::uninit();
                let block = Block::new(&mut room, problem, first + rows.start..first + rows.end);
                // SAFETY: rows of this image, which only this thread writes.
                unsafe { finish_block(kernels.backend(), problem, block, rows.len(), sums) };
            }
        }
    });
}

/// The sum of what the pixels around `(y, x)` contribute to it, line by line; pixels outside the image
/// contribute nothing.
fn add_taps(shape: &ConvShape, t: &[f32], y: usize, x: usize) -> f32 {
    let (half, size) = (shape.size / 2, shape.size);
    let mut sum = 0.0;
    for dy in half.saturating_sub(y)..size.min(shape.rows + half - y) {
        // One chain of additions per line, because the chains are independent.
        let mut line = 0.0;
        for dx in half.saturating_sub(x)..size.min(shape.cols + half - x) {
            let p = (y + dy - half) * shape.cols + x + dx - half;
            line += t[p * size * size + dy * size + dx];
        }
        sum += line;
    }
    sum
}

//! The epilogue: what is done with finished sums before they are stored.

use super::problem::{Block, Epilogue, Init, Problem, Stabiliser};
use crate::dropout::Dropout;
use crate::layout::{MatRef, STRIP};
use crate::simd::dispatch::Backend;
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};

impl Stabiliser {
    /// What a denominator becomes.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, z: S::F) -> S::F {
        match self {
            Stabiliser::Constant(s) => simd.add(z, simd.splat(s)),
            Stabiliser::Signed(s) => {
                let negative = simd.sub(simd.splat(0.0), z);
                simd.add(z, simd.select(negative, simd.splat(-s), simd.splat(s)))
            }
        }
    }
}

/// Up to sixteen adjacent outputs.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    /// Row of the product.
    pub m: usize,
    /// First column, a multiple of 16.
    pub n: usize,
    pub lanes: usize,
    /// Where the row starts in [`Epilogue::matrix`].
    pub with: usize,
    pub c: *const f32,
}

impl Segment {
    /// # Safety
    /// `matrix` has this segment's row and columns.
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, matrix: &MatRef) -> S::F {
        debug_assert!(self.n + self.lanes <= matrix.cols);
        // SAFETY: `MatRef` has checked that each of its rows lies in the slice.
        unsafe { load(simd, matrix.data.as_ptr().add(self.with + self.n), self.lanes) }
    }
}

/// One epilogue, for the lanes of a segment.
pub(crate) trait Lanes {
    /// Whether [`Segment::with`] is used.
    const READS: bool = false;

    /// # Safety
    /// The operands are readable for this segment, as is `c`.
    unsafe fn lanes<S: Simd>(&self, simd: S, at: Segment, s: S::F) -> S::F;
}

pub(crate) struct Plain;

impl Lanes for Plain {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, _: S, _: Segment, s: S::F) -> S::F {
        s
    }
}

pub(crate) struct AddBias<'a>(pub &'a [f32]);

impl Lanes for AddBias<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, at: Segment, s: S::F) -> S::F {
        debug_assert!(at.n + 16 <= self.0.len());
        // SAFETY: the vector is padded to whole strips and `n` is the start of one.
        simd.add(s, unsafe { simd.load(self.0.as_ptr().add(at.n)) })
    }
}

pub(crate) struct AddBiasRelu<'a>(pub &'a [f32]);

impl Lanes for AddBiasRelu<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, at: Segment, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        relu(simd, unsafe { AddBias(self.0).lanes(simd, at, s) })
    }
}

/// `max(h, 0)`, and 0 for NaN.
#[inline(always)]
pub(crate) fn relu<S: Simd>(simd: S, h: S::F) -> S::F {
    simd.where_positive(h, h)
}

pub(crate) struct AddBiasReluDropout<'a> {
    pub bias: &'a [f32],
    pub dropout: Dropout,
    pub cols: usize,
}

impl Lanes for AddBiasReluDropout<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, at: Segment, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { AddBiasRelu(self.bias).lanes(simd, at, s) };
        let factors = self.dropout.factors((at.m * self.cols + at.n) as u64);
        // SAFETY: 16 floats on the stack.
        simd.mul(a, unsafe { simd.load(factors.as_ptr()) })
    }
}

pub(crate) struct Gradient<'a> {
    pub a: MatRef<'a>,
    pub scale: f32,
    pub guided: bool,
}

impl Lanes for Gradient<'_> {
    const READS: bool = true;

    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, at: Segment, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { at.read(simd, &self.a) };
        let s = if self.guided { simd.where_positive(s, s) } else { s };
        simd.where_positive(a, simd.mul(s, simd.splat(self.scale)))
    }
}

/// Which stabiliser it is, is decided before the loops over the lanes.
pub(crate) struct Divide<'a, const SIGNED: bool> {
    pub r: MatRef<'a>,
    pub coefficient: f32,
    /// Of the stabiliser.
    pub s: f32,
}

impl<const SIGNED: bool> Lanes for Divide<'_, SIGNED> {
    const READS: bool = true;

    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, at: Segment, z: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let r = unsafe { at.read(simd, &self.r) };
        let stabiliser = if SIGNED { Stabiliser::Signed(self.s) } else { Stabiliser::Constant(self.s) };
        simd.div(simd.mul(r, simd.splat(self.coefficient)), stabiliser.apply(simd, z))
    }
}

pub(crate) struct Multiply<'a> {
    pub a: MatRef<'a>,
    pub shift: f32,
    pub add: bool,
}

impl Lanes for Multiply<'_> {
    const READS: bool = true;

    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, at: Segment, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { at.read(simd, &self.a) };
        let x = simd.mul(s, simd.sub(a, simd.splat(self.shift)));
        if self.add {
            // SAFETY: the caller's promise.
            simd.add(x, unsafe { load(simd, at.c, at.lanes) })
        } else {
            x
        }
    }
}

/// Applies the epilogue to the sums of a tile, from a buffer to `c`.
pub(super) struct Finish<'a, const V: usize> {
    pub problem: &'a Problem<'a>,
    pub block: &'a Block,
    pub sums: *const f32,
    /// Floats from a row of sums to the next.
    pub sums_row: usize,
    /// Row of the block.
    pub row: usize,
    pub rows: usize,
    pub strip: usize,
    pub last_lanes: usize,
}

impl<const V: usize> Kernel for Finish<'_, V> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let cols = self.problem.n;
        match self.problem.epilogue {
            Epilogue::Store => self.through(simd, &Plain),
            Epilogue::Bias(bias) => self.through(simd, &AddBias(bias)),
            Epilogue::BiasRelu(bias) => self.through(simd, &AddBiasRelu(bias)),
            Epilogue::BiasReluDropout(bias, dropout) => {
                self.through(simd, &AddBiasReluDropout { bias, dropout, cols });
            }
            Epilogue::ReluGradient { a, scale, guided } => {
                self.through(simd, &Gradient { a, scale, guided });
            }
            Epilogue::Ratio { r, coefficient, stabiliser: Stabiliser::Constant(s) } => {
                self.through(simd, &Divide::<false> { r, coefficient, s });
            }
            Epilogue::Ratio { r, coefficient, stabiliser: Stabiliser::Signed(s) } => {
                self.through(simd, &Divide::<true> { r, coefficient, s });
            }
            Epilogue::Times { a, shift, add } => self.through(simd, &Multiply { a, shift, add }),
        }
    }
}

impl<const V: usize> Finish<'_, V> {
    #[inline(always)]
    fn through<S: Simd, L: Lanes>(&self, simd: S, epilogue: &L) {
        let Finish { problem, block, row, strip, last_lanes, .. } = *self;
        let (c, c_strip) = (problem.c.wrapping_add(strip * problem.c_strip), problem.c_strip);
        for i in 0..self.rows {
            // SAFETY: the offsets are filled for the block's rows; `with` only where it is read.
            let (c, with) = unsafe {
                let with = if L::READS { block.with.get(row + i) } else { 0 };
                (c.wrapping_add(block.c.get(row + i)), with)
            };
            for v in 0..V {
                let lanes = if v + 1 == V { last_lanes } else { STRIP };
                let c = c.wrapping_add(v * c_strip);
                let at = Segment { m: block.first + row + i, n: (strip + v) * STRIP, lanes, with, c };
                // SAFETY: the buffer holds the tile; its rows and strips are those of `c` and of the
                // epilogue's operands.
                unsafe {
                    let s = simd.load(self.sums.add(i * self.sums_row + v * STRIP));
                    store(simd, c, lanes, epilogue.lanes(simd, at, s));
                }
            }
        }
    }
}

/// Adds the initial values to the sums of a block, applies the epilogue and writes the output; `sums` are
/// `[rows, n]`, padded to whole strips of columns.
///
/// # Safety
/// The rows of the output and of what the epilogue reads are the caller's, as in [`Problem`].
pub(crate) unsafe fn finish_block(
    simd: Backend,
    problem: &Problem,
    block: &Block,
    rows: usize,
    sums: &mut [f32],
) {
    let sums_row = problem.n.next_multiple_of(STRIP);
    assert!(sums.len() >= rows * sums_row, "sums of {rows} rows");
    for (i, sums) in sums.chunks_exact_mut(sums_row.max(1)).take(rows).enumerate() {
        for (j, sum) in sums[..problem.n].iter_mut().enumerate() {
            // SAFETY: row and column of `c`, or of the init, which has its shape. `problem.c` itself may
            // point in front of a block of rows, outside of its slice.
            *sum += unsafe {
                match &problem.init {
                    Init::Zero => break,
                    Init::Accumulate => {
                        let column = j / STRIP * problem.c_strip + j % STRIP;
                        *problem.c.wrapping_add(block.c.get(i) + column)
                    }
                    Init::Copy(matrix) => *matrix.data.as_ptr().add(block.init.get(i) + j),
                }
            };
        }
    }
    for strip in 0..sums_row / STRIP {
        let last_lanes = if (strip + 1) * STRIP > problem.n { problem.c_lanes } else { STRIP };
        let sums = sums[strip * STRIP..].as_ptr();
        simd.run(Finish::<1> { problem, block, sums, sums_row, row: 0, rows, strip, last_lanes });
    }
}

/// A row of sums, of any length, in a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    /// Row of the product.
    pub m: usize,
    pub cols: usize,
    pub sums: *const f32,
    pub c: *mut f32,
}

/// Applies the epilogue to a row of sums and writes its output.
///
/// # Safety
/// The row's floats are readable in `sums` and in the epilogue's operands and writable in `c`.
#[inline(always)]
pub(crate) unsafe fn finish_line<S: Simd>(simd: S, epilogue: &Epilogue, line: Line) {
    let cols = line.cols;
    // SAFETY: the caller's promise.
    unsafe {
        match *epilogue {
            Epilogue::Store => line.through(simd, &Plain, 0),
            Epilogue::Bias(bias) => line.through(simd, &AddBias(bias), 0),
            Epilogue::BiasRelu(bias) => line.through(simd, &AddBiasRelu(bias), 0),
            Epilogue::BiasReluDropout(bias, dropout) => {
                line.through(simd, &AddBiasReluDropout { bias, dropout, cols }, 0);
            }
            Epilogue::ReluGradient { a, scale, guided } => {
                line.through(simd, &Gradient { a, scale, guided }, a.map.offset(line.m));
            }
            Epilogue::Ratio { r, coefficient, stabiliser: Stabiliser::Constant(s) } => {
                line.through(simd, &Divide::<false> { r, coefficient, s }, r.map.offset(line.m));
            }
            Epilogue::Ratio { r, coefficient, stabiliser: Stabiliser::Signed(s) } => {
                line.through(simd, &Divide::<true> { r, coefficient, s }, r.map.offset(line.m));
            }
            Epilogue::Times { a, shift, add } => {
                line.through(simd, &Multiply { a, shift, add }, a.map.offset(line.m));
            }
        }
    }
}

impl Line {
    /// # Safety
    /// As [`finish_line`].
    #[inline(always)]
    unsafe fn through<S: Simd, L: Lanes>(self, simd: S, epilogue: &L, with: usize) {
        for n in (0..self.cols).step_by(STRIP) {
            let lanes = STRIP.min(self.cols - n);
            let c = self.c.wrapping_add(n);
            let at = Segment { m: self.m, n, lanes, with, c };
            // SAFETY: the caller's promise.
            unsafe {
                let s = load(simd, self.sums.wrapping_add(n), lanes);
                store(simd, c, lanes, epilogue.lanes(simd, at, s));
            }
        }
    }
}

//! Sums that stand in a buffer, on their way through init and epilogue to the output.

use super::Init;
use super::epilogue::{
    AddBias, AddBiasRelu, AddBiasReluDropout, Divide, Epilogue, Gradient, Lanes, Multiply, Place, Plain,
};
use super::product::Product;
use super::tile::Block;
use crate::Kernels;
use crate::elementwise::rows::{load, store};
use crate::shape::STRIP;
use crate::simd::{Kernel, Simd};

/// Brings a summed tile from its buffer through the epilogue to `c`.
pub(super) struct Finish<'a, const V: usize> {
    pub product: &'a Product<'a>,
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
        let cols = self.product.n;
        match self.product.epilogue {
            Epilogue::Store => self.through(simd, &Plain),
            Epilogue::Bias(bias) => self.through(simd, &AddBias(bias)),
            Epilogue::BiasRelu(bias) => self.through(simd, &AddBiasRelu(bias)),
            Epilogue::BiasReluDropout(bias, dropout) => {
                self.through(simd, &AddBiasReluDropout { bias, dropout, cols });
            }
            Epilogue::ReluGradient { a, scale, guided } => {
                self.through(simd, &Gradient { a, scale, guided });
            }
            Epilogue::Ratio { r, coefficient, stabiliser } => {
                self.through(simd, &Divide { r, coefficient, stabiliser });
            }
            Epilogue::Times { a, shift, add } => self.through(simd, &Multiply { a, shift, add }),
        }
    }
}

impl<const V: usize> Finish<'_, V> {
    #[inline(always)]
    fn through<S: Simd, L: Lanes>(&self, simd: S, epilogue: &L) {
        let Finish { product, block, row, strip, last_lanes, .. } = *self;
        let (c, c_strip) = (product.c.wrapping_add(strip * product.c_strip), product.c_strip);
        for i in 0..self.rows {
            // SAFETY: the offsets are filled for the block's rows; `with` only where it is read.
            let (c, with) = unsafe {
                let with = if L::READS { block.with.get(row + i) } else { 0 };
                (c.wrapping_add(block.c.get(row + i)), with)
            };
            for v in 0..V {
                let lanes = if v + 1 == V { last_lanes } else { STRIP };
                let c = c.wrapping_add(v * c_strip);
                let place = Place { m: block.first + row + i, n: (strip + v) * STRIP, lanes, with, c };
                // SAFETY: the buffer holds the tile; its rows and strips are those of `c` and of the
                // epilogue's operands.
                unsafe {
                    let s = simd.load(self.sums.add(i * self.sums_row + v * STRIP));
                    store(simd, c, lanes, epilogue.lanes(simd, place, s));
                }
            }
        }
    }
}

/// Starts, epilogue and output of a block whose sums another way has found: `sums` has
/// `rows · columns`, the columns padded to whole strips with zeros.
///
/// # Safety
/// As [`Product::run_rows`], for the block's `rows`.
pub(crate) unsafe fn finish_block(
    kernels: &Kernels,
    product: &Product,
    block: &Block,
    rows: usize,
    sums: &mut [f32],
) {
    let sums_row = product.n.next_multiple_of(STRIP);
    assert!(sums.len() >= rows * sums_row, "sums of {rows} rows");
    for (i, sums) in sums.chunks_exact_mut(sums_row.max(1)).take(rows).enumerate() {
        for (j, sum) in sums[..product.n].iter_mut().enumerate() {
            // SAFETY: row and column of `c`, or of the init, which has its shape. `product.c` itself may
            // stand before a block of rows, outside of what it points to.
            *sum += unsafe {
                match &product.init {
                    Init::Zero => break,
                    Init::Accumulate => {
                        let column = j / STRIP * product.c_strip + j % STRIP;
                        *product.c.wrapping_add(block.c.get(i) + column)
                    }
                    Init::Copy(matrix) => *matrix.data.as_ptr().add(block.init.get(i) + j),
                }
            };
        }
    }
    for strip in 0..sums_row / STRIP {
        let last_lanes = if (strip + 1) * STRIP > product.n { product.c_lanes } else { STRIP };
        let sums = sums[strip * STRIP..].as_ptr();
        kernels.backend().run(Finish::<1> {
            product,
            block,
            sums,
            sums_row,
            row: 0,
            rows,
            strip,
            last_lanes,
        });
    }
}

/// A row of sums, of any length, that stands in a buffer.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    /// Row of the product.
    pub m: usize,
    pub cols: usize,
    pub sums: *const f32,
    pub c: *mut f32,
}

/// Brings a row of sums through the epilogue to its output.
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
            Epilogue::Ratio { r, coefficient, stabiliser } => {
                line.through(simd, &Divide { r, coefficient, stabiliser }, r.map.offset(line.m));
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
            let place = Place { m: self.m, n, lanes, with, c };
            // SAFETY: the caller's promise.
            unsafe {
                let s = load(simd, self.sums.wrapping_add(n), lanes);
                store(simd, c, lanes, epilogue.lanes(simd, place, s));
            }
        }
    }
}

//! The loops around the register tile: blocks of rows, strips of columns, tiles, and the epilogue.

use super::Start;
use super::epilogue::{
    AddBias, AddBiasRelu, AddBiasReluDropout, Divide, Epilogue, Finish, Gradient, Multiply, Plain,
};
use super::tile::{Adjacent, Operand, Pointers, Spaced, Target, Tile, Walk, call_with_shape};
use crate::Kernels;
use crate::shape::{Rows, STRIP};
use crate::simd::{Kernel, Simd};
use crate::threads::with_scratch;
use std::ops::Range;

/// Floats of `a` that a block of rows may take, so that it stays in L2 beside a tile's strips.
const ROW_BLOCK: usize = 64 * 1024;
/// Rows of the largest tile.
pub(crate) const MAX_ROWS: usize = 16;
const MAX_STRIPS: usize = 4;

/// The left operand: where row `m` of the product finds its terms.
#[derive(Clone, Copy)]
pub(crate) enum Left {
    /// Row `m` starts at `offset(m)`, its terms are adjacent.
    Rows(*const f32, Rows),
    /// Row `m` starts at `m`, its terms are as far apart as the walk says.
    Columns(*const f32),
}

/// A product `[m, n]` with everything checked; its rows can be computed in any split.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub n: usize,
    pub left: Left,
    pub operand: Operand,
    /// `b` is a plain matrix: its last strip must be masked.
    pub masked: bool,
    pub start: Start<'a>,
    pub epilogue: Epilogue<'a>,
    pub c: *mut f32,
    pub c_rows: Rows,
    /// Floats from a strip of `c` to the next: 16, or a panel.
    pub c_strip: usize,
    /// Lanes of the last strip of `c` that are its own.
    pub c_lanes: usize,
}

// SAFETY: the pointers come from borrows that outlive the product, and the parts of a split write
// different rows of `c`.
unsafe impl Send for Product<'_> {}
// SAFETY: as above.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Floats for packing the strips of one tile, where `b` is a plain matrix that is read once for
    /// every tile of rows: its lines may be any number of floats apart, which caches dislike.
    fn packed_len(&self) -> usize {
        let Walk { count, .. } = self.operand.walk;
        let len = MAX_STRIPS * STRIP * count[2];
        if self.masked && count[0] * count[1] == 1 && len <= ROW_BLOCK { len } else { 0 }
    }

    /// Computes rows `0..m`, split over the threads.
    ///
    /// # Safety
    /// Every term of every row is readable, and rows `0..m` of `c` are writable and nobody else's.
    pub unsafe fn run(&self, kernels: &Kernels, m: usize) {
        let cost = m * self.n * self.operand.walk.len().max(1);
        kernels.threads().split(m, cost, &|rows| {
            with_scratch(self.packed_len(), |packed| {
                kernels.backend().run(Part { product: *self, rows, packed });
            });
        });
    }
}

/// Some rows of a product; who runs it promises what [`Product::run`] asks for, for these rows.
pub(crate) struct Part<'a> {
    pub product: Product<'a>,
    pub rows: Range<usize>,
    /// Room for [`Product::packed_len`] floats; empty where nothing is to be packed.
    pub packed: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: who calls `Product::run` promises it for all rows.
        unsafe { block(simd, &self.product, self.rows, self.packed) }
    }
}

/// # Safety
/// As [`Product::run`], for these rows.
#[inline(always)]
unsafe fn block<S: Simd>(simd: S, product: &Product, rows: Range<usize>, packed: &mut [f32]) {
    let strips = product.n.div_ceil(STRIP);
    let sum = product.operand.walk.len().max(1);
    let rows_a_block = (ROW_BLOCK / sum).max(MAX_ROWS * 3);
    let mut from = rows.start;
    while from < rows.end {
        let blocks = (rows.end - from).div_ceil(rows_a_block);
        let to = from + (rows.end - from).div_ceil(blocks);
        let mut strip = 0;
        while strip < strips {
            let width = strips_of_next_tile::<S>(strips - strip);
            let mut product = *product;
            if !packed.is_empty() {
                // SAFETY: these strips of `b` are readable, by the caller's promise.
                unsafe { pack_strips(simd, &mut product, strip, width, packed) };
            }
            let tiles = (to - from).div_ceil(S::TILE_ROWS[width - 1]);
            for i in 0..tiles {
                let (first, last) = ((to - from) * i / tiles, (to - from) * (i + 1) / tiles);
                // SAFETY: a tile inside the rows and strips that the caller promises.
                unsafe { one_tile(simd, &product, from + first, last - first, strip, width) };
            }
            strip += width;
        }
        from = to;
    }
}

/// Copies strips `strip..strip + width` of the plain matrix `b`, and lets the product read the copy.
///
/// # Safety
/// Every term of those strips is readable.
#[inline(always)]
unsafe fn pack_strips<S: Simd>(
    simd: S,
    product: &mut Product,
    strip: usize,
    width: usize,
    packed: &mut [f32],
) {
    let operand = &mut product.operand;
    let (k, step) = (operand.walk.count[2], operand.walk.b[2]);
    assert!(packed.len() >= width * k * STRIP, "room for {width} strips of {k} rows");
    for v in 0..width {
        let last = (strip + v + 1) * STRIP > product.n;
        let lanes = if last { operand.lanes } else { STRIP };
        for i in 0..k {
            // SAFETY: row `i` of this strip has `lanes` readable floats; the copy has room.
            unsafe {
                let from = operand.b.add(i * step + (strip + v) * operand.strip);
                let x = if lanes == STRIP { simd.load(from) } else { simd.load_first(from, lanes) };
                simd.store(packed.as_mut_ptr().add((v * k + i) * STRIP), x);
            }
        }
    }
    // Tiles count strips from the first of the matrix.
    operand.b = packed.as_ptr().wrapping_sub(strip * k * STRIP);
    operand.strip = k * STRIP;
    operand.walk.b[2] = STRIP;
    product.masked = false;
}

/// Tiles of 3 strips read least; a remainder goes into tiles of 4, so that none of 1 is left over.
#[inline(always)]
fn strips_of_next_tile<S: Simd>(left: usize) -> usize {
    if S::TILE_ROWS[2] == 0 {
        return 1;
    }
    match left {
        1..=4 => left,
        5 => 3,
        _ if left.is_multiple_of(3) => 3,
        _ => 4,
    }
}

/// # Safety
/// As [`Product::run`], for these rows and strips.
#[inline(always)]
unsafe fn one_tile<S: Simd>(
    simd: S,
    product: &Product,
    row: usize,
    rows: usize,
    strip: usize,
    strips: usize,
) {
    let ends_here = (strip + strips) * STRIP > product.n;
    let masked = product.masked && ends_here;
    let c_lanes = if ends_here { product.c_lanes } else { STRIP };
    let mut operand = product.operand;
    operand.b = operand.b.wrapping_add(strip * operand.strip);
    let c = |r: usize, v: usize| {
        product.c.wrapping_add(product.c_rows.offset(row + r) + (strip + v) * product.c_strip)
    };
    let plain = matches!(product.epilogue, Epilogue::Store);
    let spacing = product.c_rows.spacing(row, rows);
    let direct = plain && c_lanes == STRIP && !matches!(product.start, Start::From(_));
    // SAFETY: the caller promises every operand; the buffer has room for the largest tile.
    unsafe {
        if let Some(step) = spacing.filter(|_| direct) {
            let at = c(0, 0);
            for r in 0..rows {
                for v in 0..strips {
                    fetch(at.wrapping_add(r * step + v * product.c_strip));
                }
            }
            let from_c = matches!(product.start, Start::C);
            let target = Target { at, row: step, strip: product.c_strip, from_c };
            sum(simd, product.left, row, rows, strips, &operand, masked, target);
            return;
        }
        let mut buffer = [std::mem::MaybeUninit::<f32>::uninit(); MAX_ROWS * MAX_STRIPS * STRIP];
        let at = buffer.as_mut_ptr().cast::<f32>();
        const ROW: usize = MAX_STRIPS * STRIP;
        let from_c = !matches!(product.start, Start::Zero);
        if from_c {
            for r in 0..rows {
                for v in 0..strips {
                    let lanes = if v + 1 == strips { c_lanes } else { STRIP };
                    let p = match &product.start {
                        Start::From(matrix) => {
                            let at = matrix.map.offset(row + r) + (strip + v) * STRIP;
                            matrix.data.as_ptr().add(at)
                        }
                        _ => c(r, v),
                    };
                    simd.store(at.add(r * ROW + v * STRIP), simd.load_first(p, lanes));
                }
            }
        }
        let target = Target { at, row: ROW, strip: STRIP, from_c };
        sum(simd, product.left, row, rows, strips, &operand, masked, target);
        let (c, c_rows, c_strip) = (product.c, product.c_rows, product.c_strip);
        let done = Done { at, row, rows, strip, strips, c, c_rows, c_strip, c_lanes };
        match product.epilogue {
            Epilogue::Store => finish(simd, &done, &Plain),
            Epilogue::Bias(bias) => finish(simd, &done, &AddBias(bias)),
            Epilogue::BiasRelu(bias) => finish(simd, &done, &AddBiasRelu(bias)),
            Epilogue::BiasReluDropout(bias, dropout) => {
                finish(simd, &done, &AddBiasReluDropout { bias, dropout, cols: product.n });
            }
            Epilogue::ReluGradient { a, scale, guided } => {
                finish(simd, &done, &Gradient { a, scale, guided });
            }
            Epilogue::Ratio { r, coefficient, eps } => {
                finish(simd, &done, &Divide { r, coefficient, eps });
            }
            Epilogue::Times { a, shift, add } => finish(simd, &done, &Multiply { a, shift, add }),
        }
    }
}

/// Asks for the cache line of an output while the sums that it waits for are still running.
#[inline(always)]
fn fetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint: it reads nothing, and an address that is not mapped does no harm.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Sums one tile into its target; promises as for [`Tile`].
#[inline(always)]
#[allow(clippy::too_many_arguments)] // a tile has that many coordinates; they are made in one place
fn sum<S: Simd>(
    simd: S,
    left: Left,
    row: usize,
    rows: usize,
    strips: usize,
    operand: &Operand,
    masked: bool,
    target: Target,
) {
    match left {
        Left::Rows(a, map) => match map.spacing(row, rows) {
            Some(step) => {
                let first = a.wrapping_add(map.offset(row));
                call_with_shape!(S, rows, strips, spaced, (simd, first, step, operand, target));
            }
            None => {
                let mut at = [a; MAX_ROWS];
                for (r, at) in at[..rows].iter_mut().enumerate() {
                    *at = a.wrapping_add(map.offset(row + r));
                }
                call_with_shape!(S, rows, strips, scattered, (simd, &at, operand, target));
            }
        },
        Left::Columns(a) => {
            let a = a.wrapping_add(row);
            if masked {
                call_with_shape!(S, rows, strips, gradient_masked, (simd, a, operand, target));
            } else {
                call_with_shape!(S, rows, strips, gradient, (simd, a, operand, target));
            }
        }
    }
}

#[inline(always)]
fn spaced<S: Simd, const R: usize, const V: usize>(
    simd: S,
    first: *const f32,
    step: usize,
    operand: &Operand,
    target: Target,
) {
    simd.enter(Tile::<_, R, V, false> { rows: Spaced { first, step }, operand, target });
}

#[inline(always)]
fn scattered<S: Simd, const R: usize, const V: usize>(
    simd: S,
    at: &[*const f32; MAX_ROWS],
    operand: &Operand,
    target: Target,
) {
    let rows = Pointers::<R>(std::array::from_fn(|i| at[i]));
    simd.enter(Tile::<_, R, V, false> { rows, operand, target });
}

#[inline(always)]
fn gradient<S: Simd, const R: usize, const V: usize>(
    simd: S,
    a: *const f32,
    operand: &Operand,
    target: Target,
) {
    simd.enter(Tile::<_, R, V, false> { rows: Adjacent(a), operand, target });
}

#[inline(always)]
fn gradient_masked<S: Simd, const R: usize, const V: usize>(
    simd: S,
    a: *const f32,
    operand: &Operand,
    target: Target,
) {
    simd.enter(Tile::<_, R, V, true> { rows: Adjacent(a), operand, target });
}

/// A summed tile in its buffer, and where it goes.
struct Done {
    at: *const f32,
    row: usize,
    rows: usize,
    strip: usize,
    strips: usize,
    c: *mut f32,
    c_rows: Rows,
    c_strip: usize,
    c_lanes: usize,
}

/// # Safety
/// The epilogue's operands and `c` have the tile's rows and columns.
#[inline(always)]
unsafe fn finish<S: Simd, E: Finish>(simd: S, done: &Done, epilogue: &E) {
    for r in 0..done.rows {
        let row = done.c.wrapping_add(done.c_rows.offset(done.row + r) + done.strip * done.c_strip);
        for v in 0..done.strips {
            let lanes = if v + 1 == done.strips { done.c_lanes } else { STRIP };
            // SAFETY: the buffer holds the tile, the rest is the caller's promise.
            unsafe {
                let c = row.add(v * done.c_strip);
                let s = simd.load(done.at.add((r * MAX_STRIPS + v) * STRIP));
                let (m, n) = (done.row + r, (done.strip + v) * STRIP);
                let x = epilogue.lanes(simd, m, n, lanes, s, c);
                if lanes == STRIP { simd.store(c, x) } else { simd.store_first(c, lanes, x) }
            }
        }
    }
}

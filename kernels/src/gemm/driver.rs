//! The loops around the register tile: blocks of rows, strips of columns, tiles of balanced height.

use super::problem::{BLOCK, Block, Epilogue, Init, Problem, ReductionLoops};
use super::tile::{HALF, MASKED, Tiles, WHOLE, call_with_shape};
use super::tuning::Tuning;
use crate::layout::{Rows, STRIP};
use crate::simd::dispatch::Backend;
use crate::simd::{Kernel, Simd};
use crate::threads::with_scratch;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Floats of packed strips that fit in L2 together with the rows multiplied by them.
const PACKED: usize = 64 * 1024;

/// Strips that a block of rows must be multiplied by before packing it is worth its time.
const PAYING_STRIPS: usize = 12;

/// Floats between the terms of a row from which on packing it gains anything.
const FAR_ROWS: usize = 256;

/// Computes some rows of a product on the calling thread.
///
/// # Safety
/// As [`Problem::run`], for these rows.
pub(super) unsafe fn run_rows(backend: Backend, problem: &Problem, rows: Range<usize>) {
    let tuning = Tuning::chosen();
    let room = [room_for_strips(problem, tuning), room_for_rows(problem, rows.len(), tuning)];
    with_scratch(room[0] + room[1], |scratch| {
        let (strips, packed_rows) = scratch.split_at_mut(room[0]);
        backend.run(Part { problem: *problem, rows, strips, packed_rows, tuning });
    });
}

/// Floats for packing the strips of a tile: none if their rows are close together, or if they do not fit.
fn room_for_strips(problem: &Problem, tuning: Tuning) -> usize {
    let room = 4 * STRIP * problem.loops.count[2];
    let far = problem.has_one_loop() && problem.loops.b[2] >= tuning.pack_step;
    if far && room <= PACKED { room } else { 0 }
}

/// Floats for packing a block of rows: none if the terms of a row are close together, if too few strips read a block to
/// pay for the copy, or if it does not fit.
fn room_for_rows(problem: &Problem, rows: usize, tuning: Tuning) -> usize {
    let terms = problem.loops.count[2];
    let far = problem.has_one_loop() && problem.loops.a[2] >= FAR_ROWS;
    let room = rows.min(BLOCK) * packed_row_step(terms);
    let pays = tuning.pack_terms > 0 && terms >= tuning.pack_terms && problem.n >= PAYING_STRIPS * STRIP;
    if far && pays && room <= 2 * PACKED { room } else { 0 }
}

/// Floats from a packed row to the next: an odd number of cache lines, so that rows lie in different sets.
fn packed_row_step(terms: usize) -> usize {
    (terms.div_ceil(STRIP) | 1) * STRIP
}

/// Some rows of a product. The caller of `run` guarantees what [`Problem::run`] requires, for these rows.
struct Part<'a> {
    problem: Problem<'a>,
    rows: Range<usize>,
    /// Scratch for packing the strips of a tile, and the rows of a block; empty if they are read in place.
    strips: &'a mut [f32],
    packed_rows: &'a mut [f32],
    tuning: Tuning,
}

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Part { problem, rows, strips, packed_rows, tuning } = self;
        let blocks = rows.len().div_ceil(BLOCK);
        for i in 0..blocks {
            let (from, to) = (rows.len() * i / blocks, rows.len() * (i + 1) / blocks);
            let rows = rows.start + from..rows.start + to;
            // SAFETY: the code that makes a part guarantees what `Problem::run` requires.
            unsafe {
                if packed_rows.is_empty() {
                    block(simd, &problem, rows, strips, tuning);
                } else {
                    let packed = pack_rows(&problem, rows.clone(), packed_rows);
                    block(simd, &packed, rows, strips, tuning);
                }
            }
        }
    }
}

/// # Safety
/// As [`Problem::run`], for these rows, at most [`BLOCK`].
#[inline(always)]
unsafe fn block<S: Simd>(simd: S, problem: &Problem, rows: Range<usize>, packed: &mut [f32], tuning: Tuning) {
    let mut room = MaybeUninit::uninit();
    let block = Block::new(&mut room, problem, rows.clone());
    let strips = problem.n.div_ceil(STRIP);
    // Rows that lie in the same few cache sets are worth a copy sooner.
    let same_sets = problem.loops.b[2].is_multiple_of(4 * STRIP);
    let fewest = if same_sets { tuning.pack_tiles } else { 2 * tuning.pack_tiles };
    let mut strip = 0;
    while strip < strips {
        let group = next_group::<S>(problem, strips - strip, tuning.strips);
        let tiles = rows.len().div_ceil(group.max_rows::<S>());
        let heights = Heights::of(rows.len(), tiles);
        let column = Column { block, strip, group, heights, tuning };
        // SAFETY: these strips of `b` are readable, by the caller's promise, with 16 columns if the group is
        // whole; the rows are the block's, and the strips those of the caller's guarantee.
        unsafe {
            if tiles >= fewest && group.edge == WHOLE && !packed.is_empty() {
                let packed = pack_strips(simd, problem, strip, group.strips, packed);
                column.run(simd, &packed);
            } else {
                column.run(simd, problem);
            }
        }
        strip += group.strips;
    }
}

/// Strips of one tile.
#[derive(Clone, Copy)]
struct Group {
    strips: usize,
    edge: u8,
}

impl Group {
    #[inline(always)]
    fn max_rows<S: Simd>(self) -> usize {
        if self.edge == HALF { S::HALF_ROWS } else { S::TILE_ROWS[self.strips - 1] }
    }
}

/// The widest tile of at most `most` strips, but a tile of one strip is avoided if tiles of two and three strips
/// can cover the same columns.
#[inline(always)]
fn next_group<S: Simd>(problem: &Problem, left: usize, most: usize) -> Group {
    let over = problem.n % STRIP;
    // A matrix that is not packed ends at its last column.
    let half = S::HALF_ROWS > 0 && (1..=8).contains(&over) && (problem.b_lanes == STRIP || over == 8);
    let masked = problem.b_lanes < STRIP;
    let whole = |strips: usize| {
        let widest = S::TILE_ROWS.iter().filter(|&&rows| rows > 0).count().min(most.max(1));
        let strips = if strips > widest && strips % widest == 1 { widest - 1 } else { strips.min(widest) };
        Group { strips: strips.max(1), edge: WHOLE }
    };
    match left {
        1 if masked => Group { strips: 1, edge: MASKED },
        2 if half => Group { strips: 2, edge: HALF },
        3.. if half => whole(left - 2),
        2.. if masked => whole(left - 1),
        _ => whole(left),
    }
}

/// Copies rows of `a`, so that the terms of each are adjacent; the problem returned reads the copy.
///
/// # Safety
/// As [`Problem::run`], for these rows, and the sum has only the innermost loop.
#[inline(always)]
unsafe fn pack_rows<'a>(problem: &Problem<'a>, rows: Range<usize>, packed: &mut [f32]) -> Problem<'a> {
    let (terms, step) = (problem.loops.count[2], problem.loops.a[2]);
    let to = packed_row_step(terms);
    assert!(packed.len() >= rows.len() * to, "room for {} rows of {terms} terms", rows.len());
    let mut room = MaybeUninit::uninit();
    let block = Block::new(&mut room, problem, rows.clone());
    for first in (0..rows.len()).step_by(STRIP) {
        let of = first..rows.len().min(first + STRIP);
        for term in 0..terms {
            for row in of.clone() {
                // SAFETY: each term of these rows is readable, by the caller's promise; the assertion checks the copy.
                unsafe {
                    let from = problem.a.wrapping_add(block.a.get(row) + term * step);
                    *packed.get_unchecked_mut(row * to + term) = *from;
                }
            }
        }
    }
    let mut of_copy = *problem;
    // Rows are counted from the first row of the problem.
    of_copy.a = packed.as_ptr().wrapping_sub(rows.start * to);
    of_copy.a_rows = Rows::linear(to);
    of_copy.loops.a[2] = 1;
    of_copy
}

/// Copies strips `strip..strip + width` of the plain matrix `b`; the problem returned reads the copy.
///
/// # Safety
/// 16 columns of every term of those strips are readable, and the sum has only the innermost loop.
#[inline(always)]
unsafe fn pack_strips<'a, S: Simd>(
    simd: S,
    problem: &Problem<'a>,
    strip: usize,
    width: usize,
    packed: &mut [f32],
) -> Problem<'a> {
    let (k, step) = (problem.loops.count[2], problem.loops.b[2]);
    assert!(packed.len() >= width * k * STRIP, "room for {width} strips of {k} rows");
    for i in 0..k {
        for v in 0..width {
            // SAFETY: row `i` of this strip has 16 readable floats, by the caller's promise; the
            // assertion checks the length of the copy.
            unsafe {
                let from = problem.b.wrapping_add(i * step + (strip + v) * problem.b_strip);
                simd.store(packed.as_mut_ptr().add((v * k + i) * STRIP), simd.load(from));
            }
        }
    }
    let mut of_copy = *problem;
    // Tiles count strips from the first strip of the matrix.
    of_copy.b = packed.as_ptr().wrapping_sub(strip * k * STRIP);
    of_copy.b_strip = k * STRIP;
    of_copy.loops.b[2] = STRIP;
    of_copy
}

/// Into how many parts each of the three loops of the sums is cut. All tiles sum one part before the next, and between two
/// parts the sums are in `c`, so that the order of a sum stays as it is.
fn parts(problem: &Problem, strips: usize, tuning: Tuning) -> [usize; 3] {
    let ReductionLoops { count: [outer, lines, terms], a, .. } = problem.loops;
    // An epilogue that needs what `c` holds cannot wait for the last part.
    if matches!(problem.epilogue, Epilogue::Times { add: true, .. }) || outer * lines * terms == 0 {
        return [1; 3];
    }
    let cut = |of: usize, most: usize| of.div_ceil(most.clamp(1, of));
    if problem.has_one_loop() {
        return [1, 1, if tuning.k_block > 0 { cut(terms, tuning.k_block) } else { 1 }];
    }
    // A term reads its strips, and as many floats of `a` as lie between it and the next term.
    let line = terms * (strips * STRIP + a[2]);
    let image = lines * line;
    // Packed weights are read in order, which the hardware prefetches well enough.
    if problem.weights.is_some() || tuning.l1 == 0 || outer * image <= tuning.l1 {
        [1; 3]
    } else if image <= tuning.l1 {
        [cut(outer, tuning.l1 / image), 1, 1]
    } else {
        [outer, cut(lines, tuning.l1 / line), 1]
    }
}

/// Rows in tiles of at most two heights that differ by one row.
#[derive(Clone, Copy)]
struct Heights {
    /// Rows of the tall tiles.
    tallest: usize,
    tall: usize,
    short: usize,
}

impl Heights {
    #[inline(always)]
    fn of(rows: usize, tiles: usize) -> Self {
        let tallest = rows.div_ceil(tiles);
        let short = tallest * tiles - rows;
        Heights { tallest, tall: tiles - short, short }
    }
}

/// All tiles of a group of strips.
#[derive(Clone, Copy)]
struct Column<'a> {
    block: &'a Block,
    strip: usize,
    group: Group,
    heights: Heights,
    tuning: Tuning,
}

impl Column<'_> {
    /// # Safety
    /// As [`Problem::run`], for the block's rows and these strips.
    #[inline(always)]
    unsafe fn run<S: Simd>(self, simd: S, problem: &Problem) {
        let ReductionLoops { count, a, b } = problem.loops;
        let parts = parts(problem, self.group.strips, self.tuning);
        if parts == [1; 3] {
            return self.tiles(simd, problem);
        }
        let last = parts.iter().product::<usize>() - 1;
        for part in 0..=last {
            let at = [part / (parts[1] * parts[2]), part / parts[2] % parts[1], part % parts[2]];
            let mut some = *problem;
            for axis in 0..3 {
                let (from, to) =
                    (count[axis] * at[axis] / parts[axis], count[axis] * (at[axis] + 1) / parts[axis]);
                some.a = some.a.wrapping_add(from * a[axis]);
                some.b = some.b.wrapping_add(from * b[axis]);
                some.loops.count[axis] = to - from;
            }
            if part > 0 {
                some.init = Init::Accumulate;
            }
            if part < last {
                some.epilogue = Epilogue::Store;
            }
            self.tiles(simd, &some);
        }
    }

    #[inline(always)]
    fn tiles<S: Simd>(self, simd: S, problem: &Problem) {
        let (tallest, shape) = (self.heights.tallest, (self.group.strips, self.group.edge));
        call_with_shape!(S, tallest, shape, enter, (simd, problem, self));
    }
}

#[inline(always)]
fn enter<S: Simd, const R: usize, const L: usize, const V: usize, const EDGE: u8>(
    simd: S,
    problem: &Problem,
    column: Column,
) {
    let Column { block, strip, heights: Heights { tall, short, .. }, tuning, .. } = column;
    simd.enter(Tiles::<R, L, V, EDGE> { problem, block, strip, tall, short, prefetch: tuning.prefetch });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_rows_do_not_overlap_and_lie_an_odd_number_of_cache_lines_apart() {
        for terms in 0..2000 {
            let step = packed_row_step(terms);
            assert!(
                step >= terms && step < terms + 2 * STRIP + 1 && step % (2 * STRIP) == STRIP,
                "{terms}: {step}"
            );
        }
    }
}

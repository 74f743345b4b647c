//! The loops around the register tile: blocks of rows, strips of columns, tiles of balanced height.

use super::problem::{BLOCK, Block, Problem};
use super::tile::{HALF, MASKED, Tiles, WHOLE, call_with_shape};
use crate::layout::STRIP;
use crate::simd::dispatch::Backend;
use crate::simd::{Kernel, Simd};
use crate::threads::with_scratch;
use std::ops::Range;

/// Floats of packed strips that leave room in L2 for the rows that they are multiplied with.
const PACKED: usize = 64 * 1024;
/// From so many tiles of rows on, strips of a plain matrix are copied before they are read so often,
const PACK_FROM_TILES: usize = 16;
/// if its rows are so many floats apart that they share a few cache sets.
const PACK_FROM_STEP: usize = 256;

/// Computes some rows of a product on the calling thread.
///
/// # Safety
/// As [`Problem::run`], for these rows.
pub(super) unsafe fn run_rows(backend: Backend, problem: &Problem, rows: Range<usize>) {
    let one_loop = problem.loops.count[0] * problem.loops.count[1] == 1;
    let room = 4 * STRIP * problem.loops.count[2];
    let far = one_loop && problem.loops.b[2] >= PACK_FROM_STEP && room <= PACKED;
    let room = if far { room } else { 0 };
    with_scratch(room, |packed| {
        backend.run(Part { problem: *problem, rows, packed });
    });
}

/// Some rows of a product. Running it needs what [`Problem::run`] needs, for these rows.
struct Part<'a> {
    problem: Problem<'a>,
    rows: Range<usize>,
    /// Room for packing the strips of a tile; empty where they are packed, near enough, or do not fit.
    packed: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Part { problem, rows, packed } = self;
        let blocks = rows.len().div_ceil(BLOCK);
        for i in 0..blocks {
            let (from, to) = (rows.len() * i / blocks, rows.len() * (i + 1) / blocks);
            // SAFETY: whoever makes a part promises what `Problem::run` needs.
            unsafe { block(simd, &problem, rows.start + from..rows.start + to, packed) };
        }
    }
}

/// # Safety
/// As [`Problem::run`], for these rows, at most [`BLOCK`].
#[inline(always)]
unsafe fn block<S: Simd>(simd: S, problem: &Problem, rows: Range<usize>, packed: &mut [f32]) {
    let block = Block::new(problem, rows.clone());
    let strips = problem.n.div_ceil(STRIP);
    let mut strip = 0;
    while strip < strips {
        let group = next_group::<S>(problem, strips - strip);
        let tiles = rows.len().div_ceil(group.max_rows::<S>());
        let heights = Heights::of(rows.len(), tiles);
        // SAFETY: these strips of `b` are readable, by the caller's promise, with 16 columns where the
        // group is `WHOLE`: a last strip that has fewer makes a group of another edge. Tiles lie
        // inside the rows and strips that the caller promises.
        unsafe {
            if tiles >= PACK_FROM_TILES && group.edge == WHOLE && !packed.is_empty() {
                let packed = pack_strips(simd, problem, strip, group.strips, packed);
                run_group(simd, &packed, &block, strip, group, heights);
            } else {
                run_group(simd, problem, &block, strip, group, heights);
            }
        }
        strip += group.strips;
    }
}

/// Strips that one tile takes.
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

/// The widest tile, but none of one strip where strips of two and three can share its work.
#[inline(always)]
fn next_group<S: Simd>(problem: &Problem, left: usize) -> Group {
    let over = problem.n % STRIP;
    // A matrix that is not packed ends with its last column.
    let half = S::HALF_ROWS > 0 && (1..=8).contains(&over) && (problem.b_lanes == STRIP || over == 8);
    let masked = problem.b_lanes < STRIP;
    let whole = |strips: usize| {
        let widest = S::TILE_ROWS.iter().filter(|&&rows| rows > 0).count();
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

/// Copies strips `strip..strip + width` of the plain matrix `b`; the problem returned reads the copy.
///
/// # Safety
/// Every term of those strips is readable, 16 columns of it, in the innermost loop alone.
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
            // assertion says that the copy has room.
            unsafe {
                let from = problem.b.wrapping_add(i * step + (strip + v) * problem.b_strip);
                simd.store(packed.as_mut_ptr().add((v * k + i) * STRIP), simd.load(from));
            }
        }
    }
    let mut of_copy = *problem;
    // Tiles count strips from the first of the matrix.
    of_copy.b = packed.as_ptr().wrapping_sub(strip * k * STRIP);
    of_copy.b_strip = k * STRIP;
    of_copy.loops.b[2] = STRIP;
    of_copy
}

/// Rows in tiles of two heights at most, one row apart.
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
///
/// # Safety
/// As [`Problem::run`], for the block's rows and these strips.
#[inline(always)]
unsafe fn run_group<S: Simd>(
    simd: S,
    problem: &Problem,
    block: &Block,
    strip: usize,
    group: Group,
    heights: Heights,
) {
    let tallest = heights.tallest;
    call_with_shape!(S, tallest, (group.strips, group.edge), enter, (simd, problem, block, strip, heights));
}

#[inline(always)]
fn enter<S: Simd, const R: usize, const L: usize, const V: usize, const EDGE: u8>(
    simd: S,
    problem: &Problem,
    block: &Block,
    strip: usize,
    heights: Heights,
) {
    let Heights { tall, short, .. } = heights;
    simd.enter(Tiles::<R, L, V, EDGE> { problem, block, strip, tall, short });
}

//! The loops around the register tile: blocks of rows, strips of columns, tiles of balanced height.

use super::Init;
use super::epilogue::Epilogue;
use super::tile::{Block, HALF, MASKED, ReductionLoops, Tiles, WHOLE, call_with_shape};
use crate::Kernels;
use crate::shape::{MatMut, Rows, STRIP};
use crate::simd::{Kernel, Simd};
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// Rows that go through all strips before the next ones do.
pub(crate) const BLOCK: usize = 256;
/// Floats of packed strips that leave room in L2 for the rows that meet them.
const PACKED: usize = 64 * 1024;
/// From so many tiles of rows on, strips of a plain matrix are copied before they are read so often,
const PACK_FROM_TILES: usize = 16;
/// if its rows are so many floats apart that they fall into the same few cache sets.
const PACK_FROM_STEP: usize = 256;

/// A matrix that products write, the parts of a split each its own rows.
pub(crate) struct Output {
    pub data: Shared<f32>,
    pub map: Rows,
    pub cols: usize,
}

impl Output {
    /// Of a matrix that stays borrowed while there is the output, or a product of it.
    pub fn of(c: &mut MatMut) -> Self {
        Output { data: Shared::new(c.data), map: c.map, cols: c.cols }
    }
}

/// A product `[m, n]` with everything checked; its rows can be computed in any split.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub n: usize,
    pub a: *const f32,
    /// Where the first term of row `m` is in `a`.
    pub a_rows: Rows,
    pub loops: ReductionLoops,
    pub b: *const f32,
    /// Floats from a strip of `b` to the next.
    pub b_strip: usize,
    /// Lanes of the last strip of `b` that may be read: 16 where it is packed.
    pub b_lanes: usize,
    pub init: Init<'a>,
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
    /// Computes rows `0..m`, split over the threads.
    ///
    /// # Safety
    /// Every term of every row is readable, and rows `0..m` of `c` are writable and nobody else's.
    pub unsafe fn run(&self, kernels: &Kernels, m: usize) {
        let cost = m * self.n * self.loops.len().max(1);
        kernels.threads().split(m, cost, &|rows| {
            // SAFETY: the caller's promise, for some of the rows.
            unsafe { self.run_rows(kernels, rows) };
        });
    }

    /// Computes some rows on the calling thread.
    ///
    /// # Safety
    /// As [`Product::run`], for these rows.
    pub unsafe fn run_rows(&self, kernels: &Kernels, rows: Range<usize>) {
        if let Some(own) = kernels.gemm() {
            // SAFETY: the caller's promise.
            return unsafe { super::own::run_rows(kernels, own, self, rows) };
        }
        let one_loop = self.loops.count[0] * self.loops.count[1] == 1;
        let room = 4 * STRIP * self.loops.count[2];
        let far = one_loop && self.loops.b[2] >= PACK_FROM_STEP && room <= PACKED;
        let room = if far { room } else { 0 };
        with_scratch(room, |packed| {
            kernels.backend().run(Part { product: *self, rows, packed });
        });
    }
}

/// Some rows of a product; who runs it promises what [`Product::run`] asks for, for these rows.
struct Part<'a> {
    product: Product<'a>,
    rows: Range<usize>,
    /// Room for packing the strips of a tile; empty where they are packed, near enough, or do not fit.
    packed: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Part { product, rows, packed } = self;
        let blocks = rows.len().div_ceil(BLOCK);
        for i in 0..blocks {
            let (from, to) = (rows.len() * i / blocks, rows.len() * (i + 1) / blocks);
            // SAFETY: who makes a part promises what `Product::run` asks for.
            unsafe { block(simd, &product, rows.start + from..rows.start + to, packed) };
        }
    }
}

/// # Safety
/// As [`Product::run`], for these rows, at most [`BLOCK`].
#[inline(always)]
unsafe fn block<S: Simd>(simd: S, product: &Product, rows: Range<usize>, packed: &mut [f32]) {
    let block = Block::new(product, rows.clone());
    let strips = product.n.div_ceil(STRIP);
    let mut strip = 0;
    while strip < strips {
        let group = next_group::<S>(product, strips - strip);
        let tiles = rows.len().div_ceil(group.most_rows::<S>());
        // SAFETY: these strips of `b` are readable, by the caller's promise, with 16 columns where the
        // group is `WHOLE`: a last strip that has fewer makes a group of another edge. Tiles lie
        // inside the rows and strips that the caller promises.
        unsafe {
            if tiles >= PACK_FROM_TILES && group.edge == WHOLE && !packed.is_empty() {
                let packed = pack_strips(simd, product, strip, group.strips, packed);
                run_group(simd, &packed, &block, strip, group, rows.len(), tiles);
            } else {
                run_group(simd, product, &block, strip, group, rows.len(), tiles);
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
    fn most_rows<S: Simd>(self) -> usize {
        if self.edge == HALF { S::HALF_ROWS } else { S::TILE_ROWS[self.strips - 1] }
    }
}

/// The widest tile, but none of one strip where strips of two and three can share its work.
#[inline(always)]
fn next_group<S: Simd>(product: &Product, left: usize) -> Group {
    let over = product.n % STRIP;
    // A matrix that is not packed ends with its last column.
    let half = S::HALF_ROWS > 0 && (1..=8).contains(&over) && (product.b_lanes == STRIP || over == 8);
    let masked = product.b_lanes < STRIP;
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

/// Copies strips `strip..strip + width` of the plain matrix `b`; the product returned reads the copy.
///
/// # Safety
/// Every term of those strips is readable, 16 columns of it, in the innermost loop alone.
#[inline(always)]
unsafe fn pack_strips<'a, S: Simd>(
    simd: S,
    product: &Product<'a>,
    strip: usize,
    width: usize,
    packed: &mut [f32],
) -> Product<'a> {
    let (k, step) = (product.loops.count[2], product.loops.b[2]);
    assert!(packed.len() >= width * k * STRIP, "room for {width} strips of {k} rows");
    for i in 0..k {
        for v in 0..width {
            // SAFETY: row `i` of this strip has 16 readable floats, by the caller's promise; the
            // assertion says that the copy has room.
            unsafe {
                let from = product.b.wrapping_add(i * step + (strip + v) * product.b_strip);
                simd.store(packed.as_mut_ptr().add((v * k + i) * STRIP), simd.load(from));
            }
        }
    }
    let mut of_copy = *product;
    // Tiles count strips from the first of the matrix.
    of_copy.b = packed.as_ptr().wrapping_sub(strip * k * STRIP);
    of_copy.b_strip = k * STRIP;
    of_copy.loops.b[2] = STRIP;
    of_copy
}

/// Tiles of two heights at most, one row apart.
///
/// # Safety
/// As [`Product::run`], for the block's rows and these strips.
#[inline(always)]
unsafe fn run_group<S: Simd>(
    simd: S,
    product: &Product,
    block: &Block,
    strip: usize,
    group: Group,
    rows: usize,
    tiles: usize,
) {
    let tallest = rows.div_ceil(tiles);
    let short = tallest * tiles - rows;
    let counts = (tiles - short, short);
    call_with_shape!(S, tallest, (group.strips, group.edge), enter, (simd, product, block, strip, counts));
}

#[inline(always)]
fn enter<S: Simd, const R: usize, const L: usize, const V: usize, const EDGE: u8>(
    simd: S,
    product: &Product,
    block: &Block,
    strip: usize,
    (tall, short): (usize, usize),
) {
    simd.enter(Tiles::<R, L, V, EDGE> { product, block, strip, tall, short });
}

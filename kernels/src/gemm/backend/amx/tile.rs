//! What multiplies tiles: a small trait, and its reference implementation, which runs everywhere.

use super::line::{COLUMNS, Line, WIDTH};
use super::model;
use super::split::{Blocks, Range, RowTiles, Source, split_left, split_right};
use crate::simd::dispatch::Backend;
use crate::simd::{Kernel, Simd};
use std::fmt::Debug;

/// The shape of the tiles of one product: it does not change between [`Tile::begin`] and [`Tile::end`].
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub rows: RowTiles,
    pub blocks: Blocks,
}

impl Shape {
    /// Lines of a pair of row tiles: `[block][part, lowest first][tile][r0 lines]`.
    pub fn left_lines<const P: usize>(&self) -> usize {
        self.blocks.count * P * 2 * self.rows.r0
    }

    /// Lines of a pair of column tiles: `[block][part, highest first][tile][pairs lines]`.
    pub fn right_lines<const P: usize>(&self) -> usize {
        self.blocks.count * P * 2 * self.blocks.pairs
    }
}

/// A pair of row tiles times a pair of column tiles.
#[derive(Debug)]
pub struct Operands<'a> {
    pub a: &'a [Line],
    pub b: &'a [Line],
    /// Rows of 32 sums, overwritten: `r0` from `c_start[0]` on and `r1` from `c_start[1]` on.
    pub c: &'a mut [f32],
    pub c_start: [usize; 2],
    /// Floats from a row of `c` to the next.
    pub c_row: usize,
}

impl Operands<'_> {
    /// # Panics
    /// If an operand is shorter than the shape says.
    pub fn check<const P: usize>(&self, shape: &Shape) {
        assert_eq!(self.a.len(), shape.left_lines::<P>(), "tiles of the left factor");
        assert_eq!(self.b.len(), shape.right_lines::<P>(), "tiles of the right factor");
        for (start, rows) in self.c_start.into_iter().zip([shape.rows.r0, shape.rows.r1]) {
            assert!(start + (rows - 1) * self.c_row + COLUMNS <= self.c.len(), "rows of sums");
        }
    }
}

/// Parts (of the left factor, of the right one), 0 the highest, in the order in which each sum sees their products.
pub const fn products<const P: usize>() -> &'static [[usize; 2]] {
    match P {
        2 => &[[1, 0], [0, 0], [0, 1]],
        3 => &[[2, 0], [1, 0], [1, 1], [0, 1], [0, 2], [0, 0]],
        _ => panic!("two or three parts"),
    }
}

/// Multiplies tiles of bf16 parts, adding up in f32, and splits f32 into parts.
pub trait Tile: Copy + Debug + Send + Sync + 'static {
    /// Whether a backend's name ends with `-model`.
    const IS_MODEL: bool;

    /// Prepares the calling thread for tiles of this shape.
    fn begin(self, shape: &Shape);

    /// Sums over all blocks of K, products in the order of [`products`].
    fn multiply<const P: usize>(self, shape: &Shape, operands: Operands);

    /// Leaves the calling thread as it was before [`Tile::begin`].
    fn end(self);

    /// Splits lines of a left factor: line `i` of a part goes to `out[at(part, i)]`.
    fn split_left<const P: usize>(self, source: &Source, range: Range, at: [usize; P], out: &mut [Line]);

    /// Splits columns of a right factor: pair `i` of a part goes to `out[at(part, i)]`, `pairs` of them.
    fn split_right<const P: usize>(
        self,
        source: &Source,
        range: Range,
        pairs: usize,
        at: [usize; P],
        out: &mut [Line],
    );
}

/// The tiles in plain Rust, to the bit.
#[derive(Clone, Copy, Debug)]
pub struct Model;

impl Tile for Model {
    const IS_MODEL: bool = true;

    fn begin(self, _: &Shape) {}

    fn multiply<const P: usize>(self, shape: &Shape, operands: Operands) {
        operands.check::<P>(shape);
        Backend::best().run(Multiply::<P> { shape, operands });
    }

    fn end(self) {}

    fn split_left<const P: usize>(self, source: &Source, range: Range, at: [usize; P], out: &mut [Line]) {
        split_left::<P>(source, range, |part, i| at[part] + i, out);
    }

    fn split_right<const P: usize>(
        self,
        source: &Source,
        range: Range,
        pairs: usize,
        at: [usize; P],
        out: &mut [Line],
    ) {
        split_right::<P>(source, range, pairs, |part, i| at[part] + i, out);
    }
}

/// Compiled for every instruction set, so that a fused multiply-add is one instruction where the CPU has it.
struct Multiply<'a, const P: usize> {
    shape: &'a Shape,
    operands: Operands<'a>,
}

impl<const P: usize> Kernel for Multiply<'_, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Multiply { shape: Shape { rows, blocks }, operands } = self;
        let Operands { a, b, c, c_start, c_row } = operands;
        for (t, lines) in [rows.r0, rows.r1].into_iter().enumerate() {
            for (i, column) in (0..lines).flat_map(|i| [0, 1].map(|column| (i, column))) {
                let mut sums = [0.0; WIDTH];
                for block in 0..blocks.count {
                    for &[left, right] in products::<P>() {
                        let left = ((block * P + P - 1 - left) * 2 + t) * rows.r0 + i;
                        let right = ((block * P + right) * 2 + column) * blocks.pairs;
                        model::row(&mut sums, &a[left], &b[right..][..blocks.pairs]);
                    }
                }
                let at = c_start[t] + i * c_row + column * WIDTH;
                c[at..][..WIDTH].copy_from_slice(&sums);
            }
        }
    }
}

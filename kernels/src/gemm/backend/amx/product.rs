//! A whole product of split factors: rows split on the fly, a pair of row tiles times a pair of column tiles at a time.

use super::line::{COLUMNS, Line, WIDTH};
use super::split::{Blocks, Range, Right, RowTiles, Source};
use super::tile::{Operands, Shape, Tile};
use crate::layout::Strided;

/// Bytes of a right factor that stays in L2 beside the rest.
const NEAR: usize = 5 << 18;

/// Splits `N` columns of `K` terms.
pub fn split_factor<T: Tile, const P: usize>(
    tile: T,
    source: &Source,
    [k, n]: [usize; 2],
    right: &mut Right<P>,
) {
    let blocks = Blocks::of(k);
    let shape = Shape { rows: RowTiles::of(1), blocks };
    let panel = shape.right_lines::<P>();
    (right.k, right.n) = (k, n);
    right.lines.resize(n.div_ceil(COLUMNS) * panel, Line::default());
    for (pair, lines) in right.lines.chunks_exact_mut(panel).enumerate() {
        for (block, t) in (0..blocks.count).flat_map(|block| [0, 1].map(|t| (block, t))) {
            let (term, terms) = blocks.terms(block, k);
            let line = (pair * COLUMNS + t * WIDTH).min(n);
            let range = Range { line, lines: WIDTH.min(n - line), term, terms };
            let at = std::array::from_fn(|part| ((block * P + part) * 2 + t) * blocks.pairs);
            tile.split_right::<P>(source, range, blocks.pairs, at, lines);
        }
    }
}

/// Splits a pair of row tiles.
fn split_rows<T: Tile, const P: usize>(
    tile: T,
    source: &Source,
    shape: &Shape,
    k: usize,
    pair: usize,
    lines: &mut [Line],
) {
    let Shape { rows, blocks } = shape;
    let starts = rows.starts(pair);
    for block in 0..blocks.count {
        let (term, terms) = blocks.terms(block, k);
        for (t, count) in [rows.r0, rows.r1].into_iter().enumerate() {
            let range = Range { line: starts[t], lines: count, term, terms };
            let at = std::array::from_fn(|part| ((block * P + P - 1 - part) * 2 + t) * rows.r0);
            tile.split_left::<P>(source, range, at, lines);
        }
    }
}

/// Where the sums of a product go.
#[derive(Debug)]
pub struct Sums<'a> {
    /// `M` rows of `N` floats, overwritten.
    pub c: &'a mut [f32],
    /// Floats from a row to the next.
    pub row: usize,
}

/// The state of the tiles, left again even if a product panics.
struct Session<T: Tile>(T);

impl<T: Tile> Drop for Session<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// `c = a·b`, `M`, `N` and `K` at least 1; the order of every sum is a function of `K` alone.
pub fn multiply<T: Tile, const P: usize>(
    tile: T,
    a: &Strided,
    right: &Right<P>,
    sums: Sums,
    scratch: &mut Vec<Line>,
) {
    let (m, k, n) = (a.rows(), right.k, right.n);
    assert!(m > 0 && n > 0 && k > 0 && a.cols() == k, "[{m}, {}] times [{k}, {n}]", a.cols());
    let Sums { c, row } = sums;
    let shape = Shape { rows: RowTiles::of(m), blocks: Blocks::of(k) };
    let (pair, panel, columns) = (shape.left_lines::<P>(), shape.right_lines::<P>(), n.div_ceil(COLUMNS));
    let source = Source {
        data: a.floats(),
        line: a.row_stride(),
        term: a.col_stride(),
        strip: WIDTH * a.row_stride(),
    };
    // Where the right factor comes from L3 each of its columns does so once for a large group of rows; else a group is
    // what stays near L1, and its rows are finished one after the other, as pages and prefetchers like them to be written.
    let far = right.lines.len() * size_of::<Line>() > NEAR;
    let group = if far { 1 << 20 } else { 1 << 16 } / (pair * size_of::<Line>());
    let group = group.clamp(1, shape.rows.pairs);
    scratch.resize(scratch.len().max(group * pair), Line::default());
    tile.begin(&shape);
    let _session = Session(tile);
    for from in (0..shape.rows.pairs).step_by(group) {
        let pairs = group.min(shape.rows.pairs - from);
        for (i, lines) in scratch.chunks_exact_mut(pair).take(pairs).enumerate() {
            split_rows::<T, P>(tile, &source, &shape, k, from + i, lines);
        }
        let (outer, inner) = if far { (columns, pairs) } else { (pairs, columns) };
        for (x, y) in (0..outer).flat_map(|x| (0..inner).map(move |y| (x, y))) {
            let (i, j) = if far { (y, x) } else { (x, y) };
            let (a, b) = (&scratch[i * pair..][..pair], &right.lines[j * panel..][..panel]);
            let starts = shape.rows.starts(from + i);
            if (j + 1) * COLUMNS <= n {
                let c_start = starts.map(|start| start * row + j * COLUMNS);
                tile.multiply::<P>(&shape, Operands { a, b, c: &mut *c, c_start, c_row: row });
            } else {
                // The last columns are fewer than a pair of tiles has.
                let mut whole = [0.0; 2 * WIDTH * COLUMNS];
                let c_start = [0, shape.rows.r0 * COLUMNS];
                tile.multiply::<P>(&shape, Operands { a, b, c: &mut whole, c_start, c_row: COLUMNS });
                for (t, rows) in [shape.rows.r0, shape.rows.r1].into_iter().enumerate() {
                    for i in 0..rows {
                        let left = n - j * COLUMNS;
                        let to = &mut c[(starts[t] + i) * row + j * COLUMNS..][..left];
                        to.copy_from_slice(&whole[c_start[t] + i * COLUMNS..][..left]);
                    }
                }
            }
        }
    }
}

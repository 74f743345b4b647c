//! f32 split into bf16 parts, laid out as tiles: up to 16 lines of 16 pairs, a pair being two neighbours of a sum.
//!
//! `x = h + m + l + ε`: `h = bf16(x)`, `m = bf16(x − h)`, `l = bf16(x − h − m)`, each rounded to nearest even. The
//! differences are exact, `|ε| ≤ 2^-17·|x|` with two parts, 0 with three, unless a part falls below 2^-126: it is zero then.

use super::line::{Line, WIDTH};
use super::model::parts;

/// How a sum of K terms is cut into tiles: a function of K alone, because each cut is a rounding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blocks {
    pub count: usize,
    /// Pairs in each: at most 16, as few as fill `count` blocks evenly, since a TDPBF16PS takes max(rows, pairs) cycles.
    pub pairs: usize,
}

impl Blocks {
    pub fn of(k: usize) -> Blocks {
        let pairs = k.div_ceil(2).max(1);
        let count = pairs.div_ceil(16);
        Blocks { count, pairs: pairs.div_ceil(count) }
    }

    /// The first term of a block, and the number of its terms inside `0..k`.
    pub fn terms(&self, block: usize, k: usize) -> (usize, usize) {
        let first = block * 2 * self.pairs;
        (first, k.saturating_sub(first).min(2 * self.pairs))
    }
}

/// Rows of the left factor as pairs of tiles of `r0` and `r1` lines; the last pair ends with the last row and may
/// overlap the one before, which computes some rows twice, to the same bits. A single row is in both tiles.
#[derive(Clone, Copy, Debug)]
pub struct RowTiles {
    pub m: usize,
    pub pairs: usize,
    pub r0: usize,
    pub r1: usize,
}

impl RowTiles {
    pub fn of(m: usize) -> RowTiles {
        let pairs = m.div_ceil(32).max(1);
        let rows = m.div_ceil(pairs);
        RowTiles { m, pairs, r0: rows.div_ceil(2).max(1), r1: (rows / 2).max(1) }
    }

    /// First rows of both tiles of a pair.
    pub fn starts(&self, pair: usize) -> [usize; 2] {
        let first = (pair * (self.r0 + self.r1)).min(self.m.saturating_sub(self.r0 + self.r1));
        [first, (first + self.r0).min(self.m - self.r1)]
    }
}

/// A matrix in memory of which lines are split: the lines are rows of the left factor, or columns of the right one. Term
/// `q` of line `i` is at `i/16·strip + i%16·line + q·term`.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub data: &'a [f32],
    pub line: usize,
    pub term: usize,
    pub strip: usize,
}

impl Source<'_> {
    #[inline(always)]
    fn at(&self, line: usize, term: usize) -> f32 {
        self.data[line / WIDTH * self.strip + line % WIDTH * self.line + term * self.term]
    }
}

/// The lines and terms of one tile.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub line: usize,
    /// At most 16.
    pub lines: usize,
    pub term: usize,
    /// At most 32; what is beyond is zero.
    pub terms: usize,
}

/// Splits a range of a left factor: for each part one tile, a line per line.
pub fn split_left<const P: usize>(
    source: &Source,
    range: Range,
    mut to: impl FnMut(usize, usize) -> usize,
    out: &mut [Line],
) {
    for i in 0..range.lines {
        let mut lines = [Line::default(); P];
        for q in 0..range.terms {
            let split = parts::<P>(source.at(range.line + i, range.term + q));
            for (line, part) in lines.iter_mut().zip(split) {
                line.0[q / 2] |= part << (16 * (q % 2));
            }
        }
        for (part, line) in lines.into_iter().enumerate() {
            out[to(part, i)] = line;
        }
    }
}

/// Splits a range of a right factor: for each part one tile, a line per pair of terms, `pairs` of them.
pub fn split_right<const P: usize>(
    source: &Source,
    range: Range,
    pairs: usize,
    mut to: impl FnMut(usize, usize) -> usize,
    out: &mut [Line],
) {
    for pair in 0..pairs {
        let mut lines = [Line::default(); P];
        for q in (2 * pair..2 * pair + 2).filter(|&q| q < range.terms) {
            for i in 0..range.lines {
                let split = parts::<P>(source.at(range.line + i, range.term + q));
                for (line, part) in lines.iter_mut().zip(split) {
                    line.0[i] |= part << (16 * (q % 2));
                }
            }
        }
        for (part, line) in lines.into_iter().enumerate() {
            out[to(part, pair)] = line;
        }
    }
}

/// The right factor `[K, N]`, split: `[pair of 16 columns][block][part, highest first][tile][pairs lines]`, columns beyond
/// `N` zero.
#[derive(Debug, Default)]
pub struct Right<const P: usize> {
    pub k: usize,
    pub n: usize,
    pub lines: Vec<Line>,
}

//! Packed weights.

use crate::layout::{STRIP, volume};
use crate::prepack::PrepackCache;
use std::ops::Range;

/// Packed weights `[k, n]`: strips of [`STRIP`] columns, each `k` rows of 16 adjacent floats.
///
/// Columns beyond `n` are zero. Element `(i, j)` is at `(j / 16)·stride + i·16 + j % 16`.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) stride: usize,
    cache: Option<&'a PrepackCache>,
    /// The row of the whole weights that is row 0 here.
    first: usize,
}

/// Floats that packed `[k, n]` weights take; `usize::MAX` if they are more than that.
pub const fn panels_len(k: usize, n: usize) -> usize {
    volume([n.div_ceil(STRIP), k, STRIP])
}

/// Index of element `(i, j)` of packed weights with `k` rows.
pub const fn panel_index(k: usize, i: usize, j: usize) -> usize {
    (j / STRIP) * k * STRIP + i * STRIP + j % STRIP
}

impl<'a> Panels<'a> {
    /// Views `data`, which is packed already, as `[k, n]` weights. [`PackedWeights`](crate::PackedWeights) packs
    /// and checks, and returns an error where this panics, as every view of a slice does.
    ///
    /// # Panics
    /// If `data` has another length than [`panels_len`].
    pub fn new(data: &'a [f32], k: usize, n: usize) -> Self {
        let (need, len) = (panels_len(k, n), data.len());
        assert!(len == need, "packed [{k}, {n}] weights need {need} floats, the slice has {len}");
        Panels { data, k, n, stride: volume([k, STRIP]), cache: None, first: 0 }
    }

    /// Rows `from..to` of the same weights.
    ///
    /// # Panics
    /// If `from > to` or `to > k`.
    pub fn rows(&self, from: usize, to: usize) -> Panels<'a> {
        assert!(from <= to && to <= self.k, "rows {from}..{to} of {}", self.k);
        let data = if self.data.is_empty() { self.data } else { &self.data[from * STRIP..] };
        Panels { data, k: to - from, first: self.first + from, ..*self }
    }

    /// The same weights, for which external GEMM backends keep their own forms in `cache`. It must be the cache of
    /// these weights alone, and renewed whenever they change.
    #[must_use]
    pub fn cached(self, cache: &'a PrepackCache) -> Panels<'a> {
        Panels { cache: Some(cache), ..self }
    }

    /// The floats of all strips, and how many lie between the starts of two strips; rows of a strip are [`STRIP`] apart.
    pub fn floats(&self) -> (&'a [f32], usize) {
        (self.data, self.stride)
    }

    /// The same weights without a cache.
    pub(crate) fn uncached(self) -> Panels<'a> {
        Panels { cache: None, ..self }
    }

    /// The cache of the whole weights, and which of their rows these are.
    pub(crate) fn cache(&self) -> Option<(&'a PrepackCache, Range<usize>)> {
        self.cache.map(|cache| (cache, self.first..self.first + self.k))
    }

    /// Columns `16·strip..` of row `i`, up to 16.
    #[inline]
    pub fn strip(&self, i: usize, strip: usize) -> &'a [f32] {
        &self.data[strip * self.stride + i * STRIP..][..STRIP.min(self.n - strip * STRIP)]
    }

    /// Rows of the packed matrix: what a product sums over.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the packed matrix.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Element `(i, j)`.
    pub fn at(&self, i: usize, j: usize) -> f32 {
        self.data[(j / STRIP) * self.stride + i * STRIP + j % STRIP]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn weights_of_more_than_all_memory_are_no_empty_slice() {
        assert!(catch_unwind(|| Panels::new(&[], 1 << 60, 16)).is_err());
        for (k, n) in [(1 << 60, 1), ((1 << 60) + 1, 1), (17, usize::MAX)] {
            // The length after wrap-around.
            let few = n.div_ceil(STRIP).wrapping_mul(k).wrapping_mul(STRIP);
            let data = vec![0.0; few];
            assert!(catch_unwind(|| Panels::new(&data, k, n)).is_err(), "[{k}, {n}]");
        }
    }

    #[test]
    fn weights_without_columns_may_have_any_number_of_rows() {
        assert_eq!(Panels::new(&[], usize::MAX, 0).rows(3, 5).k(), 2);
    }
}

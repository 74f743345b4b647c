//! Inverted dropout. The mask is a function of a seed and an element's index, so it depends neither on the
//! order of the work nor on the threads.

/// Inverted dropout: a unit is dropped with probability `p`, else scaled by `1 / (1 − p)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// One seed gives one mask; a new mask needs a new seed.
    pub seed: u64,
    threshold: u32,
    scale: f32,
    /// Units after which the mask repeats; 0 if it does not.
    period: u64,
}

impl Dropout {
    /// The mask of `seed`.
    ///
    /// # Panics
    /// Unless `0 ≤ p < 1`.
    pub fn new(p: f32, seed: u64) -> Self {
        assert!((0.0..1.0).contains(&p), "dropout probability {p}");
        Dropout {
            seed,
            threshold: (f64::from(p) * 4_294_967_296.0) as u32,
            scale: 1.0 / (1.0 - p),
            period: 0,
        }
    }

    /// The same mask, repeated after so many units: of a product `[M, N]` the rows repeat if it is a multiple of `N`.
    ///
    /// ```
    /// let dropout = kernels::Dropout::new(0.5, 1).repeating(6);
    /// assert!((0..6).all(|i| dropout.factor(i) == dropout.factor(i + 12)));
    /// ```
    pub fn repeating(self, period: usize) -> Self {
        Dropout { period: period as u64, ..self }
    }

    /// `1 / (1 − p)`, the factor of the units that are kept.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The factor of the unit at `index`: 0 or [`Dropout::scale`].
    #[inline(always)]
    pub fn factor(&self, index: u64) -> f32 {
        self.factor_at(self.place(index))
    }

    /// The unit of the mask that belongs to `index`.
    #[inline(always)]
    fn place(&self, index: u64) -> u64 {
        if self.period == 0 { index } else { index % self.period }
    }

    #[inline(always)]
    fn factor_at(&self, index: u64) -> f32 {
        self.factor_of(self.keys(index), index as u32)
    }

    /// Both halves of the seed, mixed with the upper half of an index.
    #[inline(always)]
    fn keys(&self, index: u64) -> [u32; 2] {
        let mixed = self.seed ^ (index >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        [mixed as u32, (mixed >> 32) as u32]
    }

    /// From the keys and the lower half of an index.
    #[inline(always)]
    fn factor_of(&self, keys: [u32; 2], index: u32) -> f32 {
        // Two rounds of a 32-bit finaliser (xor-shift-multiply), keyed by both halves of the seed.
        let mut x = index ^ keys[0];
        x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        x = (x ^ (x >> 16)).wrapping_add(keys[1]);
        x = (x ^ (x >> 16)).wrapping_mul(0x21F0_AAAD);
        x = (x ^ (x >> 15)).wrapping_mul(0x735A_2D97);
        x ^= x >> 15;
        if x >= self.threshold { self.scale } else { 0.0 }
    }

    /// The factors of adjacent units of a row; those behind its end count for nothing.
    #[inline(always)]
    pub(crate) fn factors(&self, index: u64) -> [f32; 16] {
        let index = self.place(index);
        let mut factors = [0.0; 16];
        if index as u32 <= u32::MAX - 15 {
            // All have one upper half, so that the loop is in 32 bits.
            let keys = self.keys(index);
            for (i, factor) in factors.iter_mut().enumerate() {
                *factor = self.factor_of(keys, index as u32 + i as u32);
            }
        } else {
            for (i, factor) in factors.iter_mut().enumerate() {
                *factor = self.factor_at(index + i as u64);
            }
        }
        factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    #[test]
    fn units_are_kept_with_probability_1_minus_p_and_neighbours_are_independent() {
        for (p, seed) in [(0.5, 1), (0.5, 2), (0.2, 1 << 40), (0.0, 3)] {
            let dropout = Dropout::new(p, seed);
            let kept: Vec<bool> = (0..100_000).map(|i| dropout.factor(i) > 0.0).collect();
            let share = |n: usize| n as f64 / 100_000.0;
            let one = share(kept.iter().filter(|&&k| k).count());
            let (q, factor) = reference::dropout(f64::from(p));
            assert!((f64::from(dropout.scale()) - factor).abs() < 1e-6, "{p}");
            assert!((one - q).abs() < 0.01, "{p} {seed}: {one}");
            for lag in [1, 16, 512] {
                let both = share(kept.iter().zip(&kept[lag..]).filter(|&(&a, &b)| a && b).count());
                assert!((both - q * q).abs() < 0.015, "{p} {seed} lag {lag}: {both}");
            }
        }
    }

    #[test]
    fn factors_of_a_row_are_those_of_its_units_even_where_the_upper_half_of_the_index_changes() {
        let dropout = Dropout::new(0.5, 7 << 33 | 5);
        for first in [0, 16, (1 << 32) - 16, (1 << 32) - 15, (1 << 32) - 1, 1 << 32, (5 << 32) + 3] {
            let alone: Vec<f32> = (first..first + 16).map(|i| dropout.factor(i)).collect();
            assert_eq!(dropout.factors(first)[..], alone, "from {first}");
        }
    }

    #[test]
    fn seeds_give_unrelated_masks() {
        let (a, b) = (Dropout::new(0.5, 10), Dropout::new(0.5, 11));
        let same = (0..10_000).filter(|&i| a.factor(i) == b.factor(i)).count();
        assert!((4_700..5_300).contains(&same), "{same}");
    }
}

//! Percentile bootstrap intervals of any statistic, the same for the same seed.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// Options of the bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Share of the resamples inside the interval.
    pub level: f64,
    /// Seed of the resamples.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Bootstrap {
        Bootstrap { resamples: 10_000, level: 0.95, seed: 1 }
    }
}

/// A statistic and its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic of the values themselves.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Bootstrap {
    /// Interval of `statistic` over `values`, which may be scores of samples or of folds: as many values as there are,
    /// drawn with replacement, [`Bootstrap::resamples`] times. None if there are no values.
    ///
    /// Ends are interpolated between adjacent values in ascending order; a statistic that is NaN counts as
    /// the largest.
    pub fn interval<T: Clone>(&self, values: &[T], statistic: impl Fn(&[T]) -> f64) -> Option<Interval> {
        let n = values.len() as u64;
        if n == 0 || self.resamples == 0 {
            return None;
        }
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut drawn = values.to_vec();
        let mut found: Vec<f64> = Vec::with_capacity(self.resamples);
        for _ in 0..self.resamples {
            for slot in &mut drawn {
                slot.clone_from(&values[below(&mut rng, n) as usize]);
            }
            found.push(statistic(&drawn));
        }
        found.sort_by(f64::total_cmp);
        let tail = 0.5 * (1.0 - self.level);
        Some(Interval {
            estimate: statistic(values),
            low: percentile(&found, tail),
            high: percentile(&found, 1.0 - tail),
        })
    }

    /// Interval of `Σ a / Σ b` over pairs `(a, b)`, such as the sum and the number of a group's values: the mean over all values
    /// when groups are drawn.
    pub fn ratio(&self, pairs: &[(f64, f64)]) -> Option<Interval> {
        self.interval(pairs, |drawn| {
            let (above, below) =
                drawn.iter().fold((0.0, 0.0), |(above, below), (a, b)| (above + a, below + b));
            above / below
        })
    }

    /// Interval of the mean.
    pub fn mean(&self, values: &[f64]) -> Option<Interval> {
        self.interval(values, |drawn| drawn.iter().sum::<f64>() / drawn.len() as f64)
    }
}

/// Uniform below `n`: the high word of a product, biased by at most n/2⁶⁴.
fn below(rng: &mut impl Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

/// The quantile `p` of a sorted list, interpolated linearly.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let at = p.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    if below == above { below } else { below + (above - below) * at.fract() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_law() {
        // Mean 49.5, standard error of the mean √(833.25 / 100) = 2.887.
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let found = Bootstrap::default().mean(&values).unwrap();
        assert_eq!(found.estimate, 49.5);
        assert!((found.low - (49.5 - 1.96 * 2.887)).abs() < 0.2, "{found:?}");
        assert!((found.high - (49.5 + 1.96 * 2.887)).abs() < 0.2, "{found:?}");
    }

    #[test]
    fn a_seed_has_one_interval() {
        let values = [0.717, 0.721, 0.708, 0.733, 0.719, 0.725, 0.711];
        let of = |seed| Bootstrap { seed, ..Bootstrap::default() }.mean(&values).unwrap();
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).low > 0.708 && of(1).high < 0.733 && of(1).low < of(1).estimate);
    }

    #[test]
    fn any_statistic_of_any_values_will_do() {
        // Difference of two paired scores per fold.
        let folds = [(0.70, 0.73), (0.72, 0.74), (0.69, 0.73)];
        let gain = |drawn: &[(f64, f64)]| drawn.iter().map(|(a, b)| b - a).sum::<f64>() / drawn.len() as f64;
        let found = Bootstrap::default().interval(&folds, gain).unwrap();
        assert!(
            (found.estimate - 0.03).abs() < 1e-12 && found.low >= 0.02 - 1e-12 && found.high <= 0.04 + 1e-12
        );
        let largest = |drawn: &[f64]| drawn.iter().copied().fold(f64::MIN, f64::max);
        let found = Bootstrap::default().interval(&[1.0, 2.0, 3.0], largest).unwrap();
        assert_eq!((found.estimate, found.high), (3.0, 3.0));
    }

    #[test]
    fn a_ratio_is_one_of_sums() {
        let pairs = [(1.0, 2.0), (5.0, 6.0), (0.0, 1.0)];
        let found = Bootstrap::default().ratio(&pairs).unwrap();
        assert_eq!(found.estimate, 6.0 / 9.0);
        assert_eq!((found.low, found.high), (0.0, 5.0 / 6.0));
        // All denominators are 1: a mean.
        let values = [0.2, 0.4, 0.9];
        assert_eq!(Bootstrap::default().ratio(&values.map(|a| (a, 1.0))), Bootstrap::default().mean(&values));
    }

    #[test]
    fn one_value_is_its_own_interval_and_none_has_none() {
        let found = Bootstrap::default().mean(&[0.5]).unwrap();
        assert_eq!((found.estimate, found.low, found.high), (0.5, 0.5, 0.5));
        assert_eq!(Bootstrap::default().mean(&[]), None);
        assert_eq!(Bootstrap { resamples: 0, ..Bootstrap::default() }.mean(&[1.0]), None);
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|p| percentile(&sorted, p)), [1.0, 1.5, 2.0, 3.0, 4.0]);
        assert_eq!(percentile(&[7.0, f64::INFINITY], 0.0), 7.0);
    }
}

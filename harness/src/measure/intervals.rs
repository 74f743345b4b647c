//! Intervals over samples of the numbers that claims are judged by.

use super::flipping::{Fill, Flipped, Order};
use model::measure::shares;
use model::measure::{Bootstrap, Interval};
use serde::{Deserialize, Serialize};

/// 95 % percentile bootstrap intervals over samples; none where a number is not defined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Intervals {
    /// Share of the relevance in the last quarter of the steps, over the class's test samples.
    pub last_steps: Option<Interval>,
    /// Cosine of relevance and pixels by step, over the same samples.
    pub cosine: Option<Interval>,
    /// Mean noise of a heatmap.
    pub noise: Option<Interval>,
    /// Mean |cosine| between the heatmaps of the true class and of the largest other logit.
    pub other_class: Option<Interval>,
    /// AOPC of removing the most relevant regions first, less that of a random order, mean over the fills.
    pub gain: Option<Interval>,
    /// Mean rank correlation of |R| with that of a network whose weights are all random.
    pub randomised: Option<Interval>,
}

/// Relevance and pixel intensity of each step, sample by sample, `[N][T]`.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// Sums of relevance.
    pub relevance: Vec<Vec<f64>>,
    /// Sums of pixel intensity.
    pub pixels: Vec<Vec<f64>>,
}

/// Enough for two digits of an interval's ends.
const RESAMPLES: usize = 1000;

fn bootstrap() -> Bootstrap {
    Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() }
}

fn finite(found: Option<Interval>) -> Option<Interval> {
    found.filter(|of| [of.estimate, of.low, of.high].into_iter().all(f64::is_finite))
}

/// The interval of the mean of the values that are defined.
pub fn of_mean(values: impl Iterator<Item = Option<f64>>) -> Option<Interval> {
    let values: Vec<f64> = values.flatten().collect();
    finite(bootstrap().mean(&values))
}

/// The interval of the mean over all values of all groups, such as the pairs of classes of a sample: groups are drawn, not
/// values, as those of a group are alike.
pub fn of_groups(groups: &[Vec<f64>]) -> Option<Interval> {
    // A draw of nothing but groups without values would have no mean.
    let groups = groups.iter().filter(|group| !group.is_empty());
    let sums: Vec<(f64, f64)> = groups.map(|group| (group.iter().sum(), group.len() as f64)).collect();
    finite(bootstrap().ratio(&sums))
}

/// Steps that are the last quarter of a sequence.
pub fn last_quarter(steps: usize) -> usize {
    steps.div_ceil(4)
}

impl Steps {
    /// The interval of the share of the last quarter of the steps.
    pub fn last_steps(&self) -> Option<Interval> {
        let samples: Vec<usize> = (0..self.relevance.len()).collect();
        finite(bootstrap().interval(&samples, |drawn| {
            let sums = shares::sum_of_rows(&self.relevance, drawn);
            let tail: f64 = sums.iter().rev().take(last_quarter(sums.len())).sum();
            tail / sums.iter().sum::<f64>()
        }))
    }

    /// The interval of the cosine of relevance and pixels.
    pub fn cosine(&self) -> Option<Interval> {
        let samples: Vec<usize> = (0..self.relevance.len()).collect();
        finite(bootstrap().interval(&samples, |drawn| {
            let [relevance, pixels] =
                [&self.relevance, &self.pixels].map(|of| shares::sum_of_rows(of, drawn));
            shares::cosine(&shares::normalised(&relevance), &shares::normalised(&pixels))
        }))
    }
}

/// The interval of the AOPC of the most relevant first, less that of a random order.
pub fn gain(flipped: &[Flipped], random: &[Flipped]) -> Option<Interval> {
    let of = |curves: &[Flipped], order: Order, fill: Fill| {
        let found = curves.iter().find(|of| of.order == order && of.fill == fill);
        found.map(|of| of.samples.clone())
    };
    let mut gains: Vec<f64> = Vec::new();
    for fill in Fill::ALL {
        let (most, any) = (of(flipped, Order::MostFirst, fill)?, of(random, Order::Random, fill)?);
        gains.resize(most.len(), 0.0);
        for (gain, (most, any)) in gains.iter_mut().zip(most.iter().zip(&any)) {
            *gain += (most - any) / Fill::ALL.len() as f64;
        }
    }
    of_mean(gains.into_iter().map(Some))
}

/// Wilson's interval of 95 % of a share of `n` samples, such as an accuracy.
pub fn of_share(share: f64, n: usize) -> Option<Interval> {
    const Z: f64 = 1.959_963_985;
    if n == 0 || !share.is_finite() {
        return None;
    }
    let n = n as f64;
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(Interval { estimate: share, low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_steps_are_resampled_by_sample() {
        let one = |t: usize| (0..4).map(|i| f64::from(u8::from(i == t))).collect::<Vec<f64>>();
        // Three quarters of the samples have all relevance on the last step, which is the last quarter.
        let relevance: Vec<Vec<f64>> = (0..400).map(|i| one(if i % 4 == 0 { 0 } else { 3 })).collect();
        let steps = Steps { pixels: relevance.clone(), relevance };
        let found = steps.last_steps().unwrap();
        assert_eq!(found.estimate, 0.75);
        // The standard error of a share is √(.75 · .25 / 400) = .0217.
        assert!((found.low - (0.75 - 1.96 * 0.0217)).abs() < 0.01, "{found:?}");
        assert!((found.high - (0.75 + 1.96 * 0.0217)).abs() < 0.01, "{found:?}");
        let same = steps.cosine().unwrap();
        assert!(same.low > 1.0 - 1e-12 && same.high <= 1.0);
        assert_eq!(Steps::default().cosine(), None);
    }

    #[test]
    fn groups_are_drawn_whole() {
        // Every group has one value many times: the interval is that of the mean of the groups.
        let values = [0.2, 0.4, 0.9, 0.7, 0.5, 0.3, 0.8];
        let groups: Vec<Vec<f64>> = values.iter().map(|&value| vec![value; 45]).collect();
        let (found, plain) = (of_groups(&groups).unwrap(), of_mean(values.into_iter().map(Some)).unwrap());
        for (a, b) in [(found.estimate, plain.estimate), (found.low, plain.low), (found.high, plain.high)] {
            assert!((a - b).abs() < 1e-12, "{found:?} {plain:?}");
        }
        // A group without values counts for nothing.
        let some = of_groups(&[vec![0.5], vec![], vec![0.5]]).unwrap();
        assert_eq!((some.estimate, of_groups(&[]), of_groups(&[vec![]])), (0.5, None, None));
    }

    #[test]
    fn a_gain_is_a_difference_sample_by_sample() {
        let of = |order, fill, samples: &[f64]| Flipped {
            fill,
            order,
            aopc: 0.0,
            curve: Vec::new(),
            samples: samples.to_vec(),
        };
        let curves = |order, samples: &[f64]| Fill::ALL.map(|fill| of(order, fill, samples));
        let (most, any) = (curves(Order::MostFirst, &[0.5, 0.7]), curves(Order::Random, &[0.4, 0.6]));
        let found = gain(&most, &any).unwrap();
        assert!([found.estimate, found.low, found.high].into_iter().all(|x| (x - 0.1).abs() < 1e-12));
        assert_eq!(gain(&most, &[]), None);
    }

    #[test]
    fn the_interval_of_a_share_is_wilsons() {
        // Ten of a hundred: Newcombe 1998, Table I.
        let found = of_share(0.1, 100).unwrap();
        assert!((found.low - 0.0552).abs() < 5e-5 && (found.high - 0.1744).abs() < 5e-5, "{found:?}");
        assert_eq!(of_share(1.0, 50).unwrap().high, 1.0);
        assert_eq!(of_share(0.5, 0), None);
    }
}

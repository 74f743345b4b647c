//! Tukey's honestly significant differences between networks with scores on the same folds.
//!
//! A randomised block design: treatments are networks, blocks are folds, one score each. The error term is
//! that of the two-way analysis of variance without interaction, so an effect of a fold on all networks alike
//! does not count as noise.

use super::studentised_range;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

/// One row of the table of an analysis of variance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variation {
    /// Sum of squares.
    pub sum_of_squares: f64,
    /// Degrees of freedom.
    pub df: usize,
}

impl Variation {
    /// Sum of squares per degree of freedom.
    pub fn mean_square(&self) -> f64 {
        self.sum_of_squares / self.df as f64
    }
}

/// Two-way analysis of variance without interaction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anova {
    /// Between treatments (networks).
    pub treatments: Variation,
    /// Between blocks (folds).
    pub blocks: Variation,
    /// The residuals.
    pub error: Variation,
    /// `F` of the treatments; none if the error is 0.
    pub f: Option<f64>,
    /// P(F or more), if all treatments are alike.
    pub p: Option<f64>,
}

/// The comparison of two treatments.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Index of the first treatment.
    pub first: usize,
    /// Index of the second treatment, above `first`.
    pub second: usize,
    /// Mean of the second minus mean of the first.
    pub difference: f64,
    /// Lower end of the simultaneous interval of the difference.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// P(a range of means as large or larger), if all treatments are alike.
    pub p: f64,
    /// Whether the interval excludes 0.
    pub significant: bool,
}

/// All pairwise comparisons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TukeyHsd {
    /// Probability that any difference is called significant although there is none.
    pub alpha: f64,
    /// Mean of each treatment.
    pub means: Vec<f64>,
    /// The analysis of variance that gives the error term.
    pub anova: Anova,
    /// Critical value of the studentised range.
    pub critical_q: f64,
    /// The difference that a pair must exceed: `q · √(error mean square / blocks)`.
    pub honest_difference: f64,
    /// Each pair once, by `first`, then `second`.
    pub comparisons: Vec<Comparison>,
}

/// Analysis of variance of `scores[treatment][block]`.
///
/// # Errors
/// If there are fewer than 2 treatments or blocks, a treatment lacks a block, or a score is not finite.
pub fn anova(scores: &[Vec<f64>]) -> Result<Anova> {
    let (treatments, blocks) = check(scores)?;
    let of_treatments = treatment_means(scores);
    let of_blocks: Vec<f64> =
        (0..blocks).map(|b| scores.iter().map(|of| of[b]).sum::<f64>() / treatments as f64).collect();
    let grand = of_treatments.iter().sum::<f64>() / treatments as f64;
    let squares = |means: &[f64]| means.iter().map(|mean| (mean - grand).powi(2)).sum::<f64>();
    let residual = |t: usize, b: usize| scores[t][b] - of_treatments[t] - of_blocks[b] + grand;
    let error: f64 = (0..treatments)
        .flat_map(|t| (0..blocks).map(move |b| (t, b)))
        .map(|(t, b)| residual(t, b).powi(2))
        .sum();
    // Residuals from rounding only are not an error: identical scores would otherwise differ significantly.
    let largest = scores.iter().flatten().fold(0.0f64, |most, score| most.max(score.abs()));
    let rounding = (treatments * blocks) as f64 * (8.0 * f64::EPSILON * largest).powi(2);
    let error = if error <= rounding { 0.0 } else { error };
    let treatments =
        Variation { sum_of_squares: blocks as f64 * squares(&of_treatments), df: treatments - 1 };
    let blocks =
        Variation { sum_of_squares: (treatments.df + 1) as f64 * squares(&of_blocks), df: blocks - 1 };
    let error = Variation { sum_of_squares: error, df: treatments.df * blocks.df };
    let f = (error.sum_of_squares > 0.0).then(|| treatments.mean_square() / error.mean_square());
    let p = f.map(|f| FisherSnedecor::new(treatments.df as f64, error.df as f64).map(|law| law.sf(f)));
    Ok(Anova { treatments, blocks, error, f, p: p.transpose()? })
}

/// Compares the treatments of `scores[treatment][block]` with each other at `alpha`.
///
/// If the error is 0, every difference except 0 is significant.
///
/// # Errors
/// As [`anova`]; and if `alpha` is not between 0 and 1.
pub fn tukey_hsd(scores: &[Vec<f64>], alpha: f64) -> Result<TukeyHsd> {
    ensure!(alpha > 0.0 && alpha < 1.0, "Tukey HSD: alpha is {alpha}, expected a number between 0 and 1");
    let anova = anova(scores)?;
    let (treatments, blocks) = (scores.len(), scores[0].len());
    let (means, df) = (treatment_means(scores), anova.error.df as f64);
    let standard_error = (anova.error.mean_square() / blocks as f64).sqrt();
    let critical_q = studentised_range::quantile(1.0 - alpha, treatments, df);
    let honest_difference = critical_q * standard_error;
    let compare = |first: usize, second: usize| {
        let difference = means[second] - means[first];
        let p = match difference.abs() / standard_error {
            // 0/0: two equal means without any error.
            q if q.is_nan() => 1.0,
            q if q.is_infinite() => 0.0,
            q => 1.0 - studentised_range::cdf(q, treatments, df),
        };
        Comparison {
            first,
            second,
            difference,
            low: difference - honest_difference,
            high: difference + honest_difference,
            p,
            significant: difference.abs() > honest_difference,
        }
    };
    let pairs = (0..treatments).flat_map(|first| (first + 1..treatments).map(move |second| (first, second)));
    let comparisons = pairs.map(|(first, second)| compare(first, second)).collect();
    Ok(TukeyHsd { alpha, anova, critical_q, honest_difference, comparisons, means })
}

fn treatment_means(scores: &[Vec<f64>]) -> Vec<f64> {
    scores.iter().map(|of| of.iter().sum::<f64>() / of.len() as f64).collect()
}

fn check(scores: &[Vec<f64>]) -> Result<(usize, usize)> {
    let blocks = scores.first().map_or(0, Vec::len);
    ensure!(
        scores.len() >= 2 && blocks >= 2,
        "Tukey HSD: {} networks on {blocks} folds, expected at least 2 of each",
        scores.len()
    );
    if let Some((t, of)) = scores.iter().enumerate().find(|(_, of)| of.len() != blocks) {
        anyhow::bail!(
            "Tukey HSD: network {t} has {} folds, network 0 has {blocks}; pair them by fold",
            of.len()
        );
    }
    for (t, of) in scores.iter().enumerate() {
        if let Some(b) = of.iter().position(|score| !score.is_finite()) {
            anyhow::bail!(
                "Tukey HSD: the score of network {t} on fold {b} is {}, not a finite number",
                of[b]
            );
        }
    }
    Ok((scores.len(), blocks))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found}, expected {expected}");
    }

    /// Vascular grafts: yield at four extrusion pressures, six batches of resin as blocks (Montgomery, Design and Analysis
    /// of Experiments, Example 4.1): sums of squares 178.17, 192.25, 109.89; F 8.11; P .0019.
    fn grafts() -> Vec<Vec<f64>> {
        vec![
            vec![90.3, 89.2, 98.2, 93.9, 87.4, 97.9],
            vec![92.5, 89.5, 90.6, 94.7, 87.0, 95.8],
            vec![85.5, 90.8, 89.6, 86.2, 88.0, 93.4],
            vec![82.5, 89.5, 85.6, 87.4, 78.9, 90.7],
        ]
    }

    #[test]
    fn the_analysis_of_variance_is_that_of_the_textbook() {
        let found = anova(&grafts()).unwrap();
        close(found.treatments.sum_of_squares, 178.17, 5e-3);
        close(found.blocks.sum_of_squares, 192.25, 5e-3);
        close(found.error.sum_of_squares, 109.89, 5e-3);
        assert_eq!((found.treatments.df, found.blocks.df, found.error.df), (3, 5, 15));
        close(found.error.mean_square(), 7.33, 5e-3);
        close(found.f.unwrap(), 8.11, 5e-3);
        close(found.p.unwrap(), 0.0019, 5e-5);
    }

    #[test]
    fn honest_differences_are_those_of_the_printed_q() {
        let found = tukey_hsd(&grafts(), 0.05).unwrap();
        // q(.05; 4, 15) = 4.076 in the printed table.
        close(found.critical_q, 4.076, 5.1e-4);
        close(found.honest_difference, 4.076 * (7.3257f64 / 6.0).sqrt(), 1e-3);
        let means = [92.8167, 91.6833, 88.9167, 85.7667];
        found.means.iter().zip(means).for_each(|(&found, expected)| close(found, expected, 5e-5));
        let significant: Vec<_> =
            found.comparisons.iter().filter(|pair| pair.significant).map(|c| (c.first, c.second)).collect();
        assert_eq!(significant, [(0, 3), (1, 3)], "8500 and 8700 psi differ from 9100 psi");
        for pair in &found.comparisons {
            assert_eq!(pair.significant, pair.p < 0.05);
            assert_eq!(pair.significant, pair.low > 0.0 || pair.high < 0.0);
        }
    }

    /// `TukeyHSD(aov(breaks ~ wool + tension, warpbreaks), "tension")` in the manual of R prints, for 18 values a mean and
    /// 50 degrees of freedom: M−L −10.000 (−19.35342, −0.6465793), p .0336262; H−L −14.722222, p .0011218;
    /// H−M −4.722222, p .4474210.
    #[test]
    fn intervals_and_probabilities_are_those_that_r_prints() {
        let standard_error = 9.353_42 / studentised_range::quantile(0.95, 3, 50.0);
        close(standard_error, (134.9578f64 / 18.0).sqrt(), 1e-5);
        for (difference, p) in [(10.0, 0.033_626_2), (14.722_222, 0.001_121_8), (4.722_222, 0.447_421)] {
            close(1.0 - studentised_range::cdf(difference / standard_error, 3, 50.0), p, 5e-7);
        }
    }

    /// Two treatments: Tukey's test is the paired t-test, `q = √2 · |t|`.
    #[test]
    fn two_networks_are_a_paired_t_test() {
        let scores = vec![vec![0.70, 0.72, 0.69, 0.74], vec![0.73, 0.74, 0.73, 0.75]];
        let found = tukey_hsd(&scores, 0.05).unwrap();
        let differences = [0.03, 0.02, 0.04, 0.01f64];
        let (mean, df) = (0.025, 3.0);
        let variance: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / df;
        let t = mean / (variance / 4.0).sqrt();
        let law = statrs::distribution::StudentsT::new(0.0, 1.0, df).unwrap();
        close(found.comparisons[0].p, 2.0 * law.sf(t), 1e-10);
        // A shift of one fold changes no comparison.
        let shifted: Vec<Vec<f64>> = scores.iter().map(|of| vec![of[0] + 0.5, of[1], of[2], of[3]]).collect();
        let shifted = tukey_hsd(&shifted, 0.05).unwrap();
        close(shifted.honest_difference, found.honest_difference, 1e-12);
    }

    #[test]
    fn without_any_error_equal_means_are_equal_and_others_differ() {
        let scores = vec![vec![0.1, 0.2, 0.3], vec![0.1, 0.2, 0.3], vec![0.2, 0.3, 0.4]];
        let found = tukey_hsd(&scores, 0.05).unwrap();
        assert_eq!((found.anova.f, found.honest_difference), (None, 0.0));
        let seen: Vec<_> = found.comparisons.iter().map(|pair| (pair.p, pair.significant)).collect();
        assert_eq!(seen, [(1.0, false), (0.0, true), (0.0, true)]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for (scores, alpha, part) in [
            (vec![], 0.05, "0 networks"),
            (vec![vec![1.0, 2.0]], 0.05, "1 networks on 2 folds"),
            (vec![vec![1.0], vec![2.0]], 0.05, "2 networks on 1 folds"),
            (vec![vec![1.0, 2.0], vec![2.0]], 0.05, "network 1 has 1 folds"),
            (vec![vec![1.0, 2.0], vec![2.0, f64::NAN]], 0.05, "network 1 on fold 1 is NaN"),
            (vec![vec![1.0, 2.0], vec![2.0, 1.0]], 1.0, "alpha is 1"),
        ] {
            let message = tukey_hsd(&scores, alpha).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}

//! Explains any number of samples in bounded memory.

use crate::signal::check_stop;
use anyhow::{Result, bail};
use kernels::Kernels;
use model::explain::{Explainer, Explanation, Method, Target};
use model::{Network, Samples};
use serde::{Deserialize, Serialize};

/// Samples explained at once.
pub const CHUNK: usize = 100;

/// The share of `f` that may be absorbed without being counted: the tolerance of conservation.
pub const ABSORBED: f64 = 1e-4;

/// Statistics of many explanations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Explanations.
    pub explanations: usize,
    /// Mean of `|f − ΣR − absorbed| / |f|` (Eq. 3.8).
    pub conservation_error_mean: f64,
    /// The largest.
    pub conservation_error_max: f64,
    /// Mean share of `f` that units with an empty denominator absorbed.
    #[serde(alias = "lost_share_mean")]
    pub absorbed_share_mean: f64,
    /// The largest.
    #[serde(alias = "lost_share_max")]
    pub absorbed_share_max: f64,
    /// Explanations in which more than [`ABSORBED`] of `f` is absorbed.
    #[serde(alias = "losing")]
    pub absorbing: usize,
    /// Explained logits that are not positive: there is no positive relevance to propagate.
    pub not_positive: usize,
    /// Share of the absolute relevance that is negative.
    pub negative_share: f64,
    #[serde(skip)]
    absolute: f64,
    #[serde(skip)]
    negative: f64,
}

impl Summary {
    /// Adds a batch.
    pub fn add(&mut self, batch: &Explanation) {
        let n = batch.explained.len();
        let before = self.explanations as f64;
        self.explanations += n;
        let after = self.explanations.max(1) as f64;
        let mean = |mean: &mut f64, max: &mut f64, values: &mut dyn Iterator<Item = f64>| {
            let mut sum = 0.0;
            for value in values {
                sum += value;
                *max = max.max(value);
            }
            *mean = (*mean * before + sum) / after;
        };
        let errors = &mut self.conservation_error_mean;
        mean(errors, &mut self.conservation_error_max, &mut batch.conservation_error.iter().copied());
        let absorbed = batch.absorbed.iter().zip(&batch.explained);
        let shares =
            absorbed.map(|(absorbed, &f)| absorbed.abs() / f64::from(f).abs().max(f64::MIN_POSITIVE));
        self.absorbing += shares.clone().filter(|&share| share > ABSORBED).count();
        mean(&mut self.absorbed_share_mean, &mut self.absorbed_share_max, &mut { shares });
        self.not_positive += batch.explained.iter().filter(|&&f| f <= 0.0).count();
        for &r in &batch.relevance {
            self.absolute += f64::from(r.abs());
            self.negative += f64::from((-r).max(0.0));
        }
        self.negative_share = if self.absolute > 0.0 { self.negative / self.absolute } else { 0.0 };
    }
}

/// Which samples of what are explained by which network, and for which class.
#[derive(Clone, Copy)]
pub struct ExplanationRequest<'a> {
    /// The network.
    pub network: &'a Network,
    /// The samples.
    pub samples: &'a dyn Samples,
    /// Indices of the samples to explain.
    pub indices: &'a [usize],
    /// The logit that is explained.
    pub target: Target,
}

/// Explains the samples chunk by chunk; `visit` gets each chunk's indices and its explanations, one a target.
///
/// # Errors
/// An error of the explainer or of `visit`, relevance that is not finite, or an interruption.
pub fn explain_all(
    kernels: &Kernels,
    method: Method,
    request: ExplanationRequest,
    mut visit: impl FnMut(&[usize], Vec<Explanation>) -> Result<()>,
) -> Result<Summary> {
    let ExplanationRequest { network, samples, indices, target } = request;
    let mut explainer = Explainer::new(kernels, network, method, CHUNK.min(indices.len().max(1)))?;
    let mut summary = Summary::default();
    for chunk in indices.chunks(CHUNK) {
        check_stop()?;
        let found = explainer.explain(kernels, samples, chunk, target)?;
        for batch in &found {
            let size = batch.relevance.len() / chunk.len();
            if let Some(at) = batch.relevance.iter().position(|r| !r.is_finite()) {
                bail!(
                    "sample {}: its relevance is {}, not a finite number",
                    chunk[at / size],
                    batch.relevance[at]
                );
            }
            summary.add(batch);
        }
        visit(chunk, found)?;
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absorbed_relevance_and_non_positive_logits_are_counted() {
        let mut summary = Summary::default();
        for (explained, absorbed) in [(2.0, 0.0), (2.0, 1e-3), (-1.0, 0.0), (0.0, 0.0)] {
            let (explained, absorbed) = (vec![explained], vec![absorbed]);
            let (relevance, conservation_error) = (vec![1.0, -1.0], vec![0.0]);
            let batch =
                Explanation { explained, absorbed, relevance, conservation_error, ..Explanation::default() };
            summary.add(&batch);
        }
        assert_eq!((summary.explanations, summary.absorbing, summary.not_positive), (4, 1, 2));
        assert_eq!((summary.absorbed_share_max, summary.negative_share), (5e-4, 0.5));
    }
}

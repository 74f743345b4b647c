//! Explains any number of samples in bounded memory.

use crate::signal::check_stop;
use anyhow::{Result, bail};
use kernels::Kernels;
use model::explain::{Explained, Explainer, Explanation, Method, Target, Value};
use model::{Network, Samples};
use serde::{Deserialize, Serialize};

/// Samples explained at once.
pub const CHUNK: usize = 100;

/// The share of `f` that may be absorbed without being counted.
pub const ABSORBED: f64 = 1e-4;

/// The tolerance of conservation, relative to the largest of `|f|` and `Σ|R|`: rules with terms of both signs add up
/// relevances that are larger than `f`.
pub const CONSERVED: f64 = 1e-4;

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
    /// Explanations whose relevance and absorbed relevance do not add up to `f`, by [`CONSERVED`].
    #[serde(default)]
    pub not_conserved: usize,
    /// Where relevance was absorbed or negative, by layer in the order of the parameters; none for gradient methods.
    #[serde(default)]
    pub ledger: Vec<LedgerLine>,
    #[serde(skip)]
    absolute: f64,
    #[serde(skip)]
    negative: f64,
    #[serde(skip)]
    explained: f64,
}

/// What became of relevance in one layer, by step, in shares of the sum of `|f|` over the explanations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// The layer; a pool counts with the convolution in front of it.
    pub layer: String,
    /// Absorbed by stabilisers, signs kept.
    pub absorbed: Vec<f64>,
    /// Negative relevance of the layer's inputs, at most 0.
    pub negative: Vec<f64>,
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
        self.not_conserved += not_conserved(batch);
        self.add_ledger(batch);
        self.negative_share = if self.absolute > 0.0 { self.negative / self.absolute } else { 0.0 };
    }

    fn add_ledger(&mut self, batch: &Explanation) {
        let before = self.explained;
        self.explained += batch.explained.iter().map(|&f| f64::from(f).abs()).sum::<f64>();
        let after = self.explained.max(f64::MIN_POSITIVE);
        for (i, found) in batch.ledger.iter().enumerate() {
            let steps = found.absorbed.len() / batch.explained.len().max(1);
            if self.ledger.len() == i {
                let zero = vec![0.0; steps];
                let (absorbed, negative) = (zero.clone(), zero);
                self.ledger.push(LedgerLine { layer: found.layer.clone(), absorbed, negative });
            }
            let line = &mut self.ledger[i];
            for (shares, values) in
                [(&mut line.absorbed, &found.absorbed), (&mut line.negative, &found.negative)]
            {
                for (t, share) in shares.iter_mut().enumerate() {
                    let sum: f64 = values.iter().skip(t).step_by(steps).sum();
                    *share = (*share * before + sum) / after;
                }
            }
        }
    }
}

/// Explanations of a batch that do not conserve relevance.
fn not_conserved(batch: &Explanation) -> usize {
    let n = batch.explained.len();
    let size = batch.relevance.len() / n.max(1);
    let fails = |i: &usize| {
        let map = &batch.relevance[i * size..][..size];
        let f = f64::from(batch.explained[*i]);
        let (sum, absolute) = map
            .iter()
            .fold((0.0, 0.0), |(sum, absolute), &r| (sum + f64::from(r), absolute + f64::from(r.abs())));
        // Written so that a NaN fails.
        let conserved = (f - sum - batch.absorbed[*i]).abs() <= CONSERVED * f.abs().max(absolute);
        !conserved
    };
    (0..n).filter(fails).count()
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
    /// The class that is explained.
    pub target: Target,
    /// What is explained of its logit; rows are those of the indices.
    pub value: &'a Value,
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
    let ExplanationRequest { network, samples, indices, target, value } = request;
    let mut explainer = Explainer::new(kernels, network, method, CHUNK.min(indices.len().max(1)))?;
    let mut summary = Summary::default();
    let classes = network.task().classes;
    for (i, chunk) in indices.chunks(CHUNK).enumerate() {
        check_stop()?;
        let value = match value {
            Value::Rows(rows) => Value::Rows(rows[i * CHUNK * classes..][..chunk.len() * classes].to_vec()),
            named => named.clone(),
        };
        let found = explainer.explain_values(kernels, samples, chunk, &[Explained { target, value }])?;
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

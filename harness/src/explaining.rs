//! Explaining any number of samples through bounded memory.

use crate::run::check_stop;
use anyhow::Result;
use kernels::Kernels;
use model::explain::{Explainer, Explanation, Method, Target};
use model::{Network, Samples};
use serde::{Deserialize, Serialize};

/// Samples explained at once.
pub const CHUNK: usize = 100;

/// What can be said of many explanations without their pictures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Explanations.
    pub explanations: usize,
    /// Mean of `|f − ΣR − lost| / |f|` (Eq. 3.8).
    pub conservation_error_mean: f64,
    /// The largest.
    pub conservation_error_max: f64,
    /// Mean share of `f` that dead units kept.
    pub lost_share_mean: f64,
    /// The largest.
    pub lost_share_max: f64,
    /// Explained logits that are not positive: there is no evidence to hand on.
    pub not_positive: usize,
    /// Share of the absolute relevance that is negative.
    pub negative_share: f64,
    #[serde(skip)]
    absolute: f64,
    #[serde(skip)]
    negative: f64,
}

impl Summary {
    /// Takes a batch in.
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
        let lost = batch.lost.iter().zip(&batch.explained);
        let mut shares = lost.map(|(lost, &f)| lost.abs() / f64::from(f).abs().max(f64::MIN_POSITIVE));
        mean(&mut self.lost_share_mean, &mut self.lost_share_max, &mut shares);
        self.not_positive += batch.explained.iter().filter(|&&f| f <= 0.0).count();
        for &r in &batch.relevance {
            self.absolute += f64::from(r.abs());
            self.negative += f64::from((-r).max(0.0));
        }
        self.negative_share = if self.absolute > 0.0 { self.negative / self.absolute } else { 0.0 };
    }
}

/// Explains the samples chunk by chunk; `visit` gets each chunk's indices and its explanations, one a
/// target.
///
/// # Errors
/// What the explainer or `visit` says, or an interruption.
pub fn explain_all(
    kernels: &Kernels,
    network: &Network,
    method: Method,
    samples: &dyn Samples,
    indices: &[usize],
    target: Target,
    mut visit: impl FnMut(&[usize], Vec<Explanation>) -> Result<()>,
) -> Result<Summary> {
    let mut explainer = Explainer::new(kernels, network, method, CHUNK.min(indices.len().max(1)))?;
    let mut summary = Summary::default();
    for chunk in indices.chunks(CHUNK) {
        check_stop()?;
        let found = explainer.explain(kernels, network, samples, chunk, target)?;
        found.iter().for_each(|batch| summary.add(batch));
        visit(chunk, found)?;
    }
    Ok(summary)
}

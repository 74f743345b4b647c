//! How reliable the heatmaps of one method are: pixel flipping, randomisation, dependence on the class, noise.

use super::explanations::{ExplanationRequest, Summary};
use super::flipping::{Flipped, Flipping, Order};
use super::heatmaps::Relevance;
use super::intervals::{self, Intervals};
use super::numbers;
use super::randomise::{Similarity, cascade};
use anyhow::Result;
use kernels::Kernels;
use model::explain::Target;
use model::measure::heatmap;
use serde::Serialize;

/// The results of one method on the samples of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Conservation, absorbed and negative relevance.
    pub summary: Summary,
    /// Mean total variation of a heatmap over its absolute sum.
    pub noise: Option<f64>,
    /// Mean |cosine| between the heatmaps of the true class and of the largest other logit.
    pub other_class: Option<f64>,
    /// Pixel flipping in the order of this method.
    pub flipped: Vec<Flipped>,
    /// Similarity to the original heatmaps as layers are randomised, from the logits down.
    pub randomised: Vec<Similarity>,
    /// Intervals over samples of these; those of shares by step are none.
    pub intervals: Intervals,
}

/// Measures a method; `request` names network, samples and value, its target is not read. Regions of pixel flipping are
/// `side`×`side`, `random` are the curves of a random order on the same samples.
///
/// # Errors
/// An error of the explainer or the evaluator, or an interruption.
pub fn quality(
    kernels: &Kernels,
    relevance: Relevance,
    request: ExplanationRequest,
    side: usize,
    random: &[Flipped],
) -> Result<Quality> {
    let task = *request.network.task();
    let (cols, size) = (task.cols, task.rows * task.cols);
    let of = |target| relevance.collect(kernels, ExplanationRequest { target, ..request });
    let (predicted, summary) = of(Target::Predicted)?;
    let (labelled, _) = of(Target::True)?;
    let (runner_up, _) = of(Target::RunnerUp)?;
    let noises = || predicted.chunks_exact(size).map(|map| heatmap::noise(map, cols));
    let pairs = || labelled.chunks_exact(size).zip(runner_up.chunks_exact(size));
    let cosines = || pairs().map(|(a, b)| heatmap::cosine(a, b).map(f64::abs));
    let mut flipped = Vec::new();
    let mut flipping = Flipping::new(kernels, request.network, request.samples, request.indices, side)?;
    for order in [Order::MostFirst, Order::LeastFirst] {
        flipped.extend(flipping.run(request.network, kernels, order, Some(&predicted))?);
    }
    let randomised = cascade(&labelled, request.network, |network| {
        let request = ExplanationRequest { network, target: Target::True, ..request };
        Ok(relevance.collect(kernels, request)?.0)
    })?;
    let last = randomised.last().map(|of| of.samples.clone()).unwrap_or_default();
    let intervals = Intervals {
        noise: intervals::of_mean(noises()),
        other_class: intervals::of_mean(cosines()),
        gain: intervals::gain(&flipped, random),
        randomised: intervals::of_mean(last.into_iter()),
        ..Intervals::default()
    };
    let (noise, other_class) = (numbers::mean(noises()), numbers::mean(cosines()));
    Ok(Quality { summary, noise, other_class, flipped, randomised, intervals })
}

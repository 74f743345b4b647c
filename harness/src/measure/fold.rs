//! Relevance over the whole test half by several methods, without the checks of heatmaps: the measures of the finished
//! thesis. On a majority problem they score where relevance lies.

use super::explanations::{ExplanationRequest, Summary};
use super::heatmaps::{MAIN, Relevance};
use super::majority::MajorityScores;
use super::numbers::mean;
use super::result::{Group, MajorityResult, Measured, OfMethod};
use super::samples::SampleSelection;
use super::settings::Measure;
use crate::dataset::samples::Scaled;
use anyhow::{Context, Result};
use kernels::Kernels;
use model::Network;
use model::explain::Value;
use model::measure::heatmap::noise;

/// A network and the samples that it is measured on.
#[derive(Clone, Copy, Debug)]
pub struct FoldRequest<'a> {
    /// The network.
    pub network: &'a Network,
    /// The test half.
    pub samples: &'a Scaled,
    /// The selected samples.
    pub selection: &'a SampleSelection,
    /// The measurements to make.
    pub measure: &'a Measure,
    /// The kernel set.
    pub kernels: &'a Kernels,
}

/// Every method over the test samples, and the heatmaps that figures show, `[N, rows, cols]`; `advance` is called after
/// each method.
///
/// # Errors
/// An error of the explainer, or an interruption.
pub fn measure_fold(request: FoldRequest, mut advance: impl FnMut()) -> Result<(Measured, Vec<f32>)> {
    let FoldRequest { selection, measure, kernels, .. } = request;
    let (mut found, mut maps) = (Measured::default(), Vec::new());
    let value = measure.value();
    for name in &measure.methods {
        let walked = walk(name, request, &value)?;
        if name == MAIN {
            found.test = walked.summary.clone();
        }
        let groups = [("each-class", &selection.each_class), ("population", &selection.population)];
        for (group, indices) in groups {
            let relevance = by_name(name)?;
            let (kept, _) = relevance.collect(kernels, of(request, indices, &value))?;
            maps.extend(kept);
            found.groups.push(Group { name: format!("{name}/{group}"), count: indices.len() });
        }
        let Walk { class_columns, summary, noise, majority } = walked;
        let method = name.clone();
        found.methods.push(OfMethod { method, summary, class_columns, noise, ..OfMethod::default() });
        found.majority.extend(majority);
        advance();
    }
    Ok((found, maps))
}

/// What one method finds.
struct Walk {
    /// Relevance of each image column, summed over the samples of the selection's class.
    class_columns: Vec<f64>,
    summary: Summary,
    noise: Option<f64>,
    /// Of a majority problem.
    majority: Option<MajorityResult>,
}

fn by_name(name: &str) -> Result<Relevance> {
    Relevance::by_name(name).with_context(|| format!("no method is named {name}"))
}

fn of<'a>(request: FoldRequest<'a>, indices: &'a [usize], value: &'a Value) -> ExplanationRequest<'a> {
    let FoldRequest { network, samples, measure, .. } = request;
    ExplanationRequest { network, samples, indices, target: measure.target(), value }
}

/// Explains all test samples of the selection, batch by batch.
fn walk(name: &str, request: FoldRequest, value: &Value) -> Result<Walk> {
    let FoldRequest { network, samples, selection, kernels, .. } = request;
    let task = *network.task();
    let (cols, size, split) = (task.cols, task.rows * task.cols, samples.split());
    let mut class_columns = vec![0.0; cols];
    let mut scores = MajorityScores::new(task.rows, cols, task.seq_len);
    let mut noises = Vec::new();
    let all: Vec<usize> = (0..selection.test).collect();
    let summary = by_name(name)?.explain(kernels, of(request, &all, value), |chunk, found| {
        for (&sample, map) in chunk.iter().zip(found.relevance.chunks_exact(size)) {
            if usize::from(split.label(sample)) == selection.class {
                map.iter().enumerate().for_each(|(i, &r)| class_columns[i % cols] += f64::from(r));
            }
            noises.push(noise(map, cols));
        }
        let masks: Vec<_> = chunk.iter().filter_map(|&sample| split.mask(sample)).collect();
        if !masks.is_empty() {
            scores.add(&masks, &found.relevance);
        }
        Ok(())
    })?;
    let mean_of = |values: &[f64]| mean(values.iter().map(|&value| Some(value)));
    let majority = mean_of(&scores.cosine).map(|cosine| MajorityResult {
        method: name.to_owned(),
        cosine,
        cosine_positive: mean_of(&scores.cosine_positive).unwrap_or_default(),
        share_by_block: scores.share_by_block(),
        share_by_step: scores.share_by_step(),
        majority_share: scores.majority_share(),
    });
    Ok(Walk { class_columns, summary, noise: mean(noises.into_iter()), majority })
}

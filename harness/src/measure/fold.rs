//! The majority problem: every test sample of a fold explained by a method, and where its relevance lies.

use super::explanations::{ExplanationRequest, Summary};
use super::heatmaps::Relevance;
use super::majority::MajorityScores;
use super::numbers::mean;
use crate::dataset::Split;
use anyhow::{Context, Result};
use kernels::Kernels;
use serde::{Deserialize, Serialize};

/// The relevance of one method over the test samples of a majority problem.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MajorityResult {
    /// The method.
    pub method: String,
    /// Mean cosine between the mask and the share of relevance by block.
    pub cosine: f64,
    /// The same with negative relevance set to 0 first.
    pub cosine_positive: f64,
    /// Share of all relevance by block, `[3]`.
    pub share_by_block: Vec<f64>,
    /// Share of all relevance by step, `[T]`.
    pub share_by_step: Vec<f64>,
    /// Share of all relevance on the blocks of the majority.
    pub majority_share: f64,
}

/// Relevance by method and column, and what a majority problem is scored by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walk {
    /// Relevance of each image column, summed over the samples of the class.
    pub class_columns: Vec<f64>,
    /// Conservation over all explained samples.
    pub summary: Summary,
    /// Scores of the majority problem; none of another set.
    pub majority: Option<MajorityResult>,
}

/// Explains the samples of `request` in batches: all test samples of a majority problem, or those of a class.
///
/// - `split` the samples, whose masks are read
/// - `class` the class whose relevance is summed by column
///
/// # Errors
/// An error of the explainer, or an interruption.
pub fn walk(
    name: &str,
    kernels: &Kernels,
    request: ExplanationRequest,
    split: &Split,
    class: usize,
) -> Result<Walk> {
    let relevance = Relevance::by_name(name).with_context(|| format!("no method is named {name}"))?;
    let task = *request.network.task();
    let (cols, size) = (task.cols, task.rows * task.cols);
    let mut class_columns = vec![0.0; cols];
    let mut scores = MajorityScores::new(task.rows, cols, task.seq_len);
    let summary = relevance.explain(kernels, request, |chunk, found| {
        for (&sample, map) in chunk.iter().zip(found.relevance.chunks_exact(size)) {
            if usize::from(split.label(sample)) == class {
                map.iter().enumerate().for_each(|(i, &r)| class_columns[i % cols] += f64::from(r));
            }
        }
        let masks: Vec<_> = chunk.iter().filter_map(|&sample| split.mask(sample)).collect();
        if !masks.is_empty() {
            scores.add(&masks, &found.relevance);
        }
        Ok(())
    })?;
    let of = |values: &[f64]| mean(values.iter().map(|&value| Some(value)));
    let majority = of(&scores.cosine).map(|cosine| MajorityResult {
        method: name.to_owned(),
        cosine,
        cosine_positive: of(&scores.cosine_positive).unwrap_or_default(),
        share_by_block: scores.share_by_block(),
        share_by_step: scores.share_by_step(),
        majority_share: scores.majority_share(),
    });
    Ok(Walk { class_columns, summary, majority })
}

//! `measured.json`: all measurements of one run.

use super::classes::{ClassDependence, ValueSigns};
use super::explanations::Summary;
use super::flipping::Flipped;
use super::intervals::Intervals;
use super::randomise;
use super::samples::SampleSelection;
use super::settings::Measure;
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// Files that measuring writes to a run's folder.
pub const FILES: [&str; 2] = ["measured.json", "heatmaps.npy"];

/// Increased when the same settings give other numbers, so that old measurements are repeated.
const VERSION: u32 = 3;

/// The results of one method on one network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfMethod {
    /// Its name.
    pub method: String,
    /// Conservation, absorbed and negative relevance on the measured samples.
    pub summary: Summary,
    /// Relevance of each image column, summed over the class's test samples.
    pub class_columns: Vec<f64>,
    /// Mean total variation of a heatmap over its absolute sum: see [`noise`](model::measure::heatmap::noise).
    pub noise: Option<f64>,
    /// Mean |cosine| between the heatmaps of the true class and of the largest other logit.
    #[serde(alias = "rival_cosine")]
    pub runner_up_cosine: Option<f64>,
    /// Pixel flipping in the order of this method.
    pub flipped: Vec<Flipped>,
    /// Similarity to the original heatmaps as layers are randomised, from the logits down.
    pub randomised: Vec<randomise::Similarity>,
    /// Intervals over samples; empty in files of older versions.
    #[serde(default)]
    pub intervals: Intervals,
}

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

/// Heatmaps or images in `heatmaps.npy`: their name and number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `deep-taylor/each-class`, `deep-taylor/population`, `prototypes`, …
    pub name: String,
    /// Pictures.
    pub count: usize,
}

/// All measurements of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// SHA-256 of the model that was measured.
    pub model_sha256: String,
    /// SHA-256 of `heatmaps.npy`.
    pub heatmaps_sha256: String,
    /// The settings and samples, as JSON.
    #[serde(alias = "asked")]
    pub request: String,
    /// Deep Taylor on every test sample.
    pub test: Summary,
    /// Each method on the measured samples.
    pub methods: Vec<OfMethod>,
    /// Pixel flipping in random order, the baseline of every method.
    pub random_order: Vec<Flipped>,
    /// `P(class | prototype)`, by class.
    pub prototype_probability: Vec<f64>,
    /// Signs of every value of the predicted class on the test set.
    #[serde(default)]
    pub values: Vec<ValueSigns>,
    /// How alike the heatmaps of all classes are, by method and value.
    #[serde(default)]
    pub classes: Vec<ClassDependence>,
    /// Where relevance lies on a majority problem, by method over all test samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub majority: Vec<MajorityResult>,
    /// What `heatmaps.npy` holds, in order.
    pub groups: Vec<Group>,
}

impl Measured {
    /// Where the relevance of one method lies on a majority problem.
    pub fn majority(&self, name: &str) -> Option<&MajorityResult> {
        self.majority.iter().find(|of| of.method == name)
    }

    /// The results of one method.
    pub fn method(&self, name: &str) -> Option<&OfMethod> {
        self.methods.iter().find(|of| of.method == name)
    }
}

/// The settings and samples of a measurement, as JSON.
///
/// # Errors
/// If they cannot be written as JSON.
pub fn request(measure: &Measure, selection: &SampleSelection) -> Result<String> {
    // The neuron of Figures 3.4 to 3.6 is not part of a run.
    let measure = Measure { neuron: Measure::default().neuron, ..measure.clone() };
    Ok(serde_json::to_string(&(
        VERSION,
        measure,
        &selection.measured,
        &selection.population,
        selection.test,
    ))?)
}

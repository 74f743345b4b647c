//! `run.json`: settings and result of a run.

use super::settings::Settings;
use crate::dataset::DataSha256;
use serde::{Deserialize, Serialize};

/// The result of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// `Deep-7`
    pub title: String,
    /// Variables of the network.
    pub variables: usize,
    /// Accuracy on the held-out training samples after the last epoch.
    pub validation_accuracy: f64,
    /// Accuracy on the test set after the last epoch.
    pub test_accuracy: f64,
    /// Test samples for which all activations of a layer are zero.
    pub test_dead: usize,
    /// Epoch of the best validation accuracy.
    pub best_epoch: u64,
    /// Seconds of this process.
    pub seconds: f64,
}

/// The content of `run.json`.
#[derive(Serialize)]
pub(super) struct Manifest<'a> {
    pub state: &'a str,
    pub settings: &'a Settings,
    pub variables: usize,
    pub dataset: &'a str,
    pub samples: [usize; 3],
    pub data_sha256: &'a DataSha256,
    pub version: &'a str,
    pub commit: Option<&'a str>,
    pub cpu: &'a str,
    pub kernels: &'a str,
    pub threads: usize,
    pub seconds: f64,
    pub outcome: Option<&'a Outcome>,
}

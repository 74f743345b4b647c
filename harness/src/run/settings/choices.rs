//! Choices that settings make by name, and the range of the pixels.

use crate::io::pair::pair;
use clap::ValueEnum;
use model::train::DropoutPolicy;
use model::{Architecture, InitialValues, PoolKind};
use serde::{Deserialize, Deserializer, Serialize};

/// The optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserName {
    /// Adam, β₁ 0.9, β₂ 0.999, ε 1e-8
    Adam,
    /// SGD with momentum
    Sgd,
}

/// Pooling of convolutional encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolName {
    /// Maximum of the window
    Max,
    /// Sum of the window
    Sum,
}

impl From<PoolName> for PoolKind {
    fn from(name: PoolName) -> PoolKind {
        match name {
            PoolName::Max => PoolKind::Max,
            PoolName::Sum => PoolKind::Sum,
        }
    }
}

/// Where units are dropped, and how many unless `dropout` says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropoutProfile {
    /// Behind dense encoder layers and in front of the head, 0.5; nothing without an encoder
    #[default]
    Draft,
    /// On the inputs of the core too
    DraftCode,
    /// On the input of the recurrent layer too, 0.2, for every cell
    Final,
}

impl DropoutProfile {
    /// The policy for an architecture.
    pub fn policy(self, architecture: &Architecture) -> DropoutPolicy {
        match self {
            DropoutProfile::Draft => DropoutPolicy::draft(architecture),
            DropoutProfile::DraftCode => DropoutPolicy::draft_code(architecture),
            DropoutProfile::Final => DropoutPolicy::finished(),
        }
    }
}

/// The spread of the initial weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialName {
    /// σ = 0.1
    #[default]
    Draft,
    /// σ² = 1 / inputs of the unit
    Final,
}

impl From<InitialName> for InitialValues {
    fn from(name: InitialName) -> InitialValues {
        match name {
            InitialName::Draft => InitialValues::Draft,
            InitialName::Final => InitialValues::Final,
        }
    }
}

/// `[low, high]` of the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range(pub f32, pub f32);

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Range, D::Error> {
        pair(from).map(|[low, high]| Range(low, high))
    }
}

/// Parses `-1,1`.
///
/// # Errors
/// If the text is not two numbers.
pub fn parse_range(text: &str) -> Result<Range, String> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[low, high]) if low.is_finite() && high.is_finite() => Ok(Range(low, high)),
        _ => Err("it must be LOW,HIGH, such as -1,1".to_owned()),
    }
}

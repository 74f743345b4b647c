//! Dropout as a policy: places and rate.

use crate::architecture::Architecture;
use crate::error::ModelError;
use serde::{Deserialize, Serialize};

/// Where units are dropped, with which probability, and whether anew at every step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DropoutPolicy {
    /// Drop probability, at least 0 and below 1; kept units are scaled by `1 / (1 − rate)`.
    pub rate: f32,
    /// After every dense layer of the encoder.
    pub encoder: bool,
    /// On the core's inputs: `r_t`, and `e_t` where an encoder gives it; nothing is masked twice.
    #[serde(default)]
    pub combine: bool,
    /// On the core's output where its recurrent layer reads it.
    #[serde(default)]
    pub recurrent: bool,
    /// On the core's last output, which the head reads.
    pub head: bool,
    /// Whether a sample has the same mask at every step of its sequence.
    #[serde(default)]
    pub stationary: bool,
}

impl DropoutPolicy {
    /// Nothing is dropped.
    pub const NONE: DropoutPolicy = DropoutPolicy {
        rate: 0.0,
        encoder: false,
        combine: false,
        recurrent: false,
        head: false,
        stationary: false,
    };

    /// The policy of the draft: 0.5 after dense encoder layers and on the core's last output; none without an
    /// encoder.
    pub fn draft(architecture: &Architecture) -> DropoutPolicy {
        let rate = if architecture.encoder.is_empty() { 0.0 } else { 0.5 };
        DropoutPolicy { rate, encoder: true, head: true, ..DropoutPolicy::NONE }
    }

    /// That of the code behind the draft: its combine layer drops its inputs too.
    pub fn draft_code(architecture: &Architecture) -> DropoutPolicy {
        DropoutPolicy { combine: true, ..DropoutPolicy::draft(architecture) }
    }

    /// That of the finished thesis: 0.2 everywhere.
    pub fn finished() -> DropoutPolicy {
        DropoutPolicy {
            rate: 0.2,
            encoder: true,
            combine: true,
            recurrent: true,
            head: true,
            stationary: false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        if (0.0..1.0).contains(&self.rate) {
            return Ok(());
        }
        let found = f64::from(self.rate);
        Err(ModelError::Range { what: "dropout", found, expected: "at least 0 and below 1" })
    }
}

//! What a network is put to: the image, its steps and classes.

use crate::architecture::at_most;
use crate::error::ModelError;

/// Rows or columns of an image: with the bounds of an [`Architecture`](crate::Architecture), no product of sizes
/// leaves a `usize`.
const MAX_PIXELS: usize = 4096;
/// A label is a byte.
const MAX_CLASSES: usize = 256;

/// The input and output shape of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// Image rows.
    pub rows: usize,
    /// Image columns.
    pub cols: usize,
    /// Steps T: column strips of `cols / T`.
    pub seq_len: usize,
    /// Classes.
    pub classes: usize,
    /// Smallest pixel value, the `l` of z^β.
    pub low: f32,
    /// Largest pixel value, the `h` of z^β.
    pub high: f32,
    /// Whether the softmax sees one more logit, which is constantly 0 and never the target: then the loss depends on
    /// a common shift of the logits, and training makes the target's logit positive. Accuracy does not see it.
    pub zero_logit: bool,
}

impl Default for Task {
    /// MNIST in one step.
    fn default() -> Self {
        Task { rows: 28, cols: 28, seq_len: 1, classes: 10, low: -1.0, high: 1.0, zero_logit: false }
    }
}

impl Task {
    /// Columns of one step.
    pub fn step_cols(&self) -> usize {
        self.cols / self.seq_len
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        for (what, found, most) in [
            ("rows", self.rows, MAX_PIXELS),
            ("cols", self.cols, MAX_PIXELS),
            ("seq_len", self.seq_len, MAX_PIXELS),
            ("classes", self.classes, MAX_CLASSES),
        ] {
            if found == 0 {
                return Err(ModelError::Zero { what });
            }
            at_most(what, found, most)?;
        }
        if !self.cols.is_multiple_of(self.seq_len) {
            return Err(ModelError::SequenceLength { seq_len: self.seq_len, cols: self.cols });
        }
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        if !(low.is_finite() && low <= 0.0) {
            return Err(ModelError::Range { what: "low", found: low, expected: "finite and ≤ 0" });
        }
        if !(high.is_finite() && high >= 0.0 && high > low) {
            let expected = "finite, ≥ 0 and above low";
            return Err(ModelError::Range { what: "high", found: high, expected });
        }
        Ok(())
    }
}

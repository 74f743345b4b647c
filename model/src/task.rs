//! The input and output shape of a network: image, steps, classes, pixel range.

use crate::architecture::at_most;
use crate::error::ModelError;

/// Rows or columns of an image: with the bounds of an [`Architecture`](crate::Architecture), no product of
/// sizes overflows a `usize`.
const MAX_PIXELS: usize = 4096;
/// The size of a pixel bound: twice it, times a weight, summed over an image, is far below the largest f32.
const MAX_BOUND: f64 = 1e9;
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
        if !(-MAX_BOUND..=0.0).contains(&low) {
            return Err(ModelError::Range {
                what: "low",
                found: low,
                expected: "finite, ≤ 0 and at least -1e9",
            });
        }
        if !((0.0..=MAX_BOUND).contains(&high) && high > low) {
            let expected = "finite, ≥ 0, above low and at most 1e9";
            return Err(ModelError::Range { what: "high", found: high, expected });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_pixels_are_finite_and_leave_room_for_sums() {
        let check = |low, high| {
            Task { rows: 28, cols: 28, seq_len: 7, classes: 10, low, high, zero_logit: false }.check()
        };
        for (low, high) in [(-1.0, 1.0), (0.0, 255.0), (-1e9, 1e9), (-1.0, 0.0), (0.0, 1e-45)] {
            assert!(check(low, high).is_ok(), "{low} {high}");
        }
        for (low, high) in [
            (-3e38, 3e38),
            (0.0, 1.1e9),
            (-1.1e9, 0.0),
            (0.5, 1.0),
            (-1.0, -0.5),
            (0.0, 0.0),
            (f32::NAN, 1.0),
            (0.0, f32::INFINITY),
        ] {
            assert!(matches!(check(low, high), Err(ModelError::Range { .. })), "{low} {high}");
        }
    }
}

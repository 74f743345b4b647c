//! How a number from outside is bounded, so that a mistyped one is refused instead of exhausting memory or time.

use crate::error::UsageError;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Samples of a batch; a training needs memory only for as many as there are.
pub const BATCH: RangeInclusive<usize> = 1..=1_000_000;
/// Samples that are held in memory at once beside their activations.
pub const BATCH_IN_MEMORY: RangeInclusive<usize> = 1..=10_000;
/// Epochs of a training.
pub const EPOCHS: RangeInclusive<u64> = 1..=1_000_000;
/// Folds of a cross-validation.
pub const FOLDS: RangeInclusive<usize> = 2..=1000;
/// Time steps; no image is wider.
pub const SEQ_LEN: RangeInclusive<usize> = 1..=4096;
/// Steps of an optimisation or a measurement.
pub const STEPS: RangeInclusive<usize> = 1..=1_000_000;
/// Inputs whose gradients are averaged for one heatmap.
pub const POINTS: RangeInclusive<usize> = 1..=100_000;
/// Steps of a profile, each of which is kept.
pub const MEASURED_STEPS: RangeInclusive<usize> = 1..=100_000;
/// Samples of a check, drawn in memory.
pub const CHECKED_SAMPLES: RangeInclusive<usize> = 1..=100_000;
/// Samples of a generated half of a data set.
pub const GENERATED_SAMPLES: RangeInclusive<usize> = 1..=10_000_000;
/// Threads, and trainings in parallel: more than any of these networks can use.
pub const THREADS: RangeInclusive<usize> = 1..=1024;
/// Tasks of a plan that run at once.
pub const AT_ONCE: RangeInclusive<usize> = 1..=100_000;
/// Samples, pixels or classes of a measurement of an experiment.
pub const MEASURED: RangeInclusive<usize> = 1..=1_000_000;

/// Checks a number that an option, a variable or a file sets.
///
/// # Errors
/// [`UsageError`] that names it, its value and the bound.
pub fn bounded<T: PartialOrd + Display + Copy>(
    name: &str,
    value: T,
    bounds: RangeInclusive<T>,
) -> Result<T, UsageError> {
    let refuse = |bound: &str, at: &T| Err(UsageError(format!("{name} is {value}; it must be {bound} {at}")));
    if value < *bounds.start() {
        return refuse("at least", bounds.start());
    }
    if value > *bounds.end() {
        return refuse("at most", bounds.end());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_is_refused_with_its_name_and_the_bound() {
        assert_eq!(bounded("--batch", 1, BATCH).unwrap(), 1);
        assert_eq!(bounded("--batch", 0, BATCH).unwrap_err().0, "--batch is 0; it must be at least 1");
        let text = bounded("--batch", usize::MAX, BATCH).unwrap_err().0;
        assert!(text.ends_with("it must be at most 1000000"), "{text}");
    }
}

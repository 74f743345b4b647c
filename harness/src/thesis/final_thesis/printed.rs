//! Numbers of the finished thesis, from `printed.toml`.

use serde::Deserialize;
use std::sync::LazyLock;

/// The methods of the thesis, in the order of its figures.
pub const METHODS: [(&str, &str); 4] = [
    ("sensitivity", "SA"),
    ("guided-backprop", "GB"),
    ("deep-taylor", "DTD"),
    ("lrp-alpha1.5-beta0.5", "LRP 1.5/0.5"),
];

/// A cell on a majority problem.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Majority {
    set: String,
    cell: String,
    /// Cosine with the mask, by [`METHODS`].
    pub cosine: [f64; 4],
    /// Test accuracy.
    pub accuracy: f64,
    /// Mean test accuracy over the folds, where it is known.
    pub folds_accuracy: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Single {
    set: String,
    cell: String,
    seq_len: usize,
    accuracy: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Share {
    set: String,
    cell: String,
    steps: Vec<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Printed {
    majority: Vec<Majority>,
    single: Vec<Single>,
    share: Vec<Share>,
}

// The file is part of the program; a test reads it.
static PRINTED: LazyLock<Printed> =
    LazyLock::new(|| toml::from_str(include_str!("printed.toml")).unwrap_or_default());

/// A cell on a majority problem.
pub fn majority(set: &str, cell: &str) -> Option<&'static Majority> {
    PRINTED.majority.iter().find(|of| of.set == set && of.cell == cell)
}

/// Cosine with the mask by a method.
pub fn cosine(set: &str, cell: &str, method: &str) -> Option<f64> {
    let at = METHODS.iter().position(|(name, _)| *name == method)?;
    majority(set, cell).map(|of| of.cosine[at])
}

/// Test accuracy on single images.
pub fn single(set: &str, cell: &str, seq_len: usize) -> Option<f64> {
    let same = |of: &&Single| of.set == set && of.cell == cell && of.seq_len == seq_len;
    PRINTED.single.iter().find(same).map(|of| of.accuracy)
}

/// Share of each of seven steps, class 1, deep Taylor; `pixels` is the pixel intensity.
pub fn share(set: &str, cell: &str) -> Option<&'static [f64]> {
    PRINTED.share.iter().find(|of| of.set == set && of.cell == cell).map(|of| &of.steps[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_every_cell_of_the_thesis() {
        let sets = ["mnist-maj", "fashion-mnist-maj"];
        for set in sets {
            assert_eq!(PRINTED.majority.iter().filter(|of| of.set == set).count(), 10);
        }
        assert_eq!((PRINTED.single.len(), PRINTED.share.len()), (12, 5));
        assert_eq!(cosine("mnist-maj", "r-lstm-sd", "lrp-alpha1.5-beta0.5"), Some(0.972));
        assert_eq!(cosine("fashion-mnist-maj", "final-shallow", "sensitivity"), Some(0.711));
        assert_eq!(single("fashion-mnist", "final-deep", 7), Some(0.8896));
        assert!(PRINTED.share.iter().all(|of| (of.steps.iter().sum::<f64>() - 1.0).abs() < 5e-3));
    }
}

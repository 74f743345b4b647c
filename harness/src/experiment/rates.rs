//! Candidates of the learning rate, and the results of a search.

use crate::error::UsageError;
use crate::io::file;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The file with the result of a search, in the folder of the experiment.
pub const FILE: &str = "learning-rates.json";

/// Options of the learning rate search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Search {
    /// The candidates.
    pub rates: Vec<f64>,
    /// Epochs of each candidate.
    pub epochs: u64,
}

impl Default for Search {
    fn default() -> Search {
        Search { rates: vec![1e-3, 5e-4, 2e-4, 1e-4], epochs: 3 }
    }
}

impl Search {
    pub(super) fn check(&self) -> Result<(), UsageError> {
        let positive = self.rates.iter().all(|rate| rate.is_finite() && *rate > 0.0);
        if self.rates.is_empty() || !positive || self.epochs == 0 {
            return Err(UsageError("[search] needs positive rates and at least 1 epoch".to_owned()));
        }
        let repeated = self.rates.iter().enumerate().find(|(i, rate)| self.rates[..*i].contains(rate));
        if let Some((_, rate)) = repeated {
            return Err(UsageError(format!("[search] lists the rate {rate} twice")));
        }
        Ok(())
    }
}

/// The result of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Learning rate.
    pub lr: f64,
    /// Accuracy on the held-out training samples; none if the training failed.
    pub validation_accuracy: Option<f64>,
}

/// The candidates of each group and their results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates(pub BTreeMap<String, Vec<Candidate>>);

impl Rates {
    /// The best rate of a group.
    pub fn get(&self, group: &str) -> Option<f64> {
        let best = |best: Option<(f64, f64)>, tried: &Candidate| {
            let accuracy = tried.validation_accuracy?;
            match best {
                Some((lr, most)) if most > accuracy || most == accuracy && lr < tried.lr => Some((lr, most)),
                _ => Some((tried.lr, accuracy)),
            }
        };
        let tried = self.0.get(group)?;
        let found = tried.iter().filter(|tried| tried.validation_accuracy.is_some()).fold(None, best);
        found.map(|(lr, _)| lr)
    }

    /// The results in this folder; empty if there was no search.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn read(out: &Path) -> Result<Rates> {
        let path = out.join(FILE);
        if !path.exists() {
            return Ok(Rates::default());
        }
        let text = file::read_text(&path, file::OF_A_RUN)?;
        serde_json::from_str(&text).with_context(|| format!("{}: is not a search result", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_validation_accuracy_is_taken_and_the_smaller_of_equal_rates() {
        let tried = |lr, validation_accuracy| Candidate { lr, validation_accuracy };
        let of = |tried: Vec<Candidate>| Rates(BTreeMap::from([("a".to_owned(), tried)])).get("a");
        assert_eq!(of(vec![tried(1e-2, None), tried(1e-3, Some(0.9)), tried(1e-4, Some(0.8))]), Some(1e-3));
        assert_eq!(of(vec![tried(1e-4, Some(0.9)), tried(1e-3, Some(0.9))]), Some(1e-4));
        assert_eq!(of(vec![tried(1e-3, Some(0.9)), tried(1e-4, Some(0.9))]), Some(1e-4));
        assert_eq!(of(vec![tried(1e-3, None)]), None);
        assert_eq!(Rates::default().get("a"), None);
    }
}

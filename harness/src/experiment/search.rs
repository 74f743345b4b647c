//! A small search for the learning rate, which the thesis leaves adjustable.
//!
//! For each set, cell, T and optimiser, every candidate is trained for a few epochs with the first seed; the one with
//! the best accuracy on the held-out training samples wins, the smaller rate of equals. The test set has no part in
//! it: each of these trainings sees one test sample, and what it makes of that is not read.

use super::{Experiment, Planned};
use crate::cli::Misuse;
use crate::run::Interrupted;
use crate::run::settings::Settings;
use crate::run::training::{Outcome, write_json};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// How a learning rate is searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Search {
    /// The candidates.
    pub rates: Vec<f64>,
    /// Epochs of each.
    pub epochs: u64,
}

impl Default for Search {
    fn default() -> Search {
        Search { rates: vec![1e-3, 5e-4, 2e-4, 1e-4], epochs: 3 }
    }
}

impl Search {
    pub(super) fn check(&self) -> Result<(), Misuse> {
        let positive = self.rates.iter().all(|rate| rate.is_finite() && *rate > 0.0);
        if self.rates.is_empty() || !positive || self.epochs == 0 {
            return Err(Misuse("[search] needs positive rates and at least 1 epoch".to_owned()));
        }
        Ok(())
    }
}

/// What a candidate came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// Learning rate.
    pub lr: f64,
    /// Accuracy on the held-out training samples; none if the training failed.
    pub validation_accuracy: Option<f64>,
}

/// The candidates of each group and what they came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates(pub BTreeMap<String, Vec<Tried>>);

impl Rates {
    /// The rate that a group has found.
    pub fn get(&self, group: &str) -> Option<f64> {
        let best = |best: Option<(f64, f64)>, tried: &Tried| {
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

    /// What a search in this folder has found so far; nothing where there was none.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn read(out: &Path) -> Result<Rates> {
        let path = out.join(FILE);
        if !path.exists() {
            return Ok(Rates::default());
        }
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{}: is no result of a search", path.display()))
    }
}

/// Where the result of a search is kept in an experiment's folder.
pub const FILE: &str = "learning-rates.json";

/// Searches the rates that an experiment leaves open and writes them to its folder. `train_all` runs trainings side
/// by side: each with its folder, in the order given.
///
/// # Errors
/// If the process is told to stop, or the file cannot be written. A failed training is a candidate that lost.
pub fn search(
    experiment: &Experiment,
    out: &Path,
    train_all: impl FnOnce(&[Planned]) -> Vec<Result<Outcome>>,
) -> Result<Rates> {
    let mut groups: Vec<Planned> = Vec::new();
    for planned in experiment.plan(&Rates::default())? {
        if experiment.searches(&planned) && groups.iter().all(|other| other.group != planned.group) {
            groups.push(planned);
        }
    }
    let Search { rates, epochs } = &experiment.search;
    let candidates = groups.iter().flat_map(|planned| {
        rates.iter().map(|&lr| Planned {
            folder: format!("search/{}-lr{lr}", planned.group),
            settings: Settings {
                lr: lr as f32,
                epochs: *epochs,
                limit_test: Some(1),
                ..planned.settings.clone()
            },
            ..planned.clone()
        })
    });
    let candidates: Vec<Planned> = candidates.collect();
    if candidates.is_empty() {
        return Ok(Rates::default());
    }
    let mut found = Rates::default();
    for (i, (planned, result)) in candidates.iter().zip(train_all(&candidates)).enumerate() {
        if let Some(interrupted) = result.as_ref().err().and_then(|error| error.downcast_ref::<Interrupted>())
        {
            return Err(interrupted.clone().into());
        }
        let validation_accuracy = result.ok().map(|outcome| outcome.validation_accuracy);
        let tried = Tried { lr: rates[i % rates.len()], validation_accuracy };
        found.0.entry(planned.group.clone()).or_default().push(tried);
    }
    for group in &groups {
        ensure!(
            found.get(&group.group).is_some(),
            "{}: no candidate of the learning rate could be trained; see [search] rates",
            group.group
        );
    }
    write_json(&out.join(FILE), &found)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_on_held_out_samples_wins_and_the_smaller_of_equals() {
        let tried = |lr, validation_accuracy| Tried { lr, validation_accuracy };
        let of = |tried: Vec<Tried>| Rates(BTreeMap::from([("a".to_owned(), tried)])).get("a");
        assert_eq!(of(vec![tried(1e-2, None), tried(1e-3, Some(0.9)), tried(1e-4, Some(0.8))]), Some(1e-3));
        assert_eq!(of(vec![tried(1e-4, Some(0.9)), tried(1e-3, Some(0.9))]), Some(1e-4));
        assert_eq!(of(vec![tried(1e-3, Some(0.9)), tried(1e-4, Some(0.9))]), Some(1e-4));
        assert_eq!(of(vec![tried(1e-3, None)]), None);
        assert_eq!(Rates::default().get("a"), None);
    }
}

//! A search for the learning rate, which the thesis does not fix.
//!
//! For each set, cell, T and optimiser, every candidate is trained for a few epochs with the first seed; the one with
//! the best validation accuracy is taken, the smaller rate of equals. The test set is not used: each of these trainings
//! evaluates one test sample, and its result is not read.

use super::definition::Experiment;
use super::plan::Planned;
use super::rates::{Candidate, FILE, Rates, Search};
use crate::io::json::write_json;
use crate::run::manifest::Outcome;
use crate::run::settings::Settings;
use crate::signal::Interrupted;
use anyhow::{Result, ensure};
use std::path::Path;

/// Searches the rates of an experiment and writes them to its folder. `train_all` runs the trainings, each in its own
/// folder, with results in the order given.
///
/// # Errors
/// If a signal stops the run, or the file cannot be written. A failed training counts as a candidate without accuracy.
pub fn search(
    experiment: &Experiment,
    out: &Path,
    train_all: impl FnOnce(&[Planned]) -> Vec<Result<Outcome>>,
) -> Result<Rates> {
    let mut groups: Vec<Planned> = Vec::new();
    for planned in experiment.plan(&Rates::default())? {
        if planned.searched && groups.iter().all(|other| other.group != planned.group) {
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
        let tried = Candidate { lr: rates[i % rates.len()], validation_accuracy };
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

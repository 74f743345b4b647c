//! A search for the learning rate, which the thesis does not specify.
//!
//! For each data set, architecture, T and optimiser, every candidate is trained for a few epochs with the
//! first seed; the one with the best validation accuracy is taken; of equal ones, the smaller rate. The test
//! set is not used: each of these trainings evaluates one test sample, and its result is not read.
//!
//! A candidate is a run in `search/`. A run whose rate is searched reads the results of its candidates there, and trains
//! those that are missing, so runs may start in any order on any machine.

use super::definition::Experiment;
use super::folder::Manifest;
use super::parts::Selection;
use super::plan::Planned;
use super::rates::{Candidate, Rates, Search};
use crate::io::file;
use crate::run::settings::Settings;
use crate::run::training::DIVERGED;
use anyhow::Result;
use std::path::Path;

impl Experiment {
    /// The candidates of the group of a run, in the order of the rates; none if its rate is not searched. They are those of
    /// the first run of the group, whichever run asks.
    pub fn candidates(&self, planned: &Planned) -> Vec<Planned> {
        // Of the whole experiment, whichever of its runs were chosen.
        let whole = Experiment { selection: Selection::default(), ..self.clone() };
        let plan = whole.plan(&Rates::default()).unwrap_or_default();
        let first = plan.into_iter().find(|run| run.searched && run.group == planned.group);
        let Some(first) = first.filter(|_| planned.searched) else { return Vec::new() };
        let Search { rates, epochs } = &self.search;
        let candidate = |&lr: &f64| Planned {
            folder: format!("search/{}-lr{lr}", first.group),
            settings: Settings {
                lr: lr as f32,
                epochs: *epochs,
                limit_test: Some(1),
                ..first.settings.clone()
            },
            ..first.clone()
        };
        rates.iter().map(candidate).collect()
    }

    /// The results of the candidates of a run; none unless all have ended.
    pub fn found(&self, out: &Path, planned: &Planned) -> Option<Vec<Candidate>> {
        let of = |(candidate, &lr): (&Planned, &f64)| {
            let validation_accuracy = result(&out.join(&candidate.folder), &candidate.settings)?;
            Some(Candidate { lr, validation_accuracy })
        };
        self.candidates(planned).iter().zip(&self.search.rates).map(of).collect()
    }

    /// The rates of all groups whose candidates have ended.
    ///
    /// # Errors
    /// If the experiment cannot be planned.
    pub fn found_rates(&self, out: &Path) -> Result<Rates> {
        let mut rates = Rates::default();
        for planned in self.plan(&Rates::default())?.iter().filter(|planned| planned.searched) {
            if !rates.0.contains_key(&planned.group)
                && let Some(found) = self.found(out, planned)
            {
                rates.0.insert(planned.group.clone(), found);
            }
        }
        Ok(rates)
    }
}

/// The result of a candidate: its validation accuracy, none if it diverged; none at all if it has not ended.
pub fn result(folder: &Path, settings: &Settings) -> Option<Option<f64>> {
    let text = file::read(&folder.join("run.json"), file::OF_A_RUN).ok()?;
    let manifest: Manifest = serde_json::from_slice(&text).ok()?;
    if manifest.settings != *settings {
        return None;
    }
    match (&manifest.state[..], manifest.outcome) {
        ("done", Some(outcome)) => Some(Some(outcome.validation_accuracy)),
        (DIVERGED, _) => Some(None),
        _ => None,
    }
}

//! The data sets of an experiment, open, with the samples that are measured.

use super::definition::Experiment;
use super::plan::Planned;
use crate::dataset::{DataSha256, Dataset};
use crate::measure::samples::SampleSelection;
use crate::run::settings::Settings;
use anyhow::{Context, Result};
use model::Network;
use std::path::Path;

/// An open data set of an experiment, or a fold of one, with its selected samples.
#[derive(Debug)]
pub struct OpenSet {
    /// [`Settings::data_name`]
    pub name: String,
    /// The data.
    pub dataset: Dataset,
    /// Its checksums.
    pub sha256: DataSha256,
    /// The samples that are measured.
    pub selection: SampleSelection,
}

/// The open data sets of some runs.
#[derive(Debug)]
pub struct Sets(Vec<OpenSet>);

impl Sets {
    /// Opens the data sets of these runs. Nothing is written.
    ///
    /// # Errors
    /// If one is not found or cannot be read, or a network does not fit its images.
    pub fn open<'a>(
        experiment: &Experiment,
        plan: impl IntoIterator<Item = &'a Planned>,
        data_dir: Option<&Path>,
    ) -> Result<Sets> {
        let mut sets = Sets(Vec::new());
        let mut checked: Vec<&Settings> = Vec::new();
        for settings in plan.into_iter().map(|planned| &planned.settings) {
            let name = settings.data_name();
            if sets.0.iter().all(|set| set.name != name) {
                let dataset = settings.open_data(data_dir)?;
                let limit = experiment.train.limit_test;
                let selection =
                    SampleSelection::new(&dataset, &experiment.measure, limit, experiment.seeds[0])?;
                sets.0.push(OpenSet { name, sha256: dataset.sha256(), dataset, selection });
            }
            let same = |other: &&Settings| {
                (&other.dataset, &other.architecture, other.seq_len)
                    == (&settings.dataset, &settings.architecture, settings.seq_len)
            };
            if checked.iter().any(same) {
                continue;
            }
            checked.push(settings);
            let Dataset { rows, cols, classes, .. } = sets.of(settings)?.dataset;
            Network::new(settings.architecture.clone(), settings.task(rows, cols, classes), settings.seed)
                .map_err(|error| settings.usage_error(error))
                .with_context(|| format!("the network of {}", settings.title()))?;
        }
        Ok(sets)
    }

    /// The data set of a run.
    ///
    /// # Errors
    /// If it is not among them.
    pub fn of(&self, settings: &Settings) -> Result<&OpenSet> {
        let name = settings.data_name();
        self.0.iter().find(|set| set.name == name).context("the data set of a run is open")
    }

    /// The names of the data sets, with `between` between them.
    pub fn names(&self, between: &str) -> String {
        let mut names: Vec<&str> = self.0.iter().map(|set| &set.dataset.name[..]).collect();
        names.dedup();
        names.join(between)
    }

    /// Writes the selected samples into the folder of the experiment.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&mut self, out: &Path) -> Result<()> {
        self.0.iter_mut().try_for_each(|set| set.selection.write(&out.join(&set.name)))
    }
}

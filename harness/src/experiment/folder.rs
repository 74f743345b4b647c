//! The folder of an experiment: the state of each run, complete, missing, unfinished or damaged.

use super::definition::Experiment;
use super::plan::Planned;
use super::rates::Rates;
use crate::io::array;
use crate::io::atomic::write_atomically;
use crate::io::hash::sha256;
use crate::io::{file, folder};
use crate::measure::result::{FILES as MEASURED, Measured, request};
use crate::measure::samples::SampleSelection;
use crate::run::manifest::Outcome;
use crate::run::settings::Settings;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The file with the experiment of a folder.
pub const FILE: &str = "experiment.toml";

/// The part of `run.json` that a report needs.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// `running`, `done`, `failed`, `diverged` or `interrupted`.
    pub state: String,
    /// Its settings.
    pub settings: Settings,
    /// Numbers of training, validation and test samples.
    pub samples: [usize; 3],
    /// The commit of the program.
    pub commit: Option<String>,
    /// The CPU.
    pub cpu: String,
    /// The kernel set.
    pub kernels: String,
    /// The result.
    pub outcome: Option<Outcome>,
}

/// A run whose files are complete.
#[derive(Clone, Debug)]
pub struct Finished {
    /// `run.json`
    pub manifest: Manifest,
    /// The result.
    pub outcome: Outcome,
    /// Columns of `metrics.csv` by name, one value per epoch.
    pub metrics: BTreeMap<String, Vec<f64>>,
    /// `measured.json`
    pub measured: Measured,
    /// `heatmaps.npy`
    pub maps: Vec<f32>,
}

impl Finished {
    /// The pictures of a group, `size` floats each.
    pub fn group(&self, name: &str, size: usize) -> Vec<&[f32]> {
        let mut from = 0;
        for group in &self.measured.groups {
            if group.name == name {
                return self.maps[from..from + group.count * size].chunks_exact(size).collect();
            }
            from += group.count * size;
        }
        Vec::new()
    }
}

/// The state of the folder of a run.
#[derive(Clone, Debug)]
pub enum State {
    /// Complete.
    Done(Box<Finished>),
    /// No files.
    Missing,
    /// The training or measuring did not finish, with the reason.
    Unfinished(String),
    /// Files that are inconsistent or cannot be read.
    Damaged(String),
}

/// A run of an experiment and the state of its folder.
#[derive(Clone, Debug)]
pub struct Run {
    /// The planned run.
    pub planned: Planned,
    /// The state of its folder.
    pub state: State,
}

impl Run {
    /// The run, if it is complete.
    pub fn finished(&self) -> Option<&Finished> {
        match &self.state {
            State::Done(finished) => Some(finished),
            _ => None,
        }
    }
}

/// The content of an experiment's folder.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The experiment.
    pub experiment: Experiment,
    /// Results of the learning rate search.
    pub rates: Rates,
    /// Its data sets and their folds by name of their folder, or the reason why one cannot be read.
    pub sets: Vec<(String, Result<SampleSelection, String>)>,
    /// Its runs, in the order of the plan.
    pub runs: Vec<Run>,
}

impl Loaded {
    /// Reads a folder.
    ///
    /// # Errors
    /// If it holds no experiment. Missing or damaged runs are not errors: they are part of the result.
    pub fn read(folder: &Path) -> Result<Loaded> {
        let file = folder.join(FILE);
        ensure!(
            file.exists(),
            "{}: holds no experiment ({FILE} is missing); `harness reproduce` creates one",
            folder.display()
        );
        let experiment = Experiment::read(&file)?;
        let rates = Rates::read(folder)?;
        let plan = experiment.plan(&rates)?;
        let mut sets: Vec<(String, Result<SampleSelection, String>)> = Vec::new();
        for planned in &plan {
            let name = planned.settings.data_name();
            if sets.iter().all(|(other, _)| *other != name) {
                let set = SampleSelection::read(&folder.join(&name)).map_err(|error| format!("{error:#}"));
                sets.push((name, set));
            }
        }
        let runs = plan.into_iter().map(|planned| {
            let name = planned.settings.data_name();
            let set = sets.iter().find(|(other, _)| *other == name);
            let state = match set {
                // A run that was not chosen has no samples either.
                Some((_, Err(_))) if !folder.join(&planned.folder).join("run.json").exists() => {
                    State::Missing
                }
                Some((_, Ok(selection))) => {
                    state(&folder.join(&planned.folder), &planned, &experiment, selection)
                }
                Some((_, Err(error))) => State::Damaged(error.clone()),
                None => State::Missing,
            };
            Run { planned, state }
        });
        let runs = runs.collect();
        Ok(Loaded { experiment, rates, sets, runs })
    }
}

/// Writes the experiment to its folder.
///
/// # Errors
/// If the folder cannot be written.
pub fn write_experiment(folder: &Path, experiment: &Experiment) -> Result<()> {
    folder::create(folder)?;
    let text = toml::to_string(experiment)?;
    write_atomically(&folder.join(FILE), |file| Ok(file.write_all(text.as_bytes())?))
}

/// The state of a run.
pub fn state(
    folder: &Path,
    planned: &Planned,
    experiment: &Experiment,
    selection: &SampleSelection,
) -> State {
    match found(folder, planned, experiment, selection) {
        Ok(state) => state,
        Err(error) => State::Damaged(format!("{error:#}")),
    }
}

fn found(
    folder: &Path,
    planned: &Planned,
    experiment: &Experiment,
    selection: &SampleSelection,
) -> Result<State> {
    let at = |file: &str| folder.join(file);
    if !at("run.json").exists() {
        return Ok(State::Missing);
    }
    let manifest: Manifest = json(&at("run.json"))?;
    let epochs = planned.settings.epochs;
    let (settings, wanted) = (&manifest.settings, &planned.settings);
    ensure!(
        Settings { epochs, ..settings.clone() } == *wanted,
        "{}: is a run with other settings than the experiment's",
        at("run.json").display()
    );
    let metrics = metrics(&at("metrics.csv"));
    let outcome = match manifest.outcome.clone() {
        Some(outcome) if manifest.state == "done" && settings.epochs == epochs => outcome,
        _ => {
            let state = match &manifest.state[..] {
                "done" if settings.epochs > epochs => "more epochs than planned",
                "done" => "fewer epochs than planned",
                state => state,
            };
            // The last line of a killed run may be incomplete.
            let seen = metrics.ok().map(|metrics| format!(": {} of {epochs} epochs", rows(&metrics)));
            return Ok(State::Unfinished(format!("{state}{}", seen.unwrap_or_default())));
        }
    };
    let metrics = metrics?;
    let seen = rows(&metrics);
    ensure!(seen as u64 == epochs, "{}: {seen} epochs, expected {epochs}", at("metrics.csv").display());
    let model = bytes(&at("last.safetensors"))?;
    if !at(MEASURED[0]).exists() {
        return Ok(State::Unfinished("trained, not measured".to_owned()));
    }
    let measured: Measured = json(&at(MEASURED[0]))?;
    if measured.request != request(&experiment.measure, selection)? {
        return Ok(State::Unfinished("trained, measured for another experiment".to_owned()));
    }
    ensure!(
        sha256(&model) == measured.model_sha256,
        "{}: is not the model that was measured",
        at("last.safetensors").display()
    );
    let path = at(MEASURED[1]);
    ensure!(
        sha256(&bytes(&path)?) == measured.heatmaps_sha256,
        "{}: is not the file that was measured",
        path.display()
    );
    let (maps, found) = array::read_images(&path)?;
    let groups: usize = measured.groups.iter().map(|group| group.count).sum();
    let expected = [groups, selection.rows, selection.cols];
    ensure!(found == expected, "{}: {found:?} pictures, expected {expected:?}", path.display());
    let whole = measured.methods.iter().all(|of| of.class_columns.len() == selection.cols);
    ensure!(whole, "{}: expected one number per column", at(MEASURED[0]).display());
    Ok(State::Done(Box::new(Finished { manifest, outcome, metrics, measured, maps })))
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    file::read(path, file::OF_A_RUN)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&bytes(path)?).with_context(|| format!("{}: is damaged", path.display()))
}

fn rows(metrics: &BTreeMap<String, Vec<f64>>) -> usize {
    metrics.get("epoch").map_or(0, Vec::len)
}

/// The columns of `metrics.csv`.
fn metrics(path: &Path) -> Result<BTreeMap<String, Vec<f64>>> {
    let text = String::from_utf8(bytes(path)?).with_context(|| format!("{}: is damaged", path.display()))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let mut columns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (i, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != header.len() {
            bail!("{}: line {} has {} cells, expected {}", path.display(), i + 2, cells.len(), header.len());
        }
        for (name, cell) in header.iter().zip(cells) {
            let value =
                cell.parse().with_context(|| format!("{}: line {}: {cell:?}", path.display(), i + 2))?;
            columns.entry((*name).to_owned()).or_default().push(value);
        }
    }
    Ok(columns)
}

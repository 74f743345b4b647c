//! The tasks of an experiment and `plan.jsonl`, which lists them, one a line.
//!
//! A task is one training with its measurements, or one candidate of a learning rate. Tasks are independent: each may run
//! in a process of its own, in any order, on any machine that shares the folder.

use super::definition::Experiment;
use super::folder;
use super::plan::Planned;
use super::rates::Rates;
use super::sets::Sets;
use crate::error::UsageError;
use crate::io::atomic::write_atomically;
use crate::io::file;
use crate::io::hash::sha256;
use crate::io::show::shown;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Estimates of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Seconds on this CPU with the threads of the plan.
    pub seconds: f64,
    /// Peak memory in MiB, memory-mapped data included.
    pub memory_mib: u64,
}

/// The file with the tasks of a folder.
pub const PLAN: &str = "plan.jsonl";
/// The largest plan that is read.
const MAX_BYTES: u64 = 1 << 28;
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 16;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Trains a candidate of a learning rate.
    Candidate,
    /// Trains a network and measures it.
    Run,
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// What it does.
    pub kind: Kind,
    /// The training. A searched rate is not known here yet.
    pub planned: Planned,
}

/// A line of `plan.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskLine {
    /// Number of the task: that of the line, from 0.
    pub index: usize,
    /// The first digits of the SHA-256 of `settings`.
    pub id: String,
    /// What it does.
    pub kind: Kind,
    /// Its folder within that of the experiment.
    pub folder: String,
    /// Its settings: those of `run.json`; a rate that is searched is `{"search": …}`.
    pub settings: Value,
    /// The SHA-256 of the checksums of its data.
    pub data: String,
    /// Estimates: see [`super::estimate`].
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// The tasks of an experiment: candidates first, since runs wait for them.
///
/// # Errors
/// If the experiment cannot be planned.
pub fn tasks(experiment: &Experiment) -> Result<Vec<Task>> {
    let plan = experiment.plan(&Rates::default())?;
    let mut all: Vec<Task> = Vec::new();
    let mut groups: Vec<&str> = Vec::new();
    for planned in plan.iter().filter(|planned| planned.searched) {
        if !groups.contains(&&planned.group[..]) {
            groups.push(&planned.group);
            let candidates = experiment.candidates(planned).into_iter();
            all.extend(candidates.map(|planned| Task { kind: Kind::Candidate, planned }));
        }
    }
    all.extend(plan.into_iter().map(|planned| Task { kind: Kind::Run, planned }));
    Ok(all)
}

impl Task {
    /// The settings as `plan.jsonl` has them: keys in order, a searched rate with what is searched.
    fn settings(&self, experiment: &Experiment) -> Value {
        let mut settings = serde_json::to_value(&self.planned.settings).unwrap_or_default();
        if self.kind == Kind::Run && self.planned.searched {
            settings["lr"] = json!({ "search": experiment.search });
        }
        settings
    }

    /// Its line in the plan.
    ///
    /// # Errors
    /// If its data set is not open.
    pub fn line(
        &self,
        index: usize,
        experiment: &Experiment,
        sets: &Sets,
        estimate: Estimate,
    ) -> Result<TaskLine> {
        let settings = self.settings(experiment);
        let data = sha256(serde_json::to_string(&sets.of(&self.planned.settings)?.sha256)?.as_bytes());
        let (kind, folder) = (self.kind, self.planned.folder.clone());
        Ok(TaskLine { index, id: id(&settings), kind, folder, settings, data, estimate })
    }
}

fn id(settings: &Value) -> String {
    let mut hash = sha256(settings.to_string().as_bytes());
    hash.truncate(ID_DIGITS);
    hash
}

/// Writes the plan of a folder.
///
/// # Errors
/// If it cannot be written.
pub fn write_plan(out: &Path, lines: &[TaskLine]) -> Result<()> {
    let mut text = String::new();
    for line in lines {
        text += &serde_json::to_string(line)?;
        text.push('\n');
    }
    write_atomically(&out.join(PLAN), |file| Ok(file.write_all(text.as_bytes())?))
}

/// The experiment of a folder and the tasks of its plan.
#[derive(Debug)]
pub struct Plan {
    /// The experiment; it may have runs that were not chosen.
    pub experiment: Experiment,
    /// The tasks of the plan.
    pub tasks: Vec<Task>,
    /// Their lines.
    pub lines: Vec<TaskLine>,
}

impl Plan {
    /// Reads the plan of a folder.
    ///
    /// # Errors
    /// [`UsageError`] if there is none, it is damaged, or it is not that of the folder's experiment: the line names the
    /// keys that differ.
    pub fn read(out: &Path) -> Result<Plan> {
        let path = out.join(PLAN);
        let name = shown(&path);
        ensure!(
            path.exists() && out.join(folder::FILE).exists(),
            UsageError(format!("{}: holds no plan ({PLAN}); `harness plan` writes one", shown(out)))
        );
        let experiment = Experiment::read(&out.join(folder::FILE))?;
        let bytes = file::read(&path, MAX_BYTES)?;
        let damaged = |line: usize, why: &str| {
            UsageError(format!("{name}: line {line} is no task ({why}); plan again into another folder"))
        };
        let mut known: HashMap<String, Task> = HashMap::new();
        for task in tasks(&experiment)? {
            known.insert(task.planned.folder.clone(), task);
        }
        let mut plan = Plan { experiment, tasks: Vec::new(), lines: Vec::new() };
        for (i, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let line: TaskLine =
                serde_json::from_str(line).map_err(|error| damaged(i + 1, &error.to_string()))?;
            ensure!(line.index == i, damaged(i + 1, "its index is another one"));
            ensure!(line.id == id(&line.settings), damaged(i + 1, "its id is not that of its settings"));
            let at = format!("{name}: task {i}, {}", line.folder.escape_debug());
            let task = known.remove(&line.folder).ok_or_else(|| {
                UsageError(format!("{at}: {} does not have it; plan again into another folder", folder::FILE))
            })?;
            let keys = differences(&line.settings, &task.settings(&plan.experiment));
            ensure!(
                keys.is_empty() && line.kind == task.kind,
                UsageError(format!(
                    "{at}: {} was changed since the plan: {}; plan again into another folder",
                    folder::FILE,
                    keys.join(", ")
                ))
            );
            plan.tasks.push(task);
            plan.lines.push(line);
        }
        ensure!(!plan.lines.is_empty(), damaged(1, "the file is empty"));
        Ok(plan)
    }

    /// An estimate of the seconds that all tasks take on so many threads: no less than the longest task, which a team of
    /// several threads may shorten.
    pub fn seconds(&self, threads: usize) -> f64 {
        let of = |line: &TaskLine| line.estimate.seconds;
        let sum: f64 = self.lines.iter().map(of).sum();
        self.lines.iter().map(of).fold(sum / threads.max(1) as f64, f64::max)
    }

    /// Checks that the data that are open are those of the plan.
    ///
    /// # Errors
    /// [`UsageError`] that names the data set.
    pub fn check_data(&self, chosen: &[usize], sets: &Sets) -> Result<()> {
        for &i in chosen {
            let (task, line) = (&self.tasks[i], &self.lines[i]);
            let here = task.line(i, &self.experiment, sets, line.estimate)?;
            ensure!(
                here.data == line.data,
                UsageError(format!(
                    "{}: the files of this data set are other ones than those of the plan; see --data-dir",
                    task.planned.settings.dataset
                ))
            );
        }
        Ok(())
    }
}

/// The keys in which settings of a plan differ from those of its experiment, with both values.
fn differences(planned: &Value, now: &Value) -> Vec<String> {
    let empty = Map::new();
    let [a, b] = [planned, now].map(|value| value.as_object().unwrap_or(&empty));
    let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
    let value = |map: &Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or_default();
    keys.filter(|key| a.get(*key) != b.get(*key))
        .map(|key| format!("{key} was {}, is {}", value(a, key), value(b, key)))
        .collect()
}

/// Indices as Slurm writes them: `3,7,12-15`.
pub fn ranges(indices: &[usize]) -> String {
    let mut text: Vec<String> = Vec::new();
    let runs = indices.chunk_by(|a, b| a + 1 == *b);
    text.extend(runs.map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    }));
    text.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_written_as_slurm_reads_them() {
        assert_eq!(ranges(&[3, 7, 12, 13, 14, 15]), "3,7,12-15");
        assert_eq!((ranges(&[0, 1]), ranges(&[5]), ranges(&[])), ("0-1".into(), "5".into(), String::new()));
    }

    #[test]
    fn candidates_come_first_and_once_for_all_seeds() {
        let full = tasks(&Experiment::by_name("full").unwrap()).unwrap();
        // Two data sets, four cells at four lengths, four rates; SGD has its own.
        let candidates = full.iter().take_while(|task| task.kind == Kind::Candidate).count();
        assert_eq!((candidates, full.len()), (128, 128 + 108));
        assert_eq!(full[0].planned.folder, "search/mnist/shallow-1-lr0.001");
    }

    #[test]
    fn an_id_is_that_of_the_settings_and_a_searched_rate_is_part_of_them() {
        let experiment = Experiment::by_name("full").unwrap();
        let all = tasks(&experiment).unwrap();
        let ids: std::collections::BTreeSet<String> =
            all.iter().map(|task| id(&task.settings(&experiment))).collect();
        assert_eq!(ids.len(), all.len(), "no two are the same");
        let task = &all[128];
        let before = task.settings(&experiment);
        let mut other = experiment.clone();
        other.search.epochs += 1;
        let after = task.settings(&other);
        assert_ne!(id(&before), id(&after));
        let differences = differences(&before, &after);
        assert!(differences.len() == 1 && differences[0].starts_with("lr was {"), "{differences:?}");
    }
}

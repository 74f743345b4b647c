//! Runs one task: trains, measures, in a folder that belongs to this process meanwhile.

use super::definition::Experiment;
use super::folder::{State, state};
use super::plan::Planned;
use super::rates::{Candidate, Rates};
use super::schedule::{Team, in_parallel};
use super::search;
use super::sets::{OpenSet, Sets};
use super::task::{Kind, Plan, Task};
use crate::io::atomic::write_atomically;
use crate::io::busy::Busy;
use crate::io::claim::STALE;
use crate::io::progress::Progress;
use crate::io::show::format_error;
use crate::measure::network::{MeasureContext, measure};
use crate::run::context::RunContext;
use crate::run::folder::{Existing, RunFolder};
use crate::run::manifest::Outcome;
use crate::run::training::{Diverged, train_in};
use crate::signal::{Interrupted, check_stop};
use anyhow::{Context, Result};
use kernels::Kernels;
use std::path::Path;
use std::time::{Duration, Instant};

/// The file in the folder of a task with the line of its failure; removed when it is tried again.
pub const FAILED: &str = "failed.txt";
/// Time between two looks at a folder that another process uses.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a dead process on another machine may hold a folder: a claim, or the lease of an NFS server.
const LINGER: Duration = STALE.saturating_add(Duration::from_secs(40));

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// This process finished it.
    Now,
    /// It was finished before.
    Before,
}

/// How several tasks ended, by index.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Those that are finished.
    pub done: Vec<(usize, Ended)>,
    /// Those that failed, and why.
    pub failed: Vec<(usize, String)>,
    /// Those that other processes are working on.
    pub busy: Vec<(usize, String)>,
}

/// What tasks share.
#[derive(Debug)]
pub struct Workspace<'a> {
    /// The folder of the experiment.
    pub out: &'a Path,
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Its data sets.
    pub sets: &'a Sets,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

impl Workspace<'_> {
    /// Runs a task, or continues it. A finished one is skipped. Where a dead process on another machine may hold its folder,
    /// this waits for it, but no longer than `patience`.
    ///
    /// # Errors
    /// [`Busy`] if another process has it; [`Interrupted`]; or whatever fails in training or measuring, which is written
    /// to [`FAILED`] too.
    pub fn run(&self, task: &Task, kernels: &Kernels, patience: Duration) -> Result<Ended> {
        let Task { kind, planned } = task;
        let ended = match kind {
            Kind::Candidate => self.candidate(planned, kernels, patience).map(|(ended, _)| ended),
            Kind::Run => self.trained_and_measured(planned, kernels, patience),
        };
        let folder = self.out.join(&planned.folder);
        match &ended {
            Err(error) if error.is::<Busy>() || error.is::<Interrupted>() => {}
            Err(error) if folder.is_dir() => {
                let line = format!("{}\n", format_error(error));
                // On a full disk this fails as well; the first error is reported.
                let _ = write_atomically(&folder.join(FAILED), |file| Ok(file.write_all(line.as_bytes())?));
            }
            Err(_) => {}
            Ok(_) => drop(std::fs::remove_file(folder.join(FAILED))),
        }
        ended
    }

    /// Runs tasks of a plan by their indices, one at a time on each team: candidates first, then the longest. Tasks of other
    /// processes are tried again at the end.
    ///
    /// # Errors
    /// [`Interrupted`]. Whatever else happens to a task is part of the result.
    pub fn run_all(&self, plan: &Plan, chosen: &[usize], teams: &[Team]) -> Result<Summary> {
        let mut order = chosen.to_vec();
        let rank = |i: usize| (plan.tasks[i].kind == Kind::Run, -plan.lines[i].estimate.seconds);
        order.sort_by(|&a, &b| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal));
        let mut summary = Summary::default();
        for again in [false, true] {
            let results = in_parallel(&order, teams, self.progress, |&i, kernels| {
                check_stop()?;
                self.run(&plan.tasks[i], kernels, if again { LINGER } else { Duration::ZERO })
            });
            let mut busy = Vec::new();
            for (i, result) in order.drain(..).zip(results) {
                match result {
                    Ok(ended) => summary.done.push((i, ended)),
                    Err(error) if error.is::<Interrupted>() => return Err(error),
                    Err(error) if error.is::<Busy>() && !again => busy.push(i),
                    Err(error) if error.is::<Busy>() => summary.busy.push((i, format_error(&error))),
                    Err(error) => summary.failed.push((i, format_error(&error))),
                }
            }
            order = busy;
            if order.is_empty() {
                break;
            }
        }
        summary.done.sort_by_key(|(i, _)| *i);
        summary.failed.sort();
        Ok(summary)
    }

    fn trained_and_measured(
        &self,
        planned: &Planned,
        kernels: &Kernels,
        patience: Duration,
    ) -> Result<Ended> {
        let mut planned = planned.clone();
        if planned.searched {
            planned.settings.lr = self.rate(&planned, kernels)? as f32;
        }
        let (set, path) = (self.sets.of(&planned.settings)?, self.out.join(&planned.folder));
        let done = || matches!(state(&path, &planned, self.experiment, &set.selection), State::Done(_));
        if done() {
            return Ok(Ended::Before);
        }
        let folder = open(&path, patience)?;
        // Again, under the lock: another process may have finished it in between.
        if done() {
            return Ok(Ended::Before);
        }
        self.train(&folder, &planned, set, kernels)?;
        folder.check()?;
        let OpenSet { dataset, selection, .. } = set;
        let (measure_settings, progress) = (&self.experiment.measure, &self.progress.of_run(&planned.folder));
        let context = MeasureContext { dataset, selection, measure: measure_settings, kernels, progress };
        measure(&path, &planned.title, &context)?;
        Ok(Ended::Now)
    }

    /// Trains a candidate; its validation accuracy, or none if it diverges.
    fn candidate(
        &self,
        planned: &Planned,
        kernels: &Kernels,
        patience: Duration,
    ) -> Result<(Ended, Option<f64>)> {
        let path = self.out.join(&planned.folder);
        let result = || search::result(&path, &planned.settings);
        if let Some(found) = result() {
            return Ok((Ended::Before, found));
        }
        let folder = open(&path, patience)?;
        if let Some(found) = result() {
            return Ok((Ended::Before, found));
        }
        match self.train(&folder, planned, self.sets.of(&planned.settings)?, kernels) {
            Ok(outcome) => Ok((Ended::Now, Some(outcome.validation_accuracy))),
            Err(error) if error.is::<Diverged>() => Ok((Ended::Now, None)),
            Err(error) => Err(error),
        }
    }

    fn train(
        &self,
        folder: &RunFolder,
        planned: &Planned,
        set: &OpenSet,
        kernels: &Kernels,
    ) -> Result<Outcome> {
        let progress = &self.progress.of_run(&planned.folder);
        let context = RunContext { dataset: &set.dataset, sha256: &set.sha256, kernels, progress };
        train_in(folder, &planned.settings, Existing::Resume, &context)
    }

    /// The rate of a run: candidates that have not ended are trained here, those that others train are waited for.
    fn rate(&self, planned: &Planned, kernels: &Kernels) -> Result<f64> {
        let candidates = self.experiment.candidates(planned);
        loop {
            let (mut found, mut busy) = (Vec::new(), false);
            for (candidate, &lr) in candidates.iter().zip(&self.experiment.search.rates) {
                match self.candidate(candidate, kernels, Duration::ZERO) {
                    Ok((_, validation_accuracy)) => found.push(Candidate { lr, validation_accuracy }),
                    Err(error) if error.is::<Busy>() => busy = true,
                    Err(error) => return Err(error),
                }
            }
            if !busy {
                let rate = Rates([(planned.group.clone(), found)].into()).get(&planned.group);
                return rate.with_context(|| {
                    format!(
                        "{}: no candidate of the learning rate could be trained; see [search] rates",
                        planned.group
                    )
                });
            }
            check_stop()?;
            std::thread::sleep(PAUSE);
        }
    }
}

/// Opens the folder of a task. Where a process that is dead may still hold it, on a file system that machines share, this
/// waits until it would have been released, but no longer than `patience`.
fn open(path: &Path, patience: Duration) -> Result<RunFolder> {
    let begin = Instant::now();
    let mut beat = None;
    loop {
        let error = match RunFolder::open(path, Existing::Resume) {
            Ok(folder) => return Ok(folder),
            Err(error) => error,
        };
        let Some(busy) = error.downcast_ref::<Busy>() else { return Err(error) };
        let lives = beat.is_some_and(|before| busy.beat != before);
        if lives || !busy.lingers || begin.elapsed() >= patience {
            return Err(error);
        }
        beat = Some(busy.beat);
        check_stop()?;
        std::thread::sleep(PAUSE);
    }
}

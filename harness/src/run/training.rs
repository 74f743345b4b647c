//! The training loop over epochs, with metrics, manifest and checkpoints.
//!
//! A checkpoint is written after each epoch, so an interruption loses at most one epoch.

use super::checkpoint::Checkpoint;
use super::context::RunContext;
use super::curves::curves;
use super::epoch::{CHUNK, Epoch, StepError, evaluate};
use super::folder::{Existing, RunFolder};
use super::manifest::{Manifest, Outcome};
use super::metrics::Metrics;
use super::resume::{self, RESUME};
use super::settings::Settings;
use crate::dataset::Dataset;
use crate::dataset::samples::Scaled;
use crate::error::UsageError;
use crate::io::json::write_json;
use crate::io::machine::{commit, cpu};
use crate::io::progress::{Job, Picture};
use crate::model_file;
use crate::signal::{Interrupted, check_stop};
use anyhow::{Context, Result, anyhow, bail, ensure};
use model::train::{TrainOptions, Trainer};
use model::{Evaluation, Evaluator, ModelError, Network};
use std::path::Path;
use std::time::Instant;

/// The split into training, validation and test samples.
#[derive(Clone, Debug)]
pub struct SampleSplit {
    /// Training samples: the first ones.
    pub train: usize,
    /// The samples of the training half that are held out.
    pub validation: std::ops::Range<usize>,
    /// Test samples: the first ones.
    pub test: usize,
}

/// The split of a data set.
///
/// # Errors
/// [`UsageError`] if a part would be empty.
pub fn sample_split(settings: &Settings, dataset: &Dataset) -> Result<SampleSplit> {
    let total = settings.limit_train.unwrap_or(usize::MAX).min(dataset.train.len());
    let held_out = settings.validation.unwrap_or(total / 12);
    if held_out == 0 || held_out >= total {
        let text = format!(
            "{held_out} of {total} training samples held out; both parts need at least one: see --validation and --limit-train"
        );
        bail!(UsageError(text));
    }
    let test = settings.limit_test.unwrap_or(usize::MAX).min(dataset.test.len());
    ensure!(test > 0, UsageError("--limit-test is 0; it must be at least 1".to_owned()));
    Ok(SampleSplit { train: total - held_out, validation: total - held_out..total, test })
}

/// The training cannot go on: a value is not finite. It ends in the same way however often it is repeated.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Diverged(String);

/// The state of a run in `run.json` that is [`Diverged`].
pub const DIVERGED: &str = "diverged";

/// Trains one network in `out`.
///
/// # Errors
/// As [`train_in`], or if the folder cannot be opened: see [`RunFolder::open`].
pub fn train(settings: &Settings, out: &Path, existing: Existing, context: &RunContext) -> Result<Outcome> {
    let RunContext { dataset, .. } = *context;
    // Before the folder is made: what can be refused leaves nothing behind.
    network_of(settings, dataset)?;
    sample_split(settings, dataset)?;
    let folder = RunFolder::open(out, existing)?;
    train_in(&folder, settings, existing, context)
}

fn network_of(settings: &Settings, dataset: &Dataset) -> Result<Network, UsageError> {
    let task = settings.task(dataset.rows, dataset.cols, dataset.classes);
    let (architecture, values) = (settings.architecture.clone(), settings.initial_values.into());
    Network::with_initial_values(architecture, task, values, settings.seed)
        .map_err(|error| settings.usage_error(error))
}

/// Trains one network in a folder of this process.
///
/// # Errors
/// If the folder holds another run, a file cannot be written, a value is not finite ([`Diverged`]), or the run is
/// interrupted. The last checkpoint stays.
pub fn train_in(
    folder: &RunFolder,
    settings: &Settings,
    existing: Existing,
    context: &RunContext,
) -> Result<Outcome> {
    let RunContext { dataset, kernels, .. } = *context;
    let begin = Instant::now();
    let network = network_of(settings, dataset)?;
    let split = sample_split(settings, dataset)?;
    let variables = network.variables();
    let (commit, cpu) = (commit(), cpu());
    let checkpoint = match existing {
        Existing::Resume => resume::from(folder, settings, context)?,
        Existing::Keep | Existing::Overwrite => None,
    };
    let write_manifest = |state: &str, outcome: Option<&Outcome>| {
        let manifest = Manifest {
            state,
            settings,
            variables,
            dataset: &dataset.name,
            samples: [split.train, split.validation.len(), split.test],
            data_sha256: context.sha256,
            version: env!("CARGO_PKG_VERSION"),
            commit: commit.as_deref(),
            cpu: &cpu,
            kernels: kernels.name(),
            threads: kernels.threads().count(),
            seconds: begin.elapsed().as_secs_f64(),
            outcome,
        };
        write_json(&folder.join("run.json"), &manifest)
    };
    folder.tidy()?;
    // Written first, so that the folder of an interrupted run has its settings.
    write_manifest("running", None)?;
    let ended = Run::new(settings, folder, context, network, &split, checkpoint).and_then(|mut run| {
        let found = run.epochs()?;
        Ok((run, found))
    });
    let (run, (validation, test)) = ended.inspect_err(|error| {
        let state = match error {
            error if error.is::<Interrupted>() => "interrupted",
            error if error.is::<Diverged>() => DIVERGED,
            _ => "failed",
        };
        // On a full disk this fails as well; the first error is reported.
        let _ = write_manifest(state, None);
    })?;
    let outcome = Outcome {
        title: settings.title(),
        variables,
        validation_accuracy: validation.accuracy(),
        test_accuracy: test.accuracy(),
        test_dead: test.dead,
        best_epoch: run.best.map_or(0, |(epoch, _)| epoch),
        seconds: begin.elapsed().as_secs_f64(),
    };
    write_manifest("done", Some(&outcome))?;
    Ok(outcome)
}

/// A running training.
struct Run<'a> {
    settings: &'a Settings,
    folder: &'a RunFolder,
    context: &'a RunContext<'a>,
    split: &'a SampleSplit,
    train_set: Scaled,
    test_set: Scaled,
    trainer: Trainer,
    evaluator: Evaluator,
    metrics: Metrics,
    /// Epochs done.
    epoch: u64,
    best: Option<(u64, f64)>,
}

impl<'a> Run<'a> {
    fn new(
        settings: &'a Settings,
        folder: &'a RunFolder,
        context: &'a RunContext<'a>,
        mut network: Network,
        split: &'a SampleSplit,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Run<'a>> {
        let task = *network.task();
        let scaled = |split| Scaled::new(split, task.low, task.high);
        let evaluator = Evaluator::new(&network, CHUNK.min(split.test.max(split.validation.len())));
        // A batch larger than the training set needs no more memory than the training set.
        let batch = settings.batch.min(split.train);
        let at = || folder.join(RESUME).display().to_string();
        let Checkpoint { epoch, best, state, values, metrics, .. } = checkpoint.unwrap_or_default();
        if epoch > 0 {
            network.set_values(&values).with_context(at)?;
        }
        let mut trainer = Trainer::new(network, TrainOptions { batch, ..settings.train_options() })?;
        if epoch > 0 {
            trainer.restore(state).with_context(at)?;
        }
        Ok(Run {
            settings,
            folder,
            context,
            split,
            train_set: scaled(&context.dataset.train),
            test_set: scaled(&context.dataset.test),
            trainer,
            evaluator,
            metrics: Metrics::open(&folder.join("metrics.csv"), task.seq_len, metrics)?,
            epoch,
            best,
        })
    }

    /// Runs the remaining epochs; returns validation and test results of the last one.
    fn epochs(&mut self) -> Result<(Evaluation, Evaluation)> {
        let Settings { epochs, batch, .. } = *self.settings;
        let steps = self.split.train.div_ceil(batch) as u64;
        let left = epochs.saturating_sub(self.epoch);
        let job = self.context.progress.job(&self.settings.title(), left.saturating_mul(steps));
        let picture = self.context.progress.picture();
        let mut last = None;
        while self.epoch < epochs {
            let (train, norms) = self.train_epoch(&job)?;
            let (validation, test) = self.evaluate()?;
            self.context.dataset.unchanged()?;
            self.epoch += 1;
            self.metrics.add(self.epoch, [train, validation, test], &norms)?;
            self.save(validation.accuracy())?;
            last = Some((validation, test));
            let dead = match test.dead {
                0 => String::new(),
                n => format!(", {n} test samples with an all-zero layer"),
            };
            job.message(&format!(
                "epoch {}/{epochs}, loss {:.4}, validation {:.4}, test {:.4}{dead}",
                self.epoch,
                train.mean_loss(),
                validation.accuracy(),
                test.accuracy()
            ));
            if let Some(picture) = &picture {
                picture.show(&curves(self.metrics.lines(), epochs));
            }
        }
        job.finish();
        picture.into_iter().for_each(Picture::finish);
        // A finished run has no epochs left and is only evaluated.
        last.map_or_else(|| self.evaluate(), Ok)
    }

    /// Trains one epoch; returns the training results and the mean gradient norm at each time step.
    fn train_epoch(&mut self, job: &Job) -> Result<(Evaluation, Vec<f64>)> {
        let Settings { batch, seed, .. } = *self.settings;
        let samples = &self.train_set;
        let epoch = Epoch { samples, count: self.split.train, batch, seed, index: self.epoch };
        let mut begun = 0;
        let before = || {
            check_stop()?;
            job.advance(begun);
            begun = 1;
            Ok(())
        };
        let found = epoch.train(self.context.kernels, &mut self.trainer, before).map_err(|error| {
            let title = self.settings.title();
            match error.downcast_ref() {
                Some(StepError { error: ModelError::NotFinite { .. }, .. }) => anyhow!(Diverged(format!(
                    "{title}, {error}; the last checkpoint is kept; try a smaller --lr"
                ))),
                Some(_) => anyhow!("{title}, {error}"),
                None => error,
            }
        })?;
        job.advance(1);
        Ok(found)
    }

    /// Evaluates on validation and test samples.
    fn evaluate(&mut self) -> Result<(Evaluation, Evaluation)> {
        let (kernels, network, split) = (self.context.kernels, self.trainer.network(), self.split);
        let mut on = |set: &Scaled, range| evaluate(kernels, network, &mut self.evaluator, set, range);
        let validation = on(&self.train_set, split.validation.clone())?;
        Ok((validation, on(&self.test_set, 0..split.test)?))
    }

    /// Writes the models, then the checkpoint: if the process is killed in between, the epoch is repeated with the same
    /// result.
    fn save(&mut self, accuracy: f64) -> Result<()> {
        self.folder.check()?;
        let network = self.trainer.network();
        if self.best.is_none_or(|(_, best)| accuracy > best) {
            self.best = Some((self.epoch, accuracy));
            model_file::save(&self.folder.join("best.safetensors"), network)?;
        }
        model_file::save(&self.folder.join("last.safetensors"), network)?;
        let checkpoint = Checkpoint {
            epoch: self.epoch,
            best: self.best,
            state: self.trainer.state().clone(),
            values: network.values().to_vec(),
            settings: serde_json::to_string(self.settings)?,
            data: serde_json::to_string(self.context.sha256)?,
            metrics: self.metrics.lines().to_owned(),
        };
        checkpoint.write(&self.folder.join(RESUME))
    }
}

//! Training on arrays: the epochs of `harness train`, without its folder.

use crate::arrays::{ImageArray, Images};
use crate::compute::kernels;
use crate::errors::exception;
use crate::watch::Watch;
use anyhow::{Context, Result, ensure};
use harness::run::architecture::Setting;
use harness::run::epoch::{CHUNK, Epoch, StepError, evaluate};
use harness::run::settings::{PartialSettings, Settings};
use kernels::Kernels;
use model::train::Trainer;
use model::{Evaluation, Evaluator, ModelError, Network, Samples, Task};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use std::time::Instant;

/// How a network is trained.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct TrainOptions<'py> {
    /// Settings of a run by their names, as JSON.
    settings: String,
    /// Images and labels that are not trained on.
    validation: Option<(ImageArray<'py>, PyReadonlyArray1<'py, i64>)>,
    /// Called with the [`EpochRecord`] of each epoch.
    epoch: Option<Py<PyAny>>,
}

/// What an epoch has brought.
#[derive(Clone, Copy, IntoPyObject)]
pub struct EpochRecord {
    /// Mean cross-entropy of the training samples before the updates of their steps and under dropout, nats.
    loss: f64,
    /// Share of them that is right.
    accuracy: f64,
    /// Mean cross-entropy of the validation samples after the epoch.
    validation_loss: Option<f64>,
    /// Share of them that is right.
    validation_accuracy: Option<f64>,
    /// Validation samples for which a whole layer is 0.
    validation_dead: Option<usize>,
    /// Seconds that the epoch took.
    seconds: f64,
}

/// Images and labels of the arrays `x` and `y`.
pub type Labelled<'a, 'py> = (&'a ImageArray<'py>, &'a PyReadonlyArray1<'py, i64>);

/// Trains a copy of the network; `keep` gets it after each epoch.
pub fn train(
    py: Python<'_>,
    network: &Network,
    (x, y): Labelled,
    options: &TrainOptions,
    watch: Watch,
    mut keep: impl FnMut(Network) + Send,
) -> PyResult<Vec<EpochRecord>> {
    let (task, epoch) = (network.task(), &options.epoch);
    let prepare = || -> Result<_> {
        let samples = x.images("x", task)?.labelled("y", y, task.classes)?;
        let validation = match &options.validation {
            None => None,
            Some((x, y)) => {
                Some(x.images("validation x", task)?.labelled("validation y", y, task.classes)?)
            }
        };
        let settings = settings(network, &options.settings)?;
        let network = with_zero_logit(network, settings.zero_logit)?;
        let batch = settings.batch.min(samples.len());
        let trainer =
            Trainer::new(network, model::train::TrainOptions { batch, ..settings.train_options() })?;
        Ok((samples, validation, settings, trainer))
    };
    let (samples, validation, settings, trainer) = prepare().map_err(exception)?;
    let mut training =
        Training { settings: &settings, samples: &samples, validation: validation.as_ref(), trainer, watch };
    let run = || -> Result<Vec<EpochRecord>> {
        let kernels = kernels()?;
        let mut records = Vec::new();
        for index in 0..settings.epochs {
            let record = training.epoch(&kernels, index)?;
            keep(training.trainer.network().clone());
            records.push(record);
            if let Some(epoch) = epoch {
                Python::attach(|py| epoch.call1(py, (record,)))?;
            }
        }
        Ok(records)
    };
    py.detach(run).map_err(exception)
}

/// The settings, and for those that are not given the defaults of `harness train`.
fn settings(network: &Network, text: &str) -> Result<Settings> {
    let given: PartialSettings = serde_json::from_str(text).context("the settings of the training")?;
    let architecture = network.architecture();
    let of_network = PartialSettings {
        encoder: Some(Setting::Value(architecture.encoder.clone())),
        core: Some(Setting::Value(architecture.core)),
        head: Some(Setting::Value(architecture.head.clone())),
        seq_len: Some(network.task().seq_len),
        zero_logit: Some(network.task().zero_logit),
        ..PartialSettings::default()
    };
    given.over(of_network).complete()
}

/// The network, to be trained with or without a zero logit.
fn with_zero_logit(network: &Network, zero_logit: bool) -> Result<Network, ModelError> {
    if network.task().zero_logit == zero_logit {
        return Ok(network.clone());
    }
    let task = Task { zero_logit, ..*network.task() };
    Network::from_tensors(network.architecture().clone(), task, &network.tensors())
}

struct Training<'a> {
    settings: &'a Settings,
    samples: &'a Images<'a>,
    validation: Option<&'a Images<'a>>,
    trainer: Trainer,
    watch: Watch,
}

impl Training<'_> {
    fn epoch(&mut self, kernels: &Kernels, index: u64) -> Result<EpochRecord> {
        let begin = Instant::now();
        let Settings { batch, seed, .. } = *self.settings;
        let epoch = Epoch { samples: self.samples, count: self.samples.len(), batch, seed, index };
        let watch = &mut self.watch;
        let mut done = index as usize * epoch.steps();
        let before = || {
            watch.tick(done)?;
            done += 1;
            Ok(())
        };
        let (seen, _) =
            epoch.train(kernels, &mut self.trainer, before).map_err(|error| match error.downcast_ref() {
                Some(StepError { error: ModelError::NotFinite { .. }, .. }) => {
                    error.context("try a smaller lr")
                }
                _ => error,
            })?;
        let validation = self.validate(kernels, done)?;
        self.watch.tell(done)?;
        Ok(EpochRecord {
            loss: seen.mean_loss(),
            accuracy: seen.accuracy(),
            validation_loss: validation.map(|found| found.mean_loss()),
            validation_accuracy: validation.map(|found| found.accuracy()),
            validation_dead: validation.map(|found| found.dead),
            seconds: begin.elapsed().as_secs_f64(),
        })
    }

    fn validate(&mut self, kernels: &Kernels, done: usize) -> Result<Option<Evaluation>> {
        let Some(samples) = self.validation else { return Ok(None) };
        let network = self.trainer.network();
        ensure!(!samples.is_empty(), "there are no validation samples");
        let mut evaluator = Evaluator::new(network, CHUNK.min(samples.len()));
        let mut sum = Evaluation::default();
        for first in (0..samples.len()).step_by(CHUNK) {
            self.watch.tick(done)?;
            let range = first..samples.len().min(first + CHUNK);
            sum.add(evaluate(kernels, network, &mut evaluator, samples, range)?);
        }
        Ok(Some(sum))
    }
}

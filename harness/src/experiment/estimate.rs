//! Estimates of time and memory of tasks, from rates that are measured when they are planned.
//!
//! For each network, a few steps of its training, the evaluation of a few samples and a few explanations are timed on this
//! machine. A run is its steps, evaluations and explanations at these rates. Memory is the peak of this process meanwhile,
//! the pages of its data sets included. On another CPU the time differs by the ratio of their speeds.

use super::sets::{OpenSet, Sets};
use super::task::{Estimate, Kind, Task};
use crate::dataset::samples::Scaled;
use crate::measure::settings::Measure;
use crate::run::settings::Settings;
use crate::run::training::sample_split;
use anyhow::{Result, anyhow};
use kernels::Kernels;
use model::explain::{Explainer, Method, Target};
use model::train::{TrainOptions, Trainer};
use model::{Evaluator, Network, Samples};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long each rate is measured, at most a step longer.
const MEASURED: Duration = Duration::from_millis(40);
/// Samples that are evaluated or explained at once.
const CHUNK: usize = 50;
/// Steps of a prototype, and samples whose heatmaps of all classes are compared.
const PROTOTYPE_STEPS: usize = 100;
const COMPARED: usize = 60;

/// Seconds a step and a sample.
#[derive(Clone, Copy, Debug)]
struct NetworkRates {
    step: f64,
    evaluated: f64,
    explained: f64,
    memory_mib: u64,
}

/// Estimates of all tasks, in their order. Each network is measured once.
///
/// # Errors
/// If a network does not fit its data.
pub fn estimates(tasks: &[Task], sets: &Sets, measure: &Measure, kernels: &Kernels) -> Result<Vec<Estimate>> {
    let mut known: HashMap<String, NetworkRates> = HashMap::new();
    let mut all = Vec::new();
    for Task { kind, planned } in tasks {
        let settings = &planned.settings;
        let set = sets.of(settings)?;
        let (rows, cols) = (set.dataset.rows, set.dataset.cols);
        let key = serde_json::to_string(&(
            &settings.architecture,
            settings.seq_len,
            settings.batch,
            settings.optimiser,
            [rows, cols],
        ))?;
        let rates = match known.get(&key) {
            Some(rates) => *rates,
            None => *known.entry(key).or_insert(rates(settings, set, kernels)?),
        };
        let split = sample_split(settings, &set.dataset)?;
        let steps = split.train.div_ceil(settings.batch) as f64;
        let evaluated = (split.validation.len() + split.test) as f64;
        let mut seconds = settings.epochs as f64 * (steps * rates.step + evaluated * rates.evaluated);
        if *kind == Kind::Run {
            let (forward, explained) = passes(settings, set, measure);
            seconds += forward * rates.evaluated + explained * rates.explained;
        }
        // Three digits are more than an estimate has.
        all.push(Estimate { seconds: (seconds * 1e3).round() / 1e3, memory_mib: rates.memory_mib });
    }
    Ok(all)
}

/// Forward passes and explanations of a measurement: test set, heatmaps, pixel flipping, randomisation, prototypes.
fn passes(settings: &Settings, set: &OpenSet, measure: &Measure) -> (f64, f64) {
    let selection = &set.selection;
    let (methods, samples) = (measure.methods.len(), selection.measured.len());
    if !measure.checks {
        // Every method over the test half, each batch of explanations with its forward pass.
        return (0.0, (methods * selection.test) as f64);
    }
    let regions = selection.rows.div_ceil(measure.region) * selection.cols.div_ceil(measure.region);
    let layers = settings.architecture.encoder.len() + settings.architecture.head.len() + 3;
    // Two orders of a method and a random one, each with two ways to remove a region.
    let flipped = (2 * methods + 1) * 2 * samples * (regions + 1);
    let of_method = selection.of_class.len() + (3 + layers) * samples;
    let compared = samples.min(COMPARED) * selection.classes;
    let explained = selection.test + methods * (of_method + compared) + selection.classes * PROTOTYPE_STEPS;
    ((2 * selection.test + flipped) as f64, explained as f64)
}

fn rates(settings: &Settings, set: &OpenSet, kernels: &Kernels) -> Result<NetworkRates> {
    let data = &set.dataset;
    let task = settings.task(data.rows, data.cols, data.classes);
    let new = || {
        let (architecture, values) = (settings.architecture.clone(), settings.initial_values.into());
        Network::with_initial_values(architecture, task, values, settings.seed)
    };
    let network = new().map_err(|error| settings.usage_error(error))?;
    let samples = Scaled::new(&data.train, task.low, task.high);
    let first = |n: usize| (0..n.min(samples.len())).collect::<Vec<usize>>();
    reset_peak();
    let batch = first(settings.batch);
    // The time of a step does not depend on its rate, and with a rate of 0 nothing can diverge.
    let settings = Settings { lr: 0.0, ..settings.clone() };
    let options = TrainOptions { batch: batch.len(), ..settings.train_options() };
    let mut trainer = Trainer::new(new()?, options)?;
    let step = timed(|| trainer.step(kernels, &samples, &batch).map(drop))?;
    let few = first(CHUNK);
    let mut evaluator = Evaluator::new(&network, few.len());
    let evaluated = timed(|| evaluator.evaluate(kernels, &network, &samples, &few).map(drop))?;
    let mut explainer = Explainer::new(kernels, &network, Method::DEEP_TAYLOR, few.len())?;
    let explained = timed(|| explainer.explain(kernels, &samples, &few, Target::Predicted).map(drop))?;
    let each = |seconds: f64| seconds / few.len() as f64;
    let memory_mib = peak().unwrap_or_default().div_ceil(1024);
    Ok(NetworkRates { step, evaluated: each(evaluated), explained: each(explained), memory_mib })
}

/// Seconds of one call, after one that is not timed.
fn timed(mut work: impl FnMut() -> Result<(), model::ModelError>) -> Result<f64> {
    work().map_err(|error| anyhow!("a step cannot be measured: {error}"))?;
    let (begin, mut calls) = (Instant::now(), 0);
    while calls == 0 || begin.elapsed() < MEASURED {
        work()?;
        calls += 1;
    }
    Ok(begin.elapsed().as_secs_f64() / f64::from(calls))
}

/// Forgets the peak of this process's memory, where the system can; else the peak is that since its start.
fn reset_peak() {
    use std::io::Write;
    let file = std::fs::File::options().write(true).open("/proc/self/clear_refs");
    let _ = file.and_then(|mut file| file.write_all(b"5"));
}

/// The peak of this process's memory in KiB.
fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

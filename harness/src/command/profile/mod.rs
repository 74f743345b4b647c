//! `harness profile`: where the time of a training step or of a batch of explanations goes.

mod totals;
mod trace;

use super::explain::MethodArgs;
use crate::cli::{Common, Misuse};
use crate::dataset::Dataset;
use crate::images::{Arrays, Scaled};
use crate::output::{out, outln};
use crate::report::write_atomically;
use crate::run::folder::refuse_existing;
use crate::run::settings::{Given, Settings};
use crate::run::training::cpu;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use kernels::profile::{Call, Profile};
use kernels::{Kernels, peak};
use model::explain::{Explainer, Target};
use model::train::{TrainOptions, Trainer};
use model::{Network, Samples};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use totals::Totals;

/// Arguments of `harness profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// shallow, deep, deepv2 or convdeep
    #[arg(long, value_name = "NAME", default_value = "deep")]
    cell: String,
    /// Steps T of the sequence
    #[arg(long, value_name = "T", default_value_t = 7)]
    seq_len: usize,
    /// Samples a step
    #[arg(long, value_name = "N", default_value_t = 50)]
    batch: usize,
    /// What a step is
    #[arg(long, value_enum, default_value_t = What::Train)]
    what: What,
    #[command(flatten)]
    method: MethodArgs,
    /// Measured steps, behind as many again to warm up, 20 at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    steps: usize,
    /// Data set whose mapped training samples are taken [default: noise in memory]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write every call as a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Replace a trace that is there
    #[arg(long)]
    overwrite: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A training step: forward with dropout, back through time, Adam
    Train,
    /// Explaining a batch, predicted classes
    Explain,
}

const WARM: usize = 20;
/// Seconds of each measurement of the peak, before the steps and behind them.
const PEAK_SECONDS: f64 = 0.2;

/// A step that was measured, and the calls in it.
struct Step {
    start: Duration,
    took: Duration,
    calls: Vec<Call>,
}

/// Runs `harness profile`.
///
/// # Errors
/// If an option does not fit, the data cannot be read, or the trace cannot be written.
pub fn run(args: &ProfileArgs, common: &Common) -> Result<()> {
    ensure!(args.steps > 0, Misuse("--steps is 0; it must be at least 1".to_owned()));
    let given = Given {
        cell: Some(args.cell.clone()),
        seq_len: Some(args.seq_len),
        batch: Some(args.batch),
        ..Given::default()
    };
    let settings = given.complete()?;
    let method = args.method.parse()?;
    let trace = args.trace.as_deref();
    trace.map_or(Ok(()), |path| refuse_existing(path, args.overwrite))?;
    let threads = common.thread_count()?;
    let profile = Arc::new(Profile::new());
    let kernels = common.kernels(threads)?.profiled(Arc::clone(&profile));
    let (samples, [rows, cols, classes]) = samples(args)?;
    let task = settings.task(rows, cols, classes);
    let network = Network::new(settings.architecture()?, task, settings.seed)
        .map_err(|error| Misuse(error.to_string()))?;
    let before = peak::measure_all(&kernels, PEAK_SECONDS);
    let steps = match args.what {
        What::Train => train(args, &settings, &kernels, &profile, network, &*samples)?,
        What::Explain => {
            let mut explainer = Explainer::new(&kernels, &network, method, args.batch)?;
            measured(args.steps, &profile, |step| {
                let batch = batch(args.batch, samples.len(), step);
                explainer.explain(&kernels, &*samples, &batch, Target::Predicted)?;
                Ok(())
            })?
        }
    };
    let peak = before.max(peak::measure_all(&kernels, PEAK_SECONDS));
    if let Some(path) = trace {
        write_atomically(path, |file| Ok(serde_json::to_writer(file, &trace::events(&steps))?))?;
    }
    let found = Totals::new(&steps, peak, args.batch);
    let input = args.dataset.as_deref().unwrap_or("noise");
    let what = match args.what {
        What::Train => "train".to_owned(),
        What::Explain => format!("explain, {}", args.method.method),
    };
    if common.json {
        let mut json = found.json();
        json["cell"] = json!(args.cell);
        json["seq_len"] = json!(args.seq_len);
        json["batch"] = json!(args.batch);
        json["what"] = json!(what);
        json["input"] = json!(input);
        json["kernels"] = json!(kernels.name());
        json["threads"] = json!(threads);
        json["cpu"] = json!(cpu());
        return outln!("{json}");
    }
    outln!(
        "{}, {what}, {} samples of {input} a step; {} on {threads} threads; {}",
        settings.title(),
        args.batch,
        kernels.name(),
        cpu()
    )?;
    out!("{}", found.table())?;
    outln!("{}", found.summary())
}

fn train(
    args: &ProfileArgs,
    settings: &Settings,
    kernels: &Kernels,
    profile: &Profile,
    network: Network,
    samples: &dyn Samples,
) -> Result<Vec<Step>> {
    let mut trainer = Trainer::new(network, TrainOptions { batch: args.batch, ..settings.train_options() })?;
    measured(args.steps, profile, |step| {
        trainer.step(kernels, samples, &batch(args.batch, samples.len(), step))?;
        Ok(())
    })
}

/// The samples of a step: the next ones, from the start again behind the last.
fn batch(n: usize, samples: usize, step: usize) -> Vec<usize> {
    (0..n).map(|i| (step * n + i) % samples).collect()
}

/// What the steps are fed with, and its rows, columns and classes.
fn samples(args: &ProfileArgs) -> Result<(Box<dyn Samples>, [usize; 3])> {
    if let Some(name) = &args.dataset {
        let dataset = Dataset::open(name, args.data_dir.as_deref())?;
        let shape = [dataset.rows, dataset.cols, dataset.classes];
        return Ok((Box::new(Scaled::new(&dataset.train, -1.0, 1.0)), shape));
    }
    const SIZE: usize = 28;
    let n = 20 * args.batch;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let pixel = |_| (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let images = (0..n * SIZE * SIZE).map(pixel).collect();
    let labels = (0..n).map(|i| (i % 10) as u8).collect();
    Ok((Box::new(Arrays { images, size: SIZE * SIZE, labels: Some(labels) }), [SIZE, SIZE, 10]))
}

/// Runs the steps, the first ones unmeasured.
fn measured(steps: usize, profile: &Profile, mut step: impl FnMut(usize) -> Result<()>) -> Result<Vec<Step>> {
    let warm = steps.min(WARM);
    let mut found = Vec::with_capacity(steps);
    for i in 0..warm + steps {
        profile.take();
        let start = profile.elapsed();
        step(i)?;
        let took = profile.elapsed() - start;
        if i >= warm {
            found.push(Step { start, took, calls: profile.take() });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::explain::Method;
    use model::{Architecture, Task};

    /// Steps of Shallow-2 on 4 noise images of 28×28.
    pub(super) fn steps(what: What) -> Vec<Step> {
        let args = ProfileArgs {
            cell: "shallow".to_owned(),
            seq_len: 2,
            batch: 4,
            what,
            method: MethodArgs { method: "deep-taylor".to_owned(), alpha: 2.0, beta: 1.0 },
            steps: 3,
            dataset: None,
            data_dir: None,
            trace: None,
            overwrite: false,
        };
        let (samples, [rows, cols, classes]) = samples(&args).unwrap();
        let task = Task { rows, cols, classes, seq_len: 2, ..Task::default() };
        let network = Network::new(Architecture::preset("shallow").unwrap(), task, 1).unwrap();
        let profile = Arc::new(Profile::new());
        let kernels = Kernels::default().profiled(Arc::clone(&profile));
        if what == What::Train {
            let settings = Given { cell: Some(args.cell.clone()), ..Given::default() }.complete().unwrap();
            return train(&args, &settings, &kernels, &profile, network, &*samples).unwrap();
        }
        let mut explainer = Explainer::new(&kernels, &network, Method::DeepTaylor, 4).unwrap();
        let explained = |step| {
            explainer.explain(&kernels, &*samples, &batch(4, 80, step), Target::Predicted)?;
            Ok(())
        };
        measured(args.steps, &profile, explained).unwrap()
    }
}

//! `harness profile`: time of a training step or of a batch of explanations, by kernel.

pub mod args;
mod compare;
mod interleave;
mod step;
mod totals;
mod trace;

use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::io::atomic::{check_target, write_atomically};
use crate::io::bounds::{BATCH_IN_MEMORY, MEASURED_STEPS, bounded};
use crate::io::ending::format;
use crate::io::machine::cpu;
use crate::io::output::{out, outln, write_json_result};
use crate::io::show::escape;
use crate::run::settings::PartialSettings;
use anyhow::Result;
use args::{ProfileAction, ProfileArgs, What};
use kernels::peak;
use kernels::profile::Profile;
use model::Network;
use model::explain::{Explainer, Target};
use serde_json::json;
use std::sync::Arc;
use step::{batch, measured, samples, train};
use totals::Totals;

/// Seconds of each measurement of the peak, before and after the steps.
const PEAK_SECONDS: f64 = 0.2;

/// Runs `harness profile`.
///
/// # Errors
/// If an option is invalid, the data cannot be read, or the trace cannot be written.
pub fn run(args: &ProfileArgs, options: &GlobalOptions) -> Result<()> {
    if let Some(ProfileAction::Compare { a, b }) = &args.action {
        return compare::run(a, b, options);
    }
    bounded("--steps", args.steps, MEASURED_STEPS)?;
    bounded("--batch", args.batch, BATCH_IN_MEMORY)?;
    let partial = PartialSettings {
        cell: Some(args.cell.clone()),
        encoder: args.encoder.clone(),
        core: args.core.clone(),
        head: args.head.clone(),
        seq_len: args.seq_len,
        batch: Some(args.batch),
        ..PartialSettings::default()
    };
    let settings = partial.over(args.task.settings()).complete()?;
    let method = args.method.parse()?;
    if let Some(other) = &args.interleave {
        return interleave::run(args, other, options);
    }
    let trace = args.trace.as_deref();
    if let Some(path) = trace {
        format("--trace", path, &["json"])?;
        check_target(path, args.overwrite)?;
    }
    let threads = options.thread_count()?;
    let profile = Arc::new(Profile::new());
    let kernels = options.kernels(threads)?.profiled(Arc::clone(&profile));
    let (samples, [rows, cols, classes]) = samples(args)?;
    let task = settings.task(rows, cols, classes);
    let network = Network::new(settings.architecture.clone(), task, settings.seed)
        .map_err(|error| UsageError(error.to_string()))?;
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
    if options.json {
        let mut json = found.json();
        json["cell"] = json!(args.cell);
        json["seq_len"] = json!(settings.seq_len);
        json["batch"] = json!(args.batch);
        json["what"] = json!(what);
        json["input"] = json!(input);
        json["kernels"] = json!(kernels.name());
        json["threads"] = json!(threads);
        json["cpu"] = json!(cpu());
        return write_json_result(&json);
    }
    outln!(
        "{}, {what}, {} samples of {} a step; {} on {threads} threads; {}",
        settings.title(),
        args.batch,
        escape(input),
        kernels.name(),
        cpu()
    )?;
    out!("{}", found.table())?;
    outln!("{}", found.summary())
}

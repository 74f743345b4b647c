//! `harness eval`: loss, accuracy and logits of a model.

use super::source::SourceArgs;
use crate::context::GlobalOptions;
use crate::io::array;
use crate::io::atomic::check_target;
use crate::io::ending::format;
use crate::io::output::{out, status, write_json_result};
use crate::io::show::json_path;
use crate::report::table::Table;
use anyhow::Result;
use clap::Args;
use model::{Evaluation, Evaluator};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `harness eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Write the logits as f32 [N, classes]
    #[arg(long, value_name = "FILE.npy")]
    logits: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long, requires = "logits")]
    overwrite: bool,
}

const CHUNK: usize = 250;

/// Runs `harness eval`.
///
/// # Errors
/// If the model or the samples cannot be read, do not fit together, or the logits cannot be written.
pub fn run(args: &EvalArgs, options: &GlobalOptions) -> Result<()> {
    if let Some(path) = &args.logits {
        format("--logits", path, &["npy"])?;
        check_target(path, args.overwrite)?;
    }
    let kernels = options.kernels(options.thread_count()?)?;
    let (network, source) = args.source.open()?;
    let samples = source.samples();
    let classes = network.task().classes;
    let mut evaluator = Evaluator::new(&network, CHUNK.min(samples.len().max(1)));
    let indices: Vec<usize> = (0..samples.len()).collect();
    let mut logits = Vec::new();
    let mut sum = Evaluation::default();
    for chunk in indices.chunks(CHUNK) {
        let part = evaluator.evaluate(&kernels, &network, samples, chunk)?;
        sum.add(part);
        if args.logits.is_some() {
            logits.extend_from_slice(evaluator.last_logits());
        }
    }
    source.unchanged()?;
    if let Some(path) = &args.logits {
        array::write_f32(path, &[samples.len(), classes], &logits)?;
    }
    if sum.samples > 0 && sum.dead == sum.samples {
        status!(
            "warning: every sample has a layer in which all units are off, so that nothing of the input is seen; \
             biases are −softplus(b) unless the metadata key `bias` says plain"
        );
    }
    let known = source.has_labels();
    if options.json {
        let (accuracy, loss) = (known.then(|| sum.accuracy()), known.then(|| sum.mean_loss()));
        let logits = args.logits.as_deref().map(json_path);
        return write_json_result(
            &json!({ "samples": sum.samples, "accuracy": accuracy, "loss": loss, "dead": sum.dead, "logits": logits }),
        );
    }
    let mut table = Table::new(&["samples", "accuracy", "loss (nats)", "dead"]);
    let shown = |value: f64| if known { format!("{value:.4}") } else { String::new() };
    table.row(vec![
        sum.samples.to_string(),
        shown(sum.accuracy()),
        shown(sum.mean_loss()),
        sum.dead.to_string(),
    ]);
    out!("{table}")
}

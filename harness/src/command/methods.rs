//! `harness methods`: every method and value of a model beside each other.

use super::source::SourceArgs;
use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::io::output::{out, outln, write_json_result};
use crate::measure::classes::{ClassRequest, SAMPLES};
use crate::measure::methods::{AllMethods, REGIONS, SIDE, all_methods};
use crate::report::table::Table;
use crate::signal::stop_on_signals;
use anyhow::{Result, ensure};
use clap::Args;
use model::explain::{Method, Value};

/// Arguments of `harness methods`.
#[derive(Debug, Args)]
pub struct MethodsArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The first N samples
    #[arg(long, value_name = "N", default_value_t = SAMPLES)]
    samples: usize,
}

/// Runs `harness methods`.
///
/// # Errors
/// If the model or the samples cannot be read, or there are no samples.
pub fn run(args: &MethodsArgs, options: &GlobalOptions) -> Result<()> {
    stop_on_signals()?;
    let kernels = options.kernels(options.thread_count()?)?;
    let (network, source) = args.source.open()?;
    let samples = source.samples();
    let indices: Vec<usize> = (0..samples.len().min(args.samples)).collect();
    ensure!(!indices.is_empty(), UsageError(format!("--samples {}: there is no sample", args.samples)));
    let progress = options.progress();
    let job = progress.job("methods", Method::names().count() as u64);
    let request = ClassRequest { network: &network, samples, indices: &indices };
    let found = all_methods(&kernels, request, &|| job.advance(1))?;
    job.finish();
    source.unchanged()?;
    if options.json {
        return write_json_result(&found);
    }
    out!("{}", table(&found))?;
    let random = found.random_aopc;
    outln!("{} samples; {REGIONS} regions of {SIDE}×{SIDE}; a random order has {random:.3}", found.samples)
}

/// A row for each method, columns for each value.
fn table(found: &AllMethods) -> Table {
    let values = found.methods.chunk_by(|a, b| a.method == b.method).next().map_or(0, <[_]>::len);
    let names = &Value::NAMES[..values];
    let columns: Vec<String> = std::iter::once("method".to_owned())
        .chain(names.iter().map(|name| format!("|cos| {name}")))
        .chain(names.iter().map(|name| format!("AOPC {name}")))
        .chain(["not conserved".to_owned(), "absorbed".to_owned(), "negative".to_owned()])
        .collect();
    let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    for of_method in found.methods.chunk_by(|a, b| a.method == b.method) {
        let is_gradient = Method::GRADIENTS.contains(&of_method[0].method.as_str());
        let promised = |text: String| if is_gradient { String::new() } else { text };
        let failed: usize = of_method.iter().map(|of| of.summary.not_conserved).sum();
        let largest = |share: &dyn Fn(usize) -> f64| (0..values).map(share).fold(0.0, f64::max);
        let mut row = vec![of_method[0].method.clone()];
        row.extend(
            of_method.iter().map(|of| of.cosine.map_or(String::new(), |cosine| format!("{cosine:.3}"))),
        );
        row.extend(of_method.iter().map(|of| format!("{:.3}", of.aopc)));
        row.push(promised(failed.to_string()));
        row.push(promised(format!("{:.1e}", largest(&|i| of_method[i].summary.absorbed_share_mean))));
        row.push(format!("{:.3}", largest(&|i| of_method[i].summary.negative_share)));
        table.row(row);
    }
    table
}

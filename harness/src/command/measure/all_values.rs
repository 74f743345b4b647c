//! `harness measure --value all`: every method and value of a model beside each other.

use super::{MeasureArgs, interval};
use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::io::json::write_json;
use crate::io::output::{out, outln, write_json_result};
use crate::io::show::shown;
use crate::measure::classes::ClassRequest;
use crate::measure::methods::{AllMethods, REGIONS, SIDE, all_methods};
use crate::report::table::Table;
use anyhow::{Result, ensure};
use model::explain::Method;

/// Runs it.
///
/// # Errors
/// If the model or the samples cannot be read, there are no samples, an option belongs to a single value, or the file
/// cannot be written.
pub fn run(args: &MeasureArgs, options: &GlobalOptions) -> Result<()> {
    ensure!(
        args.methods.is_empty() && args.region.is_none(),
        UsageError(
            "--value all measures every method, with its own regions: leave out --methods and --region"
                .to_owned()
        )
    );
    let kernels = options.kernels(options.thread_count()?)?;
    let (network, source) = args.source.open()?;
    let samples = source.samples();
    let indices: Vec<usize> = (0..samples.len().min(args.samples)).collect();
    ensure!(!indices.is_empty(), UsageError(format!("--samples {}: there is no sample", args.samples)));
    let progress = options.progress();
    let job = progress.job("measuring", Method::names_of_one_pass().count() as u64);
    let request = ClassRequest { network: &network, samples, indices: &indices };
    let found = all_methods(&kernels, request, &|| job.advance(1))?;
    job.finish();
    source.unchanged()?;
    if let Some(out) = &args.out {
        write_json(out, &found)?;
    }
    if options.json {
        return write_json_result(&found);
    }
    out!("{}", table(&found))?;
    let random = interval(found.random_aopc);
    outln!(
        "{} samples; [ ]: 95 % intervals over them; {REGIONS} regions of {SIDE}×{SIDE}; a random order has {random}",
        found.samples
    )?;
    args.out.as_ref().map_or(Ok(()), |out| outln!("{}", shown(out)))
}

/// A row for each method and value.
fn table(found: &AllMethods) -> Table {
    let mut table = Table::new(&[
        "method",
        "value",
        "all classes |cos|",
        "AOPC",
        "not conserved",
        "absorbed",
        "negative",
    ]);
    for of in &found.methods {
        let is_gradient = Method::GRADIENTS.contains(&of.method.as_str());
        let promised = |text: String| if is_gradient { String::new() } else { text };
        table.row(vec![
            of.method.clone(),
            of.value.clone(),
            interval(of.cosine),
            interval(of.aopc),
            promised(of.summary.not_conserved.to_string()),
            promised(format!("{:.1e}", of.summary.absorbed_share_mean)),
            format!("{:.3}", of.summary.negative_share),
        ]);
    }
    table
}

//! `harness explain`: the relevance of every input pixel for a decision.

pub mod args;
mod page;
mod write;

use super::source::Source;
use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::io::array;
use crate::io::atomic::check_target;
use crate::io::ending::ending;
use crate::io::output::{out, outln, write_json_result};
use crate::io::show::{json_path, shown};
use crate::measure::explanations::{CONSERVED, ExplanationRequest, Summary, explain_all};
use crate::report::table::Table;
use crate::signal::stop_on_signals;
use anyhow::{Result, bail, ensure};
use args::ExplainArgs;
use model::Network;
use model::explain::{Method, Target, Value};
use page::Gallery;
use serde_json::json;
use std::path::Path;
use write::{Request, Visit};

const PICTURES: usize = 16;
const ON_A_PAGE: usize = 8;

/// Whether a path is an existing folder, or written as one.
fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// The logit that an option names.
fn target(text: &str, network: &Network, source: &Source) -> Result<Target> {
    Ok(match text {
        "predicted" => Target::Predicted,
        "true" if source.has_labels() => Target::True,
        "true" => bail!(UsageError("--target true: the input has no labels; give --labels".to_owned())),
        "all" => Target::All,
        number => {
            let classes = network.task().classes;
            let class = number.parse().ok().filter(|&class: &usize| class < classes);
            let why = || {
                format!(
                    "--target {number}: it must be predicted, true, all, or a class from 0 to {}",
                    classes - 1
                )
            };
            Target::Class(class.ok_or_else(|| UsageError(why()))?)
        }
    })
}

/// Runs `harness explain`.
///
/// # Errors
/// If the model or the samples cannot be read, an option is invalid, or the output cannot be written.
pub fn run(args: &ExplainArgs, options: &GlobalOptions) -> Result<()> {
    stop_on_signals()?;
    args.formats.check()?;
    let method = args.method.parse()?;
    let kernels = options.kernels(options.thread_count()?)?;
    let (network, source) = args.source.open()?;
    if args.check && !matches!(method, Method::Relevance(_)) {
        bail!(UsageError(format!("--check: {} promises no conservation of relevance", args.method.method)));
    }
    let value_name = args.value_name()?;
    let from_file = Value::by_name(value_name).is_none();
    if from_file && args.target.is_some() {
        bail!(UsageError("--target: the rows of --value leave no choice of a class".to_owned()));
    }
    let target = target(args.target.as_deref().unwrap_or("predicted"), &network, &source)?;
    let samples = source.samples();
    if args.class.is_some() && !source.has_labels() {
        bail!(UsageError("--class: the input has no labels; give --labels".to_owned()));
    }
    let extension = ending(&args.out);
    let page = extension == "html" && !is_folder(&args.out);
    let pictures = !page && !matches!(extension.as_str(), "npy" | "npz");
    let lists = !args.methods.is_empty() || !args.values.is_empty();
    if lists && !page {
        let text =
            "--methods and --values are of a page: give --out FILE.html, or one --method and one --value";
        bail!(UsageError(text.to_owned()));
    }
    if pictures && !extension.is_empty() && !is_folder(&args.out) {
        let text = "its name must end in .npy or .npz, in .html for a page, or be that of a folder for pictures, without an ending";
        bail!(UsageError(format!("--out {}: {text}", shown(&args.out))));
    }
    let few = match (page, pictures) {
        (true, _) => ON_A_PAGE,
        (_, true) => PICTURES,
        _ => usize::MAX,
    };
    let limit = args.samples.unwrap_or(few);
    let of_class = |&i: &usize| args.class.is_none_or(|class| samples.label(i) == class);
    let indices: Vec<usize> = (0..samples.len()).filter(of_class).take(limit).collect();
    if indices.is_empty() {
        bail!(UsageError("no sample is selected: see --class and --samples".to_owned()));
    }
    if page {
        let outcomes =
            Gallery { network: &network, source: &source, indices: &indices }.write(args, &kernels)?;
        return finish(args, options, &outcomes);
    }
    let value = value(value_name, [indices.len(), network.task().classes])?;
    if !pictures {
        check_target(&args.out, args.overwrite)?;
    }
    let targets = if target == Target::All { network.task().classes } else { 1 };
    let request = Request { task: network.task(), source: &source, indices: &indices, targets };
    let explained =
        ExplanationRequest { network: &network, samples, indices: &indices, target, value: &value };
    let progress = options.progress();
    let job = progress.job("explaining", indices.len() as u64);
    let explain = |visit: &mut Visit| {
        let summary = explain_all(&kernels, method, explained, |chunk, found| {
            visit(chunk, &found)?;
            job.advance(chunk.len() as u64);
            Ok(())
        })?;
        job.finish();
        source.unchanged()?;
        Ok(summary)
    };
    let summary = match extension.as_str() {
        "npy" => request.to_npy(&args.out, explain)?,
        "npz" => request.to_npz(&args.out, explain)?,
        _ => request.to_pictures(args, explain)?,
    };
    let conserves = matches!(method, Method::Relevance(_));
    let outcome = Outcome { method: args.method.title(), value: value_name.to_owned(), conserves, summary };
    finish(args, options, &[outcome])
}

/// What one method came to on one value.
struct Outcome {
    method: String,
    value: String,
    /// Whether the method promises conservation of relevance.
    conserves: bool,
    summary: Summary,
}

/// Prints the results; with `--check`, fails if relevance was not conserved.
fn finish(args: &ExplainArgs, options: &GlobalOptions, outcomes: &[Outcome]) -> Result<()> {
    print_outcomes(args, options, outcomes)?;
    let conserving = || outcomes.iter().filter(|of| of.conserves);
    let failed: usize = conserving().map(|of| of.summary.not_conserved).sum();
    let all: usize = conserving().map(|of| of.summary.explanations).sum();
    ensure!(
        !args.check || failed == 0,
        "relevance is not conserved: in {failed} of {all} explanations |f − ΣR − absorbed| is above {CONSERVED} of the largest \
         of |f| and Σ|R|"
    );
    Ok(())
}

/// The value that an option names: a name, or a file of rows of this shape.
fn value(text: &str, shape: [usize; 2]) -> Result<Value> {
    if let Some(value) = Value::by_name(text) {
        ensure!(
            shape[1] > 1 || !matches!(value, Value::RunnerUp | Value::Contrast),
            UsageError(format!("--value {text}: the model has one class, so there is no other logit"))
        );
        return Ok(value);
    }
    let path = Path::new(text);
    ensure!(
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")),
        UsageError(format!("--value {text}: it must be {} or a .npy file", Value::NAMES.join(", ")))
    );
    let (rows, found) = array::read_rows(path).map_err(|error| UsageError(format!("--value {error:#}")))?;
    ensure!(
        found == shape,
        UsageError(format!(
            "--value {text}: has shape {found:?}, expected {shape:?}: a row for each explained sample, see --samples"
        ))
    );
    if let Some(at) = rows.iter().position(|x| !x.is_finite()) {
        let (row, column) = (at / shape[1], at % shape[1]);
        bail!(UsageError(format!(
            "--value {text}: row {row} has {} in column {column}, not a finite number",
            rows[at]
        )));
    }
    Ok(Value::Rows(rows))
}

fn print_outcomes(args: &ExplainArgs, options: &GlobalOptions, outcomes: &[Outcome]) -> Result<()> {
    if options.json {
        let json = |of: &Outcome| json!({ "method": of.method, "value": of.value, "out": json_path(&args.out), "summary": of.summary });
        return match outcomes {
            [only] => write_json_result(&json(only)),
            all => write_json_result(&all.iter().map(json).collect::<Vec<_>>()),
        };
    }
    let mut table = Table::new(&[
        "method",
        "value",
        "explanations",
        "conservation error",
        "largest",
        "absorbed share",
        "largest absorbed",
        "absorb > 1e-4",
        "f ≤ 0",
    ]);
    for Outcome { method, value, summary, .. } in outcomes {
        table.row(vec![
            method.clone(),
            value.clone(),
            summary.explanations.to_string(),
            format!("{:.1e}", summary.conservation_error_mean),
            format!("{:.1e}", summary.conservation_error_max),
            format!("{:.1e}", summary.absorbed_share_mean),
            format!("{:.1e}", summary.absorbed_share_max),
            summary.absorbing.to_string(),
            summary.not_positive.to_string(),
        ]);
    }
    out!("{table}")?;
    outln!("{}", shown(&args.out))
}

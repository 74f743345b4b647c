//! `harness train`: trains one network.

use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::io::ending::folder;
use crate::io::output::{out, outln, write_json_result};
use crate::io::show::{json_path, shown};
use crate::report::table::Table;
use crate::run::context::RunContext;
use crate::run::folder::{Existing, free};
use crate::run::resume::settings_in;
use crate::run::settings::PartialSettings;
use crate::run::training::train;
use crate::signal::stop_on_signals;
use anyhow::{Error, Result};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `harness train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    settings: PartialSettings,
    /// TOML file with the same settings; command line options override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of the run [default: runs/CELL-T-DATASET, with a number appended if it exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in that folder, with its settings; other options must agree with them, but for --epochs
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    resume: bool,
    /// Replace the run in that folder
    #[arg(long)]
    overwrite: bool,
    /// Draw loss and accuracy by epoch in the terminal
    #[arg(long)]
    watch: bool,
}

impl TrainArgs {
    /// An error of the settings, with the file they may come from.
    fn of_config(&self, error: Error) -> Error {
        match &self.config {
            Some(file) if error.is::<UsageError>() => {
                error.context(format!("with the settings of {}", file.display()))
            }
            _ => error,
        }
    }
}

/// Runs `harness train`.
///
/// # Errors
/// If a setting is invalid, the data is not found, or the training fails.
pub fn run(args: &TrainArgs, options: &GlobalOptions) -> Result<()> {
    stop_on_signals()?;
    args.out.as_deref().map_or(Ok(()), |out| folder("--out", out))?;
    let settings = args.settings.clone().over_file(args.config.as_deref())?;
    let settings = match (&args.out, args.resume) {
        (Some(out), true) => match settings_in(out)? {
            Some(found) => settings.over(PartialSettings::of(found)),
            None => settings,
        },
        _ => settings,
    };
    let settings = settings.complete().map_err(|error| args.of_config(error))?;
    let kernels = options.kernels(options.thread_count()?)?;
    let dataset = settings.open_data(args.data_dir.as_deref())?;
    let fold = settings.fold.map_or(String::new(), |fold| format!("-fold{fold}"));
    let name = format!("{}-{}-{}{fold}", settings.cell_name(), settings.seq_len, dataset.name);
    let out = args.out.clone().unwrap_or_else(|| free(&name));
    let progress = options.progress().watched(args.watch);
    progress.line(&format!("{} on {}, into {}", settings.title(), dataset.name, shown(&out)));
    let sha256 = dataset.sha256();
    let context = RunContext { dataset: &dataset, sha256: &sha256, kernels: &kernels, progress: &progress };
    let existing = Existing::from_flags(args.resume, args.overwrite);
    let outcome = train(&settings, &out, existing, &context).map_err(|error| args.of_config(error))?;
    if options.json {
        return write_json_result(&json!({ "out": json_path(&out), "outcome": outcome }));
    }
    let mut table = Table::new(&["run", "variables", "validation", "test", "dead", "best epoch"]);
    table.row(vec![
        outcome.title.clone(),
        outcome.variables.to_string(),
        format!("{:.4}", outcome.validation_accuracy),
        format!("{:.4}", outcome.test_accuracy),
        outcome.test_dead.to_string(),
        outcome.best_epoch.to_string(),
    ]);
    out!("{table}")?;
    outln!("model: {}", shown(&out.join("last.safetensors")))
}

//! `harness reproduce`: plans an experiment, runs all of its tasks in parallel, and collects the report.

use super::collect::collect;
use super::plan::{ExperimentArgs, Prepared, prepare};
use super::report::PageStyle;
use super::run::ParallelArgs;
use crate::context::GlobalOptions;
use crate::experiment::execute::{Summary, Workspace};
use crate::io::lock::check_choice;
use crate::io::show::{duration, shown};
use crate::report::colormap::Look;
use crate::report::formats::FigureFormats;
use crate::signal::stop_on_signals;
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `harness reproduce`.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// quick, draft, full, final-quick, final, or a TOML file that describes an experiment
    #[arg(value_name = "EXPERIMENT", default_value = "quick")]
    experiment: String,
    #[command(flatten)]
    of: ExperimentArgs,
    /// Folder of the results [default: runs/EXPERIMENT-DATASET, with a number appended if it exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    parallel: ParallelArgs,
    /// How heatmaps of the report are drawn.
    #[command(flatten)]
    look: Look,
    /// What figures are written as.
    #[command(flatten)]
    formats: FigureFormats,
    /// Draw loss and accuracy of the trainings in the terminal
    #[arg(long)]
    watch: bool,
}

/// Runs `harness reproduce`.
///
/// # Errors
/// If the experiment is invalid, data is not found, or a run fails; in that case the other runs are finished and the
/// report is written first.
pub fn run(args: &ReproduceArgs, options: &GlobalOptions) -> Result<()> {
    stop_on_signals()?;
    check_choice()?;
    args.formats.check()?;
    let kernels = options.kernels(1)?;
    args.parallel.check(options)?;
    let progress = options.progress().watched(args.watch);
    progress.line(&format!("{}: a few steps of each network are timed first", args.experiment));
    let Prepared { out, plan, sets } = prepare(&args.experiment, &args.of, args.out.as_deref(), &kernels)?;
    let chosen: Vec<usize> = (0..plan.tasks.len()).collect();
    let teams = args.parallel.teams(chosen.len(), options)?;
    let seconds = plan.seconds(options.thread_count()?.max(teams.len()));
    progress.line(&format!(
        "{}: {} trainings on {}, {} in parallel, about {} in all; the page will be {}",
        plan.experiment.name,
        chosen.len(),
        sets.names(" and "),
        teams.len(),
        duration(seconds),
        shown(&out.join("report.html"))
    ));
    let workspace = Workspace { out: &out, experiment: &plan.experiment, sets: &sets, progress: &progress };
    let Summary { failed, busy, .. } = workspace.run_all(&plan, &chosen, &teams)?;
    collect(&out, &plan, PageStyle { look: args.look, formats: &args.formats }, options)?;
    if !failed.is_empty() || !busy.is_empty() {
        let why = |(i, error): &(usize, String)| format!("{}: {error}", plan.tasks[*i].planned.folder);
        let all: Vec<String> = failed.iter().chain(&busy).map(why).collect();
        bail!("{} of {} runs failed: {}", all.len(), chosen.len(), all.join("; "));
    }
    Ok(())
}

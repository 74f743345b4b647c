//! `harness reproduce`: trains the networks of an experiment in parallel, measures them, and writes the report.

use crate::context::GlobalOptions;
use crate::dataset::DataSha256;
use crate::dataset::Dataset;
use crate::error::UsageError;
use crate::experiment::definition::Experiment;
use crate::experiment::folder::{FILE, State, state, write_experiment};
use crate::experiment::overrides::Overrides;
use crate::experiment::plan::Planned;
use crate::experiment::rates::{self, Rates};
use crate::experiment::schedule::in_parallel;
use crate::experiment::search::search;
use crate::io::bounds::{THREADS, bounded};
use crate::io::ending::folder;
use crate::io::show::format_error;
use crate::measure::network::{MeasureContext, measure};
use crate::measure::result::FILES;
use crate::measure::samples::SampleSelection;
use crate::run::checkpoint::Checkpoint;
use crate::run::context::RunContext;
use crate::run::folder::{Existing, free};
use crate::run::resume::{RESUME, differences, settings_in};
use crate::run::settings::Settings;
use crate::run::training::train;
use crate::signal::{Interrupted, stop_on_signals};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use model::Network;
use std::path::{Path, PathBuf};

/// Arguments of `harness reproduce`.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// quick, draft, full, final-quick, final, or a TOML file that describes an experiment
    #[arg(value_name = "EXPERIMENT", default_value = "quick")]
    experiment: String,
    #[command(flatten)]
    overrides: Overrides,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of the results [default: runs/EXPERIMENT-DATASET, with a number appended if it exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Trainings in parallel [default: one per thread]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Continue the reproduction in --out; finished runs are not repeated
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    resume: bool,
    /// Replace the reproduction in --out
    #[arg(long)]
    overwrite: bool,
}

/// An open data set of the experiment, or a fold of one, with its selected samples.
struct Open {
    /// [`Settings::data_name`]
    name: String,
    dataset: Dataset,
    sha256: DataSha256,
    selection: SampleSelection,
}

/// Runs `harness reproduce`.
///
/// # Errors
/// If the experiment is invalid, data is not found, or a run fails; in that case the other runs are finished and the
/// report is written first.
pub fn run(args: &ReproduceArgs, options: &GlobalOptions) -> Result<()> {
    stop_on_signals()?;
    args.out.as_deref().map_or(Ok(()), |out| folder("--out", out))?;
    let experiment = Experiment::by_name(&args.experiment)?.with(&args.overrides);
    let plan = experiment.plan(&Rates::default())?;
    let threads = options.thread_count()?;
    let jobs = args.jobs.map_or(Ok(threads), |jobs| bounded("--jobs", jobs, THREADS))?.clamp(1, plan.len());
    let kernels = options.kernels((threads / jobs).max(1))?;
    let mut sets: Vec<Open> = Vec::new();
    for planned in &plan {
        let name = planned.settings.data_name();
        if sets.iter().all(|set| set.name != name) {
            let dataset = planned.settings.open_data(args.data_dir.as_deref())?;
            let limit = experiment.train.limit_test;
            let selection = SampleSelection::new(&dataset, &experiment.measure, limit, experiment.seeds[0])?;
            sets.push(Open { name, sha256: dataset.sha256(), dataset, selection });
        }
    }
    check_networks(&plan, &sets)?;
    let mut names: Vec<&str> = sets.iter().map(|set| &set.dataset.name[..]).collect();
    names.dedup();
    let names = names.join("-");
    let out = args.out.clone().unwrap_or_else(|| free(&format!("{}-{names}", experiment.name)));
    let existing = Existing::from_flags(args.resume, args.overwrite);
    ensure!(
        existing != Existing::Keep || !out.join(FILE).exists(),
        "{}: already holds a reproduction; choose another --out, --resume or --overwrite",
        out.display()
    );
    match existing {
        Existing::Resume if out.join(FILE).exists() => {
            let there = Experiment::read(&out.join(FILE))?.name;
            let name = &experiment.name;
            ensure!(there == *name, "{}: holds {there}, not {name}; choose another --out", out.display());
            check_resumable(&out, &experiment)?;
        }
        Existing::Overwrite => remove(&out, &[rates::FILE])?,
        Existing::Keep | Existing::Resume => {}
    }
    write_experiment(&out, &experiment)?;
    for set in &mut sets {
        set.selection.write(&out.join(&set.name))?;
    }
    let progress = options.progress();
    progress.line(&format!(
        "{}: {} trainings on {names}, {jobs} in parallel, into {}",
        experiment.name,
        plan.len(),
        out.display()
    ));
    let open = |planned: &Planned| {
        let name = planned.settings.data_name();
        let found = sets.iter().find(|set| set.name == name);
        found.context("the data set of a run is open")
    };
    let train_in = |planned: &Planned, existing: Existing| {
        let set = open(planned)?;
        let (dataset, sha256) = (&set.dataset, &set.sha256);
        let progress = progress.of_run(&planned.folder);
        let context = RunContext { dataset, sha256, kernels: &kernels, progress: &progress };
        train(&planned.settings, &out.join(&planned.folder), existing, &context)
    };
    let rates = search(&experiment, &out, |candidates| {
        progress.line(&format!("searching learning rates: {} short trainings", candidates.len()));
        in_parallel(candidates, jobs, &progress, |planned| train_in(planned, existing))
    })?;
    let plan = experiment.plan(&rates)?;
    let results = in_parallel(&plan, jobs, &progress, |planned| {
        let set = open(planned)?;
        let folder = out.join(&planned.folder);
        let there = state(&folder, planned, &experiment, &set.selection);
        if existing == Existing::Resume && matches!(there, State::Done(_)) {
            return Ok(());
        }
        if existing == Existing::Overwrite {
            remove(&folder, &FILES)?;
        }
        train_in(planned, existing)?;
        let Open { dataset, selection, .. } = set;
        let progress = progress.of_run(&planned.folder);
        let context = MeasureContext {
            dataset,
            selection,
            measure: &experiment.measure,
            kernels: &kernels,
            progress: &progress,
        };
        measure(&folder, &planned.title, &context)
    });
    let mut failed = Vec::new();
    for (planned, result) in plan.iter().zip(results) {
        let Err(error) = result else { continue };
        match error.downcast_ref::<Interrupted>() {
            Some(interrupted) => return Err(interrupted.clone().into()),
            None => failed.push(format!("{}: {}", planned.folder, format_error(&error))),
        }
    }
    super::report::rebuild(&out, options)?;
    if !failed.is_empty() {
        bail!("{} of {} runs failed: {}", failed.len(), plan.len(), failed.join("; "));
    }
    Ok(())
}

/// Checks that no finished run of a folder differs from the plan, before anything is written: in its settings, or by
/// more epochs.
fn check_resumable(out: &Path, experiment: &Experiment) -> Result<()> {
    for planned in experiment.plan(&Rates::read(out)?)? {
        let folder = out.join(&planned.folder);
        if !folder.join("run.json").exists() {
            continue;
        }
        // A damaged run is reported when it is its turn.
        let Ok(Some(found)) = settings_in(&folder) else { continue };
        let different = differences(&found, &planned.settings);
        ensure!(
            different.is_empty(),
            UsageError(format!(
                "{}: is of a run with other settings: {}; leave these options out or choose another --out",
                folder.display(),
                different.join(", ")
            ))
        );
        let epochs = planned.settings.epochs;
        if found.epochs > epochs
            && let Ok(Checkpoint { epoch, .. }) = Checkpoint::read(&folder.join(RESUME))
        {
            ensure!(
                epoch <= epochs,
                UsageError(format!(
                    "{}: has {epoch} epochs, more than --epochs {epochs}; use at least --epochs {epoch}",
                    folder.display()
                ))
            );
        }
    }
    Ok(())
}

/// Checks that the network of every run can be built, before anything is written.
fn check_networks(plan: &[Planned], sets: &[Open]) -> Result<()> {
    let mut checked: Vec<&Settings> = Vec::new();
    for settings in plan.iter().map(|planned| &planned.settings) {
        let same = |other: &&Settings| {
            (&other.dataset, &other.architecture, other.seq_len)
                == (&settings.dataset, &settings.architecture, settings.seq_len)
        };
        if checked.iter().any(same) {
            continue;
        }
        checked.push(settings);
        let name = settings.data_name();
        let set = sets.iter().find(|set| set.name == name);
        let Dataset { rows, cols, classes, .. } = set.context("the data set of a run is open")?.dataset;
        Network::new(settings.architecture.clone(), settings.task(rows, cols, classes), settings.seed)
            .map_err(|error| settings.usage_error(error))
            .with_context(|| format!("the network of {}", settings.title()))?;
    }
    Ok(())
}

/// Removes files that exist.
fn remove(folder: &Path, files: &[&str]) -> Result<()> {
    for path in files.iter().map(|file| folder.join(file)).filter(|path| path.exists()) {
        std::fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
    }
    Ok(())
}

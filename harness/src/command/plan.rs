//! `harness plan`: the tasks of an experiment as a list and as an array script, to be run by `harness run`.

use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::experiment::definition::Experiment;
use crate::experiment::estimate::estimates;
use crate::experiment::execute::FAILED;
use crate::experiment::folder::{FILE, write_experiment};
use crate::experiment::overrides::Overrides;
use crate::experiment::rates::{self, Rates};
use crate::experiment::sets::Sets;
use crate::experiment::slurm::{ArrayJob, LOGS, SCRIPT};
use crate::experiment::task::{Estimate, Plan, Task, TaskLine, tasks, write_plan};
use crate::io::atomic::write_atomically;
use crate::io::bounds::{AT_ONCE, THREADS, bounded};
use crate::io::ending::folder;
use crate::io::output::{outln, write_json_result};
use crate::io::show::{duration, json_path, shown};
use crate::measure::result::FILES as MEASURED;
use crate::run::checkpoint::Checkpoint;
use crate::run::folder::{Existing, RunFolder, free, refuse_run};
use crate::run::resume::{RESUME, differences, settings_in};
use anyhow::{Context, Result, ensure};
use clap::Args;
use kernels::Kernels;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Tasks that Slurm runs at once unless `--at-once` says otherwise.
const AT_ONCE_DEFAULT: usize = 64;

/// Arguments of `harness plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// A preset, or a TOML file that describes an experiment; see `harness reproduce --help`
    #[arg(value_name = "EXPERIMENT")]
    experiment: String,
    #[command(flatten)]
    of: ExperimentArgs,
    /// Folder of the plan and the results; every machine that runs tasks sees it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Tasks that run at once, at most [default: 64]
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,
}

/// Options of commands that plan an experiment.
#[derive(Debug, Args)]
pub struct ExperimentArgs {
    #[command(flatten)]
    overrides: Overrides,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Continue the reproduction in --out; finished runs are not repeated
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    resume: bool,
    /// Replace the reproduction in --out
    #[arg(long)]
    overwrite: bool,
}

/// A planned folder.
#[derive(Debug)]
pub struct Prepared {
    /// Its path.
    pub out: PathBuf,
    /// Its plan.
    pub plan: Plan,
    /// The data sets of the plan.
    pub sets: Sets,
}

#[derive(Serialize)]
struct Printed {
    tasks: usize,
    seconds: f64,
    memory_mib: u64,
    plan: String,
    script: String,
}

/// Runs `harness plan`.
///
/// # Errors
/// If the experiment is invalid, data is not found, or the folder holds another plan.
pub fn run(args: &PlanArgs, options: &GlobalOptions) -> Result<()> {
    let threads = bounded("--threads", options.threads.unwrap_or(1), THREADS)?;
    let at_once = bounded("--at-once", args.at_once.unwrap_or(AT_ONCE_DEFAULT), AT_ONCE)?;
    let out = std::path::absolute(&args.out).context("--out")?;
    let data_dir = args.of.data_dir.as_deref().map(std::path::absolute).transpose().context("--data-dir")?;
    let program = std::env::current_exe().context("the path of the program")?;
    let job = ArrayJob {
        name: "",
        program: &program,
        out: &out,
        data_dir: data_dir.as_deref(),
        tasks: 1,
        at_once,
        threads,
        seconds: 0.0,
        memory_mib: 0,
    };
    // Before anything is written.
    job.script()?;
    let kernels = options.kernels(threads)?;
    let Prepared { plan, .. } = prepare(&args.experiment, &args.of, Some(&args.out), &kernels)?;
    let of = |line: &TaskLine| line.estimate;
    let largest =
        |of: fn(Estimate) -> f64| plan.lines.iter().map(|line| of(line.estimate)).fold(0.0, f64::max);
    let memory_mib = plan.lines.iter().map(|line| of(line).memory_mib).max().unwrap_or_default();
    let tasks = plan.lines.len();
    let script = ArrayJob {
        name: &plan.experiment.name,
        tasks,
        at_once: at_once.min(tasks),
        seconds: largest(|estimate| estimate.seconds),
        memory_mib,
        ..job
    }
    .script()?;
    let logs = args.out.join(LOGS);
    crate::io::folder::create(&logs)?;
    let path = args.out.join(SCRIPT);
    write_atomically(&path, |file| Ok(file.write_all(script.as_bytes())?))?;
    let seconds: f64 = plan.lines.iter().map(|line| of(line).seconds).sum();
    if options.json {
        let plan = json_path(&args.out.join(crate::experiment::task::PLAN));
        return write_json_result(&Printed { tasks, seconds, memory_mib, plan, script: json_path(&path) });
    }
    outln!(
        "{tasks} tasks, about {} on this CPU with {threads} {}, {memory_mib} MiB each at most",
        duration(seconds),
        if threads == 1 { "thread" } else { "threads" }
    )?;
    outln!("sbatch {}", shown(&path))
}

/// Plans an experiment into a folder: `runs/EXPERIMENT-DATASET` unless `out` names one. A folder with the same plan is
/// left as it is.
///
/// # Errors
/// If the experiment is invalid, data is not found, or the folder holds something that the options do not allow to continue
/// or to replace; nothing is written then.
pub fn prepare(
    experiment: &str,
    args: &ExperimentArgs,
    out: Option<&Path>,
    kernels: &Kernels,
) -> Result<Prepared> {
    out.map_or(Ok(()), |out| folder("--out", out))?;
    let experiment = Experiment::by_name(experiment)?.with(&args.overrides);
    let tasks = tasks(&experiment)?;
    let planned = || tasks.iter().map(|task| &task.planned);
    let mut sets = Sets::open(&experiment, planned(), args.data_dir.as_deref())?;
    let out = out.map_or_else(|| free(&format!("{}-{}", experiment.name, sets.names("-"))), Path::to_owned);
    let existing = Existing::from_flags(args.resume, args.overwrite);
    let here = out.join(FILE).exists();
    ensure!(
        existing != Existing::Keep || !here,
        "{}: already holds a reproduction; choose another --out, --resume or --overwrite",
        out.display()
    );
    match existing {
        Existing::Keep => planned().try_for_each(|planned| refuse_run(&out.join(&planned.folder)))?,
        Existing::Resume if here => {
            let there = Experiment::read(&out.join(FILE))?.name;
            let name = &experiment.name;
            ensure!(there == *name, "{}: holds {there}, not {name}; choose another --out", out.display());
            check_resumable(&out, &experiment)?;
        }
        Existing::Resume | Existing::Overwrite => {}
    }
    let line = |(i, task): (usize, &Task)| task.line(i, &experiment, &sets, Estimate::default());
    let mut lines: Vec<TaskLine> = tasks.iter().enumerate().map(line).collect::<Result<_>>()?;
    let before = Plan::read(&out).ok().map(|plan| plan.lines).filter(|before| same(before, &lines));
    if let Some(before) = before.clone().filter(|_| existing == Existing::Resume) {
        lines = before;
    } else {
        let estimates = estimates(&tasks, &sets, &experiment.measure, kernels)?;
        lines.iter_mut().zip(estimates).for_each(|(line, estimate)| line.estimate = estimate);
    }
    if existing == Existing::Overwrite {
        remove(&out, &[rates::FILE])?;
        for folder in planned().map(|planned| out.join(&planned.folder)).filter(|folder| folder.is_dir()) {
            let _locked = RunFolder::open(&folder, Existing::Overwrite)?;
            remove(&folder, &MEASURED)?;
            remove(&folder, &[FAILED])?;
        }
    }
    write_experiment(&out, &experiment)?;
    sets.write(&out)?;
    write_plan(&out, &lines)?;
    Ok(Prepared { out, plan: Plan { experiment, tasks, lines }, sets })
}

/// Whether two plans have the same tasks; estimates do not count.
fn same(a: &[TaskLine], b: &[TaskLine]) -> bool {
    let plain = |line: &TaskLine| TaskLine { estimate: Estimate::default(), ..line.clone() };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| plain(a) == plain(b))
}

/// Checks that no finished run of a folder differs from the plan, before anything is written: in its settings, or by
/// more epochs.
fn check_resumable(out: &Path, experiment: &Experiment) -> Result<()> {
    let mut rates = Rates::read(out)?;
    rates.0.extend(experiment.found_rates(out)?.0);
    for planned in experiment.plan(&rates)? {
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

/// Removes files that exist.
fn remove(folder: &Path, files: &[&str]) -> Result<()> {
    for path in files.iter().map(|file| folder.join(file)).filter(|path| path.exists()) {
        std::fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
    }
    Ok(())
}

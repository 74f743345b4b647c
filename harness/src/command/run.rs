//! `harness run`: trains and measures tasks of a plan.

use crate::context::{GlobalOptions, variable};
use crate::error::UsageError;
use crate::experiment::execute::{Ended, Summary, Workspace};
use crate::experiment::schedule::{Team, teams};
use crate::experiment::sets::Sets;
use crate::experiment::task::{Plan, ranges};
use crate::io::bounds::{THREADS, bounded};
use crate::io::lock::check_choice;
use crate::io::output::{outln, write_json_result};
use crate::io::show::shown;
use crate::signal::stop_on_signals;
use anyhow::{Result, bail, ensure};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::str::FromStr;

/// Slurm's number of a task of an array.
const INDEX_ENV: &str = "SLURM_ARRAY_TASK_ID";

/// Arguments of `harness run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Folder that `harness plan` has written
    #[arg(value_name = "DIR")]
    out: PathBuf,
    /// Number of the task, from 0 [env: SLURM_ARRAY_TASK_ID]
    #[arg(long, value_name = "N", conflicts_with = "shard")]
    index: Option<usize>,
    /// Every N-th task, from task I: many short tasks in one allocation; 0/1 is all of them
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    parallel: ParallelArgs,
}

/// Options of commands that run several tasks.
#[derive(Debug, Args)]
pub struct ParallelArgs {
    /// Trainings in parallel, which share --threads [default: one per thread]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Keep the threads of each training on neighbouring cores of one NUMA node
    #[arg(long)]
    pin: bool,
}

impl ParallelArgs {
    /// Checks the options before anything is written.
    ///
    /// # Errors
    /// [`UsageError`] that names one that is out of bounds.
    pub fn check(&self, options: &GlobalOptions) -> Result<usize> {
        self.jobs.map_or(options.thread_count(), |jobs| Ok(bounded("--jobs", jobs, THREADS)?))
    }

    /// Teams of threads for at most `tasks` trainings in parallel.
    ///
    /// # Errors
    /// If an option is invalid, or threads cannot be started or pinned.
    pub fn teams(&self, tasks: usize, options: &GlobalOptions) -> Result<Vec<Team>> {
        let (jobs, threads) = (self.check(options)?, options.thread_count()?);
        let teams = teams(jobs.clamp(1, tasks.max(1)), threads, self.pin, |n| options.kernels(n))?;
        let free = teams.iter().filter(|team| team.place().is_none()).count();
        if self.pin && free > 0 {
            options.progress().line(&format!(
                "warning: {free} of {} trainings are not pinned: there are fewer CPUs than threads",
                teams.len()
            ));
        }
        Ok(teams)
    }
}

/// One of several equal parts of a plan: the tasks whose index is `part` modulo `parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shard {
    part: usize,
    parts: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let numbers =
            text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
        match numbers {
            Some((part, parts)) if part < parts => Ok(Shard { part, parts }),
            _ => Err("it must be I/N, such as 0/4 to 3/4".to_owned()),
        }
    }
}

/// Runs `harness run`.
///
/// # Errors
/// If the folder holds no plan, its data are others than planned, a task fails, or is not finished at the end because
/// another process has it.
pub fn run(args: &RunArgs, options: &GlobalOptions) -> Result<()> {
    stop_on_signals()?;
    check_choice()?;
    let plan = Plan::read(&args.out)?;
    let chosen = chosen(args, plan.tasks.len())?;
    let needed = chosen.iter().flat_map(|&i| {
        let planned = &plan.tasks[i].planned;
        plan.experiment.candidates(planned).into_iter().chain([planned.clone()])
    });
    let needed: Vec<_> = needed.collect();
    let sets = Sets::open(&plan.experiment, &needed, args.data_dir.as_deref())?;
    plan.check_data(&chosen, &sets)?;
    let teams = args.parallel.teams(chosen.len(), options)?;
    let progress = options.progress();
    let workspace =
        Workspace { out: &args.out, experiment: &plan.experiment, sets: &sets, progress: &progress };
    let Summary { done, failed, busy } = workspace.run_all(&plan, &chosen, &teams)?;
    let of =
        |ended: Ended| done.iter().filter(|(_, of)| *of == ended).map(|(i, _)| *i).collect::<Vec<usize>>();
    let of_list = |list: &[(usize, String)]| list.iter().map(|(i, _)| *i).collect::<Vec<usize>>();
    let (failures, others) = (of_list(&failed), of_list(&busy));
    if options.json {
        let (now, before) = (of(Ended::Now), of(Ended::Before));
        write_json_result(
            &json!({ "done": now, "finished_before": before, "failed": failures, "busy": others }),
        )?;
    } else {
        for (i, ended) in &done {
            let how = if *ended == Ended::Now { "done" } else { "was finished before" };
            outln!("{i} {} {how}", plan.tasks[*i].planned.folder)?;
        }
    }
    let errors: Vec<&str> = failed.iter().chain(&busy).map(|(_, error)| &error[..]).collect();
    match errors[..] {
        [] => Ok(()),
        [error] => bail!("{error}"),
        _ => {
            let lists = [("failed", &failures), ("are used by other processes", &others)];
            let listed = lists.iter().filter(|(_, list)| !list.is_empty());
            let listed: Vec<String> = listed
                .map(|(what, list)| format!("{} {what} (--array={})", list.len(), ranges(list)))
                .collect();
            bail!("of {} tasks, {}: {}", chosen.len(), listed.join(" and "), errors.join("; "))
        }
    }
}

/// The tasks that the options choose.
fn chosen(args: &RunArgs, tasks: usize) -> Result<Vec<usize>> {
    if let Some(Shard { part, parts }) = args.shard {
        let chosen: Vec<usize> = (part..tasks).step_by(parts).collect();
        ensure!(
            !chosen.is_empty(),
            UsageError(format!(
                "--shard {part}/{parts}: has no task; the plan has {tasks}, 0 to {}",
                tasks - 1
            ))
        );
        return Ok(chosen);
    }
    let (from, index) = match (args.index, variable(INDEX_ENV)?) {
        (Some(index), _) => ("--index ".to_owned(), index),
        (None, Some(text)) => {
            let number = text.trim().parse().map_err(|_| {
                UsageError(format!("{INDEX_ENV} is {text:?}; it must be the number of a task"))
            })?;
            (format!("{INDEX_ENV}="), number)
        }
        (None, None) => bail!(UsageError(format!(
            "{}: which task? give --index N, --shard I/N, or set {INDEX_ENV}",
            shown(&args.out)
        ))),
    };
    ensure!(
        index < tasks,
        UsageError(format!("{from}{index}: there is no such task; the plan has {tasks}, 0 to {}", tasks - 1))
    );
    Ok(vec![index])
}

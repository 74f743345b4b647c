//! `harness collect`: the report of a plan from the tasks that are finished, and a list of those that are not.

use super::report::PageStyle;
use crate::context::GlobalOptions;
use crate::experiment::execute::FAILED;
use crate::experiment::folder::{Loaded, State};
use crate::experiment::rates;
use crate::experiment::search::result;
use crate::experiment::task::{Kind, Plan, Task, ranges};
use crate::io::file;
use crate::io::json::write_json;
use crate::io::lock::is_held;
use crate::io::output::{outln, write_json_result};
use crate::io::show::shown;
use crate::report::colormap::Look;
use crate::report::formats::FigureFormats;
use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The longest failure that is read.
const MAX_BYTES: u64 = 1 << 16;

/// Arguments of `harness collect`.
#[derive(Debug, Args)]
pub struct CollectArgs {
    /// Folder that `harness plan` has written
    #[arg(value_name = "DIR")]
    out: PathBuf,
    /// How heatmaps of the report are drawn.
    #[command(flatten)]
    look: Look,
    /// What figures are written as.
    #[command(flatten)]
    formats: FigureFormats,
}

/// The tasks of a plan that are not finished, by index.
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    /// Nobody works on them.
    pub missing: Vec<usize>,
    /// A process works on them.
    pub running: Vec<usize>,
    /// They ended with an error, or their files are damaged, and why.
    pub failed: Vec<(usize, String)>,
}

/// Runs `harness collect`.
///
/// # Errors
/// If the folder holds no plan, the experiment was changed since, or a task is not finished; in that case the report is
/// written first.
pub fn run(args: &CollectArgs, options: &GlobalOptions) -> Result<()> {
    args.formats.check()?;
    let plan = Plan::read(&args.out)?;
    let style = PageStyle { look: args.look, formats: &args.formats };
    let Unfinished { missing, running, failed } = collect(&args.out, &plan, style, options)?;
    let (tasks, failures) = (plan.tasks.len(), failed.iter().map(|(i, _)| *i).collect::<Vec<usize>>());
    let lists = [("missing", &missing), ("running", &running), ("failed", &failures)];
    if options.json {
        let [missing, running, failed] = lists.map(|(_, list)| ranges(list));
        write_json_result(
            &json!({ "tasks": tasks, "missing": missing, "running": running, "failed": failed }),
        )?;
    } else {
        for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
            outln!("{name} --array={}", ranges(list))?;
        }
    }
    let open: usize = lists.iter().map(|(_, list)| list.len()).sum();
    if open == 0 {
        return Ok(());
    }
    let listed = lists.iter().filter(|(_, list)| !list.is_empty());
    let listed = listed.map(|(name, list)| format!("{name} --array={}", ranges(list))).collect::<Vec<_>>();
    let first = failed.first().map(|(i, error)| format!("; task {i}: {error}")).unwrap_or_default();
    bail!("{}: {open} of {tasks} tasks are not finished: {}{first}", shown(&args.out), listed.join(", "))
}

/// Writes the rates that were found, and the report; returns what is not finished.
///
/// # Errors
/// If a file cannot be written.
pub fn collect(out: &Path, plan: &Plan, style: PageStyle, options: &GlobalOptions) -> Result<Unfinished> {
    let found = plan.experiment.found_rates(out)?;
    if !found.0.is_empty() {
        write_json(&out.join(rates::FILE), &found)?;
    }
    let loaded = Loaded::read(out)?;
    super::report::rebuild(out, &loaded, style, options)?;
    let mut unfinished = Unfinished::default();
    for (i, task) in plan.tasks.iter().enumerate() {
        let folder = out.join(&task.planned.folder);
        let Some(failure) = failure(task, &folder, &loaded) else { continue };
        if is_held(&folder) {
            unfinished.running.push(i);
        } else if let Some(failure) = failure {
            unfinished.failed.push((i, failure));
        } else {
            unfinished.missing.push(i);
        }
    }
    Ok(unfinished)
}

/// None if a task is finished; else why it failed, if it did.
fn failure(task: &Task, folder: &Path, loaded: &Loaded) -> Option<Option<String>> {
    let state = match task.kind {
        Kind::Candidate if result(folder, &task.planned.settings).is_some() => return None,
        Kind::Candidate => None,
        Kind::Run => {
            let run = loaded.runs.iter().find(|run| run.planned.folder == task.planned.folder);
            run.map(|run| &run.state)
        }
    };
    let damage = match state {
        Some(State::Done(_)) => return None,
        Some(State::Damaged(why)) => Some(why.clone()),
        _ => None,
    };
    // Names are in the file: it is no longer than a path, or it is not one of ours.
    let line = file::read(&folder.join(FAILED), MAX_BYTES).ok();
    let line = line.map(|text| String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned());
    Some(line.or(damage))
}

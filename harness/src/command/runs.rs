//! `harness runs`: the trainings below a folder, their state and accuracy.

use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::experiment::folder::Manifest;
use crate::io::file;
use crate::io::output::{outln, write_json_result};
use crate::io::show::{escape, shown};
use crate::report::table::Table;
use crate::report::tidy;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// The order of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By name of the folder.
    Folder,
    /// By test accuracy, the best first.
    Accuracy,
    /// By validation accuracy, the best first.
    Validation,
    /// By state.
    State,
    /// By seconds of training, the longest first.
    Seconds,
}

/// Arguments of `harness runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Folder to search, with the folders in it
    #[arg(value_name = "DIR", default_value = "runs")]
    folder: PathBuf,
    /// Only runs with this text in a column, such as deep-7, mnist or done; several must all match
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// The order of the list
    #[arg(long, value_enum, default_value_t = Sort::Folder)]
    sort: Sort,
}

/// Folders below which nothing is searched: an experiment in a folder of results is 3 deep.
const DEPTH: usize = 6;

/// A training and what is known of it.
struct Found {
    folder: String,
    title: String,
    data: String,
    state: String,
    epochs: String,
    validation: Option<f64>,
    test: Option<f64>,
    seconds: Option<f64>,
}

/// Runs `harness runs`.
///
/// # Errors
/// If the folder cannot be read, or the result cannot be printed.
pub fn run(args: &RunsArgs, options: &GlobalOptions) -> Result<()> {
    if !args.folder.is_dir() {
        bail!(UsageError(format!("{}: is no folder; give the folder of the runs", shown(&args.folder))));
    }
    let mut found = Vec::new();
    search(&args.folder, DEPTH, &mut found);
    let matches = |of: &Found| {
        let text = [&of.folder, &of.title, &of.data, &of.state].map(|text| text.to_lowercase()).join(" ");
        args.filter.iter().all(|part| text.contains(&part.to_lowercase()))
    };
    found.retain(matches);
    let falling = |a: Option<f64>, b: Option<f64>| {
        let of = |x: Option<f64>| x.unwrap_or(f64::NEG_INFINITY);
        of(b).total_cmp(&of(a))
    };
    found.sort_by(|a, b| {
        let by = match args.sort {
            Sort::Folder => std::cmp::Ordering::Equal,
            Sort::Accuracy => falling(a.test, b.test),
            Sort::Validation => falling(a.validation, b.validation),
            Sort::State => a.state.cmp(&b.state),
            Sort::Seconds => falling(a.seconds, b.seconds),
        };
        by.then_with(|| a.folder.cmp(&b.folder))
    });
    let mut table =
        Table::new(&["run", "network", "data", "state", "epochs", "validation", "test", "seconds"]);
    for of in &found {
        let number =
            |x: Option<f64>, decimals: usize| x.map_or("–".to_owned(), |x| format!("{x:.decimals$}"));
        table.row(vec![
            of.folder.clone(),
            of.title.clone(),
            of.data.clone(),
            of.state.clone(),
            of.epochs.clone(),
            number(of.validation, 4),
            number(of.test, 4),
            number(of.seconds, 0),
        ]);
    }
    if options.json {
        return write_json_result(&tidy::to_json(&table));
    }
    match found.is_empty() {
        true => outln!("no run lies below {}", shown(&args.folder)),
        false => outln!("{}", table.to_string().trim_end()),
    }
}

/// Adds the runs of a folder and of those in it. What cannot be read is skipped, or listed as damaged.
fn search(folder: &Path, depth: usize, found: &mut Vec<Found>) {
    if folder.join("run.json").is_file() {
        found.push(read(folder));
        return;
    }
    if depth == 0 {
        return;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // A symbolic link may lead back up.
    let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_folder).for_each(|entry| search(&entry.path(), depth - 1, found));
}

fn read(folder: &Path) -> Found {
    let name = escape(&folder.to_string_lossy()).into_owned();
    let text = file::read(&folder.join("run.json"), file::OF_A_RUN).ok();
    let manifest = text.and_then(|text| serde_json::from_slice::<Manifest>(&text).ok());
    let Some(Manifest { state, settings, outcome, .. }) = manifest else {
        let (title, data, epochs) = (String::new(), String::new(), String::new());
        let state = "damaged".to_owned();
        return Found {
            folder: name,
            title,
            data,
            state,
            epochs,
            validation: None,
            test: None,
            seconds: None,
        };
    };
    let metrics = file::read_text(&folder.join("metrics.csv"), file::OF_A_RUN).unwrap_or_default();
    let mut lines = metrics.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let rows: Vec<&Vec<&str>> = rows.iter().filter(|row| row.len() == header.len()).collect();
    // Of a run that goes on, what its last epoch came to.
    let last = |column: &str| {
        let at = header.iter().position(|name| *name == column)?;
        rows.last()?[at].parse().ok()
    };
    Found {
        folder: name,
        title: settings.title(),
        data: settings.dataset.clone(),
        state,
        epochs: format!("{}/{}", rows.len(), settings.epochs),
        validation: outcome.as_ref().map(|of| of.validation_accuracy).or_else(|| last("validation_accuracy")),
        test: outcome.as_ref().map(|of| of.test_accuracy).or_else(|| last("test_accuracy")),
        seconds: outcome.as_ref().map(|of| of.seconds),
    }
}

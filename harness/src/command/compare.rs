//! `harness compare`: the tables of two reproductions side by side.

use crate::context::GlobalOptions;
use crate::experiment::folder::Loaded;
use crate::io::ending::folder;
use crate::io::folder;
use crate::io::output::{outln, write_json_result};
use crate::io::show::{escape, shown};
use crate::run::resume::different_keys;
use crate::thesis::compare::compare;
use crate::thesis::report;
use anyhow::Result;
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `harness compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folder of a reproduction
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Folder of another reproduction
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Folder for the page, the JSON and the tables [default: print only]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs `harness compare`.
///
/// # Errors
/// If a folder holds no experiment, or a file cannot be written.
pub fn run(args: &CompareArgs, options: &GlobalOptions) -> Result<()> {
    let names = [&args.a, &args.b].map(|folder| shown(folder).to_string());
    let [a, b] = [&args.a, &args.b].map(|folder| Loaded::read(folder));
    let (a, b) = (a?, b?);
    let different = differences(&a, &b);
    let mut found = compare([&names[0], &names[1]], [&report(&a)?, &report(&b)?]);
    found.lead.splice(0..0, different.clone());
    if let Some(out) = &args.out {
        folder("--out", out)?;
        folder::create(out)?;
        found.write(out)?;
    }
    if options.json {
        return write_json_result(&found.json());
    }
    for line in different {
        outln!("{}", escape(&line))?;
    }
    for name in ["table-4.5", "statements"] {
        if let Some(table) = found.table(name) {
            outln!("{table}")?;
        }
    }
    if let Some(out) = &args.out {
        outln!("{}", shown(&out.join("report.html")))?;
    }
    Ok(())
}

/// What the two reproductions do not have in common: runs of one only, and settings, each once with the runs it is of.
fn differences(a: &Loaded, b: &Loaded) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, of, other) in [("A", a, b), ("B", b, a)] {
        let is_there = |folder: &str| other.runs.iter().any(|run| run.planned.folder == folder);
        let only: Vec<&str> =
            of.runs.iter().map(|run| &run.planned.folder[..]).filter(|folder| !is_there(folder)).collect();
        if !only.is_empty() {
            lines.push(format!("Only {name} has {}.", only.join(", ")));
        }
    }
    let mut settings: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for run in &a.runs {
        let folder = &run.planned.folder[..];
        let Some(other) = b.runs.iter().find(|other| other.planned.folder == folder) else { continue };
        for (key, a, b) in different_keys(&run.planned.settings, &other.planned.settings) {
            settings.entry(format!("{key} is {a} in A, {b} in B")).or_default().push(folder);
        }
    }
    lines.extend(settings.into_iter().map(|(what, folders)| format!("{what}: {}.", folders.join(", "))));
    if !lines.is_empty() {
        lines.insert(0, "A and B are not of one experiment; what differs:".to_owned());
    }
    lines
}

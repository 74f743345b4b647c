//! `harness compare`: reproductions side by side.

use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::experiment::folder::Loaded;
use crate::io::ending::folder;
use crate::io::folder;
use crate::io::output::{outln, write_json_result};
use crate::io::show::{escape, shown};
use crate::report::colormap::Look;
use crate::report::document::Report;
use crate::report::formats::FigureFormats;
use crate::run::resume::different_keys;
use crate::thesis::compare::{Compared, compare, letter};
use crate::thesis::report;
use anyhow::{Result, bail};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `harness compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folders of reproductions, two or more; each is compared with the first
    #[arg(value_name = "DIR", required = true, num_args = 2..)]
    folders: Vec<PathBuf>,
    /// Folder for the page, the JSON, the tables and the figures [default: print only]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How heatmaps are drawn.
    #[command(flatten)]
    look: Look,
    /// What figures are written as.
    #[command(flatten)]
    formats: FigureFormats,
}

/// The most reproductions at once.
const MAX_FOLDERS: usize = 26;

/// Runs `harness compare`.
///
/// # Errors
/// If a folder holds no experiment, or a file cannot be written.
pub fn run(args: &CompareArgs, options: &GlobalOptions) -> Result<()> {
    if args.folders.len() > MAX_FOLDERS {
        bail!(UsageError(format!("{} folders: at most {MAX_FOLDERS} can be compared", args.folders.len())));
    }
    args.formats.check()?;
    let names: Vec<String> = args.folders.iter().map(|folder| shown(folder).to_string()).collect();
    let loaded = args.folders.iter().map(|folder| Loaded::read(folder)).collect::<Result<Vec<Loaded>>>()?;
    let reports = loaded.iter().map(|of| report(of, args.look)).collect::<Result<Vec<Report>>>()?;
    let all: Vec<Compared> = names
        .iter()
        .zip(&loaded)
        .zip(&reports)
        .map(|((name, loaded), report)| Compared { name, loaded, report })
        .collect();
    let mut different = Vec::new();
    for (i, other) in loaded.iter().enumerate().skip(1) {
        different.extend(differences([&loaded[0], other], [&letter(0), &letter(i)]));
    }
    let mut found = Report { formats: args.formats.clone(), ..compare(&all, args.look)? };
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
    for i in 1..all.len() {
        for name in ["table-4.5", "statements"] {
            let name = if i == 1 { name.to_owned() } else { format!("{name}-{}", letter(i)) };
            if let Some(table) = found.table(&name) {
                outln!("{table}")?;
            }
        }
    }
    if let Some(out) = &args.out {
        outln!("{}", shown(&out.join("report.html")))?;
    }
    Ok(())
}

/// What the two reproductions do not have in common: runs of one only, and settings, each once with the runs it is of.
fn differences([a, b]: [&Loaded; 2], [first, second]: [&str; 2]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, of, other) in [(first, a, b), (second, b, a)] {
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
            settings.entry(format!("{key} is {a} in {first}, {b} in {second}")).or_default().push(folder);
        }
    }
    lines.extend(settings.into_iter().map(|(what, folders)| format!("{what}: {}.", folders.join(", "))));
    if !lines.is_empty() {
        lines.insert(0, format!("{first} and {second} are not of one experiment; what differs:"));
    }
    lines
}

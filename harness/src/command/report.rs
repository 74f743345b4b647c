//! `harness report`: the page, the JSON, the tables and the figures of an experiment's folder.

use crate::context::GlobalOptions;
use crate::experiment::folder::Loaded;
use crate::io::output::{outln, status, write_json_result};
use crate::io::show::{escape, shown};
use crate::report::colormap::Look;
use crate::thesis::report;
use anyhow::Result;
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `harness report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of a reproduction
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How heatmaps are drawn.
    #[command(flatten)]
    look: Look,
}

/// Runs `harness report`.
///
/// # Errors
/// If the folder holds no experiment, or a file cannot be written.
pub fn run(args: &ReportArgs, options: &GlobalOptions) -> Result<()> {
    rebuild(&args.folder, &Loaded::read(&args.folder)?, args.look, options)
}

/// Writes the report of a folder, whose content was read, and prints the main results.
///
/// # Errors
/// If a file cannot be written.
pub fn rebuild(folder: &Path, loaded: &Loaded, look: Look, options: &GlobalOptions) -> Result<()> {
    let report = report(loaded, look)?;
    report.write(folder)?;
    if options.json {
        return write_json_result(&report.json());
    }
    for name in ["table-4.5", "final-accuracy", "statements"] {
        if let Some(table) = report.table(name) {
            outln!("{table}")?;
        }
    }
    for line in std::iter::once(&report.warning).chain(&report.lead).filter(|line| !line.is_empty()) {
        outln!("{}\n", escape(line))?;
    }
    let page = folder.join("report.html");
    if !options.quiet {
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        status!("to see the page: {opener} {}", shown(&page));
    }
    outln!("{}", shown(&page))
}

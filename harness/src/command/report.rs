//! `harness report`: the page, the JSON, the tables and the figures of an experiment's folder.

use crate::context::GlobalOptions;
use crate::experiment::folder::Loaded;
use crate::io::output::{outln, write_json_result};
use crate::io::show::shown;
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
}

/// Runs `harness report`.
///
/// # Errors
/// If the folder holds no experiment, or a file cannot be written.
pub fn run(args: &ReportArgs, options: &GlobalOptions) -> Result<()> {
    rebuild(&args.folder, options)
}

/// Writes the report of a folder and prints the main results.
///
/// # Errors
/// As [`run`].
pub fn rebuild(folder: &Path, options: &GlobalOptions) -> Result<()> {
    let report = report(&Loaded::read(folder)?)?;
    report.write(folder)?;
    if options.json {
        return write_json_result(&report.json());
    }
    for name in ["table-4.5", "final-accuracy", "statements"] {
        if let Some(table) = report.table(name) {
            outln!("{table}")?;
        }
    }
    outln!("{}", shown(&folder.join("report.html")))
}

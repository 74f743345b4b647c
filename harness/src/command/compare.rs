//! `harness compare`: the tables of two reproductions side by side.

use crate::context::GlobalOptions;
use crate::experiment::folder::Loaded;
use crate::io::ending::folder;
use crate::io::output::{outln, write_json_result};
use crate::io::show::shown;
use crate::thesis::compare::compare;
use crate::thesis::report;
use anyhow::{Context, Result};
use clap::Args;
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
    let [a, b] = [&args.a, &args.b].map(|folder| Loaded::read(folder).and_then(|loaded| report(&loaded)));
    let found = compare([&names[0], &names[1]], [&a?, &b?]);
    if let Some(out) = &args.out {
        folder("--out", out)?;
        std::fs::create_dir_all(out).with_context(|| format!("{}: cannot be created", shown(out)))?;
        found.write(out)?;
    }
    if options.json {
        return write_json_result(&found.json());
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

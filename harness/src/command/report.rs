//! `harness report`: the page, the JSON, the tables and the figures of an experiment's folder.

use crate::context::GlobalOptions;
use crate::experiment::folder::Loaded;
use crate::io::output::{outln, status, write_json_result};
use crate::io::show::{escape, shown};
use crate::report::colormap::Look;
use crate::report::document::Report;
use crate::report::formats::FigureFormats;
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
    /// What figures are written as.
    #[command(flatten)]
    formats: FigureFormats,
}

/// Runs `harness report`.
///
/// # Errors
/// If this program cannot write a format, the folder holds no experiment, or a file cannot be written.
pub fn run(args: &ReportArgs, options: &GlobalOptions) -> Result<()> {
    args.formats.check()?;
    let style = PageStyle { look: args.look, formats: &args.formats };
    rebuild(&args.folder, &Loaded::read(&args.folder)?, style, options)
}

/// How a report looks, which nothing in its folder says.
#[derive(Clone, Copy, Debug)]
pub struct PageStyle<'a> {
    /// How heatmaps are drawn.
    pub look: Look,
    /// What figures are written as.
    pub formats: &'a FigureFormats,
}

/// Writes the report of a folder, whose content was read, and prints the main results.
///
/// # Errors
/// If a file cannot be written.
pub fn rebuild(folder: &Path, loaded: &Loaded, style: PageStyle, options: &GlobalOptions) -> Result<()> {
    let PageStyle { look, formats } = style;
    let report = Report { formats: formats.clone(), ..report(loaded, look)? };
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
    outln!("{}", shown(&page))?;
    if !options.quiet {
        let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        status!("to see the page: {opener} {}", shown(&page));
    }
    Ok(())
}

//! Writes a report: page, JSON, tables and figures.

use super::document::Report;
use super::html;
use super::tidy;
use crate::io::atomic::write_atomically;
use crate::io::file;
use crate::io::folder;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Folders and files that [`Report::write`] creates.
const FOLDERS: [&str; 2] = ["figures", "tables"];

/// The description of a folder.
const README: &str = "README.md";
/// Its first line, by which a file of one's own is told from it.
const FIRST: &str = "<!-- written by `harness report`; changes are overwritten -->";

fn is_ours(path: &Path) -> bool {
    file::read_text(path, file::OF_A_RUN).is_ok_and(|text| text.starts_with(FIRST))
}

/// What lies in the folder, and the axes of its arrays.
fn readme(report: &Report) -> String {
    let title = &report.title;
    let mut text = format!("{FIRST}\n# {title}\n\n");
    report.lead.iter().for_each(|line| text.extend([line, "\n\n"]));
    text.push_str(include_str!("folder.md"));
    text.push_str("\n## Figures\n\n");
    for figure in report.figures() {
        let files = report.formats.files(&figure.name).into_iter().map(|file| format!("`figures/{file}`"));
        text.push_str(&format!("- {}: {}\n", files.collect::<Vec<_>>().join(", "), figure.caption));
    }
    text.push_str("\n## Tables\n\n");
    for (name, caption, table) in report.tables() {
        let columns = tidy::names(table).join("`, `");
        text.push_str(&format!("- `tables/{name}.csv` (`{columns}`): {caption}\n"));
    }
    text
}

impl Report {
    /// The page: one self-contained HTML document.
    pub fn html(&self) -> String {
        html::page(self).into_string()
    }

    /// Writes `report.html`, `report.json`, `tables/*.csv`, `figures/` and `README.md`, which describes them.
    ///
    /// # Errors
    /// If a figure cannot be converted to one of the formats, or a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let save =
            |file: &str, bytes: &[u8]| write_atomically(&folder.join(file), |out| Ok(out.write_all(bytes)?));
        let is_report = ["report.json", "experiment.toml"].iter().any(|file| folder.join(file).exists());
        for inner in FOLDERS.map(|inner| folder.join(inner)) {
            // Files of an earlier report may not belong to this one. Without a report, they are other files of the user.
            if inner.exists() {
                ensure!(
                    is_report || std::fs::read_dir(&inner).is_ok_and(|mut entries| entries.next().is_none()),
                    "{}: is there, but not as part of a report; choose another folder for the report",
                    inner.display()
                );
                std::fs::remove_dir_all(&inner)
                    .with_context(|| format!("{}: cannot be removed", inner.display()))?;
            }
            folder::create(&inner)?;
        }
        for (name, _, table) in self.tables() {
            save(&format!("tables/{name}.csv"), tidy::to_csv(table).as_bytes())?;
        }
        for figure in self.figures() {
            self.formats.write(&folder.join("figures"), &figure.name, figure.svg())?;
        }
        let text = serde_json::to_string_pretty(&self.json())?;
        save("report.json", text.as_bytes())?;
        if !folder.join(README).exists() || is_ours(&folder.join(README)) {
            save(README, readme(self).as_bytes())?;
        }
        save("report.html", self.html().as_bytes())
    }
}

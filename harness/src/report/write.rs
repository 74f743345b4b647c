//! Writes a report: page, JSON, tables and figures.

use super::document::Report;
use super::html;
use crate::io::atomic::write_atomically;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Folders and files that [`Report::write`] creates.
const FOLDERS: [&str; 2] = ["figures", "tables"];

impl Report {
    /// The page: one self-contained HTML document.
    pub fn html(&self) -> String {
        html::page(self).into_string()
    }

    /// Writes `report.html`, `report.json`, `tables/*.csv` and `figures/*`.
    ///
    /// # Errors
    /// If a file cannot be written.
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
            std::fs::create_dir_all(&inner)
                .with_context(|| format!("{}: cannot be created", inner.display()))?;
        }
        for (name, _, table) in self.tables() {
            save(&format!("tables/{name}.csv"), table.to_csv().as_bytes())?;
        }
        for figure in self.figures() {
            save(&format!("figures/{}", figure.file()), figure.bytes())?;
        }
        let text = serde_json::to_string_pretty(&self.json())?;
        save("report.json", text.as_bytes())?;
        save("report.html", self.html().as_bytes())
    }
}

//! Finds the checkpoint to continue from, and checks that it belongs to the same run.

use super::checkpoint::Checkpoint;
use super::context::RunContext;
use super::folder::RunFolder;
use super::settings::Settings;
use crate::error::UsageError;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::Path;

/// The name of the checkpoint file.
pub const RESUME: &str = "resume.safetensors";

/// The checkpoint of the run in the folder; `None` if it was stopped in its first epoch, or never started. Nothing is
/// written.
///
/// # Errors
/// If the run in the folder has other settings (but for the number of epochs) or other data, or more epochs than asked
/// for; or if a file is damaged.
pub fn from(folder: &RunFolder, settings: &Settings, context: &RunContext) -> Result<Option<Checkpoint>> {
    let (resume, manifest) = (folder.join(RESUME), folder.join("run.json"));
    let json = |path: &Path, text: &str| -> Result<Value> {
        serde_json::from_str(text).with_context(|| {
            format!(
                "{}: is not a run of this program; give --overwrite or choose another --out",
                path.display()
            )
        })
    };
    let (from, found_settings, found_data, checkpoint) = if resume.exists() {
        let checkpoint = Checkpoint::read(&resume)?;
        let (settings, data) = (json(&resume, &checkpoint.settings)?, json(&resume, &checkpoint.data)?);
        (resume, settings, data, Some(checkpoint))
    } else if manifest.exists() {
        let text = std::fs::read_to_string(&manifest)
            .with_context(|| format!("{}: cannot be read", manifest.display()))?;
        let mut value = json(&manifest, &text)?;
        let (settings, data) = (value["settings"].take(), value["data_sha256"].take());
        (manifest, settings, data, None)
    } else if let Some(file) = folder.found() {
        bail!(
            "{}: belongs to a run that cannot be continued, {RESUME} and run.json are missing; give --overwrite or choose another --out",
            file.display()
        );
    } else {
        return Ok(None);
    };
    let from = from.display();
    let same = serde_json::from_value::<Settings>(found_settings.clone())
        .is_ok_and(|found| Settings { epochs: settings.epochs, ..found } == *settings);
    ensure!(
        same,
        "{from}: is of a run with other settings; found {found_settings}, requested {}; use the same settings or choose another --out",
        serde_json::to_string(settings)?
    );
    ensure!(
        found_data == serde_json::to_value(context.sha256)?,
        "{from}: was trained on other files named {}; use the same data or choose another --out",
        context.dataset.name
    );
    if let Some(Checkpoint { epoch, .. }) = checkpoint.as_ref().filter(|c| c.epoch > settings.epochs) {
        bail!(UsageError(format!(
            "{from}: has {epoch} epochs, more than --epochs {}; use at least --epochs {epoch}",
            settings.epochs
        )));
    }
    Ok(checkpoint)
}

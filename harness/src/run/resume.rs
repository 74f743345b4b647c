//! Finds the checkpoint to continue from, and checks that it belongs to the same run.

use super::checkpoint::Checkpoint;
use super::context::RunContext;
use super::folder::{FILES, RunFolder};
use super::settings::Settings;
use crate::error::UsageError;
use crate::io::file;
use crate::io::lock;
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
        let text = file::read_text(&manifest, file::OF_A_RUN)?;
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
    let found: Settings = serde_json::from_value(found_settings).with_context(|| {
        format!("{from}: has no settings of this program; give --overwrite or choose another --out")
    })?;
    let different = differences(&found, settings);
    ensure!(
        different.is_empty(),
        "{from}: is of a run with other settings: {}; leave these options out or choose another --out",
        different.join(", ")
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

/// The settings but for the number of epochs in which a run differs from what is requested, each with both values.
pub fn differences(found: &Settings, requested: &Settings) -> Vec<String> {
    let found = Settings { epochs: requested.epochs, ..found.clone() };
    let show = |(key, there, here)| format!("{key} is {there} there, {here} is requested");
    different_keys(&found, requested).into_iter().map(show).collect()
}

/// The settings in which two runs differ: name, and both values.
pub fn different_keys(a: &Settings, b: &Settings) -> Vec<(String, Value, Value)> {
    let of = |settings: &Settings| match serde_json::to_value(settings) {
        Ok(Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (a, b) = (of(a), of(b));
    let value =
        |map: &serde_json::Map<String, Value>, key: &String| map.get(key).cloned().unwrap_or(Value::Null);
    let keys = a.keys().filter(|key| a.get(*key) != b.get(*key));
    keys.map(|key| (key.clone(), value(&a, key), value(&b, key))).collect()
}

/// The settings of the run in a folder; none if they cannot be read.
///
/// # Errors
/// If no run was ever started there.
pub fn settings_in(folder: &Path) -> Result<Option<Settings>> {
    let path = |name: &str| folder.join(name);
    let started = FILES.iter().chain([&lock::NAME]).any(|file| path(file).exists());
    ensure!(
        started,
        "{}: there is no run to resume; leave --resume out to start one, or name the folder of a run",
        folder.display()
    );
    let manifest = file::read(&path("run.json"), file::OF_A_RUN).ok();
    let manifest = manifest.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let found = manifest.and_then(|mut manifest| serde_json::from_value(manifest["settings"].take()).ok());
    let of_checkpoint = || serde_json::from_str(&Checkpoint::read(&path(RESUME)).ok()?.settings).ok();
    Ok(found.or_else(of_checkpoint))
}

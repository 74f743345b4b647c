//! JSON files.

use super::atomic::write_atomically;
use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// Writes a value as indented JSON, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    write_atomically(path, |file| Ok(file.write_all(text.as_bytes())?))
}

//! Checks on input files before they are opened.

use anyhow::{Context, Result, ensure};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The size of a regular file. Folders, pipes and devices are refused: opening a pipe would block until it has a
/// writer, and a device may be endless.
///
/// # Errors
/// If it does not exist or is not a regular file.
pub fn plain_file(path: &Path) -> io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    let what = if meta.is_dir() { "a folder" } else { "a device, pipe or socket" };
    let wrong = || io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, expected a file"));
    if meta.is_file() { Ok(meta.len()) } else { Err(wrong()) }
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// One line that names the file.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>> {
    let name = path.display();
    let size = plain_file(path).with_context(|| format!("{name}: cannot be read"))?;
    ensure!(size <= max, "{name}: holds {size} bytes, expected at most {max}; is it the right file?");
    std::fs::read(path).with_context(|| format!("{name}: cannot be read"))
}

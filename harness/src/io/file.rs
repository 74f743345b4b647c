//! Files from elsewhere, before they are opened.

use anyhow::{Context, Result, ensure};
use std::io::{self, ErrorKind};
use std::path::Path;

/// The size of a plain file. A folder has no content, a pipe would wait for its writer, and a device may have
/// no end.
///
/// # Errors
/// If it is not there or no plain file.
pub fn plain_file(path: &Path) -> io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    let what = if meta.is_dir() { "a folder" } else { "a device, pipe or socket" };
    let wrong = || io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, expected a file"));
    if meta.is_file() { Ok(meta.len()) } else { Err(wrong()) }
}

/// Reads a plain file of at most `most` bytes whole.
///
/// # Errors
/// One line that names the file.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let name = path.display();
    let size = plain_file(path).with_context(|| format!("{name}: cannot be read"))?;
    ensure!(size <= most, "{name}: holds {size} bytes, expected at most {most}; is it the right file?");
    std::fs::read(path).with_context(|| format!("{name}: cannot be read"))
}

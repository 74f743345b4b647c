//! One process at a time in a folder.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, TryLockError};
use std::path::Path;

/// The file that is locked; it stays, empty.
pub const NAME: &str = "lock";

/// Holds `folder` for this process until the file is dropped.
///
/// The lock is the operating system's: it ends with the process, however that ends.
///
/// # Errors
/// If another process holds the folder, or it cannot be written.
pub fn hold(folder: &Path) -> Result<File> {
    let name = folder.display();
    // Asked of the mode bits too: the superuser could write into a folder that is meant to stay as it is.
    let read_only = fs::metadata(folder).is_ok_and(|meta| meta.permissions().readonly());
    ensure!(!read_only, "{name}: the folder is read-only; choose another one or make it writable");
    let file = File::options().create(true).append(true).open(folder.join(NAME));
    let file = file.with_context(|| format!("{name}: cannot be written; choose another folder"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{name}: another process works in it; wait until that ends or choose another folder")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{name}: cannot be locked")),
    }
}

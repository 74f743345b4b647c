//! A lock on a folder: one process at a time.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, TryLockError};
use std::path::Path;

/// The file that is locked; it stays, empty.
pub const NAME: &str = "lock";

/// Locks `folder` for this process until the file is dropped.
///
/// It is a lock of the operating system, which ends with the process in any case.
///
/// # Errors
/// If another process has locked the folder, or it cannot be written.
pub fn hold(folder: &Path) -> Result<File> {
    let name = folder.display();
    // The mode bits count even for the superuser, who could write into a read-only folder.
    let read_only = fs::metadata(folder).is_ok_and(|meta| meta.permissions().readonly());
    ensure!(!read_only, "{name}: the folder is read-only; choose another one or make it writable");
    let file = File::options().create(true).append(true).open(folder.join(NAME));
    let file = file.with_context(|| format!("{name}: cannot be written; choose another folder"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{name}: another process is using it; wait until it ends or choose another folder")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{name}: cannot be locked")),
    }
}

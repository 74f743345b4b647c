//! A lock on a folder: one process at a time.

use super::output::status;
use super::show::shown;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Once;

/// The file that is locked; it stays, empty.
pub const NAME: &str = "lock";

/// Whether a file system has no locks at all, as some network file systems.
fn is_unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOSYS | Errno::ENOLCK | Errno::EOPNOTSUPP))
}

/// Locks `folder` for this process until the file is dropped.
///
/// It is a lock of the operating system, which ends with the process in any case. On a file system without locks, a
/// warning is printed once instead.
///
/// # Errors
/// If another process has locked the folder, or it cannot be written.
pub fn hold(folder: &Path) -> Result<File> {
    let name = shown(folder);
    // The mode bits count even for the superuser, who could write into a read-only folder.
    let read_only = fs::metadata(folder).is_ok_and(|meta| meta.permissions().readonly());
    ensure!(!read_only, "{name}: the folder is read-only; choose another one or make it writable");
    let in_the_way = fs::metadata(folder.join(NAME)).is_ok_and(|meta| !meta.is_file());
    ensure!(!in_the_way, "{name}: {NAME} is no plain file; remove it or choose another folder");
    let file = File::options().create(true).append(true).open(folder.join(NAME));
    let file = file.with_context(|| format!("{name}: cannot be written; choose another folder"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{name}: another process is using it; wait until it ends or choose another folder")
        }
        Err(TryLockError::Error(error)) if is_unsupported(&error) => {
            static WARNED: Once = Once::new();
            WARNED.call_once(|| {
                status!(
                    "warning: {name}: the file system has no locks ({error}); no other process must use the folder meanwhile"
                );
            });
            Ok(file)
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{name}: cannot be locked")),
    }
}

//! A lock on a folder: one process at a time, on one machine or on several that share the folder.
//!
//! Where the file system passes `flock` to everyone who has it mounted (all local ones, and NFS unless it is mounted with
//! `nolock` or `local_lock`), `flock` is the lock: it ends with the process. Elsewhere (Lustre, BeeGFS, FUSE, … may grant
//! the same `flock` on two machines) there is a [claim file](super::claim) with a heartbeat besides.

use super::busy::Busy;
use super::claim::Claim;
use super::show::shown;
use crate::error::UsageError;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::stat::{major, minor, stat};
use nix::sys::statfs::{self, statfs};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// The file that is locked; it stays, empty.
pub const NAME: &str = "lock";
/// Chooses the lock where the kind of the file system would choose another one.
const ENV: &str = "RELEVANCE_LOCK";

/// What keeps two processes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `flock`; whether a server keeps it.
    Flock { remote: bool },
    /// `flock` as far as it reaches, and a claim file.
    Claim,
}

/// A lock that this process holds until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    claim: Option<Claim>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is starting has a copy of the descriptor until it runs its
        // own program. What cannot be unlocked was not locked.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Checks that no other process has taken the folder over, which happens if this one showed no sign of life for a
    /// minute.
    ///
    /// # Errors
    /// If one has.
    pub fn check(&self) -> Result<()> {
        self.claim.as_ref().map_or(Ok(()), Claim::check)
    }
}

/// Whether a file system has no locks at all, as some network file systems.
fn is_unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOSYS | Errno::ENOLCK | Errno::EOPNOTSUPP))
}

/// Locks `folder` for this process until the result is dropped.
///
/// # Errors
/// [`Busy`] if another process has locked it; or if it cannot be written.
pub fn hold(folder: &Path) -> Result<Lock> {
    let name = shown(folder);
    // The mode bits count even for the superuser, who could write into a read-only folder.
    let read_only = fs::metadata(folder).is_ok_and(|meta| meta.permissions().readonly());
    ensure!(!read_only, "{name}: the folder is read-only; choose another one or make it writable");
    let in_the_way = fs::metadata(folder.join(NAME)).is_ok_and(|meta| !meta.is_file());
    ensure!(!in_the_way, "{name}: {NAME} is no plain file; remove it or choose another folder");
    let kind = kind(folder)?;
    let file = File::options().create(true).append(true).open(folder.join(NAME));
    let file = file.with_context(|| format!("{name}: cannot be written; choose another folder"))?;
    let (locked, kind) = match file.try_lock() {
        Ok(()) => (true, kind),
        Err(TryLockError::WouldBlock) => bail!(Busy {
            folder: name.to_string(),
            by: String::new(),
            lingers: kind == Kind::Flock { remote: true },
            beat: None,
        }),
        Err(TryLockError::Error(error)) if is_unsupported(&error) => (false, Kind::Claim),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("{name}: cannot be locked"));
        }
    };
    let claim = match kind {
        Kind::Claim => Some(Claim::take(folder, locked)?),
        Kind::Flock { .. } => None,
    };
    Ok(Lock { file, claim })
}

/// Whether a process holds the lock of `folder`. Nothing is written.
pub fn is_held(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(NAME)) else { return false };
    let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    held || kind(folder).is_ok_and(|kind| kind == Kind::Claim && Claim::is_live(folder))
}

/// Checks the choice of a lock in the environment, before anything is written.
///
/// # Errors
/// [`UsageError`] if it is none that exists.
pub fn check_choice() -> Result<(), UsageError> {
    choice().map(drop)
}

fn choice() -> Result<Option<Kind>, UsageError> {
    match std::env::var_os(ENV) {
        Some(text) if text == "flock" => Ok(Some(Kind::Flock { remote: false })),
        Some(text) if text == "claim" => Ok(Some(Kind::Claim)),
        Some(text) if !text.is_empty() => {
            Err(UsageError(format!("{ENV} is {text:?}; it must be flock or claim")))
        }
        _ => Ok(None),
    }
}

/// What keeps two processes apart in a folder.
fn kind(folder: &Path) -> Result<Kind> {
    if let Some(kind) = choice()? {
        return Ok(kind);
    }
    // Without an answer, as everywhere: a claim is right on every file system.
    let Ok(found) = statfs(folder) else { return Ok(Kind::Claim) };
    let of = found.filesystem_type();
    if of == statfs::NFS_SUPER_MAGIC {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let device = stat(folder).map(|found| format!("{}:{}", major(found.st_dev), minor(found.st_dev)));
        let passed = device.is_ok_and(|device| server_locks(&mounts, &device));
        return Ok(if passed { Kind::Flock { remote: true } } else { Kind::Claim });
    }
    let local = [
        statfs::EXT4_SUPER_MAGIC,
        statfs::XFS_SUPER_MAGIC,
        statfs::BTRFS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
        statfs::OVERLAYFS_SUPER_MAGIC,
        statfs::F2FS_SUPER_MAGIC,
    ];
    // ZFS has no name there.
    let is_local = local.contains(&of) || of.0 as u64 == 0x2fc1_2fc1;
    Ok(if is_local { Kind::Flock { remote: false } } else { Kind::Claim })
}

/// Whether the NFS mount with this device number, `major:minor`, passes locks to the server. The last column of
/// `/proc/self/mountinfo` has its options.
fn server_locks(mounts: &str, device: &str) -> bool {
    let mut of_device = mounts.lines().filter(|line| line.split(' ').nth(2) == Some(device));
    let local =
        |option: &str| option == "nolock" || option.starts_with("local_lock=") && option != "local_lock=none";
    of_device.next().is_some_and(|line| !line.rsplit(' ').next().unwrap_or_default().split(',').any(local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_though_a_process_that_is_starting_has_a_copy_of_its_descriptor() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = hold(folder.path()).expect("free");
        let _copy = lock.file.try_clone().expect("a copy");
        drop(lock);
        hold(folder.path()).expect("free again");
    }

    #[test]
    fn an_nfs_mount_that_keeps_locks_to_itself_is_recognised() {
        let line = |options: &str| {
            format!(
                "22 1 8:1 / / rw - ext4 /dev/sda1 rw,nolock\n40 22 0:44 / /home rw shared:1 - nfs4 s:/h {options}\n"
            )
        };
        assert!(server_locks(&line("rw,vers=4.2,hard,local_lock=none,addr=1.2.3.4"), "0:44"));
        for options in ["rw,vers=3,nolock", "rw,vers=3,local_lock=flock", "rw,local_lock=all,hard"] {
            assert!(!server_locks(&line(options), "0:44"), "{options}");
        }
        assert!(!server_locks(&line("rw"), "0:45"), "not mounted");
    }

    #[test]
    fn a_held_folder_is_seen_without_writing_to_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_held(folder.path()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let lock = hold(folder.path()).unwrap();
        assert!(is_held(folder.path()));
        let error = hold(folder.path()).unwrap_err();
        assert!(error.is::<Busy>(), "{error}");
        drop(lock);
        assert!(!is_held(folder.path()));
    }
}

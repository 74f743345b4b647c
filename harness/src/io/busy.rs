//! A folder that another process is using.

use std::time::SystemTime;

/// Another process holds the lock.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{folder}: another process is using it{by}; wait until it ends or choose another folder")]
pub struct Busy {
    /// The folder.
    pub folder: String,
    /// Where that process runs, if it is known.
    pub by: String,
    /// Whether a process that is dead may hold the lock for a while: on a file system that several machines share.
    pub lingers: bool,
    /// The last heartbeat of the process, if there is one, by the clock of the file system.
    pub beat: Option<SystemTime>,
}

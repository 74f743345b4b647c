//! One training: its settings, its folder, its loop and its checkpoints.

pub mod checkpoint;
pub mod folder;
pub mod settings;
pub mod training;

use std::sync::atomic::{AtomicI32, Ordering};

/// The signal that asked the process to stop; 0 if none has.
static STOP: AtomicI32 = AtomicI32::new(0);

/// The run was asked to stop and did.
#[derive(Debug, Clone, thiserror::Error)]
#[error("interrupted: what is finished is kept; the same command with --resume goes on")]
pub struct Interrupted {
    /// Exit status.
    pub status: u8,
}

/// From now on the first Ctrl-C or SIGTERM asks the run to stop; a second one kills.
///
/// # Errors
/// If the handler cannot be set.
pub fn stop_on_signals() -> anyhow::Result<()> {
    let set = ctrlc::set_handler(|| {
        if STOP.swap(130, Ordering::SeqCst) != 0 {
            std::process::exit(130);
        }
    });
    match set {
        // Commands that call each other, and tests, set it once.
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// An error once the run has been asked to stop.
///
/// # Errors
/// [`Interrupted`].
pub fn check_stop() -> Result<(), Interrupted> {
    match STOP.load(Ordering::SeqCst) {
        0 => Ok(()),
        status => Err(Interrupted { status: status as u8 }),
    }
}

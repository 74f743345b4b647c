//! Ctrl-C, SIGTERM and SIGHUP: the first one asks the run to stop in order, the second one ends the process.

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The exit status that a signal asked for: 128 and its number; 0 while none came.
static STOP: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// The run was asked to stop and did.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "interrupted: what is finished is kept; train and reproduce go on with the same command and --resume"
)]
pub struct Interrupted {
    /// Exit status.
    pub status: u8,
}

/// From now on the first Ctrl-C, SIGTERM or SIGHUP asks the run to stop; a second one kills.
///
/// # Errors
/// If the handlers cannot be set.
pub fn stop_on_signals() -> anyhow::Result<()> {
    // Commands that call each other, and tests, set them once.
    if STOP.get().is_some() {
        return Ok(());
    }
    let stop = STOP.get_or_init(Arc::default);
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds `asked` unset, and sets it.
        let status = 128 + signal;
        flag::register_conditional_shutdown(signal, status, Arc::clone(&asked))
            .and_then(|_| flag::register(signal, Arc::clone(&asked)))
            .and_then(|_| flag::register_usize(signal, Arc::clone(stop), status as usize))
            .context("the handlers of Ctrl-C and SIGTERM cannot be set")?;
    }
    Ok(())
}

/// An error once the run has been asked to stop.
///
/// # Errors
/// [`Interrupted`].
pub fn check_stop() -> Result<(), Interrupted> {
    match STOP.get().map_or(0, |stop| stop.load(Ordering::SeqCst)) {
        0 => Ok(()),
        status => Err(Interrupted { status: status as u8 }),
    }
}

//! Ctrl-C, SIGTERM and SIGHUP: the first signal stops the run at the next safe point, a second one ends the process.

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The exit status requested by a signal: 128 plus its number; 0 before any signal.
static STOP: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// The run stopped because of a signal.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "interrupted: finished work is kept; continue train and reproduce with the same command and --resume"
)]
pub struct Interrupted {
    /// Exit status.
    pub status: u8,
}

/// Installs the handlers: the first Ctrl-C, SIGTERM or SIGHUP stops the run, a second one kills the process.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn stop_on_signals() -> anyhow::Result<()> {
    // Commands that call each other, and tests, install them once.
    if STOP.get().is_some() {
        return Ok(());
    }
    let stop = STOP.get_or_init(Arc::default);
    let requested = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // The order matters: the first signal finds `requested` unset, and sets it.
        let status = 128 + signal;
        flag::register_conditional_shutdown(signal, status, Arc::clone(&requested))
            .and_then(|_| flag::register(signal, Arc::clone(&requested)))
            .and_then(|_| flag::register_usize(signal, Arc::clone(stop), status as usize))
            .context("the handlers of Ctrl-C and SIGTERM cannot be installed")?;
    }
    Ok(())
}

/// An error once a signal has requested a stop.
///
/// # Errors
/// [`Interrupted`].
pub fn check_stop() -> Result<(), Interrupted> {
    match STOP.get().map_or(0, |stop| stop.load(Ordering::SeqCst)) {
        0 => Ok(()),
        status => Err(Interrupted { status: status as u8 }),
    }
}

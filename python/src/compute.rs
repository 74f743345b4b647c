//! The kernel set and the threads of this process.

use crate::errors::exception;
use anyhow::Result;
use harness::context::GlobalOptions;
use kernels::Kernels;
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Made when it is first needed, since it starts threads.
static KERNELS: Mutex<Option<Kernels>> = Mutex::new(None);

/// The kernel set; all calls share its threads, and one that finds them busy works alone.
pub fn kernels() -> Result<Kernels> {
    let mut made = KERNELS.lock().unwrap_or_else(PoisonError::into_inner);
    match &*made {
        Some(kernels) => Ok(kernels.clone()),
        None => Ok(made.insert(start(None)?).clone()),
    }
}

/// As the program does: `RELEVANCE_KERNELS` and `RELEVANCE_THREADS`, else the fastest set and every core.
fn start(threads: Option<usize>) -> Result<Kernels> {
    let options = GlobalOptions { threads, quiet: true, ..GlobalOptions::default() };
    options.kernels(options.thread_count()?)
}

/// Uses so many threads from now on.
#[pyfunction]
pub fn set_threads(n: usize) -> PyResult<()> {
    let started = start(Some(n)).map_err(exception)?;
    *KERNELS.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
    Ok(())
}

/// The number of threads.
#[pyfunction]
pub fn threads() -> PyResult<usize> {
    Ok(kernels().map_err(exception)?.threads().count())
}

/// The name of the kernel set.
#[pyfunction]
pub fn kernel_set() -> PyResult<String> {
    Ok(kernels().map_err(exception)?.name().to_owned())
}

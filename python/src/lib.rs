//! The compiled part of the Python package `relrnn`: NumPy arrays in, NumPy arrays out.
//!
//! All computing is that of the crates `model` and `harness`; here arrays are viewed as samples, results become arrays, errors
//! become exceptions, and Python gets to handle signals while this thread computes without the GIL. The package beside it
//! (`relrnn/*.py`) has the documented interface; what is here may change with it.

mod arrays;
mod compute;
mod data;
mod errors;
mod explain;
mod network;
mod train;
mod watch;

use pyo3::prelude::*;

/// The module `relrnn._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::compute::{kernel_set, set_threads, threads};
    #[pymodule_export]
    use super::data::{dataset, majority, synthetic};
    #[pymodule_export]
    use super::network::{Network, architecture, presets};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

//! The options of every command: kernels, threads, progress.

use crate::error::UsageError;
use crate::io::bounds::{THREADS, bounded};
use crate::io::output::status;
use crate::io::progress::Progress;
use anyhow::{Context, Result, bail};
use clap::Args;
use kernels::{Backend, Kernels, MatmulBackend, Threads, Tuning};
use std::sync::Arc;

/// Sets the kernel set where `--kernels` does not.
const KERNELS_ENV: &str = "RELEVANCE_KERNELS";
/// Sets the number of threads where `--threads` does not.
const THREADS_ENV: &str = "RELEVANCE_THREADS";
/// Replaces values of the tuning of matrix products.
const TUNE_ENV: &str = "KERNELS_TUNE";

/// The value of an environment variable; an empty one is as good as unset.
///
/// # Errors
/// [`UsageError`] if it is not text.
pub fn variable(name: &str) -> Result<Option<String>> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.into_string();
    Ok(Some(text.map_err(|value| UsageError(format!("{name} is {value:?}; it must be plain text")))?))
}

/// As many threads as were asked for, or fewer where the system does not allow more.
fn started(threads: usize) -> Result<Threads> {
    let mut n = threads;
    loop {
        match Threads::new(n) {
            Ok(started) => {
                if n < threads {
                    status!("warning: {n} of {threads} threads can be started; going on with these");
                }
                return Ok(started);
            }
            Err(error) if n == 1 => return Err(error).context("cannot start the threads"),
            Err(_) => n /= 2,
        }
    }
}

/// The options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct GlobalOptions {
    /// Kernel set: reference, portable, avx2, avx512, amx or amx-exact [env: RELEVANCE_KERNELS] [default: the fastest this CPU has]
    #[arg(long, value_name = "NAME", global = true)]
    pub kernels: Option<String>,
    /// Number of threads [env: RELEVANCE_THREADS] [default: one per core]
    #[arg(long, value_name = "N", global = true)]
    pub threads: Option<usize>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results only, no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// GEMM backends besides those of `kernels`, found by name.
    #[arg(skip)]
    pub backends: Vec<Arc<dyn MatmulBackend>>,
}

impl GlobalOptions {
    /// The number of threads.
    ///
    /// # Errors
    /// If the number is 0 or too large.
    pub fn thread_count(&self) -> Result<usize> {
        if let Some(n) = self.threads {
            return Ok(bounded("--threads", n, THREADS)?);
        }
        let Some(text) = variable(THREADS_ENV)? else {
            return Ok(std::thread::available_parallelism().map_or(1, usize::from));
        };
        let number = text.trim().parse();
        let n = number
            .map_err(|_| UsageError(format!("{THREADS_ENV} is {text:?}; it must be a number of threads")))?;
        Ok(bounded(THREADS_ENV, n, THREADS)?)
    }

    /// The chosen kernel set on `threads` threads.
    ///
    /// # Errors
    /// If this CPU does not have it, with the names of those it has, or if a thread cannot be started.
    pub fn kernels(&self, threads: usize) -> Result<Kernels> {
        if let Some(text) = variable(TUNE_ENV)? {
            let tuning = Tuning::chosen().parse(&text);
            tuning.map_err(|error| UsageError(format!("{TUNE_ENV}: {error}")))?.choose();
        }
        let threads = started(threads)?;
        let (from, name) = match (&self.kernels, variable(KERNELS_ENV)?) {
            (Some(name), _) => ("--kernels ", name.clone()),
            (None, Some(name)) => ("RELEVANCE_KERNELS=", name),
            (None, None) => ("--kernels ", Backend::best().name().to_owned()),
        };
        let name = name.as_str();
        let Some(kernels) = self.kernel_set(name, threads) else {
            let why = Kernels::why_not(name).unwrap_or_else(|| "unknown kernel set".to_owned());
            let here = self.kernel_names().join(", ");
            bail!(UsageError(format!("{from}{name}: {why}; choose one of {here}")));
        };
        Ok(kernels)
    }

    /// The kernel set of that name, if this machine has it.
    pub fn kernel_set(&self, name: &str, threads: Threads) -> Option<Kernels> {
        match self.backends.iter().find(|backend| backend.name() == name) {
            Some(backend) => Some(Kernels::with_matmul(Backend::best(), threads, Arc::clone(backend))),
            None => Kernels::by_name(name, threads),
        }
    }

    /// The names of the kernel sets of this machine.
    pub fn kernel_names(&self) -> Vec<&str> {
        Kernels::names().into_iter().chain(self.backends.iter().map(|backend| backend.name())).collect()
    }

    /// Where progress goes.
    pub fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }
}

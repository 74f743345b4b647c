//! The options of every command: kernels, threads, progress.

use crate::error::UsageError;
use crate::io::progress::Progress;
use anyhow::{Context, Result, bail};
use clap::Args;
use kernels::{Backend, Kernels, Threads};

/// More threads than any of these networks can use.
const MAX_THREADS: usize = 1024;

/// The options of every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalOptions {
    /// Kernel set: reference, portable, avx2 or avx512 [default: the fastest this CPU has]
    #[arg(long, value_name = "NAME", global = true, env = "RELEVANCE_KERNELS")]
    pub kernels: Option<String>,
    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N", global = true, env = "RELEVANCE_THREADS")]
    pub threads: Option<usize>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results only, no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl GlobalOptions {
    /// The number of threads.
    ///
    /// # Errors
    /// If the number is 0 or too large.
    pub fn thread_count(&self) -> Result<usize> {
        match self.threads {
            Some(0) => bail!(UsageError("--threads is 0; it must be at least 1".to_owned())),
            Some(n) if n > MAX_THREADS => {
                bail!(UsageError(format!("--threads is {n}; it must be at most {MAX_THREADS}")))
            }
            Some(n) => Ok(n),
            None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        }
    }

    /// The chosen kernel set on `threads` threads.
    ///
    /// # Errors
    /// If this CPU does not have it, with the names of those it has, or if a thread cannot be started.
    pub fn kernels(&self, threads: usize) -> Result<Kernels> {
        let threads = Threads::new(threads).context("cannot start the threads")?;
        let name = self.kernels.as_deref().unwrap_or(Backend::best().name());
        let Some(kernels) = Kernels::by_name(name, threads) else {
            let known = Backend::NAMES.contains(&name);
            let why = if known { "this CPU does not have it" } else { "unknown kernel set" };
            let here = Kernels::names().join(", ");
            bail!(UsageError(format!("--kernels {name}: {why}; choose one of {here}")));
        };
        Ok(kernels)
    }

    /// Where progress goes.
    pub fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }
}

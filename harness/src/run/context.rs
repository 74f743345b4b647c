//! What a run needs beside its settings.

use crate::dataset::{DataSha256, Dataset};
use crate::io::progress::Progress;
use kernels::Kernels;

/// What a run needs beside its settings; runs in parallel share it.
#[derive(Debug)]
pub struct RunContext<'a> {
    /// The data set, memory-mapped.
    pub dataset: &'a Dataset,
    /// Its checksums.
    pub sha256: &'a DataSha256,
    /// The kernel set.
    pub kernels: &'a Kernels,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

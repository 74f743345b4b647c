//! Arguments of `harness profile`.

use crate::command::method::MethodArgs;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `harness profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// A preset: shallow, deep, deepv2, convdeep, r-lstm, convplus-deep, …
    #[arg(long, value_name = "NAME", default_value = "deep")]
    pub cell: String,
    /// Sequence length T
    #[arg(long, value_name = "T", default_value_t = 7)]
    pub seq_len: usize,
    /// Batch size
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub batch: usize,
    /// What to measure
    #[arg(long, value_enum, default_value_t = What::Train)]
    pub what: What,
    /// The method of explanation.
    #[command(flatten)]
    pub method: MethodArgs,
    /// Number of measured steps, after as many warm-up steps, at most 20
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub steps: usize,
    /// Data set whose training samples are used [default: random noise in memory]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Write a trace of every call for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE.json")]
    pub trace: Option<PathBuf>,
    /// Replace an existing trace
    #[arg(long)]
    pub overwrite: bool,
}

/// The subject of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A training step: forward pass with dropout, backpropagation through time, Adam
    Train,
    /// Explaining a batch, predicted classes
    Explain,
}

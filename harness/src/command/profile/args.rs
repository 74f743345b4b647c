//! Arguments of `harness profile`.

use crate::command::method::MethodArgs;
use crate::dataset::files::BLOCKS;
use crate::run::architecture::Setting;
use crate::run::settings::{DropoutProfile, InitialName, PartialSettings};
use clap::{Args, Subcommand, ValueEnum};
use model::{Core, EncoderLayer};
use std::path::PathBuf;

/// Arguments of `harness profile`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ProfileArgs {
    /// Something else to do than to measure.
    #[command(subcommand)]
    pub action: Option<ProfileAction>,
    /// A preset: shallow, deep, deepv2, convdeep, final-deep, r-lstm-sd, convplus-deep, …
    #[arg(long, value_name = "NAME", default_value = "deep")]
    pub cell: String,
    /// Layers of the encoder, comma-separated, as for `harness train`
    #[arg(long, value_name = "LIST")]
    pub encoder: Option<Setting<Vec<EncoderLayer>>>,
    /// Recurrent core: rnn:COMBINE:RECURRENT or r-lstm:CELLS
    #[arg(long, value_name = "CORE")]
    pub core: Option<Setting<Core>>,
    /// Widths of the hidden head layers, comma-separated; or none
    #[arg(long, value_name = "LIST")]
    pub head: Option<Setting<Vec<usize>>>,
    /// What the network decides; random noise has the images of it
    #[arg(long, value_enum, default_value_t = TaskName::Single)]
    pub task: TaskName,
    /// Sequence length T [default: that of the task]
    #[arg(long, value_name = "T")]
    pub seq_len: Option<usize>,
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
    /// Run this program and another build of it in turn and compare them, kernel by kernel
    #[arg(long, value_name = "OTHER_BINARY", conflicts_with_all = ["trace", "overwrite"])]
    pub interleave: Option<PathBuf>,
    /// Runs of each program with --interleave
    #[arg(long, value_name = "N", default_value_t = 9, requires = "interleave")]
    pub rounds: usize,
    /// Replace an existing trace
    #[arg(long)]
    pub overwrite: bool,
}

/// What a network decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TaskName {
    /// The class of an image of 28×28, T = 7, trained as in the draft
    Single,
    /// The majority of three images side by side, 28×84, T = 12, trained as in the finished thesis
    Maj,
}

impl TaskName {
    /// Images side by side.
    pub fn blocks(self) -> usize {
        if self == TaskName::Maj { BLOCKS } else { 1 }
    }

    /// The settings of its trainings.
    pub fn settings(self) -> PartialSettings {
        match self {
            TaskName::Single => PartialSettings { seq_len: Some(7), ..PartialSettings::default() },
            TaskName::Maj => PartialSettings {
                seq_len: Some(12),
                dropout_profile: Some(DropoutProfile::Final),
                initial_values: Some(InitialName::Final),
                zero_logit: Some(true),
                ..PartialSettings::default()
            },
        }
    }
}

/// What `harness profile` does besides measuring.
#[derive(Debug, Subcommand)]
pub enum ProfileAction {
    /// Compare two results of `harness profile --json`, kernel by kernel
    Compare {
        /// The result before
        a: PathBuf,
        /// The result after
        b: PathBuf,
    },
}

/// The subject of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A training step: forward pass with dropout, backpropagation through time, Adam
    Train,
    /// Explaining a batch, predicted classes
    Explain,
}

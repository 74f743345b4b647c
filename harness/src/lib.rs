//! Trains the thesis cells on IDX data sets, explains what they decide, and writes it down.
//!
//! The binary is a thin shell around [`cli::run`], so that tests need no process.

// What is said goes through `output`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod command;
pub mod dataset;
pub mod exchange;
pub mod experiment;
pub mod explaining;
pub mod images;
pub mod input;
pub mod lock;
pub mod measure;
pub mod model_file;
mod output;
pub mod progress;
pub mod report;
pub mod run;
pub mod thesis;

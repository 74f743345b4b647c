//! Trains recurrent networks on IDX data sets, explains their decisions, and writes reports.
//!
//! The binary is a thin shell around [`cli::run`], so that tests need no process. Each module imports only modules that
//! are named before it:
//! [`error`], [`signal`], [`io`], [`context`] · [`dataset`] · [`model_file`] · [`run`] · [`measure`] · [`experiment`] ·
//! [`report`] · [`thesis`] · [`command`] · [`cli`].

// Everything that is printed goes through `io::output`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod command;
pub mod context;
pub mod dataset;
pub mod error;
pub mod experiment;
pub mod io;
pub mod measure;
pub mod model_file;
pub mod report;
pub mod run;
pub mod signal;
pub mod thesis;

//! The subcommands, one per file.

pub mod check;
pub mod collect;
pub mod compare;
pub mod data;
pub mod eval;
pub mod explain;
pub mod kernels;
pub mod measure;
pub mod method;
pub mod plan;
pub mod profile;
pub mod prototype;
pub mod report;
pub mod reproduce;
pub mod run;
pub mod runs;
mod source;
pub mod train;
pub mod unused;

//! The subcommands, one per file.

pub mod check;
pub mod compare;
pub mod data;
pub mod eval;
pub mod explain;
pub mod kernels;
mod method;
pub mod profile;
pub mod prototype;
pub mod report;
pub mod reproduce;
mod source;
pub mod train;
pub mod unused;

//! Data sets: two halves of labelled images in four IDX files.
//!
//! [`Dataset::open`] finds the files ([`locate`]), unpacks them once if they are packed ([`unpack`]), checks every length
//! and maps them. [`synth`] draws a set without a download, [`checksum`] compares files with the published ones. [`maj`]
//! draws the majority problem from another set, [`cross_validation`] divides a set into folds.

pub mod checksum;
pub mod cross_validation;
pub mod fetch;
pub mod files;
pub mod fold_args;
pub mod folds;
pub mod gz;
pub mod locate;
pub mod maj;
pub mod published;
pub mod samples;
mod set;
mod split;
pub mod synth;
#[cfg(test)]
mod testing;
pub mod unpack;

pub use set::{DataSha256, Dataset};
pub use split::{Split, SplitSha256};

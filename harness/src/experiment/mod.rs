//! An experiment: the networks, their data sets, and the measurements.

pub mod definition;
pub mod estimate;
pub mod execute;
pub mod folder;
mod grid;
pub mod overrides;
pub mod parts;
pub mod plan;
pub mod rates;
pub mod schedule;
pub mod search;
pub mod sets;
pub mod slurm;
pub mod task;

//! An experiment: the networks, their data sets, and the measurements.

pub mod definition;
pub mod folder;
pub mod overrides;
pub mod parts;
pub mod plan;
pub mod rates;
pub mod schedule;
pub mod search;

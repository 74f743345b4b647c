//! An experiment: which networks are trained on what, and what is measured of them.

pub mod definition;
pub mod folder;
pub mod overrides;
pub mod plan;
pub mod rates;
pub mod schedule;
pub mod search;

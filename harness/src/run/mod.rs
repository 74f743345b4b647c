//! One training: its settings, its folder, its loop and its checkpoints.

pub mod architecture;
pub mod checkpoint;
pub mod context;
mod curves;
pub mod epoch;
pub mod folder;
pub mod manifest;
mod metrics;
pub mod resume;
pub mod settings;
pub mod training;

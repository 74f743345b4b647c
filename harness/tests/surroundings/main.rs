//! Devices, links, pipes, names that are no text, file systems that lack something, and systems that allow few threads.
//!
//! A test that needs what the system does not allow is skipped with a line that says so.
#![allow(clippy::unwrap_used)]

mod inputs;
mod names;
mod sandbox;
mod shim;
mod systems;
mod targets;

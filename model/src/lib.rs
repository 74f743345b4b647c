//! The thesis cells as data: forward and back-propagation through time, training, explanation.
//!
//! A [`Cell`] (what the layers are) and a [`Task`] (what they see) make a [`Network`]; a
//! [`train::Trainer`] fits it and an [`explain::Explainer`] hands the evidence of a logit back to the
//! pixels. This crate opens no file, reads no clock and prints nothing; its inputs are [`Samples`].
//!
//! ```
//! use kernels::Kernels;
//! use model::explain::{Explainer, Method, Target};
//! use model::{Cell, Network, Samples, Task};
//!
//! struct Blank;
//! impl Samples for Blank {
//!     fn len(&self) -> usize { 2 }
//!     fn pixels(&self, _: usize, x: &mut [f32]) { x.fill(0.5) }
//!     fn label(&self, _: usize) -> u8 { 0 }
//! }
//! let task = Task { rows: 8, cols: 8, seq_len: 4, classes: 3, ..Task::default() };
//! let network = Network::new(Cell::preset("deep")?, task, 7)?;
//! let mut explainer = Explainer::new(&Kernels::default(), &network, Method::DeepTaylor, 2)?;
//! let found = explainer.explain(&Kernels::default(), &network, &Blank, &[0, 1], Target::Predicted)?;
//! assert_eq!(found[0].relevance.len(), 2 * 8 * 8);
//! # Ok::<(), model::ModelError>(())
//! ```
#![forbid(unsafe_code)]

mod cell;
mod error;
pub mod explain;
mod init;
mod layer;
mod network;
mod params;
mod plan;
mod samples;
pub mod train;
mod walk;

pub use cell::{Cell, Encoder, Task};
pub use error::ModelError;
pub use network::Network;
pub use params::{NamedTensor, Spec};
pub use samples::Samples;
pub use walk::evaluate::{Evaluation, Evaluator};

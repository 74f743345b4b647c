//! Recurrent relu networks as data: forward and back-propagation through time, training, explanation.
//!
//! An [`Architecture`] (what the layers are) and a [`Task`] (their input and output shape) make a [`Network`]; a
//! [`train::Trainer`] fits it and an [`explain::Explainer`] attributes a logit to the input pixels. This crate opens
//! no file, reads no clock and prints nothing; its inputs are [`Samples`].
//!
//! ```
//! use kernels::Kernels;
//! use model::explain::{Explainer, Method, Target};
//! use model::{Architecture, Network, Samples, Task};
//!
//! struct Blank;
//! impl Samples for Blank {
//!     fn len(&self) -> usize { 2 }
//!     fn pixels(&self, _: usize, x: &mut [f32]) { x.fill(0.5) }
//!     fn label(&self, _: usize) -> u8 { 0 }
//! }
//! let task = Task { rows: 8, cols: 8, seq_len: 4, classes: 3, ..Task::default() };
//! let network = Network::new(Architecture::preset("deep")?, task, 7)?;
//! let mut explainer = Explainer::new(&Kernels::default(), &network, Method::DEEP_TAYLOR, 2)?;
//! let found = explainer.explain(&Kernels::default(), &Blank, &[0, 1], Target::Predicted)?;
//! assert_eq!(found[0].relevance.len(), 2 * 8 * 8);
//! # Ok::<(), model::ModelError>(())
//! ```
//!
//! # Layers of this crate
//! Each file imports only files of the lines above its own.
//! - `error`, `samples`, `task`, `architecture`, `dropout`, `params`, `init`, `ledger`: data
//! - `stage`: layers of encoder and head, one a file; `core`: recurrent cores, one a file
//! - `network`: layers put together with parameters; `pass`: their state in one pass, and the loops over them
//! - `train`, `explain`, `evaluate`: what passes are for
//! - `measure`: numbers of heatmaps and their intervals; it imports nothing of the others
#![forbid(unsafe_code)]

mod architecture;
mod core;
mod dropout;
mod error;
mod evaluate;
pub mod explain;
mod init;
mod ledger;
pub mod measure;
mod network;
mod params;
mod pass;
mod samples;
mod stage;
mod task;
pub mod train;

pub use architecture::{Architecture, Core, EncoderLayer, parse_encoder, parse_head};
pub use error::ModelError;
pub use evaluate::Evaluator;
pub use init::InitialValues;
pub use kernels::pool::PoolKind;
pub use network::Network;
pub use params::{BiasKind, LateralSpec, NamedTensor, Spec};
pub use pass::arg_max;
pub use samples::{Samples, byte_scale, scale_bytes};
pub use task::Task;
pub use train::Evaluation;

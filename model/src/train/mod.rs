//! Training (Table 4.2): cross-entropy, back-propagation through all steps, Adam or SGD.

mod dropout;
mod loss;
mod optimiser;
mod order;
mod step;

pub use dropout::DropoutPolicy;
pub use loss::Evaluation;
pub(crate) use loss::Loss;
pub use optimiser::{Optimiser, State};
pub use order::shuffled;
pub use step::{TrainOptions, Trainer};

//! Training (Table 4.2): cross-entropy, back-propagation through all steps, Adam or SGD.

mod loss;
mod optimiser;
mod order;
mod step;

pub use crate::dropout::DropoutPolicy;
pub use loss::Evaluation;
pub(crate) use loss::Loss;
pub use optimiser::{Optimiser, State};
pub use order::shuffled;
pub use step::{TrainOptions, Trainer};

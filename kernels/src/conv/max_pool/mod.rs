//! Convolution, relu and max-pool as one layer.
//!
//! A max-pool propagates one pixel of each window, so the gradient (or relevance) of the convolution is zero
//! at the others: three of four in a 2×2 window. Bias, relu and pool are applied to the convolution's sums
//! while they are in the cache, and the argmax positions are stored. The backward passes, of gradients and of
//! relevance, visit only those positions.

pub(crate) mod back;
pub(crate) mod filters;
mod forward;
mod gradient;
mod indices;
pub(crate) mod ratios;
#[cfg(test)]
mod tests;
pub(crate) mod visit;

pub use super::pooled::ConvPoolShape;
pub use back::{ConvMaxPoolInputGradient, conv_max_pool_input_gradient};
pub use filters::Filters;
pub use forward::{ConvMaxPool, conv_max_pool};
pub use gradient::{ConvMaxPoolWeightGradient, conv_max_pool_weight_gradient};
pub use indices::MaxIndices;

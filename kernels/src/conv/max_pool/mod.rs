//! A relu convolution with a max-pool behind it, as one layer.
//!
//! A max-pool propagates to one pixel of each window, so the gradient of the convolution is zero at the
//! others: three of four in a 2×2 window. Bias, relu and pool are applied to the convolution's sums while
//! they are in the cache, and the argmax positions are kept. The backward passes, of gradients and of
//! relevance, visit those positions alone.

pub(crate) mod back;
pub(crate) mod filters;
mod forward;
mod gradient;
pub(crate) mod ratios;
mod shape;
#[cfg(test)]
mod tests;
pub(crate) mod visit;

pub use back::{ConvMaxPoolInputGradient, conv_max_pool_input_gradient};
pub use filters::Filters;
pub use forward::{ConvMaxPool, conv_max_pool};
pub use gradient::{ConvMaxPoolWeightGradient, conv_max_pool_weight_gradient};
pub use shape::{ConvMaxPoolShape, MaxIndices};

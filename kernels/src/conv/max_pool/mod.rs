//! A relu convolution with a max-pool behind it, as one layer.
//!
//! A max-pool lets one pixel of each window through, so what comes back to the convolution is zero at
//! the others: three of four in a 2×2 window. Forwards, the convolution's sums go through bias, relu
//! and pool while they are in the cache, and the place of each maximum is kept. Backwards, for
//! gradients as for relevance, only the positions are visited.

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

//! Convolution, relu and sum-pool as one layer.
//!
//! A sum-pool gives the gradient of a window to each of its pixels whose relu is active, so the layer stores which
//! are, in the size of the pooled output. Bias, relu and pool are applied to the convolution's sums while they are in
//! the cache; the backward passes spread the gradient of a few images over their pixels, and the products of the
//! convolution read it from the cache. No image of the convolution's size is in memory, and the bits are those of
//! [`conv`](crate::conv()) and [`pool`](crate::pool::pool()) one behind the other.

mod active;
mod back;
mod forward;
#[cfg(test)]
mod tests;

pub use super::pooled::ConvPoolShape;
pub use active::ActivePixels;
pub use back::{
    ConvSumPoolInputGradient, ConvSumPoolWeightGradient, conv_sum_pool_input_gradient,
    conv_sum_pool_weight_gradient,
};
pub use forward::{ConvSumPool, conv_sum_pool};

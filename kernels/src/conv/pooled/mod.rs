//! What convolutions with a pool behind them have in common, whatever the pool: the shape and the forward pass up to
//! the sums that are pooled.

pub(super) mod convolve;
mod shape;

pub(crate) use shape::Columns;
pub use shape::ConvPoolShape;
pub(super) use shape::MAX_WINDOW;

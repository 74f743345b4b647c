//! What one layer does, forwards, backwards and for relevance, side by side.

pub(crate) mod conv;
pub(crate) mod dense;
pub(crate) mod pool;

use kernels::ConvShape;
use kernels::conv::max_pool::ConvMaxPoolShape;
use kernels::pool::PoolShape;

/// An encoder layer: what it is, and which parameters it has.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Dense, relu, dropout while training.
    Dense { spec: usize },
    /// SAME convolution, relu.
    Conv { spec: usize, shape: ConvShape },
    /// SAME convolution, relu, max-pool.
    ConvMaxPool { spec: usize, shape: ConvMaxPoolShape },
    /// Pooling.
    Pool { shape: PoolShape },
}

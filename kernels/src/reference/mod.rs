//! Naive reference implementations: each formula as written, index by index, summed in f64.
//!
//! They define the results of the fast kernels; the tests compare with them. Matrices are row-major slices;
//! weights are `[in, out]` and HWIO, not packed.

mod conv;
mod elementwise;
mod gates;
mod gemm;
mod pool;
mod relevance;

pub use conv::conv_as_dense;
pub use elementwise::{adam, cross_entropy, dropout, sgd, sigmoid, softplus};
pub use gates::{Cell, CellGradients};
pub use gemm::{gemm, gemm_mul_add, transposed};
pub use pool::{max_pool, sum_pool};
pub use relevance::{Input, relevance, shared_relevance};

//! SIMD kernels for small relu networks and for the relevance that explains them.
//!
//! # Memory layouts
//! - Activations, gradients and relevances are row-major, `[rows, features]`, or NHWC images with a
//!   border of zeros ([`Plane`]); [`MatRef`] and [`MatMut`] say where each row starts.
//! - Weights are packed once per version into strips of 16 columns ([`Panels`]): `[in, out]` for
//!   dense layers, HWIO flattened to `[size·size·in, out]` for convolutions, and their transposes
//!   ([`pack`]) for the way back.
//!
//! # Bits
//! Every sum has one accumulator, walked in the order of its index by fused multiply-add, or, behind a
//! max-pool, a few of them in an order of their own ([`conv::max_pool`]). Backends
//! `reference`, `avx2` and `avx512`, every tile shape and every thread count give the same bits.
//! `portable` is exempt: without a fused multiply-add in the build it rounds twice.
//!
//! # Supported CPUs
//! x86-64 with AVX-512F or AVX2+FMA, found at run time; any other CPU runs `portable`.
//!
//! # Example
//! ```
//! use kernels::{Backend, Kernels, Threads};
//! let kernels = Kernels::new(Backend::best(), Threads::one());
//! println!("{:?} on {} thread", kernels.backend(), kernels.threads().count());
//! ```

#[cfg(test)]
mod bits;
mod buffer;
pub mod conv;
mod dropout;
pub mod elementwise;
mod error;
mod exec;
mod gemm;
#[cfg(test)]
mod huge_sizes;
mod image;
mod layout;
#[cfg(test)]
mod page_edge;
mod panels;
pub mod peak;
#[cfg(feature = "peers")]
pub mod peers;
pub mod pool;
pub mod profile;
#[cfg(test)]
mod profile_tests;
pub mod reference;
pub mod relevance;
mod simd;
#[cfg(test)]
mod testing;
mod threads;

pub use buffer::Buffer;
pub use conv::{Conv, conv, conv_weight_gradient};
pub use dropout::Dropout;
pub use error::ShapeError;
pub use exec::Kernels;
pub use gemm::backend::{MatmulBackend, MatmulBlock, MatmulTask};
pub use gemm::pack::PackedWeights;
pub use gemm::problem::{Epilogue, Init};
pub use gemm::{WeightGradient, gemm, gemm_tn, pack};
pub use image::{ConvShape, Plane};
pub use layout::{MatMut, MatRef, Rows, STRIP, Strided};
pub use panels::{Panels, panel_index, panels_len};
pub use simd::dispatch::Backend;
pub use threads::Threads;

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
//! Every sum has one accumulator, walked in the order of its index by fused multiply-add. Backends
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

pub mod conv;
pub mod elementwise;
mod error;
mod gemm;
pub mod peak;
#[cfg(feature = "peers")]
pub mod peers;
pub mod pool;
pub mod reference;
pub mod relevance;
mod shape;
mod simd;
#[cfg(test)]
mod testing;
mod threads;

pub use conv::{conv, conv_weight_gradient};
pub use elementwise::dropout::Dropout;
pub use error::ShapeError;
pub use gemm::epilogue::Epilogue;
pub use gemm::{Start, gemm, gemm_tn, pack};
pub use shape::{ConvShape, MatMut, MatRef, Panels, Plane, Rows, STRIP, panel_index, panels_len};
pub use simd::dispatch::Backend;
pub use threads::Threads;

/// A kernel set: an instruction set and the threads to run it on. Every kernel takes one.
#[derive(Clone, Debug)]
pub struct Kernels {
    backend: Backend,
    threads: Threads,
}

impl Kernels {
    /// A kernel set.
    pub fn new(backend: Backend, threads: Threads) -> Self {
        Kernels { backend, threads }
    }

    /// The instruction set.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The threads.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }
}

impl Default for Kernels {
    /// The best backend on the calling thread.
    fn default() -> Self {
        Kernels::new(Backend::best(), Threads::one())
    }
}

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
pub mod elementwise;
mod error;
mod gemm;
#[cfg(test)]
mod page_edge;
pub mod peak;
#[cfg(feature = "peers")]
pub mod peers;
pub mod pool;
pub mod profile;
pub mod reference;
pub mod relevance;
mod shape;
mod simd;
#[cfg(test)]
mod testing;
mod threads;

pub use buffer::Buffer;
pub use conv::{Conv, conv, conv_weight_gradient};
pub use elementwise::dropout::Dropout;
pub use error::ShapeError;
pub use gemm::epilogue::Epilogue;
pub use gemm::own::Gemm;
pub use gemm::{Init, WeightGradient, gemm, gemm_tn, pack};
pub use shape::{ConvShape, MatMut, MatRef, Panels, Plane, Rows, STRIP, panel_index, panels_len};
pub use simd::dispatch::Backend;
pub use threads::Threads;

use profile::Profile;
use std::sync::Arc;

/// A kernel set: an instruction set, the threads to run it on, and whose matrix product it is. Every
/// kernel takes one, and so does everything in `model`.
#[derive(Clone, Debug)]
pub struct Kernels {
    backend: Backend,
    threads: Threads,
    gemm: Option<Arc<dyn Gemm>>,
    profile: Option<Arc<Profile>>,
}

impl Kernels {
    /// A kernel set of this crate.
    pub fn new(backend: Backend, threads: Threads) -> Self {
        Kernels { backend, threads, gemm: None, profile: None }
    }

    /// A kernel set whose products are `gemm`'s; the backend does the rest.
    pub fn with_gemm(backend: Backend, threads: Threads, gemm: Arc<dyn Gemm>) -> Self {
        Kernels { backend, threads, gemm: Some(gemm), profile: None }
    }

    /// What [`Kernels::by_name`] knows: the backends that this CPU has and, with the cargo feature
    /// `peers`, the products of other libraries.
    pub fn names() -> Vec<&'static str> {
        let names = Backend::available().into_iter().map(Backend::name);
        #[cfg(feature = "peers")]
        let names = names.chain(peers::PEERS.iter().map(|peer| peer.name));
        names.collect()
    }

    /// The kernel set with one of the [`Kernels::names`].
    pub fn by_name(name: &str, threads: Threads) -> Option<Self> {
        #[cfg(feature = "peers")]
        if let Some(peer) = peers::PEERS.iter().find(|peer| peer.name == name) {
            return Some(Kernels::with_gemm(Backend::best(), threads, Arc::new(*peer)));
        }
        Backend::by_name(name).map(|backend| Kernels::new(backend, threads))
    }

    /// The name of its product: the backend's, if that is its own.
    pub fn name(&self) -> &str {
        self.gemm.as_ref().map_or(self.backend.name(), |gemm| gemm.name())
    }

    /// The instruction set.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Whether its results have the bits that every backend but `portable` shares.
    pub fn promises_bits(&self) -> bool {
        self.gemm.is_none() && self.backend.promises_bits()
    }

    /// The threads.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    pub(crate) fn gemm(&self) -> Option<&dyn Gemm> {
        self.gemm.as_deref()
    }
}

impl Default for Kernels {
    /// The best backend on the calling thread.
    fn default() -> Self {
        Kernels::new(Backend::best(), Threads::one())
    }
}

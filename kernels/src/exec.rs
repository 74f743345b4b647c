//! How kernels are executed: instruction set, threads and GEMM.

use crate::gemm::backend::MatmulBackend;
#[cfg(feature = "peers")]
use crate::peers;
use crate::profile::{Profile, Span, Work};
use crate::simd::dispatch::Backend;
use crate::threads::Threads;
use std::sync::Arc;

/// A kernel set: an instruction set, the threads to run it on, and the GEMM backend. It is the first argument
/// of every kernel.
#[derive(Clone, Debug)]
pub struct Kernels {
    backend: Backend,
    threads: Threads,
    external: Option<Arc<dyn MatmulBackend>>,
    profile: Option<Arc<Profile>>,
}

impl Kernels {
    /// A kernel set of this crate.
    pub fn new(backend: Backend, threads: Threads) -> Self {
        Kernels { backend, threads, external: None, profile: None }
    }

    /// A kernel set with an external GEMM; `backend` computes everything else.
    pub fn with_matmul(backend: Backend, threads: Threads, external: Arc<dyn MatmulBackend>) -> Self {
        Kernels { backend, threads, external: Some(external), profile: None }
    }

    /// The names that [`Kernels::by_name`] accepts: the instruction sets of this CPU and, with the cargo
    /// feature `peers`, the GEMMs of other libraries.
    pub fn names() -> Vec<&'static str> {
        let names = Backend::available().into_iter().map(Backend::name);
        #[cfg(feature = "peers")]
        let names = names.chain(peers::NAMES);
        names.collect()
    }

    /// The kernel set with one of the [`Kernels::names`].
    pub fn by_name(name: &str, threads: Threads) -> Option<Self> {
        #[cfg(feature = "peers")]
        if let Some(external) = peers::by_name(name) {
            return Some(Kernels::with_matmul(Backend::best(), threads, external));
        }
        Backend::by_name(name).map(|backend| Kernels::new(backend, threads))
    }

    /// The name of its GEMM backend.
    pub fn name(&self) -> &str {
        self.matmul().name()
    }

    /// The instruction set.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Whether its results have the bits that every backend but `portable` shares.
    pub fn promises_bits(&self) -> bool {
        self.backend.promises_bits() && self.matmul().promises_bits()
    }

    /// The threads.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The GEMM backend.
    #[inline]
    pub(crate) fn matmul(&self) -> &dyn MatmulBackend {
        self.external.as_deref().unwrap_or(&self.backend)
    }

    /// Whether matrix products use an external GEMM. Kernels that have a specialised algorithm use the GEMM
    /// instead then.
    #[inline]
    pub(crate) fn has_external_matmul(&self) -> bool {
        self.external.is_some()
    }

    /// The same kernel set; `profile` records its calls. Only one caller may use it at a time.
    #[must_use]
    pub fn profiled(self, profile: Arc<Profile>) -> Kernels {
        Kernels { profile: Some(profile), ..self }
    }

    /// Records everything until the span is dropped as one call, unless it is part of another call. It can
    /// also record work that is not a kernel, such as packing all weights.
    #[inline]
    pub fn span(&self, name: &'static str, work: impl FnOnce() -> Work) -> Span<'_> {
        Span::begin(self.profile.as_deref(), name, work)
    }
}

impl Default for Kernels {
    /// The best backend on the calling thread.
    fn default() -> Self {
        Kernels::new(Backend::best(), Threads::one())
    }
}

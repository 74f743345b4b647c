//! How kernels are executed: instruction set, threads and GEMM.

use crate::gemm::backend::{MatmulBackend, amx};
use crate::panels::Panels;
#[cfg(feature = "peers")]
use crate::peers;
use crate::prepack::Prepacked;
use crate::profile::{Profile, Span, Work};
use crate::simd::dispatch::Backend;
use crate::threads::Threads;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A kernel set: an instruction set, the threads to run it on, and the GEMM backend. It is the first argument
/// of every kernel.
#[derive(Clone)]
pub struct Kernels {
    backend: Backend,
    threads: Threads,
    external: Option<External>,
    /// Kernels that replace ours, each a type of its own.
    swapped: Vec<Arc<dyn Any + Send + Sync>>,
    profile: Option<Arc<Profile>>,
}

/// An external GEMM backend, with a number by which its forms of weights are found again.
#[derive(Clone, Debug)]
struct External {
    number: u64,
    matmul: Arc<dyn MatmulBackend>,
}

impl Kernels {
    /// A kernel set of this crate.
    pub fn new(backend: Backend, threads: Threads) -> Self {
        Kernels { backend, threads, external: None, swapped: Vec::new(), profile: None }
    }

    /// A kernel set with an external GEMM; `backend` computes everything else.
    pub fn with_matmul(backend: Backend, threads: Threads, external: Arc<dyn MatmulBackend>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let external = External { number: NEXT.fetch_add(1, Ordering::Relaxed), matmul: external };
        Kernels { backend, threads, external: Some(external), swapped: Vec::new(), profile: None }
    }

    /// The names that [`Kernels::by_name`] accepts: the instruction sets of this CPU, `amx` and `amx-exact` where it has
    /// them and, with the cargo feature `peers`, the GEMMs of other libraries.
    ///
    /// `amx-model` and `amx-exact-model` are accepted everywhere and not among them: they are slow, for tests.
    pub fn names() -> Vec<&'static str> {
        let names = Backend::available().into_iter().map(Backend::name);
        let names = names.chain(amx::NAMES.into_iter().filter(|name| Kernels::why_not(name).is_none()));
        #[cfg(feature = "peers")]
        let names = names.chain(peers::NAMES);
        names.collect()
    }

    /// Why a kernel set of this crate cannot be used here, in one line; none if it can, or if there is none of that name.
    pub fn why_not(name: &str) -> Option<String> {
        if let Some(amx) = amx::by_name(name) {
            return amx.err();
        }
        let known = Backend::NAMES.contains(&name) && Backend::by_name(name).is_none();
        known.then(|| "this CPU does not have it".to_owned())
    }

    /// The kernel set with one of the [`Kernels::names`].
    pub fn by_name(name: &str, threads: Threads) -> Option<Self> {
        if let Some(amx) = amx::by_name(name) {
            return Some(Kernels::with_matmul(Backend::best(), threads, amx.ok()?));
        }
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
        self.swapped.is_empty() && self.backend.promises_bits() && self.matmul().promises_bits()
    }

    /// The family of kernel sets that have the bits of this one: `f32`, `amx` or `amx-exact`; none if nothing is promised.
    /// What is no product has the bits of this crate's instruction sets in each.
    pub fn family(&self) -> Option<&str> {
        let ours = self.swapped.is_empty() && self.backend.promises_bits();
        ours.then(|| self.matmul().family()).flatten()
    }

    /// The threads.
    pub fn threads(&self) -> &Threads {
        &self.threads
    }

    /// The GEMM backend.
    #[inline]
    pub(crate) fn matmul(&self) -> &dyn MatmulBackend {
        self.external.as_ref().map_or(&self.backend, |external| &*external.matmul)
    }

    /// The external GEMM's own form of these weights, if they have a cache.
    #[inline]
    pub(crate) fn prepacked(&self, weights: &Panels) -> Option<Arc<Prepacked>> {
        let External { number, matmul } = self.external.as_ref()?;
        let (cache, rows) = weights.cache()?;
        Some(cache.form(*number, rows, |form| matmul.prepack(weights.uncached(), form)))
    }

    /// Whether matrix products use an external GEMM.
    #[inline]
    pub(crate) fn has_external_matmul(&self) -> bool {
        self.external.is_some()
    }

    /// Whether kernels that have a specialised algorithm use the external GEMM instead.
    #[inline]
    pub(crate) fn prefers_products(&self) -> bool {
        self.external.as_ref().is_some_and(|external| external.matmul.prefers_products())
    }

    /// The same kernel set with another kernel in the place of ours: [`OwnRelevance`](crate::relevance::OwnRelevance),
    /// [`OwnAdam`](crate::elementwise::optimiser::OwnAdam) or [`OwnPool`](crate::pool::OwnPool). Operands are checked before
    /// it is called; it gets the kernel set without it, for what it leaves to ours.
    #[must_use]
    pub fn swap<T: Any + Send + Sync>(mut self, kernel: T) -> Kernels {
        self.swapped.retain(|own| !own.is::<T>());
        self.swapped.push(Arc::new(kernel));
        self
    }

    /// The kernel of that type that replaces ours.
    #[inline]
    pub(crate) fn swapped<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.swapped.iter().find_map(|own| own.downcast_ref())
    }

    /// The same kernel set with our kernels only; the GEMM backend stays.
    pub(crate) fn unswapped(&self) -> Kernels {
        Kernels { swapped: Vec::new(), ..self.clone() }
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

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, threads) = (self.name(), self.threads.count());
        f.debug_struct("Kernels").field("name", &name).field("threads", &threads).finish_non_exhaustive()
    }
}

impl Default for Kernels {
    /// The best backend on the calling thread.
    fn default() -> Self {
        Kernels::new(Backend::best(), Threads::one())
    }
}

//! The implementations of a matrix product: this crate's register tile, or an external library.

pub(crate) mod amx;
#[cfg(feature = "cblas")]
pub mod cblas;
mod external;
#[cfg(feature = "peers")]
pub mod gemm_crate;
#[cfg(feature = "peers")]
pub mod matrixmultiply;
mod prepacked;
mod simd;

pub use external::{Abilities, Ends, Then};

use super::problem::Problem;
use crate::layout::Strided;
use crate::panels::Panels;
use crate::prepack::Prepacked;
use crate::simd::dispatch::Backend;
use std::any::Any;
use std::fmt::Debug;
use std::ops::Range;

/// A GEMM. Everything that multiplies matrices calls it: dense layers, convolutions over their patches,
/// gradients and relevance rules. Each thread calls it for its own rows.
///
/// This crate's instruction sets ([`Backend`]) implement it. An adapter to another library can implement it,
/// too: it multiplies the blocks that [`MatmulTask::each_block`] passes to it, and `each_block` applies
/// initial values and epilogues; [`MatmulTask::each_block_with`] lets it take over some of them. Its sums need not have the same bits as those of this crate.
///
/// ```
/// use kernels::{Backend, Kernels, MatmulBackend, MatmulTask, Threads};
/// #[derive(Debug)]
/// struct Naive;
/// impl MatmulBackend for Naive {
///     fn name(&self) -> &str {
///         "naive"
///     }
///     fn run(&self, task: MatmulTask) {
///         task.each_block(|block| {
///             let [_, n, k] = block.sizes();
///             for (i, c) in block.c.chunks_mut(block.c_stride).enumerate() {
///                 for (j, c) in c[..n].iter_mut().enumerate() {
///                     *c = (0..k).map(|q| block.a.at(i, q) * block.b.at(q, j)).sum();
///                 }
///             }
///         });
///     }
/// }
/// let kernels = Kernels::with_matmul(Backend::best(), Threads::one(), std::sync::Arc::new(Naive));
/// assert_eq!(kernels.name(), "naive");
/// ```
pub trait MatmulBackend: Send + Sync + Debug {
    /// Its name on the command line and in results.
    fn name(&self) -> &str;

    /// Whether its results have the bits that every instruction set of this crate but `portable` shares.
    fn promises_bits(&self) -> bool {
        false
    }

    /// The name of the family of backends that have the same bits in all results on any number of threads; `f32` is that
    /// of this crate's instruction sets. None if it promises nothing of that kind.
    fn family(&self) -> Option<&str> {
        self.promises_bits().then_some("f32")
    }

    /// Prepares weights in a form of its own, once per version: `form` holds the form of the version before, if there
    /// is one, whose memory can be used again. [`MatmulTask::prepacked`] gives it to every product by these weights.
    ///
    /// By default the form is a row-major matrix, where packed weights have no strides; [`MatmulTask::each_block`] passes
    /// it in place.
    fn prepack(&self, weights: Panels, form: &mut Prepacked) {
        prepacked::row_major(weights, form);
    }

    /// Whether its products replace kernels of this crate that multiply only at the argmax positions of a max-pool.
    fn prefers_products(&self) -> bool {
        true
    }

    /// Computes the task's rows of a product, on the calling thread, and returns when they are done.
    fn run(&self, task: MatmulTask);
}

/// Some rows of a matrix product, for one thread.
#[derive(Debug)]
pub struct MatmulTask<'a> {
    problem: &'a Problem<'a>,
    rows: Range<usize>,
    /// The instruction set of the epilogue.
    simd: Backend,
    /// What the backend made of the weights.
    prepacked: Option<&'a Prepacked>,
}

impl<'a> MatmulTask<'a> {
    /// # Safety
    /// As [`Problem::run`], for these rows, as long as the task lives.
    pub(crate) unsafe fn new(
        problem: &'a Problem<'a>,
        rows: Range<usize>,
        simd: Backend,
        prepacked: Option<&'a Prepacked>,
    ) -> Self {
        MatmulTask { problem, rows, simd, prepacked }
    }

    /// `[M, N, K]`: rows of this task, columns, and the terms of each sum.
    pub fn sizes(&self) -> [usize; 3] {
        [self.rows.len(), self.problem.n, self.problem.loops.len()]
    }

    /// The form that [`MatmulBackend::prepack`] has given the weights; none if `b` is no weight, or a part of one.
    pub fn prepacked<T: Any + Send + Sync>(&self) -> Option<&'a T> {
        self.prepacked.and_then(Prepacked::get)
    }
}

/// A product `c = a·b` for an external library.
#[derive(Debug)]
pub struct MatmulBlock<'a> {
    /// `[M, K]`
    pub a: Strided<'a>,
    /// `[K, N]`
    pub b: Strided<'a>,
    /// `M` rows of `N` sums, to be overwritten; floats between the rows may be overwritten, too.
    pub c: &'a mut [f32],
    /// Floats from a row of `c` to the next.
    pub c_stride: usize,
}

impl MatmulBlock<'_> {
    /// `[M, N, K]`
    ///
    /// # Panics
    /// If `a` and `b` differ in `K`, or `c` is too short for `M` rows of `N` floats.
    pub fn sizes(&self) -> [usize; 3] {
        let [m, n, k] = [self.a.rows(), self.b.cols(), self.a.cols()];
        assert_eq!(k, self.b.rows(), "axis K of a and b");
        let last = m.saturating_sub(1).checked_mul(self.c_stride).and_then(|at| at.checked_add(n));
        let fits = last.is_some_and(|len| len <= self.c.len()) && (m <= 1 || n <= self.c_stride);
        assert!(fits || m == 0 || n == 0, "[{m}, {n}] sums, rows {} floats apart", self.c_stride);
        [m, n, k]
    }
}

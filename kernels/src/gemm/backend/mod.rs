//! The implementations of a matrix product: this crate's register tile, or an external library.

mod external;
#[cfg(feature = "peers")]
pub mod gemm_crate;
#[cfg(feature = "peers")]
pub mod matrixmultiply;
mod simd;

use super::problem::Problem;
use crate::layout::Strided;
use crate::simd::dispatch::Backend;
use std::fmt::Debug;
use std::ops::Range;

/// A GEMM. Everything that multiplies matrices calls it: dense layers, convolutions over their patches,
/// gradients and relevance rules. Each thread calls it for its own rows.
///
/// This crate's instruction sets ([`Backend`]) implement it. An adapter to another library can implement it,
/// too: it multiplies the blocks that [`MatmulTask::each_block`] passes to it, and `each_block` applies
/// initial values and epilogues. Its sums need not have the same bits as those of this crate.
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
}

impl<'a> MatmulTask<'a> {
    /// # Safety
    /// As [`Problem::run`], for these rows, as long as the task lives.
    pub(crate) unsafe fn new(problem: &'a Problem<'a>, rows: Range<usize>, simd: Backend) -> Self {
        MatmulTask { problem, rows, simd }
    }

    /// `[M, N, K]`: rows of this task, columns, and the terms of each sum.
    pub fn sizes(&self) -> [usize; 3] {
        [self.rows.len(), self.problem.n, self.problem.loops.len()]
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

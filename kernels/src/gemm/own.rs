//! Anybody's matrix product in place of the tile: operands are gathered into plain matrices, the sums
//! go through the same starts and epilogues.

use super::finish::finish_block;
use super::product::{BLOCK, Product};
use super::tile::Block;
use crate::Kernels;
use crate::shape::STRIP;
use std::ops::Range;

/// A matrix product of one's own, for [`Kernels::with_gemm`].
///
/// Everything that multiplies calls it: dense layers, convolutions over their patches, gradients
/// and relevance rules, each thread for its own rows. What it sums need not have the bits of the
/// backends.
///
/// ```
/// use kernels::{Backend, Gemm, Kernels, Threads};
/// #[derive(Debug)]
/// struct Naive;
/// impl Gemm for Naive {
///     fn name(&self) -> &str {
///         "naive"
///     }
///     fn gemm(&self, [m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
///         for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
///             c[i * n + j] = (0..k).map(|q| a[i * k + q] * b[q * n + j]).sum();
///         }
///     }
/// }
/// let kernels = Kernels::with_gemm(Backend::best(), Threads::one(), std::sync::Arc::new(Naive));
/// assert_eq!(kernels.name(), "naive");
/// ```
pub trait Gemm: Send + Sync + std::fmt::Debug {
    /// What it is called on the command line and in results.
    fn name(&self) -> &str;

    /// `c = a·b`: `a` is `[m, k]`, `b` `[k, n]`, `c` `[m, n]`, overwritten; all row-major without gaps.
    /// None of the sizes is 0.
    fn gemm(&self, sizes: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]);
}

/// Computes rows of a product by somebody's own.
///
/// # Safety
/// As [`Product::run_rows`].
pub(super) unsafe fn run_rows(kernels: &Kernels, own: &dyn Gemm, product: &Product, rows: Range<usize>) {
    let (n, k) = (product.n, product.loops.len());
    let padded = n.next_multiple_of(STRIP);
    let terms = terms(product);
    let mut b = vec![0.0; k * n];
    for (row, &(_, at)) in b.chunks_exact_mut(n.max(1)).zip(&terms) {
        for (strip, lanes) in row.chunks_mut(STRIP).enumerate() {
            // SAFETY: each term's strips are readable, the last one for its own columns.
            unsafe { lanes.as_mut_ptr().copy_from(product.b.add(at + strip * product.b_strip), lanes.len()) };
        }
    }
    for from in rows.clone().step_by(BLOCK) {
        let rows = from..rows.end.min(from + BLOCK);
        let m = rows.len();
        let block = Block::new(product, rows);
        let (mut a, mut c) = (vec![0.0; m * k], vec![0.0; m * n]);
        for (i, row) in a.chunks_exact_mut(k.max(1)).enumerate() {
            for (x, &(at, _)) in row.iter_mut().zip(&terms) {
                // SAFETY: this term of this row is readable; `product.a` itself may stand before a block of
                // rows, outside of what it points to.
                *x = unsafe { *product.a.wrapping_add(block.a.get(i) + at) };
            }
        }
        if m * n * k > 0 {
            own.gemm([m, n, k], &a, &b, &mut c);
        }
        let mut sums = vec![0.0; m * padded];
        for (sums, c) in sums.chunks_exact_mut(padded.max(1)).zip(c.chunks_exact(n.max(1))) {
            sums[..n].copy_from_slice(c);
        }
        // SAFETY: the caller's promise.
        unsafe { finish_block(kernels, product, &block, m, &mut sums) };
    }
}

/// Where each term of a sum is in `a` and in `b`, in the order of the loops.
fn terms(product: &Product) -> Vec<(usize, usize)> {
    let loops = product.loops;
    let at = |steps: [usize; 3], [i, j, q]: [usize; 3]| i * steps[0] + j * steps[1] + q * steps[2];
    let mut terms = Vec::with_capacity(loops.len());
    for i in 0..loops.count[0] {
        for j in 0..loops.count[1] {
            for q in 0..loops.count[2] {
                terms.push((at(loops.a, [i, j, q]), at(loops.b, [i, j, q])));
            }
        }
    }
    terms
}

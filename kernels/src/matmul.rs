//! Matrix products: the entry points. They check the operands, split the rows over the threads, and let the
//! [`MatmulBackend`](crate::MatmulBackend) of the kernel set compute the rows of each thread.

use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::backend::MatmulTask;
use crate::gemm::problem::{
    Epilogue, Init, Output, PanelProduct, PanelRows, Problem, ReductionLoops, check_ends, ends,
};
use crate::layout::{MatMut, MatRef, Rows, STRIP};
use crate::panels::{Panels, panels_len};
use crate::profile::{Shape, Work};
use std::ops::Range;

/// `c[m,n] = epilogue(init[m,n] + Σ_k a[m,k]·b[k,n])`, summed in the order of `k`.
///
/// - `a` `[M, K]` activations, gradients or relevances
/// - `b` `[K, N]` packed weights; transposed panels give `dX = dY·Wᵀ`
/// - `c` `[M, N]` overwritten
///
/// # Errors
/// [`ShapeError`] if `M`, `N` or `K` differ between operands; `c` is untouched then.
///
/// # Example
/// ```
/// use kernels::{Epilogue, Init, Kernels, MatMut, MatRef, PackedWeights, gemm};
/// let w = PackedWeights::new(&[1., 2., 3., 4., 5., 6.], 3, 2)?; // [3, 2], row-major
/// let mut c = [0.0; 2];
/// let a = MatRef::new(&[1., 0., 2.], 1, 3);
/// gemm(&Kernels::default(), a, w.panels(), Init::Zero, Epilogue::Store, MatMut::new(&mut c, 1, 2))?;
/// assert_eq!(c, [11., 14.]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn gemm(
    kernels: &Kernels,
    a: MatRef,
    b: Panels,
    init: Init,
    epilogue: Epilogue,
    mut c: MatMut,
) -> Result<(), ShapeError> {
    let _span = kernels.span("gemm", || {
        let (then, floats) = ends(&init, &epilogue, c.rows * c.cols);
        Work::products(1, [c.rows, c.cols, b.k], then, a.rows * a.cols + floats)
    });
    let mut room = Vec::new();
    let epilogue = epilogue.padded(c.cols, &mut room);
    axis("gemm", "K", "b", b.k, a.cols)?;
    axis("gemm", "M", "c", c.rows, a.rows)?;
    axis("gemm", "N", "c", c.cols, b.n)?;
    check_ends("gemm", c.rows, c.cols, &init, &epilogue)?;
    let loops = ReductionLoops::row_times_panel(b.k);
    let (rows, c) = (c.rows, &Output::of(&mut c));
    let problem = PanelProduct { a: a.data.as_ptr(), a_rows: a.map, loops, b, init, epilogue, c }.problem();
    // SAFETY: `a` has `K` columns in each of its `M` rows, the panels `K` rows in each strip, `c` is
    // borrowed mutably with rows that do not overlap; the checks above hold all to one shape.
    unsafe { problem.run(kernels, rows) };
    Ok(())
}

/// The operands of [`gemm_tn`].
#[derive(Debug)]
pub struct WeightGradient<'a> {
    /// `[M, K]` inputs of the layer, rows of equal spacing.
    pub a: MatRef<'a>,
    /// `[M, N]` gradient of its outputs, rows of equal spacing.
    pub d_y: MatRef<'a>,
    /// Whether the gradient is added to `d_w` instead of stored.
    pub accumulate: bool,
    /// Packed weights `[rows, N]`, of which rows `first_row..first_row + K` are overwritten.
    pub d_w: &'a mut [f32],
    /// Rows of the packed weights.
    pub rows: usize,
    /// The row of the packed weights that the first input belongs to.
    pub first_row: usize,
}

/// The weight gradient `d_w[k,n] = Σ_m a[m,k]·d_y[m,n]`, summed in the order of `m`, written as
/// packed `[K, N]` panels whose columns beyond `N` are zero.
///
/// A layer with two inputs gets its gradient in two calls, each for its own rows of `d_w`.
///
/// # Errors
/// [`ShapeError`] if `M`, `K` or `N` differ between operands; `d_w` is untouched then.
pub fn gemm_tn(kernels: &Kernels, operands: WeightGradient) -> Result<(), ShapeError> {
    let WeightGradient { a, d_y, accumulate, d_w, rows, first_row } = operands;
    let _span = kernels.span("gemm_tn", || {
        let (sizes, weights) = ([a.cols, d_y.cols, a.rows], a.cols * d_y.cols);
        // `d_y` takes the place of the packed weights.
        Work::products(1, sizes, "", a.rows * a.cols + if accumulate { 2 * weights } else { weights })
    });
    axis("gemm_tn", "M", "d_y", d_y.rows, a.rows)?;
    axis("gemm_tn", "K·N", "d_w", d_w.len(), panels_len(rows, d_y.cols))?;
    axis("gemm_tn", "K", "d_w", rows.max(first_row.saturating_add(a.cols)), rows)?;
    let equal = |matrix: &MatRef| if matrix.map.width >= matrix.rows { matrix.rows } else { 0 };
    axis("gemm_tn", "M", "a (rows of equal spacing)", equal(&a), a.rows)?;
    axis("gemm_tn", "M", "d_y (rows of equal spacing)", equal(&d_y), a.rows)?;
    if d_w.is_empty() {
        return Ok(());
    }
    let loops = ReductionLoops { count: [1, 1, a.rows], a: [0, 0, a.map.step], b: [0, 0, d_y.map.step] };
    // SAFETY: each term lies in a row of `a` and of `d_y`, whose constructors checked the bounds; their
    // rows are one step apart, as there is one line of them; the last strip of `d_y` is masked. Rows
    // `first_row..first_row + K` lie inside `d_w`, which is borrowed mutably.
    unsafe {
        let gradient = PanelRows {
            a: a.data.as_ptr(),
            a_rows: Rows::linear(1),
            b: d_y.data.as_ptr(),
            n: d_y.cols,
            loops,
            accumulate,
            d_w: d_w.as_mut_ptr().add(first_row * STRIP),
            strip: rows * STRIP,
        };
        gradient.problem().run(kernels, a.cols);
    }
    Ok(())
}

impl Problem<'_> {
    /// Computes rows `0..m`, split over the threads.
    ///
    /// # Safety
    /// Every term of every row is readable, and rows `0..m` of `c` are written by no other thread.
    pub(crate) unsafe fn run(&self, kernels: &Kernels, m: usize) {
        let cost = m * self.n * self.loops.len().max(1);
        kernels.threads().split(m, cost, &|rows| {
            // SAFETY: the caller's promise, for some of the rows.
            unsafe { self.run_rows(kernels, rows) };
        });
    }

    /// Computes some rows on the calling thread.
    ///
    /// # Safety
    /// As [`Problem::run`], for these rows.
    pub(crate) unsafe fn run_rows(&self, kernels: &Kernels, rows: Range<usize>) {
        let form = if kernels.has_external_matmul() { self.whole_weights() } else { None };
        let form = form.and_then(|weights| kernels.prepacked(&weights));
        // SAFETY: the caller's promise.
        let task = unsafe { MatmulTask::new(self, rows, kernels.backend(), form.as_deref()) };
        kernels.matmul().run(task);
    }
}

impl Work {
    /// `products` products of one shape, each with its own weights; `floats` are the other operands.
    pub(crate) fn products(products: usize, sizes: [usize; 3], then: &'static str, floats: usize) -> Work {
        let [m, n, k] = sizes;
        let floats = floats + products * n * k;
        Work::new(Shape::Product { sizes, then }, 2 * products * m * n * k, 4 * floats)
    }
}

#[cfg(test)]
mod tests;

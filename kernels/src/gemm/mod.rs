//! Matrix products: one loop nest over one register tile serves forward (NN), input gradient (NT,
//! over transposed panels), weight gradient (TN) and convolution.

pub(crate) mod epilogue;
pub(crate) mod finish;
pub(crate) mod own;
pub mod pack;
pub(crate) mod product;
#[cfg(test)]
mod tests;
pub(crate) mod tile;

use crate::Kernels;
use crate::error::{ShapeError, axis};
use crate::profile::{Work, ends};
use crate::shape::{MatMut, MatRef, Panels, Rows, STRIP, panels_len};
use epilogue::Epilogue;
use product::{Output, Product};
use tile::ReductionLoops;

/// Where the sums init.
#[derive(Clone, Copy, Debug)]
pub enum Init<'a> {
    /// From zero.
    Zero,
    /// From what stands in `c`.
    Accumulate,
    /// From another matrix `[M, N]`.
    Copy(MatRef<'a>),
}

pub(crate) fn lanes_of_last_strip(n: usize) -> usize {
    n - n.saturating_sub(1) / STRIP * STRIP
}

/// Checks that init and epilogue have the product's shape.
pub(crate) fn check_ends(
    kernel: &'static str,
    m: usize,
    n: usize,
    init: &Init,
    epilogue: &Epilogue,
) -> Result<(), ShapeError> {
    let same = |name, matrix: &MatRef| {
        axis(kernel, "M", name, matrix.rows, m)?;
        axis(kernel, "N", name, matrix.cols, n)
    };
    if let Init::Copy(matrix) = init {
        same("init", matrix)?;
    }
    match epilogue {
        Epilogue::Store => Ok(()),
        Epilogue::Bias(bias) | Epilogue::BiasRelu(bias) | Epilogue::BiasReluDropout(bias, _) => {
            axis(kernel, "N", "bias", bias.len(), n.next_multiple_of(STRIP))
        }
        Epilogue::ReluGradient { a, .. } | Epilogue::Times { a, .. } => same("a", a),
        Epilogue::Ratio { r, .. } => same("r", r),
    }
}

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
/// use kernels::{gemm, pack, Epilogue, Kernels, MatMut, MatRef, Panels, Init};
/// let w = pack::pack(&[1., 2., 3., 4., 5., 6.], 3, 2); // [3, 2], row-major
/// let mut c = [0.0; 2];
/// let a = MatRef::new(&[1., 0., 2.], 1, 3);
/// let w = Panels::new(&w, 3, 2);
/// gemm(&Kernels::default(), a, w, Init::Zero, Epilogue::Store, MatMut::new(&mut c, 1, 2))?;
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
    axis("gemm", "K", "b", b.k, a.cols)?;
    axis("gemm", "M", "c", c.rows, a.rows)?;
    axis("gemm", "N", "c", c.cols, b.n)?;
    check_ends("gemm", c.rows, c.cols, &init, &epilogue)?;
    let walk = ReductionLoops { count: [1, 1, b.k], a: [0, 0, 1], b: [0, 0, STRIP] };
    let to = Output::of(&mut c);
    let product = over_panels(a.data.as_ptr(), a.map, walk, b, init, epilogue, &to);
    // SAFETY: `a` has `K` columns in each of its `M` rows, the panels `K` rows in each strip, `c` is
    // borrowed mutably with rows that do not overlap; the checks above hold all to one shape.
    unsafe { product.run(kernels, c.rows) };
    Ok(())
}

pub(crate) fn over_panels<'a>(
    a: *const f32,
    map: Rows,
    walk: ReductionLoops,
    b: Panels,
    init: Init<'a>,
    epilogue: Epilogue<'a>,
    c: &Output,
) -> Product<'a> {
    let c_lanes = lanes_of_last_strip(c.cols);
    Product {
        n: c.cols,
        a,
        a_rows: map,
        walk,
        b: b.data.as_ptr(),
        b_strip: b.stride,
        b_lanes: STRIP,
        init,
        epilogue,
        c: c.data.as_ptr(),
        c_rows: c.map,
        c_strip: STRIP,
        c_lanes,
    }
}

/// The weight gradient `d_w[k,n] = Σ_m a[m,k]·d_y[m,n]`, summed in the order of `m`, written as
/// packed `[K, N]` panels whose columns beyond `N` are zero.
///
/// - `a` `[M, K]`, `d_y` `[M, N]`, rows of equal spacing
/// - `d_w` rows `first..first + K` of packed weights with `total` rows: a layer with two inputs
///   gets its gradient in two calls
/// - `add` starts from what stands in `d_w`
///
/// # Errors
/// [`ShapeError`] if `M`, `K` or `N` differ between operands; `d_w` is untouched then.
#[allow(clippy::too_many_arguments)]
pub fn gemm_tn(
    kernels: &Kernels,
    a: MatRef,
    d_y: MatRef,
    add: bool,
    d_w: &mut [f32],
    total: usize,
    first: usize,
) -> Result<(), ShapeError> {
    let _span = kernels.span("gemm_tn", || {
        let (sizes, weights) = ([a.cols, d_y.cols, a.rows], a.cols * d_y.cols);
        // What a product's weights are to others, `d_y` is here.
        Work::products(1, sizes, "", a.rows * a.cols + if add { 2 * weights } else { weights })
    });
    axis("gemm_tn", "M", "d_y", d_y.rows, a.rows)?;
    axis("gemm_tn", "K·N", "d_w", d_w.len(), panels_len(total, d_y.cols))?;
    axis("gemm_tn", "K", "d_w", total.max(first.saturating_add(a.cols)), total)?;
    let equal = |matrix: &MatRef| if matrix.map.width >= matrix.rows { matrix.rows } else { 0 };
    axis("gemm_tn", "M", "a (rows of equal spacing)", equal(&a), a.rows)?;
    axis("gemm_tn", "M", "d_y (rows of equal spacing)", equal(&d_y), a.rows)?;
    if d_w.is_empty() {
        return Ok(());
    }
    let walk = ReductionLoops { count: [1, 1, a.rows], a: [0, 0, a.map.step], b: [0, 0, d_y.map.step] };
    // SAFETY: each term lies in a row of `a` and of `d_y`, whose constructors checked the bounds; their
    // rows are one step apart, as there is one line of them; the last strip of `d_y` is masked. Rows
    // `first..first + K` lie inside `d_w`, which is borrowed mutably.
    unsafe {
        let c = d_w.as_mut_ptr().add(first * STRIP);
        over_columns(
            a.data.as_ptr(),
            Rows::linear(1),
            d_y.data.as_ptr(),
            d_y.cols,
            walk,
            add,
            c,
            total * STRIP,
        )
        .run(kernels, a.cols);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)] // an operand is a pointer and its strides
pub(crate) fn over_columns<'a>(
    a: *const f32,
    a_rows: Rows,
    b: *const f32,
    n: usize,
    walk: ReductionLoops,
    add: bool,
    c: *mut f32,
    c_strip: usize,
) -> Product<'a> {
    Product {
        n,
        a,
        a_rows,
        walk,
        b,
        b_strip: STRIP,
        b_lanes: lanes_of_last_strip(n),
        init: if add { Init::Accumulate } else { Init::Zero },
        epilogue: Epilogue::Store,
        c,
        c_rows: Rows::linear(STRIP),
        c_strip,
        c_lanes: STRIP,
    }
}

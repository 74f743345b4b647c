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
    let loops = ReductionLoops::row_times_panel(b.k);
    let (rows, c) = (c.rows, &Output::of(&mut c));
    let product = PanelProduct { a: a.data.as_ptr(), a_rows: a.map, loops, b, init, epilogue, c }.product();
    // SAFETY: `a` has `K` columns in each of its `M` rows, the panels `K` rows in each strip, `c` is
    // borrowed mutably with rows that do not overlap; the checks above hold all to one shape.
    unsafe { product.run(kernels, rows) };
    Ok(())
}

/// A product with packed weights.
pub(crate) struct PanelProduct<'a, 'b> {
    /// The first term of row 0, and where the first terms of the others are.
    pub a: *const f32,
    pub a_rows: Rows,
    pub loops: ReductionLoops,
    pub b: Panels<'b>,
    pub init: Init<'a>,
    pub epilogue: Epilogue<'a>,
    pub c: &'b Output,
}

impl<'a> PanelProduct<'a, '_> {
    pub fn product(self) -> Product<'a> {
        Product {
            n: self.c.cols,
            a: self.a,
            a_rows: self.a_rows,
            loops: self.loops,
            b: self.b.data.as_ptr(),
            b_strip: self.b.stride,
            b_lanes: STRIP,
            init: self.init,
            epilogue: self.epilogue,
            c: self.c.data.as_ptr(),
            c_rows: self.c.map,
            c_strip: STRIP,
            c_lanes: lanes_of_last_strip(self.c.cols),
        }
    }
}

/// The operands of [`gemm_tn`].
#[derive(Debug)]
pub struct WeightGradient<'a> {
    /// `[M, K]` inputs of the layer, rows of equal spacing.
    pub a: MatRef<'a>,
    /// `[M, N]` gradient of its outputs, rows of equal spacing.
    pub d_y: MatRef<'a>,
    /// Adds to what is in `d_w`.
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
        // What a product's weights are to others, `d_y` is here.
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
        gradient.product().run(kernels, a.cols);
    }
    Ok(())
}

/// A product whose right operand is a matrix in place, and whose output are rows of packed weights: a
/// weight gradient.
pub(crate) struct PanelRows {
    pub a: *const f32,
    /// Where the first term of each row of the gradient is in `a`.
    pub a_rows: Rows,
    pub b: *const f32,
    /// Columns of `b`, and of the gradient.
    pub n: usize,
    pub loops: ReductionLoops,
    pub accumulate: bool,
    /// The first row of the first panel.
    pub d_w: *mut f32,
    /// Floats from a panel to the next.
    pub strip: usize,
}

impl PanelRows {
    pub fn product<'a>(self) -> Product<'a> {
        Product {
            n: self.n,
            a: self.a,
            a_rows: self.a_rows,
            loops: self.loops,
            b: self.b,
            b_strip: STRIP,
            b_lanes: lanes_of_last_strip(self.n),
            init: if self.accumulate { Init::Accumulate } else { Init::Zero },
            epilogue: Epilogue::Store,
            c: self.d_w,
            c_rows: Rows::linear(STRIP),
            c_strip: self.strip,
            c_lanes: STRIP,
        }
    }
}

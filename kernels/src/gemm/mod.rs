//! Matrix products: one loop nest over one register tile serves forward (NN), input gradient (NT,
//! over transposed panels), weight gradient (TN) and convolution.

pub(crate) mod epilogue;
pub mod pack;
pub(crate) mod tile;

use crate::Kernels;
use crate::error::{ShapeError, axis};
use crate::shape::{MatMut, MatRef, Panels, Rows, STRIP, panels_len};
use crate::simd::{Kernel, Simd};
use crate::threads::with_scratch;
use epilogue::{
    AddBias, AddBiasRelu, AddBiasReluDropout, Divide, Epilogue, Finish, Gradient, Multiply, Plain,
};
use std::ops::Range;
use tile::{Adjacent, Operand, Pointers, Target, Tile, Walk, call_with_shape};

/// Floats of `a` that a block of rows may take, so that it stays in L2 beside a tile's strips.
const ROW_BLOCK: usize = 64 * 1024;
/// Rows of the largest tile.
pub(crate) const MAX_ROWS: usize = 16;
const MAX_STRIPS: usize = 4;

/// Where the sums start.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// From zero.
    Zero,
    /// From what stands in `c`.
    C,
    /// From another matrix `[M, N]`.
    From(MatRef<'a>),
}

/// The left operand: where row `m` of the product finds its terms.
#[derive(Clone, Copy)]
pub(crate) enum Left {
    /// Row `m` starts at `offset(m)`, its terms are adjacent.
    Rows(*const f32, Rows),
    /// Row `m` starts at `m`, its terms are as far apart as the walk says.
    Columns(*const f32),
}

/// A product `[m, n]` with everything checked; its rows can be computed in any split.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub n: usize,
    pub left: Left,
    pub operand: Operand,
    /// `b` is a plain matrix: its last strip must be masked.
    pub masked: bool,
    pub start: Start<'a>,
    pub epilogue: Epilogue<'a>,
    pub c: *mut f32,
    pub c_rows: Rows,
    /// Floats from a strip of `c` to the next: 16, or a panel.
    pub c_strip: usize,
    /// Lanes of the last strip of `c` that are its own.
    pub c_lanes: usize,
}

// SAFETY: the pointers come from borrows that outlive the product, and the parts of a split write
// different rows of `c`.
unsafe impl Send for Product<'_> {}
// SAFETY: as above.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Floats for packing the strips of one tile, where `b` is a plain matrix that is read once for
    /// every tile of rows: its lines may be any number of floats apart, which caches dislike.
    fn packed_len(&self) -> usize {
        let Walk { count, .. } = self.operand.walk;
        let len = MAX_STRIPS * STRIP * count[2];
        if self.masked && count[0] * count[1] == 1 && len <= ROW_BLOCK { len } else { 0 }
    }

    /// Computes rows `0..m`, split over the threads.
    ///
    /// # Safety
    /// Every term of every row is readable, and rows `0..m` of `c` are writable and nobody else's.
    pub unsafe fn run(&self, kernels: &Kernels, m: usize) {
        let cost = m * self.n * self.operand.walk.len().max(1);
        kernels.threads().split(m, cost, &|rows| {
            with_scratch(self.packed_len(), |packed| {
                kernels.backend().run(Part { product: *self, rows, packed });
            });
        });
    }
}

/// Some rows of a product; who runs it promises what [`Product::run`] asks for, for these rows.
pub(crate) struct Part<'a> {
    pub product: Product<'a>,
    pub rows: Range<usize>,
    /// Room for [`Product::packed_len`] floats; empty where nothing is to be packed.
    pub packed: &'a mut [f32],
}

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: who calls `Product::run` promises it for all rows.
        unsafe { block(simd, &self.product, self.rows, self.packed) }
    }
}

/// # Safety
/// As [`Product::run`], for these rows.
#[inline(always)]
unsafe fn block<S: Simd>(simd: S, product: &Product, rows: Range<usize>, packed: &mut [f32]) {
    let strips = product.n.div_ceil(STRIP);
    let sum = product.operand.walk.len().max(1);
    let rows_a_block = (ROW_BLOCK / sum).max(MAX_ROWS * 3);
    let mut from = rows.start;
    while from < rows.end {
        let blocks = (rows.end - from).div_ceil(rows_a_block);
        let to = from + (rows.end - from).div_ceil(blocks);
        let mut strip = 0;
        while strip < strips {
            let width = strips_of_next_tile::<S>(strips - strip);
            let mut product = *product;
            if !packed.is_empty() {
                // SAFETY: these strips of `b` are readable, by the caller's promise.
                unsafe { pack_strips(simd, &mut product, strip, width, packed) };
            }
            let tiles = (to - from).div_ceil(S::TILE_ROWS[width - 1]);
            for i in 0..tiles {
                let (first, last) = ((to - from) * i / tiles, (to - from) * (i + 1) / tiles);
                // SAFETY: a tile inside the rows and strips that the caller promises.
                unsafe { one_tile(simd, &product, from + first, last - first, strip, width) };
            }
            strip += width;
        }
        from = to;
    }
}

/// Copies strips `strip..strip + width` of the plain matrix `b`, and lets the product read the copy.
///
/// # Safety
/// Every term of those strips is readable.
#[inline(always)]
unsafe fn pack_strips<S: Simd>(
    simd: S,
    product: &mut Product,
    strip: usize,
    width: usize,
    packed: &mut [f32],
) {
    let operand = &mut product.operand;
    let (k, step) = (operand.walk.count[2], operand.walk.b[2]);
    assert!(packed.len() >= width * k * STRIP, "room for {width} strips of {k} rows");
    for v in 0..width {
        let last = (strip + v + 1) * STRIP > product.n;
        let lanes = if last { operand.lanes } else { STRIP };
        for i in 0..k {
            // SAFETY: row `i` of this strip has `lanes` readable floats; the copy has room.
            unsafe {
                let from = operand.b.add(i * step + (strip + v) * operand.strip);
                let x = if lanes == STRIP { simd.load(from) } else { simd.load_first(from, lanes) };
                simd.store(packed.as_mut_ptr().add((v * k + i) * STRIP), x);
            }
        }
    }
    // Tiles count strips from the first of the matrix.
    operand.b = packed.as_ptr().wrapping_sub(strip * k * STRIP);
    operand.strip = k * STRIP;
    operand.walk.b[2] = STRIP;
    product.masked = false;
}

/// Tiles of 3 strips read least; a remainder goes into tiles of 4, so that none of 1 is left over.
#[inline(always)]
fn strips_of_next_tile<S: Simd>(left: usize) -> usize {
    if S::TILE_ROWS[2] == 0 {
        return 1;
    }
    match left {
        1..=4 => left,
        5 => 3,
        _ if left.is_multiple_of(3) => 3,
        _ => 4,
    }
}

/// # Safety
/// As [`Product::run`], for these rows and strips.
#[inline(always)]
unsafe fn one_tile<S: Simd>(
    simd: S,
    product: &Product,
    row: usize,
    rows: usize,
    strip: usize,
    strips: usize,
) {
    let ends_here = (strip + strips) * STRIP > product.n;
    let masked = product.masked && ends_here;
    let c_lanes = if ends_here { product.c_lanes } else { STRIP };
    let mut operand = product.operand;
    operand.b = operand.b.wrapping_add(strip * operand.strip);
    let mut c = [product.c; MAX_ROWS];
    for (r, c) in c[..rows].iter_mut().enumerate() {
        *c = product.c.wrapping_add(product.c_rows.offset(row + r) + strip * product.c_strip);
    }
    let plain = matches!(product.epilogue, Epilogue::Store);
    let direct = plain && c_lanes == STRIP && !matches!(product.start, Start::From(_));
    // SAFETY: the caller promises every operand; the buffer has room for the largest tile.
    unsafe {
        if direct {
            let from_c = matches!(product.start, Start::C);
            let target = Target { strip: product.c_strip, from_c };
            sum(simd, product.left, row, rows, strips, &operand, masked, &c, target);
            return;
        }
        let mut buffer = [std::mem::MaybeUninit::<f32>::uninit(); MAX_ROWS * MAX_STRIPS * STRIP];
        let at = buffer.as_mut_ptr().cast::<f32>();
        let mut place = [at; MAX_ROWS];
        for (r, place) in place[..rows].iter_mut().enumerate() {
            *place = at.add(r * MAX_STRIPS * STRIP);
        }
        let from_c = !matches!(product.start, Start::Zero);
        if from_c {
            for r in 0..rows {
                for v in 0..strips {
                    let lanes = if v + 1 == strips { c_lanes } else { STRIP };
                    let p = match &product.start {
                        Start::From(matrix) => {
                            let at = matrix.map.offset(row + r) + (strip + v) * STRIP;
                            matrix.data.as_ptr().add(at)
                        }
                        _ => c[r].add(v * product.c_strip),
                    };
                    simd.store(place[r].add(v * STRIP), simd.load_first(p, lanes));
                }
            }
        }
        let target = Target { strip: STRIP, from_c };
        sum(simd, product.left, row, rows, strips, &operand, masked, &place, target);
        let done = Done { at, row, rows, strip, strips, c: &c, c_strip: product.c_strip, c_lanes };
        match product.epilogue {
            Epilogue::Store => finish(simd, &done, &Plain),
            Epilogue::Bias(bias) => finish(simd, &done, &AddBias(bias)),
            Epilogue::BiasRelu(bias) => finish(simd, &done, &AddBiasRelu(bias)),
            Epilogue::BiasReluDropout(bias, dropout) => {
                finish(simd, &done, &AddBiasReluDropout { bias, dropout, cols: product.n });
            }
            Epilogue::ReluGradient { a, scale, guided } => {
                finish(simd, &done, &Gradient { a, scale, guided });
            }
            Epilogue::Ratio { r, coefficient, eps } => {
                finish(simd, &done, &Divide { r, coefficient, eps });
            }
            Epilogue::Times { a, shift, add } => finish(simd, &done, &Multiply { a, shift, add }),
        }
    }
}

/// Sums one tile into `c`; promises as for [`Tile`].
#[inline(always)]
#[allow(clippy::too_many_arguments)] // a tile has that many coordinates; they are made in one place
fn sum<S: Simd>(
    simd: S,
    left: Left,
    row: usize,
    rows: usize,
    strips: usize,
    operand: &Operand,
    masked: bool,
    c: &[*mut f32; MAX_ROWS],
    target: Target,
) {
    match left {
        Left::Rows(a, map) => {
            let mut at = [a; MAX_ROWS];
            for (r, at) in at[..rows].iter_mut().enumerate() {
                *at = a.wrapping_add(map.offset(row + r));
            }
            call_with_shape!(S, rows, strips, packed, (simd, &at, operand, c, target));
        }
        Left::Columns(a) => {
            let a = a.wrapping_add(row);
            if masked {
                call_with_shape!(S, rows, strips, gradient_masked, (simd, a, operand, c, target));
            } else {
                call_with_shape!(S, rows, strips, gradient, (simd, a, operand, c, target));
            }
        }
    }
}

#[inline(always)]
fn first<T: Copy, const R: usize>(xs: &[T; MAX_ROWS]) -> [T; R] {
    std::array::from_fn(|i| xs[i])
}

#[inline(always)]
fn packed<S: Simd, const R: usize, const V: usize>(
    simd: S,
    at: &[*const f32; MAX_ROWS],
    operand: &Operand,
    c: &[*mut f32; MAX_ROWS],
    target: Target,
) {
    let rows = Pointers::<R>(first(at));
    simd.enter(Tile::<_, R, V, false> { rows, operand, c, target });
}

#[inline(always)]
fn gradient<S: Simd, const R: usize, const V: usize>(
    simd: S,
    a: *const f32,
    operand: &Operand,
    c: &[*mut f32; MAX_ROWS],
    target: Target,
) {
    simd.enter(Tile::<_, R, V, false> { rows: Adjacent(a), operand, c, target });
}

#[inline(always)]
fn gradient_masked<S: Simd, const R: usize, const V: usize>(
    simd: S,
    a: *const f32,
    operand: &Operand,
    c: &[*mut f32; MAX_ROWS],
    target: Target,
) {
    simd.enter(Tile::<_, R, V, true> { rows: Adjacent(a), operand, c, target });
}

/// A summed tile in its buffer, and where it goes.
struct Done<'a> {
    at: *const f32,
    row: usize,
    rows: usize,
    strip: usize,
    strips: usize,
    c: &'a [*mut f32; MAX_ROWS],
    c_strip: usize,
    c_lanes: usize,
}

/// # Safety
/// The epilogue's operands and `c` have the tile's rows and columns.
#[inline(always)]
unsafe fn finish<S: Simd, E: Finish>(simd: S, done: &Done, epilogue: &E) {
    for r in 0..done.rows {
        for v in 0..done.strips {
            let lanes = if v + 1 == done.strips { done.c_lanes } else { STRIP };
            // SAFETY: the buffer holds the tile, the rest is the caller's promise.
            unsafe {
                let c = done.c[r].add(v * done.c_strip);
                let s = simd.load(done.at.add((r * MAX_STRIPS + v) * STRIP));
                let (m, n) = (done.row + r, (done.strip + v) * STRIP);
                let x = epilogue.lanes(simd, m, n, lanes, s, c);
                if lanes == STRIP { simd.store(c, x) } else { simd.store_first(c, lanes, x) }
            }
        }
    }
}

pub(crate) fn lanes_of_last_strip(n: usize) -> usize {
    n - n.saturating_sub(1) / STRIP * STRIP
}

/// Checks that start and epilogue have the product's shape.
pub(crate) fn check_ends(
    kernel: &'static str,
    m: usize,
    n: usize,
    start: &Start,
    epilogue: &Epilogue,
) -> Result<(), ShapeError> {
    let same = |name, matrix: &MatRef| {
        axis(kernel, "M", name, matrix.rows, m)?;
        axis(kernel, "N", name, matrix.cols, n)
    };
    if let Start::From(matrix) = start {
        same("start", matrix)?;
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

/// `c[m,n] = epilogue(start[m,n] + Σ_k a[m,k]·b[k,n])`, summed in the order of `k`.
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
/// use kernels::{gemm, pack, Epilogue, Kernels, MatMut, MatRef, Panels, Start};
/// let w = pack::pack(&[1., 2., 3., 4., 5., 6.], 3, 2); // [3, 2], row-major
/// let mut c = [0.0; 2];
/// let a = MatRef::new(&[1., 0., 2.], 1, 3);
/// let w = Panels::new(&w, 3, 2);
/// gemm(&Kernels::default(), a, w, Start::Zero, Epilogue::Store, MatMut::new(&mut c, 1, 2))?;
/// assert_eq!(c, [11., 14.]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn gemm(
    kernels: &Kernels,
    a: MatRef,
    b: Panels,
    start: Start,
    epilogue: Epilogue,
    c: MatMut,
) -> Result<(), ShapeError> {
    axis("gemm", "K", "b", b.k, a.cols)?;
    axis("gemm", "M", "c", c.rows, a.rows)?;
    axis("gemm", "N", "c", c.cols, b.n)?;
    check_ends("gemm", c.rows, c.cols, &start, &epilogue)?;
    let walk = Walk { count: [1, 1, b.k], a: [0, 0, 1], b: [0, 0, STRIP] };
    let product = over_panels(a.data.as_ptr(), a.map, walk, b, start, epilogue, &c);
    // SAFETY: `a` has `K` columns in each of its `M` rows, the panels `K` rows in each strip, `c` is
    // borrowed mutably with rows that do not overlap; the checks above hold all to one shape.
    unsafe { product.run(kernels, c.rows) };
    Ok(())
}

pub(crate) fn over_panels<'a>(
    a: *const f32,
    map: Rows,
    walk: Walk,
    b: Panels,
    start: Start<'a>,
    epilogue: Epilogue<'a>,
    c: &MatMut<'a>,
) -> Product<'a> {
    let c_lanes = lanes_of_last_strip(c.cols);
    Product {
        n: c.cols,
        left: Left::Rows(a, map),
        operand: Operand { walk, b: b.data.as_ptr(), strip: b.stride, lanes: STRIP },
        masked: false,
        start,
        epilogue,
        c: c.data.as_ptr().cast_mut(),
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
    axis("gemm_tn", "M", "d_y", d_y.rows, a.rows)?;
    axis("gemm_tn", "K·N", "d_w", d_w.len(), panels_len(total, d_y.cols))?;
    axis("gemm_tn", "K", "d_w", total.max(first + a.cols), total)?;
    let equal = |matrix: &MatRef| if matrix.map.width >= matrix.rows { matrix.rows } else { 0 };
    axis("gemm_tn", "M", "a (rows of equal spacing)", equal(&a), a.rows)?;
    axis("gemm_tn", "M", "d_y (rows of equal spacing)", equal(&d_y), a.rows)?;
    if d_w.is_empty() {
        return Ok(());
    }
    let walk = Walk { count: [1, 1, a.rows], a: [0, 0, a.map.step], b: [0, 0, d_y.map.step] };
    // SAFETY: each term lies in a row of `a` and of `d_y`, whose constructors checked the bounds,
    // the last strip of `d_y` is masked, and rows `first..first + K` lie inside `d_w`.
    unsafe {
        let c = d_w.as_mut_ptr().add(first * STRIP);
        over_columns(a.data.as_ptr(), d_y.data.as_ptr(), d_y.cols, walk, add, c, total * STRIP)
            .run(kernels, a.cols);
    }
    Ok(())
}

pub(crate) fn over_columns<'a>(
    a: *const f32,
    b: *const f32,
    n: usize,
    walk: Walk,
    add: bool,
    c: *mut f32,
    c_strip: usize,
) -> Product<'a> {
    Product {
        n,
        left: Left::Columns(a),
        operand: Operand { walk, b, strip: STRIP, lanes: lanes_of_last_strip(n) },
        masked: true,
        start: if add { Start::C } else { Start::Zero },
        epilogue: Epilogue::Store,
        c,
        c_rows: Rows::linear(STRIP),
        c_strip,
        c_lanes: STRIP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::pack::{Part as WeightPart, transpose, unpack};
    use crate::reference;
    use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
    use crate::{Dropout, pack};
    use proptest::prelude::*;

    fn softplus_free_bias(n: usize, seed: u64) -> Vec<f32> {
        let mut bias = floats(n, seed);
        bias.resize(n.next_multiple_of(STRIP), 0.0);
        bias
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_backend_and_thread_count_gives_the_bits_of_mul_add(
            m in 0usize..40, n in 1usize..120, k in 0usize..70, seed in 1u64..1000,
        ) {
            let (a, b, start) = (floats(m * k, seed), floats(k * n, seed + 1), floats(m * n, seed + 2));
            let want = reference::gemm_mul_add(&a, &b, &start, m, n, k);
            let exact = reference::gemm(&a, &b, m, n, k);
            let packed = pack::pack(&b, k, n);
            for kernels in kernel_sets() {
                let mut c = start.clone();
                let (view, panels) = (MatRef::new(&a, m, k), Panels::new(&packed, k, n));
                gemm(&kernels, view, panels, Start::C, Epilogue::Store, MatMut::new(&mut c, m, n)).expect("fits");
                if kernels.backend().promises_bits() {
                    prop_assert!(c.iter().zip(&want).all(|(c, w)| c.to_bits() == w.to_bits()), "{:?}", kernels.backend());
                }
                let base = MatRef::new(&start, m, n);
                let mut from = vec![f32::NAN; m * n];
                gemm(&kernels, view, panels, Start::From(base), Epilogue::Store, MatMut::new(&mut from, m, n)).expect("fits");
                prop_assert_eq!(&from, &c);
                let mut zero = vec![f32::NAN; m * n];
                gemm(&kernels, view, panels, Start::Zero, Epilogue::Store, MatMut::new(&mut zero, m, n)).expect("fits");
                assert_close("gemm", &zero, &exact, 1e-5);
            }
        }

        #[test]
        fn every_backend_gives_the_same_weight_gradient(
            m in 1usize..40, n in 1usize..70, k in 1usize..40, first in 0usize..5, seed in 1u64..1000,
        ) {
            let (a, dy) = (floats(m * k, seed), floats(m * n, seed + 1));
            let want = reference::gemm(&reference::transposed(&a, m, k), &dy, k, n, m);
            let total = first + k + 2;
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let mut dw = vec![7.0; panels_len(total, n)];
                let (a, dy) = (MatRef::new(&a, m, k), MatRef::new(&dy, m, n));
                gemm_tn(&kernels, a, dy, false, &mut dw, total, first).expect("fits");
                let rows = unpack(Panels::new(&dw, total, n).rows(first, first + k));
                assert_close("gemm_tn", &rows, &want, 1e-5);
                prop_assert!((0..n).all(|j| Panels::new(&dw, total, n).at(first + k, j) == 7.0));
                bits.check(&kernels, "gemm_tn", &dw);
                gemm_tn(&kernels, a, dy, true, &mut dw, total, first).expect("fits");
                let twice: Vec<f64> = want.iter().map(|w| 2.0 * w).collect();
                assert_close("gemm_tn add", &unpack(Panels::new(&dw, total, n).rows(first, first + k)), &twice, 1e-5);
            }
        }

        #[test]
        fn every_epilogue_agrees_with_its_equation(
            m in 1usize..20, n in 1usize..70, k in 1usize..30, seed in 1u64..1000,
        ) {
            let (x, b) = (floats(m * k, seed), floats(k * n, seed + 1));
            let s = reference::gemm(&x, &b, m, n, k);
            let packed = pack::pack(&b, k, n);
            let bias = softplus_free_bias(n, seed + 2);
            let (a, old) = (activations(m * n, seed + 3), floats(m * n, seed + 4));
            let at = MatRef::new(&a, m, n);
            let dropout = Dropout::new(0.5, seed);
            let with_bias = |i: usize| s[i] + f64::from(bias[i % n]);
            type Twin<'t> = Box<dyn Fn(usize) -> f64 + 't>;
            let cases: Vec<(Epilogue, Twin)> = vec![
                (Epilogue::Store, Box::new(|i| s[i])),
                (Epilogue::Bias(&bias), Box::new(with_bias)),
                (Epilogue::BiasRelu(&bias), Box::new(|i| with_bias(i).max(0.0))),
                (Epilogue::BiasReluDropout(&bias, dropout),
                    Box::new(|i| with_bias(i).max(0.0) * f64::from(dropout.factor(i as u64)))),
                (Epilogue::ReluGradient { a: at, scale: 2.0, guided: false },
                    Box::new(|i| if a[i] > 0.0 { 2.0 * s[i] } else { 0.0 })),
                (Epilogue::ReluGradient { a: at, scale: 1.0, guided: true },
                    Box::new(|i| if a[i] > 0.0 { s[i].max(0.0) } else { 0.0 })),
                (Epilogue::Ratio { r: at, coefficient: -2.0, eps: 100.0 },
                    Box::new(|i| -2.0 * f64::from(a[i]) / (s[i] + 100.0))),
                (Epilogue::Times { a: at, shift: 0.25, add: false },
                    Box::new(|i| s[i] * (f64::from(a[i]) - 0.25))),
                (Epilogue::Times { a: at, shift: -1.0, add: true },
                    Box::new(|i| f64::from(old[i]) + s[i] * (f64::from(a[i]) + 1.0))),
            ];
            for (epilogue, twin) in cases {
                let want: Vec<f64> = (0..m * n).map(&twin).collect();
                let mut bits = SameBits::default();
                for kernels in kernel_sets() {
                    let mut c = old.clone();
                    let out = MatMut::new(&mut c, m, n);
                    gemm(&kernels, MatRef::new(&x, m, k), Panels::new(&packed, k, n), Start::Zero, epilogue, out).expect("fits");
                    assert_close(&format!("{epilogue:?}"), &c, &want, 1e-5);
                    bits.check(&kernels, "epilogue", &c);
                }
            }
        }
    }

    #[test]
    fn a_sum_split_between_two_calls_has_the_bits_of_one() {
        let (m, n, k) = (9, 50, 41);
        let (a, b) = (floats(m * k, 1), floats(k * n, 2));
        let packed = pack::pack(&b, k, n);
        let panels = Panels::new(&packed, k, n);
        let kernels = Kernels::default();
        let (mut one, mut two) = (vec![0.0; m * n], vec![0.0; m * n]);
        gemm(
            &kernels,
            MatRef::new(&a, m, k),
            panels,
            Start::Zero,
            Epilogue::Store,
            MatMut::new(&mut one, m, n),
        )
        .expect("fits");
        for (from, to, start) in [(0, 17, Start::Zero), (17, 41, Start::C)] {
            let part = MatRef::mapped(&a[from..], m, to - from, Rows::linear(k));
            gemm(&kernels, part, panels.rows(from, to), start, Epilogue::Store, MatMut::new(&mut two, m, n))
                .expect("fits");
        }
        assert_eq!(one, two);
    }

    #[test]
    fn nan_and_infinity_reach_the_result() {
        let packed = pack::pack(&[1.0, f32::NAN, f32::INFINITY], 1, 3);
        for kernels in kernel_sets() {
            let mut c = [0.0; 3];
            let (a, w) = (MatRef::new(&[0.0], 1, 1), Panels::new(&packed, 1, 3));
            gemm(&kernels, a, w, Start::Zero, Epilogue::Store, MatMut::new(&mut c, 1, 3)).expect("fits");
            assert!(c[0] == 0.0 && c[1].is_nan() && c[2].is_nan());
        }
    }

    #[test]
    fn operands_that_do_not_fit_are_refused_and_c_stays() {
        let w = pack::pack(&[1.0; 6], 3, 2);
        let mut c = [5.0; 2];
        let a = MatRef::new(&[1.0; 4], 1, 4);
        let found = gemm(
            &Kernels::default(),
            a,
            Panels::new(&w, 3, 2),
            Start::Zero,
            Epilogue::Store,
            MatMut::new(&mut c, 1, 2),
        );
        assert_eq!(found.expect_err("K differs").to_string(), "gemm: axis K is 3 in `b`, 4 expected");
        assert_eq!(c, [5.0; 2]);
    }

    #[test]
    fn a_transposed_panel_gives_the_input_gradient() {
        let (m, n, k) = (7, 33, 20);
        let (dy, w) = (floats(m * n, 3), floats(k * n, 4));
        let packed = pack::pack(&w, k, n);
        let mut t = vec![0.0; panels_len(n, k)];
        transpose(Panels::new(&packed, k, n), WeightPart::All, &mut t);
        let want = reference::gemm(&dy, &reference::transposed(&w, k, n), m, k, n);
        let mut dx = vec![0.0; m * k];
        gemm(
            &Kernels::default(),
            MatRef::new(&dy, m, n),
            Panels::new(&t, n, k),
            Start::Zero,
            Epilogue::Store,
            MatMut::new(&mut dx, m, k),
        )
        .expect("fits");
        assert_close("dx", &dx, &want, 1e-5);
    }
}

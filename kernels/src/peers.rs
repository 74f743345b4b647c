//! The same product by other libraries, to measure against: both pack their operands at every call.

use crate::Gemm;

/// Another library's product as a kernel set, on the threads of the kernel set alone.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The crate's name.
    pub name: &'static str,
    product: fn(Strided, Strided, &mut [f32]),
}

/// The peers that [`crate::Kernels::by_name`] knows.
pub const PEERS: [Peer; 2] = [
    Peer { name: "gemm", product: |a, b, c| gemm_crate(1, a, b, c) },
    Peer { name: "matrixmultiply", product: matrixmultiply_crate },
];

impl Gemm for Peer {
    fn name(&self) -> &str {
        self.name
    }

    fn gemm(&self, [m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
        (self.product)(Strided::row_major(a, m, k), Strided::row_major(b, k, n), c);
    }
}

/// A matrix as other libraries take it: element `(i, j)` stands at `i·row_stride + j·col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Strided<'a> {
    /// Views row-major `[rows, cols]` floats.
    ///
    /// # Panics
    /// If `data` has another length than `rows · cols`.
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(cols), "row-major [{rows}, {cols}]");
        Strided { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, over the same floats.
    ///
    /// ```
    /// use kernels::peers::Strided;
    /// let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    /// assert_eq!(Strided::row_major(&x, 2, 3).transposed().at(2, 0), 3.0);
    /// ```
    pub fn transposed(self) -> Self {
        Strided {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Element `(i, j)`.
    pub fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

/// `[M, N, K]` of `c = a·b`, once the operands fit together.
fn sizes(a: &Strided, b: &Strided, c: &[f32]) -> [usize; 3] {
    assert_eq!(a.cols, b.rows, "axis K of a and b");
    assert_eq!(Some(c.len()), a.rows.checked_mul(b.cols), "row-major [{}, {}]", a.rows, b.cols);
    [a.rows, b.cols, a.cols]
}

/// A slice is never longer than `isize::MAX` bytes, so its strides fit.
fn stride(floats: usize) -> isize {
    floats as isize
}

/// The product `c = a·b` of the crate `gemm`, `c` row-major; more than one thread are those of the rayon
/// pool it is called in.
///
/// # Panics
/// If `M`, `N` or `K` differ between operands.
pub fn gemm_crate(threads: usize, a: Strided, b: Strided, c: &mut [f32]) {
    let [m, n, k] = sizes(&a, &b, c);
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: `Strided` holds every element of its matrix, the sizes were checked, and `c` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(n),
            false,
            a.data.as_ptr(),
            stride(a.col_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.col_stride),
            stride(b.row_stride),
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// The environment variable with which `matrixmultiply` bounds its threads (4 at most, and by default
/// the machine's cores). It reads it once, at its first product.
pub const MATRIXMULTIPLY_THREADS: &str = "MATMUL_NUM_THREADS";

/// The product `c = a·b` of the crate `matrixmultiply`, `c` row-major, on threads as
/// [`MATRIXMULTIPLY_THREADS`] says.
///
/// # Panics
/// If `M`, `N` or `K` differ between operands.
pub fn matrixmultiply_crate(a: Strided, b: Strided, c: &mut [f32]) {
    let [m, n, k] = sizes(&a, &b, c);
    // SAFETY: `Strided` holds every element of its matrix, the sizes were checked, and `c` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.data.as_ptr(),
            stride(a.row_stride),
            stride(a.col_stride),
            b.data.as_ptr(),
            stride(b.row_stride),
            stride(b.col_stride),
            0.0,
            c.as_mut_ptr(),
            stride(n),
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, floats};

    /// The second shape is large enough for more threads than one.
    #[test]
    fn peers_compute_the_same_product_of_rows_and_of_transposes() {
        for (m, n, k) in [(7, 33, 20), (96, 112, 80)] {
            let (a, b) = (floats(m * k, 1), floats(k * n, 2));
            let want = reference::gemm(&a, &b, m, n, k);
            let (a_t, b_t) = (reference::transposed(&a, m, k), reference::transposed(&b, k, n));
            let lefts = [Strided::row_major(&a, m, k), Strided::row_major(&a_t, k, m).transposed()];
            let rights = [Strided::row_major(&b, k, n), Strided::row_major(&b_t, n, k).transposed()];
            for (left, right) in lefts.into_iter().flat_map(|a| rights.map(|b| (a, b))) {
                let mut c = vec![f32::NAN; m * n];
                for threads in [1, 2] {
                    c.fill(f32::NAN);
                    gemm_crate(threads, left, right, &mut c);
                    assert_close("gemm", &c, &want, 1e-5);
                }
                c.fill(f32::NAN);
                matrixmultiply_crate(left, right, &mut c);
                assert_close("matrixmultiply", &c, &want, 1e-5);
            }
        }
    }

    #[test]
    #[should_panic(expected = "axis K")]
    fn operands_that_do_not_fit_are_refused() {
        let ones = [1.0; 6];
        let a = Strided::row_major(&ones, 2, 3);
        gemm_crate(1, a, a, &mut [0.0; 6]);
    }
}

//! The GEMMs of other libraries, to measure against.

pub use crate::gemm::backend::{gemm_crate, matrixmultiply};

use crate::gemm::backend::MatmulBackend;
use std::sync::Arc;

/// The names that [`by_name`] accepts.
pub const NAMES: [&str; 2] = ["gemm", "matrixmultiply"];

/// The backend of that name.
pub fn by_name(name: &str) -> Option<Arc<dyn MatmulBackend>> {
    match name {
        "gemm" => Some(Arc::new(gemm_crate::GemmCrate)),
        "matrixmultiply" => Some(Arc::new(matrixmultiply::Matrixmultiply)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::backend::MatmulBlock;
    use crate::layout::Strided;
    use crate::reference;
    use crate::testing::{assert_close, floats};

    /// The second shape is large enough for several threads.
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
                    let block = MatmulBlock { a: left, b: right, c: &mut c, c_stride: n };
                    gemm_crate::multiply(block, threads);
                    assert_close("gemm", &c, &want, 1e-5);
                }
                c.fill(f32::NAN);
                matrixmultiply::multiply(MatmulBlock { a: left, b: right, c: &mut c, c_stride: n });
                assert_close("matrixmultiply", &c, &want, 1e-5);
            }
        }
    }

    #[test]
    #[should_panic(expected = "axis K")]
    fn operands_of_inconsistent_shapes_are_refused() {
        let ones = [1.0; 6];
        let a = Strided::row_major(&ones, 2, 3);
        gemm_crate::multiply(MatmulBlock { a, b: a, c: &mut [0.0; 6], c_stride: 3 }, 1);
    }
}

//! The GEMMs of other libraries, to measure against.

#[cfg(feature = "cblas")]
pub use crate::gemm::backend::cblas::{Cblas, OpenError, PackedByLibrary};
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

    #[cfg(feature = "cblas")]
    mod in_c {
        use super::*;
        use crate::bits;
        use crate::exec::Kernels;
        use crate::simd::dispatch::Backend;
        use crate::threads::Threads;

        /// Names by which the dynamic linker finds them on Debian.
        const FILES: [&str; 4] = ["libopenblas.so.0", "libblis.so.4", "libdnnl.so.2", "libmkl_rt.so.3"];

        #[test]
        fn libraries_in_c_compute_the_same_product_of_rows_transposes_and_packed_weights() {
            let mut found = 0;
            for file in FILES {
                let library = match Cblas::open(file, file) {
                    Ok(library) => library,
                    Err(error) => {
                        eprintln!("skipped: {error}");
                        continue;
                    }
                };
                found += 1;
                for (m, n, k) in [(1, 1, 1), (7, 33, 20), (96, 112, 80)] {
                    let (a, b) = (floats(m * k, 1), floats(k * n, 2));
                    let want = reference::gemm(&a, &b, m, n, k);
                    let (a_t, b_t) = (reference::transposed(&a, m, k), reference::transposed(&b, k, n));
                    // Neither its rows nor its columns are adjacent.
                    let apart: Vec<f32> = a.iter().flat_map(|x| [*x, f32::NAN]).collect();
                    let lefts = [
                        Strided::row_major(&a, m, k),
                        Strided::row_major(&a_t, k, m).transposed(),
                        Strided::new(&apart[..2 * m * k - 1], [m, k], [2 * k, 2]),
                    ];
                    let rights = [Strided::row_major(&b, k, n), Strided::row_major(&b_t, n, k).transposed()];
                    for (left, right) in lefts.into_iter().flat_map(|a| rights.map(|b| (a, b))) {
                        let gap = 3;
                        let mut c = vec![f32::NAN; m * (n + gap)];
                        let block = MatmulBlock { a: left, b: right, c: &mut c, c_stride: n + gap };
                        library.multiply(block);
                        let rows: Vec<f32> = c.chunks(n + gap).flat_map(|row| &row[..n]).copied().collect();
                        assert_close(file, &rows, &want, 1e-5);
                        if let Some(packed) = library.prepack(right, m) {
                            let mut c = vec![f32::NAN; m * n];
                            packed.multiply(left, &mut c);
                            assert_close(file, &c, &want, 1e-5);
                        }
                    }
                }
            }
            if found == 0 {
                eprintln!("skipped: none of {FILES:?} is here");
            }
        }

        #[test]
        fn a_library_is_a_backend_of_every_product_and_rule() {
            let Ok(library) = Cblas::open("OpenBLAS", FILES[0]) else {
                eprintln!("skipped: {} is not here", FILES[0]);
                return;
            };
            let external = Kernels::with_matmul(Backend::best(), Threads::one(), Arc::new(library));
            let ours = Kernels::new(Backend::best(), Threads::one());
            for shape in [[5, 40, 33], [50, 112, 70]] {
                let [found, want] = [&external, &ours].map(|kernels| bits::dense(kernels, shape, 1));
                // Quotients of sums near 0 differ more than sums.
                let sums = ["NN", "bias", "bias relu", "relu gradient", "times", "NT", "TN", "z⁺", "w²"];
                let both = found.iter().zip(&want).filter(|((name, _), _)| sums.contains(name));
                for ((name, found), (_, want)) in both {
                    let want: Vec<f64> = want.iter().copied().map(f64::from).collect();
                    assert_close(name, found, &want, 1e-5);
                }
            }
        }

        #[test]
        fn what_is_no_library_is_refused_in_one_line() {
            let error = Cblas::open("none", "libno-such-library.so").expect_err("there is none");
            assert!(error.to_string().starts_with("cannot load libno-such-library.so: "), "{error}");
            let error = Cblas::open("C", "libc.so.6").expect_err("it multiplies no matrices");
            assert_eq!(error.to_string(), "libc.so.6 has neither cblas_sgemm nor dnnl_sgemm");
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

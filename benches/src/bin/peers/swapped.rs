//! `gemm` and `matrixmultiply` in the place of our products against the same libraries called directly, on one thread.
//!
//! Both multiply the same activations. Swapped, weights are packed panels of which the backend has made its own form before
//! the clock starts, and a weight gradient is written as packed panels; directly called, everything is row-major.

use crate::measure::{Bench, geometric_mean, theirs};
use benches::{FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, floats};
use kernels::peers::{by_name, gemm_crate, matrixmultiply};
use kernels::{
    Backend, Epilogue, Init, Kernels, MatMut, MatRef, MatmulBlock, PackedWeights, Strided, Threads,
    WeightGradient, gemm, gemm_tn, panels_len,
};
use serde_json::{Value, json};

/// Direct seconds by swapped ones for each shape and library, and their geometric mean.
pub fn measure(bench: &Bench) -> (Vec<Value>, f64) {
    let products = FORWARD.iter().chain(&INPUT_GRADIENT).map(|&shape| ("X·W", shape));
    let gradients = WEIGHT_GRADIENT.iter().map(|&shape| ("Xᵀ·dY", shape));
    let (mut rows, mut table) = (Vec::new(), Vec::new());
    for (form, shape) in products.chain(gradients) {
        let ratios = row(bench, form == "Xᵀ·dY", shape);
        let [m, n, k] = shape;
        table.push(
            json!({ "form": form, "m": m, "n": n, "k": k, "gemm": ratios[0], "matrixmultiply": ratios[1] }),
        );
        rows.push(ratios);
    }
    (table, geometric_mean(&rows.concat()))
}

fn row(bench: &Bench, transposed: bool, [m, n, k]: [usize; 3]) -> [f64; 2] {
    let (a, b) = (floats(m * k, 1), floats(k * n, 2));
    let w = PackedWeights::new(&b, k, n).expect("fits");
    let left = match transposed {
        true => Strided::row_major(&a, k, m).transposed(),
        false => Strided::row_major(&a, m, k),
    };
    let right = Strided::row_major(&b, k, n);
    ["gemm", "matrixmultiply"].map(|name| {
        let backend = by_name(name).expect("a name of the list");
        let kernels = Kernels::with_matmul(Backend::best(), Threads::one(), backend);
        let mut swapped = vec![0.0; if transposed { panels_len(m, n) } else { m * n }];
        let mut direct = vec![0.0; m * n];
        let times = bench.measure(vec![
            theirs(|| {
                if transposed {
                    let (x, d_y) = (MatRef::new(&a, k, m), MatRef::new(&b, k, n));
                    let d_w = &mut swapped[..];
                    let operands =
                        WeightGradient { a: x, d_y, accumulate: false, d_w, rows: m, first_row: 0 };
                    gemm_tn(&kernels, operands).expect("shapes fit");
                } else {
                    let (x, out) = (MatRef::new(&a, m, k), MatMut::new(&mut swapped, m, n));
                    gemm(&kernels, x, w.panels(), Init::Zero, Epilogue::Store, out).expect("shapes fit");
                }
            }),
            theirs(|| {
                let block = MatmulBlock { a: left, b: right, c: &mut direct, c_stride: n };
                if name == "gemm" { gemm_crate::multiply(block, 1) } else { matrixmultiply::multiply(block) }
            }),
        ]);
        times.seconds[1] / times.seconds[0]
    })
}

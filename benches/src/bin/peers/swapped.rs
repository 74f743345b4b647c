//! `gemm` and `matrixmultiply` in the place of our products against the same libraries called directly, on one thread.
//!
//! Both multiply the same activations. Swapped, weights are packed panels of which the backend has made its own form before
//! the clock starts, and a weight gradient is written as packed panels; directly called, everything is row-major.

use crate::measure::{Bench, geometric_mean, theirs};
use crate::operands::{Form, Operands};
use benches::{FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT};
use kernels::peers::{by_name, gemm_crate, matrixmultiply};
use kernels::{Backend, Kernels, Threads};
use serde_json::{Value, json};

/// Direct seconds by swapped ones for each shape and library, and their geometric mean.
pub fn measure(bench: &Bench) -> (Vec<Value>, f64) {
    let products = FORWARD.iter().chain(&INPUT_GRADIENT).map(|&shape| (Form::Nn, shape));
    let gradients = WEIGHT_GRADIENT.iter().map(|&shape| (Form::Tn, shape));
    let (mut rows, mut table) = (Vec::new(), Vec::new());
    for (form, shape) in products.chain(gradients) {
        let ratios = row(bench, form, shape);
        let form = if form == Form::Tn { "Xᵀ·dY" } else { "X·W" };
        let [m, n, k] = shape;
        table.push(
            json!({ "form": form, "m": m, "n": n, "k": k, "gemm": ratios[0], "matrixmultiply": ratios[1] }),
        );
        rows.push(ratios);
    }
    (table, geometric_mean(&rows.concat()))
}

fn row(bench: &Bench, form: Form, shape: [usize; 3]) -> [f64; 2] {
    let operands = Operands::new(form, shape);
    ["gemm", "matrixmultiply"].map(|name| {
        let backend = by_name(name).expect("a name of the list");
        let kernels = Kernels::with_matmul(Backend::best(), Threads::one(), backend);
        let (mut swapped, mut direct) = (operands.room(), vec![f32::NAN; operands.m * operands.n]);
        operands.product(&kernels, &mut swapped);
        operands.check_ours(&swapped);
        let times = bench.measure(vec![
            theirs(|| operands.product(&kernels, &mut swapped)),
            theirs(|| {
                let block = operands.block(&mut direct);
                if name == "gemm" { gemm_crate::multiply(block, 1) } else { matrixmultiply::multiply(block) }
            }),
        ]);
        operands.check_theirs(name, &direct);
        times.seconds[1] / times.seconds[0]
    })
}

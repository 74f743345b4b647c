//! Matrix products against those of other libraries.

use crate::libraries::Libraries;
use crate::measure::{Bench, geometric_mean, ours, theirs, theirs_inside};
use crate::operands::{Form, Operands};
use benches::{FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT};
use kernels::peers::{gemm_crate, matrixmultiply};
use serde_json::{Value, json};

/// A shape larger than those of training, which needs blocking for L2 and L3.
const LARGE: [[usize; 3]; 2] = [[2048, 2048, 2048], [10_000, 512, 112]];

/// The figures of every shape.
#[derive(Default)]
pub struct Products {
    /// The libraries in C, a second time where weights are prepacked.
    pub libraries: Vec<String>,
    pub rows: Vec<Value>,
    pub geometric_mean: f64,
}

fn row(bench: &Bench, libraries: &Libraries, form: Form, shape: [usize; 3]) -> Value {
    let operands = Operands::new(form, shape);
    let [m, n, k] = shape;
    let mut c = operands.room();
    operands.product(bench.kernels(), &mut c);
    operands.check_ours(&c);
    let threads = bench.threads();
    let mut by_gemm = vec![f32::NAN; m * n];
    gemm_crate::multiply(operands.block(&mut by_gemm), threads);
    operands.check_theirs("gemm", &by_gemm);
    let mut by_matrixmultiply = vec![f32::NAN; m * n];
    matrixmultiply::multiply(operands.block(&mut by_matrixmultiply));
    operands.check_theirs("matrixmultiply", &by_matrixmultiply);

    let mut candidates = vec![
        ours(|kernels| operands.product(kernels, &mut c)),
        theirs_inside(&bench.pool, || gemm_crate::multiply(operands.block(&mut by_gemm), threads)),
        theirs(|| matrixmultiply::multiply(operands.block(&mut by_matrixmultiply))),
    ];
    let mut names = vec!["gemm".to_owned(), "matrixmultiply".to_owned()];
    for (name, candidate) in libraries.candidates(&operands) {
        names.push(name);
        candidates.push(candidate);
    }
    let flop = 2.0 * (m * n * k) as f64;
    let found = bench.measure(candidates);
    let mut row = found.row(flop);
    let name = match form {
        Form::Nn => "NN",
        Form::Dropout => "NN, dropout",
        Form::Tn => "TN",
        Form::Nt => "NT",
    };
    row.extend([
        ("form".to_owned(), json!(name)),
        ("m".to_owned(), json!(m)),
        ("n".to_owned(), json!(n)),
        ("k".to_owned(), json!(k)),
    ]);
    let theirs = &found.seconds[1..];
    let best = theirs.iter().copied().fold(f64::INFINITY, f64::min);
    row.insert("ratio".to_owned(), json!(best / found.seconds[0]));
    row.extend(names.into_iter().zip(theirs.iter().map(|seconds| json!(flop / seconds / 1e9))));
    Value::Object(row)
}

impl Products {
    pub fn measure(bench: &Bench, libraries: &Libraries) -> Self {
        let forward = FORWARD.iter().map(|shape| (Form::Nn, *shape));
        let weights = WEIGHT_GRADIENT.iter().map(|shape| (Form::Tn, *shape));
        let inputs = INPUT_GRADIENT.iter().map(|shape| (Form::Nt, *shape));
        let large = LARGE.iter().map(|shape| (Form::Nn, *shape));
        let dropout = [(Form::Dropout, [350, 512, 112])];
        let shapes = forward.chain(dropout).chain(weights).chain(inputs).chain(large);
        let rows: Vec<Value> = shapes.map(|(form, shape)| row(bench, libraries, form, shape)).collect();
        let ratios: Vec<f64> = rows.iter().map(ratio).collect();
        Products { libraries: libraries.names(), geometric_mean: geometric_mean(&ratios), rows }
    }

    /// A line for each shape whose ratio to the best peer is below `required`.
    pub fn below(&self, required: f64) -> Vec<String> {
        let shape = |row: &Value| {
            format!("{} {}×{}×{}", row["form"].as_str().unwrap_or(""), row["m"], row["n"], row["k"])
        };
        let below = self.rows.iter().filter(|row| ratio(row) < required);
        below
            .map(|row| format!("{}: {:.3} × the best peer, {required} required", shape(row), ratio(row)))
            .collect()
    }
}

fn ratio(row: &Value) -> f64 {
    row["ratio"].as_f64().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shapes_below_the_required_ratio_are_named() {
        let row = |m: usize, ratio: f64| json!({ "form": "NN", "m": m, "n": 2, "k": 3, "ratio": ratio });
        let rows = vec![row(1, 1.2), row(5, 0.9)];
        let products = Products { rows, geometric_mean: 1.0, libraries: Vec::new() };
        assert_eq!(products.below(1.0), ["NN 5×2×3: 0.900 × the best peer, 1 required"]);
        assert!(products.below(0.9).is_empty());
    }
}

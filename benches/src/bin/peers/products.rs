//! Matrix products against those of other libraries.

use crate::measure::{Bench, geometric_mean, ours, theirs, theirs_inside};
use benches::{FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, activations, assert_product, floats};
use kernels::pack::pack;
use kernels::peers::{gemm_crate, matrixmultiply};
use kernels::{
    Dropout, Epilogue, Init, Kernels, MatMut, MatRef, MatmulBlock, Panels, STRIP, Strided, WeightGradient,
    gemm, gemm_tn, panels_len, reference,
};
use serde_json::{Value, json};

/// A shape larger than those of training, which needs blocking for L2 and L3.
const LARGE: [[usize; 3]; 2] = [[2048, 2048, 2048], [10_000, 512, 112]];

/// The figures of every shape.
#[derive(Default)]
pub struct Products {
    pub rows: Vec<Value>,
    pub geometric_mean: f64,
}

/// The product of training that a shape belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// `X·W`.
    Nn,
    /// `X·W` of ours with bias, relu and dropout; peers only multiply.
    Dropout,
    /// `Xᵀ·dY`, the weight gradient.
    Tn,
    /// `dY·Wᵀ`, the input gradient.
    Nt,
}

/// The operands as in training: `X`, `dY` and `W` row-major.
struct Operands {
    form: Form,
    m: usize,
    n: usize,
    k: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    /// `W` or `Wᵀ`, packed once for all calls.
    packed: Vec<f32>,
    bias: Vec<f32>,
}

/// The bias of every column.
const BIAS: f32 = 100.0;

impl Operands {
    fn new(form: Form, [m, n, k]: [usize; 3]) -> Self {
        let a = if form == Form::Nt { floats(m * k, 1) } else { activations(m * k, 1) };
        let b = floats(k * n, 2);
        let packed = match form {
            Form::Nn | Form::Dropout => pack(&b, k, n),
            Form::Tn => Vec::new(),
            Form::Nt => pack(&reference::transposed(&b, n, k), k, n),
        };
        Operands { form, m, n, k, a, b, packed, bias: vec![BIAS; n.next_multiple_of(STRIP)] }
    }

    fn left(&self) -> Strided<'_> {
        match self.form {
            Form::Tn => Strided::row_major(&self.a, self.k, self.m).transposed(),
            _ => Strided::row_major(&self.a, self.m, self.k),
        }
    }

    fn right(&self) -> Strided<'_> {
        match self.form {
            Form::Nt => Strided::row_major(&self.b, self.n, self.k).transposed(),
            _ => Strided::row_major(&self.b, self.k, self.n),
        }
    }

    /// The product for another library, whose sums go to `c`.
    fn block<'a>(&'a self, c: &'a mut [f32]) -> MatmulBlock<'a> {
        MatmulBlock { a: self.left(), b: self.right(), c, c_stride: self.n }
    }

    /// Our product: with packed weights, or with a packed weight gradient as its output.
    fn product(&self, kernels: &Kernels, out: &mut [f32]) {
        let Operands { m, n, k, .. } = *self;
        let found = if self.form == Form::Tn {
            let (x, d_y) = (MatRef::new(&self.a, k, m), MatRef::new(&self.b, k, n));
            gemm_tn(kernels, WeightGradient { a: x, d_y, accumulate: false, d_w: out, rows: m, first_row: 0 })
        } else {
            let (a, w) = (MatRef::new(&self.a, m, k), Panels::new(&self.packed, k, n));
            let epilogue = match self.form {
                // All are kept, and the bias keeps all sums positive, so that the result can be checked.
                Form::Dropout => Epilogue::BiasReluDropout(&self.bias, Dropout::new(0.0, 1)),
                _ => Epilogue::Store,
            };
            gemm(kernels, a, w, Init::Zero, epilogue, MatMut::new(out, m, n))
        };
        found.expect("shapes fit");
    }

    fn check(&self, who: &str, found: impl Fn(usize, usize) -> f32) {
        let (a, b) = (self.left(), self.right());
        let row = |i: usize| (0..self.k).map(|p| a.at(i, p)).collect();
        let column = |j: usize| (0..self.k).map(|p| b.at(p, j)).collect();
        assert_product(who, [self.m, self.n], found, row, column);
    }
}

fn row(bench: &Bench, form: Form, shape: [usize; 3]) -> Value {
    let operands = Operands::new(form, shape);
    let [m, n, k] = shape;
    let mut c = vec![f32::NAN; if form == Form::Tn { panels_len(m, n) } else { m * n }];
    operands.product(bench.kernels(), &mut c);
    match form {
        Form::Tn => operands.check("ours", |i, j| Panels::new(&c, m, n).at(i, j)),
        Form::Dropout => operands.check("ours", |i, j| c[i * n + j] - BIAS),
        Form::Nn | Form::Nt => operands.check("ours", |i, j| c[i * n + j]),
    }
    let threads = bench.threads();
    let mut by_gemm = vec![f32::NAN; m * n];
    gemm_crate::multiply(operands.block(&mut by_gemm), threads);
    operands.check("gemm", |i, j| by_gemm[i * n + j]);
    let mut by_matrixmultiply = vec![f32::NAN; m * n];
    matrixmultiply::multiply(operands.block(&mut by_matrixmultiply));
    operands.check("matrixmultiply", |i, j| by_matrixmultiply[i * n + j]);

    let flop = 2.0 * (m * n * k) as f64;
    let found = bench.measure(vec![
        ours(|kernels| operands.product(kernels, &mut c)),
        theirs_inside(&bench.pool, || gemm_crate::multiply(operands.block(&mut by_gemm), threads)),
        theirs(|| matrixmultiply::multiply(operands.block(&mut by_matrixmultiply))),
    ]);
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
        ("gemm".to_owned(), json!(flop / found.seconds[1] / 1e9)),
        ("matrixmultiply".to_owned(), json!(flop / found.seconds[2] / 1e9)),
        ("ratio".to_owned(), json!(found.seconds[1].min(found.seconds[2]) / found.seconds[0])),
    ]);
    Value::Object(row)
}

impl Products {
    pub fn measure(bench: &Bench) -> Self {
        let forward = FORWARD.iter().map(|shape| (Form::Nn, *shape));
        let weights = WEIGHT_GRADIENT.iter().map(|shape| (Form::Tn, *shape));
        let inputs = INPUT_GRADIENT.iter().map(|shape| (Form::Nt, *shape));
        let large = LARGE.iter().map(|shape| (Form::Nn, *shape));
        let dropout = [(Form::Dropout, [350, 512, 112])];
        let shapes = forward.chain(dropout).chain(weights).chain(inputs).chain(large);
        let rows: Vec<Value> = shapes.map(|(form, shape)| row(bench, form, shape)).collect();
        let ratios: Vec<f64> = rows.iter().map(ratio).collect();
        Products { geometric_mean: geometric_mean(&ratios), rows }
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
        let products = Products { rows: vec![row(1, 1.2), row(5, 0.9)], geometric_mean: 1.0 };
        assert_eq!(products.below(1.0), ["NN 5×2×3: 0.900 × the best peer, 1 required"]);
        assert!(products.below(0.9).is_empty());
    }
}

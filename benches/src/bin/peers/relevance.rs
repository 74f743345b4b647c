//! Relevance rules against the same rules written down with plain products of ours.

use crate::by_hand::{self, ALPHA_BETA, BOUNDS, Buffers, Layer};
use crate::measure::{Bench, ours, ours_spoiling};
use benches::{assert_close, sample};
use kernels::pack::Part;
use kernels::relevance::alpha_beta::alpha_beta;
use kernels::relevance::z_beta::{ZBeta, z_beta};
use kernels::relevance::z_plus::z_plus;
use kernels::relevance::{EPS, PackedPart};
use kernels::{Epilogue, Init, Kernels, MatMut, gemm, reference};
use serde_json::{Value, json};

/// The combine layer of the deep cell: a batch, seven steps of it, a test set.
const HIDDEN: [[usize; 3]; 3] = [[50, 640, 256], [350, 640, 256], [10_000, 640, 256]];
/// The layer that sees seven steps of pixels.
const PIXELS: [usize; 3] = [350, 112, 512];

/// Relevance of a sample's inputs, from them, the weights and the relevance of its outputs.
type Reference = fn(&[f32], &[f32], &[f64]) -> Vec<f64>;

/// A rule and its reference implementations.
struct Rule {
    name: &'static str,
    /// Products that ours cannot do without, which its FLOP/s count.
    ours: usize,
    by_hand: fn(&Kernels, &Layer, &mut Buffers),
    products: usize,
    /// Materialises what the rule reads of W⁺ and W⁻.
    make: fn(&mut Buffers, &Layer),
    reference: Reference,
    /// Whether ours and by hand are the same operations in the same order.
    same_bits: bool,
}

const Z_PLUS: Rule = Rule {
    name: "z⁺",
    ours: 2,
    by_hand: by_hand::z_plus,
    products: 2,
    make: Buffers::make_positive,
    reference: |x, w, r| reference::z_plus(x, w, r, f64::from(EPS)).0,
    same_bits: true,
};

const RULE_ALPHA_BETA: Rule = Rule {
    name: "αβ",
    ours: 4,
    by_hand: by_hand::alpha_beta,
    products: 4,
    make: Buffers::make_both,
    reference: |x, w, r| {
        let (alpha, beta) = ALPHA_BETA;
        reference::alpha_beta((alpha.into(), beta.into()), x, w, r, f64::from(EPS)).0
    },
    same_bits: false,
};

const Z_BETA: Rule = Rule {
    name: "z^β",
    ours: 2,
    by_hand: by_hand::z_beta,
    products: 6,
    make: Buffers::make_both,
    reference: |x, w, r| reference::z_beta(x, w, BOUNDS, r, f64::from(EPS)).0,
    same_bits: false,
};

impl Rule {
    /// Checks and times; `run` is ours, given `spoilt`, which it may overwrite, and `r_in`.
    fn row(
        &self,
        bench: &Bench,
        layer: &Layer,
        spoilt: &[f32],
        mut run: impl FnMut(&Kernels, &mut [f32], &mut [f32]) + Send,
    ) -> Value {
        let Layer { n, j, k, .. } = *layer;
        let mut r_in = vec![f32::NAN; n * j];
        run(bench.kernels(), &mut spoilt.to_vec(), &mut r_in);
        let mut kept = Buffers::new(layer);
        (self.by_hand)(bench.kernels(), layer, &mut kept);
        for i in sample(n) {
            let r: Vec<f64> = layer.r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
            let want = (self.reference)(&layer.x[i * j..][..j], &layer.w, &r);
            assert_close(self.name, &r_in[i * j..][..j], &want);
        }
        if self.same_bits {
            assert!(r_in == kept.out, "{}: both ways have the same bits", self.name);
        } else {
            let want: Vec<f64> = kept.out.iter().map(|&r| f64::from(r)).collect();
            assert_close(self.name, &r_in, &want);
        }
        let mut fresh = kept.clone();
        let found = bench.measure(vec![
            ours_spoiling(spoilt, |kernels, spoilt| run(kernels, spoilt, &mut r_in)),
            ours(|kernels| {
                (self.make)(&mut fresh, layer);
                (self.by_hand)(kernels, layer, &mut fresh);
            }),
            ours(|kernels| (self.by_hand)(kernels, layer, &mut kept)),
        ]);
        let mut row = found.row((2 * self.ours * n * j * k) as f64);
        row.extend([
            ("rule".to_owned(), json!(self.name)),
            ("n".to_owned(), json!(n)),
            ("j".to_owned(), json!(j)),
            ("k".to_owned(), json!(k)),
            ("products".to_owned(), json!(self.products)),
            ("by_hand_microseconds".to_owned(), json!(found.seconds[1] * 1e6)),
            ("by_hand_kept_microseconds".to_owned(), json!(found.seconds[2] * 1e6)),
            ("ratio".to_owned(), json!(found.seconds[1] / found.seconds[0])),
            ("ratio_kept".to_owned(), json!(found.seconds[2] / found.seconds[0])),
        ]);
        Value::Object(row)
    }
}

fn z_plus_row(bench: &Bench, shape: [usize; 3]) -> Value {
    let layer = Layer::hidden(shape);
    let positive = PackedPart::dense(layer.panels(), Part::Positive);
    let mut lost = vec![0.0; layer.n];
    Z_PLUS.row(bench, &layer, &[], |kernels, _, r_in| {
        let out = MatMut::new(r_in, layer.n, layer.j);
        z_plus(kernels, layer.x(), &positive, layer.r(), out, &mut lost).expect("shapes fit");
    })
}

fn alpha_beta_row(bench: &Bench, shape: [usize; 3]) -> Value {
    let layer = Layer::hidden(shape);
    let [positive, negative] =
        [Part::Positive, Part::Negative].map(|part| PackedPart::dense(layer.panels(), part));
    let mut lost = vec![0.0; layer.n];
    RULE_ALPHA_BETA.row(bench, &layer, &[], |kernels, _, r_in| {
        let out = MatMut::new(r_in, layer.n, layer.j);
        alpha_beta(kernels, ALPHA_BETA, layer.x(), &positive, &negative, layer.r(), out, &mut lost)
            .expect("shapes fit");
    })
}

/// The forward product is there already when z^β needs it; copying it in is not timed.
fn z_beta_row(bench: &Bench, shape: [usize; 3]) -> Value {
    let layer = Layer::pixels(shape);
    let rule = ZBeta::dense(layer.panels(), BOUNDS.0, BOUNDS.1);
    let mut z = vec![0.0; layer.n * layer.k];
    let out = MatMut::new(&mut z, layer.n, layer.k);
    gemm(bench.kernels(), layer.x(), layer.panels(), Init::Zero, Epilogue::Store, out).expect("shapes fit");
    let mut lost = vec![0.0; layer.n];
    Z_BETA.row(bench, &layer, &z, |kernels, z, r_in| {
        let out = MatMut::new(r_in, layer.n, layer.j);
        z_beta(kernels, &rule, layer.x(), z, layer.r(), out, &mut lost).expect("shapes fit");
    })
}

/// Every rule's figures.
pub fn measure(bench: &Bench) -> Vec<Value> {
    let mut rows: Vec<Value> = HIDDEN.iter().map(|shape| z_plus_row(bench, *shape)).collect();
    rows.push(z_beta_row(bench, PIXELS));
    rows.push(alpha_beta_row(bench, HIDDEN[1]));
    rows
}

//! Relevance rules against the same rules written down with plain products of ours.

use crate::by_hand::{self, ALPHA_BETA, BOUNDS, Buffers, Layer};
use crate::measure::{Bench, ours};
use benches::{assert_close, sample};
use kernels::relevance::{self, PackedRule, Relevance};
use kernels::{Epilogue, Init, Kernels, MatMut, MatRef, gemm, reference};
use serde_json::{Value, json};

/// The combine layer of the deep cell: a batch, seven steps of it, a test set.
const HIDDEN: [[usize; 3]; 3] = [[50, 640, 256], [350, 640, 256], [10_000, 640, 256]];
/// The layer that sees seven steps of pixels.
const PIXELS: [usize; 3] = [350, 112, 512];

/// A rule of ours and the same by hand.
struct Rule {
    name: &'static str,
    rule: fn() -> relevance::Rule,
    /// Products that ours cannot do without, which its FLOP/s count.
    ours: usize,
    by_hand: fn(&Kernels, &Layer, &mut Buffers),
    products: usize,
    /// Materialises what the rule reads of W⁺ and W⁻.
    make: fn(&mut Buffers, &Layer),
    /// Whether ours and by hand are the same operations in the same order.
    same_bits: bool,
}

const Z_PLUS: Rule = Rule {
    name: "z⁺",
    rule: relevance::Rule::z_plus,
    ours: 2,
    by_hand: by_hand::z_plus,
    products: 2,
    make: Buffers::make_positive,
    same_bits: true,
};

const RULE_ALPHA_BETA: Rule = Rule {
    name: "αβ",
    rule: || relevance::Rule::alpha_beta(ALPHA_BETA.0, ALPHA_BETA.1),
    ours: 4,
    by_hand: by_hand::alpha_beta,
    products: 4,
    make: Buffers::make_both,
    same_bits: false,
};

const Z_BETA: Rule = Rule {
    name: "z^β",
    rule: || relevance::Rule::z_beta(BOUNDS.0, BOUNDS.1),
    ours: 2,
    by_hand: by_hand::z_beta,
    products: 6,
    make: Buffers::make_both,
    same_bits: false,
};

impl Rule {
    /// Checks and times; the forward product that z^β reads is there already.
    fn row(&self, bench: &Bench, layer: &Layer) -> Value {
        let Layer { n, j, k, .. } = *layer;
        let rule = (self.rule)();
        let packed = &PackedRule::dense(&rule, layer.panels());
        let mut z = vec![0.0; n * k];
        let out = MatMut::new(&mut z, n, k);
        gemm(bench.kernels(), layer.x(), layer.panels(), Init::Zero, Epilogue::Store, out)
            .expect("shapes fit");
        let z = packed.reads_forward().then(|| MatRef::new(&z, n, k));
        let (mut r_in, mut absorbed) = (vec![f32::NAN; n * j], vec![0.0; n]);
        let mut run = |kernels: &Kernels, r_in: &mut [f32]| {
            let (a, r_out, r_in) = (layer.x(), layer.r(), MatMut::new(r_in, n, j));
            let operands = Relevance { rule: packed, a, z, r_out, r_in, absorbed: &mut absorbed };
            relevance::relevance(kernels, operands).expect("shapes fit");
        };
        run(bench.kernels(), &mut r_in);
        let mut kept = Buffers::new(layer);
        (self.by_hand)(bench.kernels(), layer, &mut kept);
        for i in sample(n) {
            let r: Vec<f64> = layer.r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
            let (want, _) = reference::relevance(&rule, &layer.x[i * j..][..j], &layer.w, &r);
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
            ours(|kernels| run(kernels, &mut r_in)),
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

/// Every rule's figures.
pub fn measure(bench: &Bench) -> Vec<Value> {
    let mut rows: Vec<Value> = HIDDEN.iter().map(|shape| Z_PLUS.row(bench, &Layer::hidden(*shape))).collect();
    rows.push(Z_BETA.row(bench, &Layer::pixels(PIXELS)));
    rows.push(RULE_ALPHA_BETA.row(bench, &Layer::hidden(HIDDEN[1])));
    rows
}

//! Every elementwise function, the gates, and the rules of one neuron.

use super::{Results, add, rules};
use crate::elementwise::gates::{
    CellBackward, CellForward, CellRelevance, cell_backward, cell_forward, cell_relevance,
};
use crate::elementwise::{activation, optimiser, reduce, softmax};
use crate::exec::Kernels;
use crate::layout::{MatMut, MatRef, Rows};
use crate::relevance::{EPS, RelevanceNeuron, relevance_neuron};
use crate::testing::{activations, floats};

/// Every elementwise function on `[n, k]`; rows are `gap` floats apart.
pub fn elements(kernels: &Kernels, [n, k, gap]: [usize; 3], seed: u64) -> Results {
    let step = k + gap;
    // There is no gap after the last row.
    let len = n * step - gap;
    let (x, y) = (floats(len, seed), floats(n * k, seed + 1));
    let (x, y) = (MatRef::mapped(&x, n, k, Rows::linear(step)), MatRef::new(&y, n, k));
    let b = floats(k, seed + 2);
    let mut results = Results::new();
    add(&mut results, "bias relu", vec![0.0; len], |out| {
        activation::bias_relu(kernels, x, &b, MatMut::mapped(out, n, k, Rows::linear(step)))
    });
    add(&mut results, "softplus", vec![0.5; k + gap], |out| activation::softplus_bias(kernels, &b, out));
    add(&mut results, "softplus gradient", floats(k, seed + 3), |out| {
        activation::softplus_gradient(kernels, &b, out)
    });
    add(&mut results, "column sums", vec![0.5; k], |out| reduce::column_sums(kernels, x, out));
    let labels: Vec<u8> = (0..n).map(|i| (i * 7 % k) as u8).collect();
    for (name, zero_logit) in [("cross-entropy", false), ("cross-entropy with a zero logit", true)] {
        let mut losses = vec![0.0; n];
        add(&mut results, name, vec![0.0; n * k], |out| {
            let (gradient, losses) = (MatMut::new(out, n, k), &mut losses);
            let operands = softmax::CrossEntropy { logits: x, labels: &labels, zero_logit, gradient, losses };
            softmax::cross_entropy(kernels, operands)
        });
        results.push(("losses", losses));
    }
    let (mut m, mut v) = (floats(n * k, seed + 4), activations(n * k, seed + 5));
    add(&mut results, "Adam", floats(n * k, seed + 6), |out| {
        optimiser::adam(kernels, optimiser::AdamStep::new(0.1, 3), y.data, &mut m, &mut v, out)
    });
    add(&mut results, "SGD", floats(n * k, seed + 7), |out| {
        optimiser::sgd(kernels, 0.1, 0.9, y.data, &mut m, out)
    });
    let sums = vec![reduce::sum(y.data) as f32, reduce::sum_of_squares(y.data) as f32];
    results.extend([("first moment", m), ("second moment", v), ("sums", sums)]);
    cells(kernels, n, k, seed, &mut results);
    results
}

/// The gates of an LSTM cell, and the rule of one neuron a sample.
fn cells(kernels: &Kernels, n: usize, k: usize, seed: u64, results: &mut Results) {
    let size = n * k;
    let (candidate, before) = (activations(size, seed + 8), activations(size, seed + 9));
    let (candidate, d_h) = (&candidate[..], &floats(size, seed + 10)[..]);
    for c_before in [Some(&before[..]), None] {
        let (mut gates, mut c, mut h) = (floats(3 * size, seed + 11), vec![0.0; size], vec![0.0; size]);
        let forward = CellForward { cells: k, gates: &mut gates, candidate, c_before, c: &mut c, h: &mut h };
        cell_forward(kernels, forward).expect("shapes fit");
        for guided in [false, true] {
            let (mut d_c, mut d_gates) = (floats(size, seed + 12), vec![0.0; 3 * size]);
            add(results, "gradient of candidates", vec![0.0; size], |d_candidate| {
                let (gates, c, d_c, d_gates) = (&gates[..], &c[..], &mut d_c[..], &mut d_gates[..]);
                let operands = CellBackward {
                    cells: k,
                    gates,
                    candidate,
                    c_before,
                    c,
                    d_h,
                    d_c,
                    d_gates,
                    d_candidate,
                    guided,
                };
                cell_backward(kernels, operands)
            });
            results.extend([("gradient of the state", d_c), ("gradient of gates", d_gates)]);
        }
        let mut r_c = floats(size, seed + 13);
        add(results, "relevance of candidates", vec![0.0; size], |r_candidate| {
            let (gates, c, r_c) = (&gates[..], &c[..], &mut r_c[..]);
            let operands =
                CellRelevance { cells: k, gates, c_before, c, r_h: d_h, r_c, r_candidate, eps: EPS };
            cell_relevance(kernels, operands)
        });
        results.extend([("relevance of the state", r_c), ("gates", gates), ("state", c), ("output", h)]);
    }
    let (a, d, f) = (MatRef::new(candidate, n, k), MatRef::new(d_h, n, k), floats(n, seed + 14));
    for (name, rule) in rules() {
        let mut absorbed = vec![0.0; n];
        add(results, name, vec![0.0; size], |out| {
            let r_in = MatMut::new(out, n, k);
            let operands = RelevanceNeuron { rule: &rule, a, d, f: &f, r_in, absorbed: &mut absorbed };
            relevance_neuron(kernels, operands)
        });
        results.push(("absorbed by a neuron", absorbed.into_iter().map(|a| a as f32).collect()));
    }
}

//! Elementwise functions, losses, optimisers and gates.

use super::Cases;
use benches::{activations, floats};
use kernels::elementwise::activation::{bias_relu, softplus_bias, softplus_gradient};
use kernels::elementwise::gates::{
    CellBackward, CellForward, CellRelevance, cell_backward, cell_forward, cell_relevance,
};
use kernels::elementwise::optimiser::{AdamStep, adam, sgd};
use kernels::elementwise::reduce::column_sums;
use kernels::elementwise::softmax::{CrossEntropy, cross_entropy};
use kernels::relevance::EPS;
use kernels::{MatMut, MatRef};

/// Functions of layers, and the loss.
pub(super) fn layers(cases: &mut Cases, n: usize, k: usize) {
    let shape = || format!("{n}×{k}");
    let (z, b, mut a) = (floats(n * k, 1), floats(k, 2), vec![0.0; n * k]);
    cases.add("bias_relu", shape(), move |kernels| {
        bias_relu(kernels, MatRef::new(&z, n, k), &b, MatMut::new(&mut a, n, k)).expect("shapes fit");
    });
    let (x, mut sums) = (floats(n * k, 1), vec![0.0; k]);
    cases.add("column_sums", shape(), move |kernels| {
        column_sums(kernels, MatRef::new(&x, n, k), &mut sums).expect("shapes fit");
    });
    let (logits, labels) = (floats(n * k, 1), (0..n).map(|i| (i % k) as u8).collect::<Vec<u8>>());
    let (mut gradient, mut losses) = (vec![0.0; n * k], vec![0.0; n]);
    cases.add("cross_entropy", shape(), move |kernels| {
        let (logits, gradient) = (MatRef::new(&logits, n, k), MatMut::new(&mut gradient, n, k));
        let (labels, losses) = (&labels, &mut losses);
        let operands = CrossEntropy { logits, labels, zero_logit: true, gradient, losses };
        cross_entropy(kernels, operands).expect("shapes fit");
    });
    let (b, mut bias) = (floats(n * k, 1), vec![0.0; n * k]);
    cases.add("softplus_bias", format!("{}", n * k), move |kernels| {
        softplus_bias(kernels, &b, &mut bias).expect("shapes fit");
    });
    let (b, mut d_b) = (floats(n * k, 1), floats(n * k, 2));
    cases.add("softplus_gradient", format!("{}", n * k), move |kernels| {
        softplus_gradient(kernels, &b, &mut d_b).expect("shapes fit");
    });
}

/// Steps of optimisers.
pub(super) fn optimisers(cases: &mut Cases, len: usize) {
    let (g, mut m, mut v, mut p) = (floats(len, 1), vec![0.0; len], vec![0.0; len], floats(len, 2));
    cases.add("adam", format!("{len}"), move |kernels| {
        adam(kernels, AdamStep::new(1e-3, 1), &g, &mut m, &mut v, &mut p).expect("shapes fit");
    });
    let (g, mut m, mut p) = (floats(len, 1), vec![0.0; len], floats(len, 2));
    cases.add("sgd", format!("{len}"), move |kernels| {
        sgd(kernels, 1e-3, 0.9, &g, &mut m, &mut p).expect("shapes fit");
    });
}

/// The gates of an LSTM cell.
pub(super) fn gates(cases: &mut Cases, n: usize, cells: usize) {
    let (size, shape) = (n * cells, || format!("{n}×{cells}"));
    let (z, candidate, before) = (floats(3 * size, 1), activations(size, 2), activations(size, 3));
    let (mut gates, mut c, mut h) = (z.clone(), vec![0.0; size], vec![0.0; size]);
    let (c_new, own_candidate, own_before) = (activations(size, 4), candidate.clone(), before.clone());
    cases.add("cell_forward", shape(), move |kernels| {
        gates.copy_from_slice(&z);
        let (candidate, c_before) = (&own_candidate[..], Some(&own_before[..]));
        let forward = CellForward { cells, gates: &mut gates, candidate, c_before, c: &mut c, h: &mut h };
        cell_forward(kernels, forward).expect("shapes fit");
    });
    // Gates after their sigmoid.
    let gates: Vec<f32> = floats(3 * size, 1).iter().map(|x| 0.5 + 0.4 * x).collect();
    let (mut d_c, mut d_gates, mut d_candidate) = (floats(size, 4), vec![0.0; 3 * size], vec![0.0; size]);
    let (own_gates, own_candidate, own_before) = (gates.clone(), candidate.clone(), before.clone());
    let (own_c, d_h) = (c_new.clone(), floats(size, 5));
    cases.add("cell_backward", shape(), move |kernels| {
        let (gates, candidate, c_before) = (&own_gates[..], &own_candidate[..], Some(&own_before[..]));
        let (c, d_h, d_c) = (&own_c[..], &d_h[..], &mut d_c[..]);
        let (d_gates, d_candidate, guided) = (&mut d_gates[..], &mut d_candidate[..], false);
        let backward =
            CellBackward { cells, gates, candidate, c_before, c, d_h, d_c, d_gates, d_candidate, guided };
        cell_backward(kernels, backward).expect("shapes fit");
    });
    let (r_h, mut r_c, mut r_candidate) = (floats(size, 5), floats(size, 6), vec![0.0; size]);
    cases.add("cell_relevance", shape(), move |kernels| {
        let (gates, c_before, c, r_h) = (&gates[..], Some(&before[..]), &c_new[..], &r_h[..]);
        let (r_c, r_candidate) = (&mut r_c[..], &mut r_candidate[..]);
        let back = CellRelevance { cells, gates, c_before, c, r_h, r_c, r_candidate, eps: EPS };
        cell_relevance(kernels, back).expect("shapes fit");
    });
}

//! Products and rules of dense layers.

use super::Cases;
use benches::{activations, floats};
use kernels::pack::{Part, pack, part, transpose};
use kernels::relevance::{
    Denominators, Messages, PackedRule, Ratios, Relevance, RelevanceNeuron, Rule, denominators, messages,
    ratios, relevance, relevance_neuron,
};
use kernels::{Dropout, Epilogue, Init, MatMut, MatRef, Panels, WeightGradient, gemm, gemm_tn, panels_len};
use std::hint::black_box;

/// An epilogue that reads this bias.
type Ends = fn(&[f32]) -> Epilogue<'_>;

/// Dense products `[n, k]·[k, m]`.
pub(super) fn products(cases: &mut Cases, [n, m, k]: [usize; 3]) {
    let shape = || format!("{n}×{m}×{k}");
    let bias = || floats(m.next_multiple_of(16), 4);
    let epilogues: [(&str, Ends); 3] = [
        ("gemm", |_| Epilogue::Store),
        ("gemm, relu", |bias| Epilogue::BiasRelu(bias)),
        ("gemm, dropout", |bias| Epilogue::BiasReluDropout(bias, Dropout::new(0.5, 1))),
    ];
    for (name, epilogue) in epilogues {
        let (a, w, bias) = (activations(n * k, 1), pack(&floats(k * m, 2), k, m), bias());
        let mut c = vec![0.0; n * m];
        cases.add(name, shape(), move |kernels| {
            let (a, w, c) = (MatRef::new(&a, n, k), Panels::new(&w, k, m), MatMut::new(&mut c, n, m));
            gemm(kernels, a, w, Init::Zero, epilogue(&bias), c).expect("shapes fit");
        });
    }
    let (a, d_y, mut d_w) = (activations(n * k, 1), floats(n * m, 2), vec![0.0; panels_len(k, m)]);
    cases.add("gemm_tn", shape(), move |kernels| {
        let (a, d_y) = (MatRef::new(&a, n, k), MatRef::new(&d_y, n, m));
        let gradient = WeightGradient { a, d_y, accumulate: false, d_w: &mut d_w, rows: k, first_row: 0 };
        gemm_tn(kernels, gradient).expect("shapes fit");
    });
    let row_major = floats(k * m, 2);
    cases.add("pack", shape(), move |_| drop(black_box(pack(&row_major, k, m))));
    let (w, mut to) = (pack(&floats(k * m, 2), k, m), vec![0.0; panels_len(m, k)]);
    cases.add("transpose", shape(), move |_| transpose(Panels::new(&w, k, m), Part::All, &mut to));
    let (w, mut positive) = (pack(&floats(k * m, 2), k, m), vec![0.0; panels_len(k, m)]);
    cases.add("part", shape(), move |_| part(Panels::new(&w, k, m), Part::Positive, &mut positive));
}

/// Rules of dense layers.
pub(super) fn rules(cases: &mut Cases, [n, k, j]: [usize; 3]) {
    let shape = || format!("{n}×{j}×{k}");
    let w = || pack(&floats(j * k, 2), j, k);
    let named = [
        ("relevance z⁺", Rule::z_plus()),
        ("relevance αβ", Rule::alpha_beta(2.0, 1.0)),
        ("relevance ε", Rule::epsilon(1e-6)),
        ("relevance z^β", Rule::z_beta(-1.0, 1.0)),
        ("relevance w²", Rule::w_square()),
    ];
    for (name, rule) in named {
        let packed = PackedRule::dense(&rule, Panels::new(&w(), j, k));
        let (a, r, z) = (activations(n * j, 1), activations(n * k, 3), floats(n * k, 5));
        let (mut r_in, mut absorbed) = (vec![0.0; n * j], vec![0.0; n]);
        cases.add(name, shape(), move |kernels| {
            let (a, r_out, z) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k), Some(MatRef::new(&z, n, k)));
            let r_in = MatMut::new(&mut r_in, n, j);
            let operands = Relevance { rule: &packed, a, z, r_out, r_in, absorbed: &mut absorbed };
            relevance(kernels, operands).expect("shapes fit");
        });
    }
    let packed = PackedRule::dense(&Rule::z_plus(), Panels::new(&w(), j, k));
    let shared = Rule::shared(&[&Rule::z_plus(), &Rule::z_plus()])[0];
    let (a, base, r, mut c) =
        (activations(n * j, 1), activations(n * k, 2), activations(n * k, 3), vec![0.0; n * k]);
    let (rule, mut absorbed) = (packed.clone(), vec![0.0; n]);
    cases.add("ratios", shape(), move |kernels| {
        let [base, r_out] = [&base, &r].map(|x| MatRef::new(x, n, k));
        let (a, c) = (MatRef::new(&a, n, j), MatMut::new(&mut c, n, k));
        let operands =
            Ratios { shared, rule: &rule, group: 0, base, a, z: None, r_out, c, absorbed: &mut absorbed };
        ratios(kernels, operands).expect("shapes fit");
    });
    let (a, c, mut r_in, rule) = (activations(n * j, 1), floats(n * k, 2), vec![0.0; n * j], packed.clone());
    cases.add("messages", shape(), move |kernels| {
        let (a, r_in) = (MatRef::new(&a, n, j), MatMut::new(&mut r_in, n, j));
        messages(kernels, Messages { rule: &rule, c: &[MatRef::new(&c, n, k)], a, r_in })
            .expect("shapes fit");
    });
    let rule = PackedRule::dense(&Rule::z_beta(-1.0, 1.0), Panels::new(&w(), j, k));
    let (a, z, mut out) = (floats(n * j, 1), floats(n * k, 2), vec![0.0; n * k]);
    cases.add("denominators z^β", shape(), move |kernels| {
        let (a, z, out) = (MatRef::new(&a, n, j), Some(MatRef::new(&z, n, k)), MatMut::new(&mut out, n, k));
        denominators(kernels, Denominators { rule: &rule, group: 0, a, z, out }).expect("shapes fit");
    });
    let (a, d, f) = (activations(n * j, 1), floats(n * j, 2), floats(n, 3));
    let (mut r_in, mut absorbed) = (vec![0.0; n * j], vec![0.0; n]);
    cases.add("relevance_neuron", format!("{n}×{j}"), move |kernels| {
        let ([a, d], r_in) = ([&a, &d].map(|x| MatRef::new(x, n, j)), MatMut::new(&mut r_in, n, j));
        let operands = RelevanceNeuron { rule: &Rule::z_plus(), a, d, f: &f, r_in, absorbed: &mut absorbed };
        relevance_neuron(kernels, operands).expect("shapes fit");
    });
}

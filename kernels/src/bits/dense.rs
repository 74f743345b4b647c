//! Every product and dense rule.

use super::{Results, add, rules};
use crate::dropout::Dropout;
use crate::exec::Kernels;
use crate::gemm::pack::{self, Part, transpose};
use crate::gemm::problem::{Epilogue, Init, Stabiliser};
use crate::layout::{MatMut, MatRef};
use crate::matmul::{WeightGradient, gemm, gemm_tn};
use crate::panels::{Panels, panels_len};
use crate::relevance::{
    Denominators, EPS, Messages, PackedRule, Ratios, Relevance, Rule, denominators, messages, ratios,
    relevance,
};
use crate::testing::{activations, floats};

/// Every product and dense rule at `[n, j]·[j, k]`.
pub fn dense(kernels: &Kernels, [n, j, k]: [usize; 3], seed: u64) -> Results {
    let (a, r) = (activations(n * j, seed), floats(n * k, seed + 1));
    let (w, gradients) = (pack::pack(&floats(j * k, seed + 2), j, k), floats(n * k, seed + 3));
    let bias = floats(k.next_multiple_of(16), seed + 4);
    let panels = Panels::new(&w, j, k);
    let mut back = vec![0.0; panels_len(k, j)];
    transpose(panels, Part::All, &mut back);
    let (a, r, dy) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k), MatRef::new(&gradients, n, k));
    let mut results = Results::new();
    let epilogues = [
        ("NN", Epilogue::Store),
        ("bias", Epilogue::Bias(&bias)),
        ("bias relu", Epilogue::BiasRelu(&bias)),
        ("bias relu dropout", Epilogue::BiasReluDropout(&bias, Dropout::new(0.5, seed))),
        (
            "repeated dropout",
            Epilogue::BiasReluDropout(&bias, Dropout::new(0.5, seed).repeating(n.div_ceil(2) * k)),
        ),
        ("relu gradient", Epilogue::ReluGradient { a: r, scale: 2.0, guided: false }),
        ("guided", Epilogue::ReluGradient { a: r, scale: 1.0, guided: true }),
        ("ratio", Epilogue::Ratio { r, coefficient: 2.0, stabiliser: Stabiliser::Constant(EPS) }),
        ("times", Epilogue::Times { a: r, shift: 0.5, add: true }),
    ];
    for (name, epilogue) in epilogues {
        for init in [Init::Zero, Init::Accumulate, Init::Copy(dy)] {
            add(&mut results, name, vec![0.25; n * k], |out| {
                gemm(kernels, a, panels, init, epilogue, MatMut::new(out, n, k))
            });
        }
    }
    add(&mut results, "NT", vec![0.0; n * j], |out| {
        let out = MatMut::new(out, n, j);
        gemm(kernels, dy, Panels::new(&back, k, j), Init::Zero, Epilogue::Store, out)
    });
    for accumulate in [false, true] {
        add(&mut results, "TN", pack::pack(&vec![0.5; (j + 1) * k], j + 1, k), |out| {
            gemm_tn(kernels, WeightGradient { a, d_y: dy, accumulate, d_w: out, rows: j + 1, first_row: 1 })
        });
    }
    let mut z = vec![0.0; n * k];
    gemm(kernels, a, panels, Init::Zero, Epilogue::Store, MatMut::new(&mut z, n, k)).expect("shapes fit");
    let z = Some(MatRef::new(&z, n, k));
    for (name, rule) in rules() {
        let rule = &PackedRule::dense(&rule, panels);
        let mut absorbed = vec![0.0; n];
        add(&mut results, name, vec![0.0; n * j], |out| {
            let r_in = MatMut::new(out, n, j);
            relevance(kernels, Relevance { rule, a, z, r_out: r, r_in, absorbed: &mut absorbed })
        });
        results.push(("absorbed", absorbed.into_iter().map(|a| a as f32).collect()));
    }
    // The second input does not contribute to the second group.
    let (first, second) = (Rule::alpha_beta(2.0, 1.0), Rule::z_beta(-0.5, 1.0));
    let shared = Rule::shared(&[&first, &second]);
    let [first, second] = [first, second].map(|rule| PackedRule::dense(&rule, panels));
    for (group, &shared) in shared.iter().enumerate() {
        let mut base = vec![0.0; n * k];
        add(&mut results, "denominators", vec![0.0; n * k], |out| {
            let out = MatMut::new(out, n, k);
            denominators(kernels, Denominators { rule: &second, group, a, z, out })
        });
        base.copy_from_slice(&results[results.len() - 1].1);
        let (rule, base) = (&first, MatRef::new(&base, n, k));
        add(&mut results, "ratios", vec![0.0; n * k], |out| {
            let (c, absorbed) = (MatMut::new(out, n, k), &mut vec![0.0; n]);
            ratios(kernels, Ratios { shared, rule, group, base, a, z, r_out: r, c, absorbed })
        });
    }
    for rule in [&first, &second] {
        add(&mut results, "messages", vec![0.0; n * j], |out| {
            messages(kernels, Messages { rule, c: &[r, dy], a, r_in: MatMut::new(out, n, j) })
        });
    }
    results
}

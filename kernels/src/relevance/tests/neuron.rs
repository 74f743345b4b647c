//! One neuron a sample.

use super::super::{PackedRule, Relevance, RelevanceNeuron, relevance, relevance_neuron};
use super::{RULES, assert_absorbed, rules};
use crate::Kernels;
use crate::gemm::pack;
use crate::layout::{MatMut, MatRef, Rows};
use crate::panels::Panels;
use crate::testing::{SameBits, assert_close, floats, kernel_sets};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_is_its_definition(
        which in 0..RULES, n in 0usize..70, more in 0usize..80, gap in 0usize..3, dead in 0usize..70, seed in 1u64..1000,
    ) {
        let case = &rules()[which];
        let j = case.fewest_inputs() + more;
        let stride = j + gap;
        // A column of weights for each sample, then its row.
        let columns = case.weights(j, n.max(1), dead % n.max(1), seed);
        let d: Vec<f32> = (0..n).flat_map(|i| columns[i..].iter().step_by(n).copied()).collect();
        let (a, f) = (case.inputs(n * stride, seed + 1), floats(n, seed + 2));
        let (mut want, mut want_absorbed) = (Vec::new(), Vec::new());
        for i in 0..n {
            let (a, d) = (&a[i * stride..][..j], &d[i * j..][..j]);
            let (r_in, absorbed) = crate::reference::relevance(&case.rule, a, d, &[f64::from(f[i])]);
            want.extend(r_in);
            want_absorbed.push(absorbed);
        }
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let (mut r_in, mut absorbed) = (vec![f32::NAN; n * stride], vec![0.0; n]);
            let operands = RelevanceNeuron {
                rule: &case.rule,
                a: MatRef::mapped(&a, n, j, Rows::linear(stride)),
                d: MatRef::new(&d, n, j),
                f: &f,
                r_in: MatMut::mapped(&mut r_in, n, j, Rows::linear(stride)),
                absorbed: &mut absorbed,
            };
            relevance_neuron(&kernels, operands).expect("fits");
            let (found, between): (Vec<_>, Vec<_>) =
                r_in.iter().enumerate().partition(|(at, _)| at % stride < j);
            let found: Vec<f32> = found.into_iter().map(|(_, &r)| r).collect();
            assert_close(case.name, &found, &want, 1e-4);
            prop_assert!(between.iter().all(|(_, r)| r.is_nan()), "written between the rows");
            assert_absorbed(case.name, &absorbed, &want_absorbed, &f);
            bits.check(&kernels, case.name, &found);
        }
    }

    /// Explaining one output of a layer is explaining the neuron with its weights.
    #[test]
    fn one_output_of_a_dense_layer_is_a_neuron_to_the_bit(
        which in 0usize..3, n in 1usize..40, more in 0usize..300, outputs in 1usize..20, seed in 1u64..1000,
    ) {
        let case = &rules()[which];
        let j = case.fewest_inputs() + more;
        let w = case.weights(j, outputs, seed as usize % outputs, seed);
        let (a, f) = (case.inputs(n * j, seed + 1), floats(n, seed + 2));
        let of = |i: usize| (i + seed as usize) % outputs;
        let mut r_out = vec![0.0; n * outputs];
        (0..n).for_each(|i| r_out[i * outputs + of(i)] = f[i]);
        let d: Vec<f32> = (0..n).flat_map(|i| w[of(i)..].iter().step_by(outputs).copied()).collect();
        let panels = pack::pack(&w, j, outputs);
        let packed = &PackedRule::dense(&case.rule, Panels::new(&panels, j, outputs));
        let a = MatRef::new(&a, n, j);
        for kernels in kernel_sets().into_iter().filter(|kernels| !kernels.has_external_matmul()) {
            let (mut want, mut found) = (vec![0.0; n * j], vec![0.0; n * j]);
            let (mut want_absorbed, mut absorbed) = (vec![0.0; n], vec![0.0; n]);
            let operands = Relevance {
                rule: packed,
                a,
                z: None,
                r_out: MatRef::new(&r_out, n, outputs),
                r_in: MatMut::new(&mut want, n, j),
                absorbed: &mut want_absorbed,
            };
            relevance(&kernels, operands).expect("fits");
            let (d, r_in) = (MatRef::new(&d, n, j), MatMut::new(&mut found, n, j));
            let rule = &case.rule;
            let operands = RelevanceNeuron { rule, a, d, f: &f, r_in, absorbed: &mut absorbed };
            relevance_neuron(&kernels, operands).expect("fits");
            prop_assert_eq!(&found, &want, "{} on {}", case.name, kernels.name());
            prop_assert_eq!(&absorbed, &want_absorbed, "{} on {}", case.name, kernels.name());
        }
    }
}

#[test]
fn operands_of_other_sizes_are_refused() {
    let rule = &rules()[0].rule;
    for (inputs, samples) in [(3, 1), (2, 2)] {
        let (mut r_in, mut absorbed) = ([7.0; 2], [0.0]);
        let operands = RelevanceNeuron {
            rule,
            a: MatRef::new(&[1.0; 2], 1, 2),
            d: MatRef::new(&[1.0; 3], 1, inputs.min(3)),
            f: &vec![1.0; samples],
            r_in: MatMut::new(&mut r_in, 1, 2),
            absorbed: &mut absorbed,
        };
        assert!(relevance_neuron(&Kernels::default(), operands).is_err());
        assert_eq!(r_in, [7.0; 2]);
    }
}

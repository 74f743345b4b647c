//! Inputs that share their denominators.

use super::super::{
    Denominators, EPS, Messages, PackedRule, Ratios, Rule, SharedGroup, Stabiliser, denominators, messages,
    ratios,
};
use super::{RULES, assert_absorbed, packed, rules};
use crate::gemm::gemm;
use crate::gemm::pack;
use crate::layout::{MatMut, MatRef, Rows};
use crate::panels::Panels;
use crate::reference::{Input, shared_relevance};
use crate::testing::{SameBits, assert_close, floats, kernel_sets};
use crate::{Epilogue, Init, Kernels};
use proptest::prelude::*;

const SHARED: SharedGroup = SharedGroup { coefficient: 1.0, stabiliser: Stabiliser::Constant(EPS) };

/// One of two inputs.
struct Side {
    rule: Rule,
    j: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    panels: Vec<f32>,
}

impl Side {
    fn panels(&self, k: usize) -> Panels<'_> {
        Panels::new(&self.panels, self.j, k)
    }

    fn forward(&self, kernels: &Kernels, n: usize, k: usize) -> Vec<f32> {
        let (x, mut z) = (MatRef::new(&self.x, n, self.j), vec![0.0; n * k]);
        let out = MatMut::new(&mut z, n, k);
        gemm(kernels, x, self.panels(k), Init::Zero, Epilogue::Store, out).expect("fits");
        z
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every pair of rules, as in a combine layer that sees `e_t`, or pixels, and `r_t`, which does not exist in
    /// the first step.
    #[test]
    fn two_inputs_share_the_denominators_of_each_group(
        which in [0..RULES, 0..RULES], n in 1usize..20, more in [0usize..40, 0usize..40], k in 1usize..50,
        exists in any::<bool>(), seed in 1u64..1000,
    ) {
        let cases = which.map(|which| rules()[which].clone());
        // Where a stabiliser is signed, the sums are exact.
        let signed = |rule: &Rule| matches!(rule.groups[0].stabiliser, Stabiliser::Signed(_));
        let exact = cases.iter().any(|case| signed(&case.rule));
        let rounded = |x: Vec<f32>, steps: f32| match exact {
            true => x.into_iter().map(|x| (x * steps).round() / steps).collect(),
            false => x,
        };
        let sides = [0, 1].map(|i| {
            let (case, seed) = (&cases[i], seed + 10 * i as u64);
            let j = case.fewest_inputs() + 8 + more[i];
            let x = rounded(case.inputs(n * j, seed), 8.0);
            let w = rounded(case.weights(j, k, seed as usize % k, seed + 1), 16.0);
            Side { rule: case.rule.clone(), j, x, panels: pack::pack(&w, j, k), w }
        });
        let r = floats(n * k, seed + 4);
        let (mut want, mut want_absorbed) = ([Vec::new(), Vec::new()], Vec::new());
        for i in 0..n {
            let wide: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
            let weights = [0, 1].map(|side: usize| {
                let w = &sides[side].w;
                move |j: usize, o: usize| (side == 0 || exists).then(|| w[j * k + o])
            });
            let inputs = [0, 1].map(|side| {
                let Side { rule, j, x, .. } = &sides[side];
                Input { rule, a: &x[i * j..][..*j], w: &weights[side] }
            });
            let (of_inputs, absorbed) = shared_relevance(&inputs, &wide);
            want.iter_mut().zip(of_inputs).for_each(|(want, of_input)| want.extend(of_input));
            want_absorbed.push(absorbed);
        }
        let [first, second] = [0, 1].map(|i| PackedRule::dense(&sides[i].rule, sides[i].panels(k)));
        let shared = Rule::shared(&[&sides[0].rule, &sides[1].rule]);
        let [a, other] = [0, 1].map(|i| MatRef::new(&sides[i].x, n, sides[i].j));
        let r_out = MatRef::new(&r, n, k);
        let name = format!("{} and {}", cases[0].name, cases[1].name);
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let z = [0, 1].map(|i| sides[i].forward(&kernels, n, k));
            let z = [0, 1].map(|i| Some(MatRef::new(&z[i], n, k)));
            let mut absorbed = vec![0.0; n];
            let mut c = vec![vec![f32::NAN; n * k]; shared.len()];
            for (group, (c, &shared)) in c.iter_mut().zip(&shared).enumerate() {
                let mut base = vec![f32::NAN; n * k];
                let out = MatMut::new(&mut base, n, k);
                denominators(&kernels, Denominators { rule: &first, group, a, z: z[0], out }).expect("fits");
                let a = if exists { other } else { MatRef::new(&[], n, 0) };
                let (base, c) = (MatRef::new(&base, n, k), MatMut::new(c, n, k));
                let rule = &second;
                let operands =
                    Ratios { shared, rule, group, base, a, z: z[1], r_out, c, absorbed: &mut absorbed };
                ratios(&kernels, operands).expect("fits");
            }
            let c: Vec<MatRef> = c.iter().map(|c| MatRef::new(c, n, k)).collect();
            let mut found = Vec::new();
            for (side, (rule, a)) in [(&first, a), (&second, other)].into_iter().enumerate() {
                let mut r_of = vec![f32::NAN; a.rows * a.cols];
                let r_in = MatMut::new(&mut r_of, a.rows, a.cols);
                messages(&kernels, Messages { rule, c: &c, a, r_in }).expect("fits");
                if side == 0 || exists {
                    assert_close(&name, &r_of, &want[side], 2e-4);
                }
                found.extend(r_of);
            }
            assert_absorbed(&name, &absorbed, &want_absorbed, &r);
            bits.check(&kernels, &name, &found);
        }
    }
}

#[test]
fn a_second_group_of_another_shape_is_refused_before_the_first_is_written() {
    let rule = &packed(&Rule::alpha_beta(2.0, 1.0), &[1.0; 6], 3, 2);
    let (ones, mut r_in) = ([1.0; 3], [5.0; 3]);
    let (fits, other) = (MatRef::new(&ones, 1, 2), MatRef::new(&ones, 1, 3));
    let mut refused = |c: &[MatRef]| {
        let (a, out) = (MatRef::new(&ones, 1, 3), MatMut::new(&mut r_in, 1, 3));
        let found = messages(&Kernels::default(), Messages { rule, c, a, r_in: out });
        found.expect_err("does not fit").to_string()
    };
    assert_eq!(refused(&[fits, other]), "messages: axis K is 3 in `c`, 2 expected");
    assert_eq!(refused(&[fits]), "messages: axis groups is 1 in `c`, 2 expected");
    assert_eq!(r_in, [5.0; 3]);
}

#[test]
fn groups_that_a_rule_does_not_have_are_not_its_own() {
    let rule = &packed(&Rule::z_plus(), &[1.0], 1, 1);
    let (one, mut out) = ([1.0], [5.0]);
    let a = MatRef::new(&one, 1, 1);
    for kernels in kernel_sets() {
        let to = MatMut::new(&mut out, 1, 1);
        denominators(&kernels, Denominators { rule, group: 1, a, z: None, out: to }).expect("fits");
        assert_eq!(out, [0.0], "no part in the denominator");
        let (base, mut c) = ([3.0], [0.0]);
        let operands = Ratios {
            shared: SharedGroup { coefficient: -1.0, ..SHARED },
            rule,
            group: 1,
            base: MatRef::new(&base, 1, 1),
            a,
            z: None,
            r_out: a,
            c: MatMut::new(&mut c, 1, 1),
            absorbed: &mut [0.0],
        };
        ratios(&kernels, operands).expect("fits");
        assert_eq!(c, [-1.0 / 3.0]);
        let (c, mut r_in) = ([a, MatRef::new(&[f32::NAN], 1, 1)], [0.0]);
        messages(&kernels, Messages { rule, c: &c, a, r_in: MatMut::new(&mut r_in, 1, 1) }).expect("fits");
        assert_eq!(r_in, [1.0], "no part in its ratios");
    }
}

#[test]
fn outputs_without_columns_absorb_nothing_wherever_their_rows_start() {
    let rule = &PackedRule::dense(&Rule::z_plus(), Panels::new(&[], 1, 0));
    let (a, none, map) = ([1.0; 2], [0.0; 0], Rows::linear(3));
    let (a, base) = (MatRef::new(&a, 2, 1), MatRef::mapped(&none, 2, 0, map));
    let (mut c, mut absorbed) = ([0.0; 0], [0.0; 2]);
    let c = MatMut::mapped(&mut c, 2, 0, map);
    let (shared, r_out, absorbed_by) = (SHARED, base, &mut absorbed);
    let operands = Ratios { shared, rule, group: 0, base, a, z: None, r_out, c, absorbed: absorbed_by };
    ratios(&Kernels::default(), operands).expect("fits");
    assert_eq!(absorbed, [0.0; 2]);
}

#[test]
fn operands_that_do_not_fit_are_refused_and_nothing_is_written() {
    let rule = &packed(&Rule::z_plus(), &[1.0; 6], 3, 2);
    let ones = [1.0; 8];
    let view = |(rows, cols)| MatRef::new(&ones, rows, cols);
    let refused = |a, base, r_out, c: (usize, usize), absorbed: usize| {
        let (mut of_c, mut absorbed) = ([5.0; 8], vec![7.0; absorbed]);
        let operands = Ratios {
            shared: SHARED,
            rule,
            group: 0,
            base: view(base),
            a: view(a),
            z: None,
            r_out: view(r_out),
            c: MatMut::new(&mut of_c, c.0, c.1),
            absorbed: &mut absorbed,
        };
        let found = ratios(&Kernels::default(), operands);
        assert_eq!(of_c, [5.0; 8]);
        assert!(absorbed.iter().all(|&a| a == 7.0));
        found.expect_err("does not fit").to_string()
    };
    let message = |what: &str| format!("ratios: axis {what} expected");
    assert_eq!(refused((1, 4), (1, 2), (1, 2), (1, 2), 1), message("J is 3 in `rule`, 4"));
    assert_eq!(refused((2, 3), (1, 2), (1, 2), (1, 2), 1), message("N is 2 in `a`, 1"));
    assert_eq!(refused((1, 3), (1, 3), (1, 2), (1, 2), 1), message("K is 3 in `base`, 2"));
    assert_eq!(refused((1, 3), (1, 2), (2, 2), (1, 2), 1), message("N is 2 in `r_out`, 1"));
    assert_eq!(refused((1, 3), (1, 2), (1, 2), (1, 3), 1), message("K is 3 in `c`, 2"));
    assert_eq!(refused((1, 3), (1, 2), (1, 2), (1, 2), 2), message("N is 2 in `absorbed`, 1"));
    let refused = |a, out: (usize, usize)| {
        let mut of_out = [5.0; 8];
        let out = MatMut::new(&mut of_out, out.0, out.1);
        let found =
            denominators(&Kernels::default(), Denominators { rule, group: 0, a: view(a), z: None, out });
        assert_eq!(of_out, [5.0; 8]);
        found.expect_err("does not fit").to_string()
    };
    let message = |what: &str| format!("denominators: axis {what} expected");
    assert_eq!(refused((1, 4), (1, 2)), message("J is 3 in `rule`, 4"));
    assert_eq!(refused((2, 3), (1, 2)), message("N is 1 in `out`, 2"));
    assert_eq!(refused((1, 3), (1, 3)), message("K is 3 in `out`, 2"));
}

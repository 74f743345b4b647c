use super::super::{EPS, Group, InputMap, PackedRule, Relevance, Rule, Stabiliser, Term, relevance};
use super::{RULES, assert_absorbed, packed, reference, rules};
use crate::gemm::pack::{self, Part};
use crate::layout::{MatMut, MatRef, Rows};
use crate::matmul::gemm;
use crate::panels::Panels;
use crate::testing::{SameBits, assert_close, floats, kernel_sets};
use crate::{ConvShape, Epilogue, Init, Kernels, ShapeError};
use proptest::prelude::*;

/// A rule's call, with operands row by row.
struct Call<'a> {
    rule: &'a PackedRule,
    a: MatRef<'a>,
    z: Option<MatRef<'a>>,
    r_out: MatRef<'a>,
}

impl Call<'_> {
    /// Relevance of the inputs, and what was absorbed.
    fn run(&self, kernels: &Kernels) -> Result<(Vec<f32>, Vec<f64>), ShapeError> {
        let Call { rule, a, z, r_out } = *self;
        let (mut found, mut absorbed) = (vec![f32::NAN; a.rows * a.cols], vec![0.0; a.rows]);
        let r_in = MatMut::new(&mut found, a.rows, a.cols);
        relevance(kernels, Relevance { rule, a, z, r_out, r_in, absorbed: &mut absorbed })?;
        Ok((found, absorbed))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_is_its_definition(
        which in 0..RULES, n in 0usize..110, more in 0usize..80, k in 1usize..80, gap in 0usize..3, dead in 0usize..80,
        seed in 1u64..1000,
    ) {
        let case = &rules()[which];
        let j = case.fewest_inputs() + more;
        let stride = j + gap;
        let w = case.weights(j, k, dead % k, seed);
        let (a, r) = (case.inputs(n * stride, seed + 1), floats(n * k, seed + 2));
        let (want, want_absorbed) =
            reference(&r, n, |i, r| crate::reference::relevance(&case.rule, &a[i * stride..][..j], &w, r));
        let panels = pack::pack(&w, j, k);
        let panels = Panels::new(&panels, j, k);
        let rule = &PackedRule::dense(&case.rule, panels);
        let (a, r_out) = (MatRef::mapped(&a, n, j, Rows::linear(stride)), MatRef::new(&r, n, k));
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let mut z = vec![0.0; n * k];
            gemm(&kernels, a, panels, Init::Zero, Epilogue::Store, MatMut::new(&mut z, n, k)).expect("fits");
            let before = z.clone();
            let (mut r_in, mut absorbed) = (vec![f32::NAN; n * stride], vec![0.0; n]);
            let out = MatMut::mapped(&mut r_in, n, j, Rows::linear(stride));
            let z_of = rule.reads_forward().then_some(MatRef::new(&z, n, k));
            let operands = Relevance { rule, a, z: z_of, r_out, r_in: out, absorbed: &mut absorbed };
            relevance(&kernels, operands).expect("fits");
            let (found, between): (Vec<_>, Vec<_>) =
                r_in.iter().enumerate().partition(|(at, _)| at % stride < j);
            let found: Vec<f32> = found.into_iter().map(|(_, &r)| r).collect();
            assert_close(case.name, &found, &want, 1e-4);
            prop_assert!(between.iter().all(|(_, r)| r.is_nan()), "written between the rows");
            assert_absorbed(case.name, &absorbed, &want_absorbed, &r);
            prop_assert_eq!(z, before, "the forward product is read");
            bits.check(&kernels, case.name, &found);
        }
    }
}

#[test]
fn relevance_is_conserved_but_for_what_is_absorbed() {
    let (n, j, k) = (7, 40, 33);
    for case in rules() {
        let (a, w, r) = (case.inputs(n * j, 1), case.weights(j, k, 5, 2), floats(n * k, 3));
        let rule = &packed(&case.rule, &w, j, k);
        let z: Vec<f32> = crate::reference::gemm(&a, &w, n, k, j).into_iter().map(|z| z as f32).collect();
        let (a, r_out) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k));
        let call = Call { rule, a, z: Some(MatRef::new(&z, n, k)), r_out };
        let coefficients: f64 = case.rule.groups.iter().map(|group| f64::from(group.coefficient)).sum();
        for kernels in kernel_sets() {
            let (r_in, absorbed) = call.run(&kernels).expect("fits");
            for i in 0..n {
                let sum = |x: &[f32]| x.iter().map(|&x| f64::from(x)).sum::<f64>();
                let (into, out_of) = (sum(&r_in[i * j..][..j]), coefficients * sum(&r[i * k..][..k]));
                assert!((into + absorbed[i] - out_of).abs() < 1e-3, "{}: {into} {out_of}", case.name);
            }
        }
    }
}

#[test]
fn alpha_1_and_beta_0_are_z_plus() {
    assert_eq!(Rule::alpha_beta(1.0, 0.0), Rule::z_plus());
    assert_eq!(Rule::z_plus().groups.len(), 1);
}

#[test]
fn gamma_0_is_epsilon() {
    let (n, j, k) = (50, 40, 33);
    let (a, w, r) = (floats(n * j, 1), floats(j * k, 2), floats(n * k, 3));
    let (a, r_out) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k));
    let [epsilon, gamma] = [Rule::epsilon(1e-6), Rule::gamma(0.0, 1e-6)].map(|rule| packed(&rule, &w, j, k));
    for kernels in kernel_sets() {
        let of = |rule| Call { rule, a, z: None, r_out }.run(&kernels).expect("fits");
        assert_eq!(of(&epsilon), of(&gamma), "{kernels:?}");
    }
}

#[test]
fn a_dead_unit_absorbs_its_relevance_and_gives_no_nan() {
    // Unit 0 has no positive weight; unit 1 has one, but its input is 0.
    let rule = &packed(&Rule::z_plus(), &[-1.0, 0.0, -0.0, 2.0], 2, 2);
    let (a, r) = ([1.0, 0.0], [3.0, 4.0]);
    for kernels in kernel_sets() {
        let (mut r_in, mut absorbed) = ([f32::NAN; 2], [1.0]);
        let (a, r_out) = (MatRef::new(&a, 1, 2), MatRef::new(&r, 1, 2));
        let out = MatMut::new(&mut r_in, 1, 2);
        let operands = Relevance { rule, a, z: None, r_out, r_in: out, absorbed: &mut absorbed };
        relevance(&kernels, operands).expect("fits");
        assert_eq!(r_in, [0.0; 2], "{kernels:?}");
        assert!((absorbed[0] - 8.0).abs() < 1e-6, "1 was absorbed before, 3 + 4 now: {absorbed:?}");
    }
}

#[test]
fn a_unit_without_weights_of_a_sign_absorbs_that_share_and_gives_no_nan() {
    // Unit 0 has only negative weights, unit 1 only positive ones: shares of 2·3 and −1·4 reach no input.
    let rule = &packed(&Rule::alpha_beta(2.0, 1.0), &[-1.0, 2.0, -3.0, 2.0], 2, 2);
    let (a, r) = ([1.0, 1.0], [3.0, 4.0]);
    let (a, r_out) = (MatRef::new(&a, 1, 2), MatRef::new(&r, 1, 2));
    for kernels in kernel_sets() {
        let (r_in, absorbed) = Call { rule, a, z: None, r_out }.run(&kernels).expect("fits");
        assert_close("αβ", &r_in, &[4.0 - 0.75, 4.0 - 2.25], 1e-6);
        assert!((absorbed[0] - 2.0).abs() < 1e-6, "{absorbed:?}");
    }
}

#[test]
fn a_unit_without_weights_absorbs_its_relevance_under_w_square_and_gives_no_nan() {
    let rule = &packed(&Rule::w_square(), &[0.0, 1.0, -0.0, -2.0], 2, 2);
    let (a, r) = ([7.0; 2], [3.0, 5.0]);
    let (a, r_out) = (MatRef::new(&a, 1, 2), MatRef::new(&r, 1, 2));
    for kernels in kernel_sets() {
        let (r_in, absorbed) = Call { rule, a, z: None, r_out }.run(&kernels).expect("fits");
        assert_eq!(r_in, [1.0, 4.0], "{kernels:?}");
        assert!((absorbed[0] - 3.0).abs() < 1e-6, "{absorbed:?}");
    }
}

#[test]
fn the_flat_rule_gives_every_input_the_same_whatever_it_is() {
    let rule = &packed(&Rule::flat(), &[0.0, 1.0, -0.0, f32::MAX, 3.0, -2.0], 3, 2);
    let (a, r) = ([0.0, f32::NAN, -1e30], [3.0, 6.0]);
    let (a, r_out) = (MatRef::new(&a, 1, 3), MatRef::new(&r, 1, 2));
    for kernels in kernel_sets() {
        let (r_in, _) = Call { rule, a, z: None, r_out }.run(&kernels).expect("fits");
        assert_close("flat", &r_in, &[3.0; 3], 1e-6);
    }
}

#[test]
fn a_denominator_of_zero_is_stabilised_with_a_positive_sign() {
    // Unit 0 has z = 1 − 1, unit 1 has z = −0, unit 2 z = −2.
    let w = [1.0, -0.0, -1.0, -1.0, -0.0, -1.0];
    let rule = &packed(&Rule::epsilon(0.5), &w, 2, 3);
    let (a, r) = ([1.0, 1.0], [4.0, 8.0, 5.0]);
    let (a, r_out) = (MatRef::new(&a, 1, 2), MatRef::new(&r, 1, 3));
    for kernels in kernel_sets() {
        let (r_in, absorbed) = Call { rule, a, z: None, r_out }.run(&kernels).expect("fits");
        assert_eq!(r_in, [4.0 / 0.5 + 2.0, -4.0 / 0.5 + 2.0], "{kernels:?}");
        assert!((absorbed[0] - (4.0 + 8.0 + 1.0)).abs() < 1e-6, "{absorbed:?}");
    }
}

#[test]
fn pixels_at_their_root_point_pass_on_no_relevance() {
    // Every pixel is l if its weight is positive and h if it is negative: z − v is exactly 0.
    let (j, k) = (28, 40);
    let column: Vec<f32> = floats(j, 9);
    let w: Vec<f32> = column.iter().flat_map(|&w| vec![w; k]).collect();
    let x: Vec<f32> = column.iter().map(|&w| if w > 0.0 { -1.0 } else { 1.0 }).collect();
    let panels = pack::pack(&w, j, k);
    let panels = Panels::new(&panels, j, k);
    let rule = &PackedRule::dense(&Rule::z_beta(-1.0, 1.0), panels);
    for kernels in kernel_sets().into_iter().filter(|kernels| kernels.promises_bits()) {
        let (a, mut z, r) = (MatRef::new(&x, 1, j), vec![0.0; k], vec![1.0; k]);
        gemm(&kernels, a, panels, Init::Zero, Epilogue::Store, MatMut::new(&mut z, 1, k)).expect("fits");
        let call = Call { rule, a, z: Some(MatRef::new(&z, 1, k)), r_out: MatRef::new(&r, 1, k) };
        let (r_in, absorbed) = call.run(&kernels).expect("fits");
        assert!(r_in.iter().all(|&r| r == 0.0), "{r_in:?}");
        assert!((absorbed[0] - k as f64).abs() < 1e-4, "{}", absorbed[0]);
    }
}

#[test]
fn a_non_finite_relevance_reaches_every_input_of_its_sample_alone() {
    let (n, j, k) = (3, 20, 17);
    for case in rules() {
        let (a, w, mut r) = (vec![0.5; n * j], case.weights(j, k, 5, 2), floats(n * k, 3));
        r[k + 4] = f32::NAN;
        let rule = &packed(&case.rule, &w, j, k);
        let z: Vec<f32> = crate::reference::gemm(&a, &w, n, k, j).into_iter().map(|z| z as f32).collect();
        let (a, r_out) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k));
        let call = Call { rule, a, z: Some(MatRef::new(&z, n, k)), r_out };
        for kernels in kernel_sets() {
            let (r_in, absorbed) = call.run(&kernels).expect("fits");
            assert!(r_in[j..2 * j].iter().all(|r| r.is_nan()), "{} {kernels:?}", case.name);
            assert!(r_in[..j].iter().chain(&r_in[2 * j..]).all(|r| r.is_finite()), "{}", case.name);
            assert!(absorbed[1].is_nan() && absorbed[0].is_finite() && absorbed[2].is_finite());
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused_and_r_in_stays() {
    type Sizes = (usize, usize);
    let refused = |rule: &Rule, a: Sizes, z: Option<Sizes>, r: Sizes, out: Sizes, absorbed: usize| {
        let rule = &packed(rule, &[1.0; 6], 3, 2);
        let (ones, mut r_in, mut absorbed) = ([1.0; 8], [5.0; 8], vec![7.0; absorbed]);
        let view = |(rows, cols)| MatRef::new(&ones, rows, cols);
        let r_in_view = MatMut::new(&mut r_in, out.0, out.1);
        let operands = Relevance {
            rule,
            a: view(a),
            z: z.map(view),
            r_out: view(r),
            r_in: r_in_view,
            absorbed: &mut absorbed,
        };
        let found = relevance(&Kernels::default(), operands);
        assert_eq!(r_in, [5.0; 8]);
        assert!(absorbed.iter().all(|&a| a == 7.0));
        found.expect_err("does not fit").to_string()
    };
    for rule in [Rule::z_plus(), Rule::alpha_beta(2.0, 1.0), Rule::w_square(), Rule::epsilon(1e-6)] {
        let refused = |a, r, out, absorbed| refused(&rule, a, None, r, out, absorbed);
        assert_eq!(refused((1, 4), (1, 2), (1, 4), 1), "relevance: axis J is 3 in `rule`, 4 expected");
        assert_eq!(refused((1, 3), (1, 3), (1, 3), 1), "relevance: axis K is 2 in `rule`, 3 expected");
        assert_eq!(refused((2, 3), (1, 2), (2, 3), 2), "relevance: axis N is 1 in `r_out`, 2 expected");
        assert_eq!(refused((1, 3), (1, 2), (1, 2), 1), "relevance: axis J is 2 in `r_in`, 3 expected");
        assert_eq!(refused((1, 3), (1, 2), (2, 3), 1), "relevance: axis N is 2 in `r_in`, 1 expected");
        assert_eq!(refused((1, 3), (1, 2), (1, 3), 2), "relevance: axis N is 2 in `absorbed`, 1 expected");
    }
    let refused = |z| refused(&Rule::z_beta(-1.0, 1.0), (1, 3), z, (1, 2), (1, 3), 1);
    assert_eq!(refused(None), "relevance: axis N is 0 in `z`, 1 expected");
    assert_eq!(refused(Some((2, 2))), "relevance: axis N is 2 in `z`, 1 expected");
    assert_eq!(refused(Some((1, 3))), "relevance: axis K is 3 in `z`, 2 expected");
}

#[test]
fn the_rule_of_a_convolution_is_not_that_of_a_dense_layer() {
    let shape = ConvShape { rows: 3, cols: 3, size: 3, inputs: 2, outputs: 3 };
    let (kernels, w) = (Kernels::default(), pack::pack(&[0.5; 54], 18, 3));
    let rule = &PackedRule::conv(&kernels, &Rule::z_plus(), &shape, Panels::new(&w, 18, 3)).expect("fits");
    let (a, r, mut r_in) = ([1.0; 18], [1.0; 3], [7.0; 18]);
    let (a, r_out, out) = (MatRef::new(&a, 1, 18), MatRef::new(&r, 1, 3), MatMut::new(&mut r_in, 1, 18));
    let found = relevance(&kernels, Relevance { rule, a, z: None, r_out, r_in: out, absorbed: &mut [0.0] });
    assert_eq!(
        found.expect_err("another layer").to_string(),
        "relevance: a rule prepared for a convolution, one for a dense layer expected"
    );
    assert_eq!(r_in, [7.0; 18]);
}

#[test]
fn layers_without_inputs_or_outputs_are_no_work() {
    for case in rules() {
        for (j, k) in [(0, 3), (3, 0), (0, 0)] {
            let rule = &packed(&case.rule, &[0.5; 9][..j * k], j, k);
            let ones = [1.0; 6];
            let (a, r_out) = (MatRef::new(&ones, 2, j), MatRef::new(&ones, 2, k));
            for kernels in kernel_sets() {
                let (r_in, _) = Call { rule, a, z: Some(r_out), r_out }.run(&kernels).expect("fits");
                assert!(r_in.iter().all(|&r| r == 0.0), "{r_in:?}");
            }
        }
    }
}

#[test]
fn a_rule_of_its_own_is_taken() {
    // z^β with one bound is the product of x − b with all of w, also with its terms exchanged.
    let term = |bound, weight| Term { input: InputMap::Minus(bound), weight };
    let of = |terms| Rule {
        groups: vec![Group { coefficient: 1.0, terms, stabiliser: Stabiliser::Constant(EPS) }],
    };
    let (j, k) = (20, 9);
    let (x, w, r) = (floats(j, 1), floats(j * k, 2), floats(k, 3));
    let z: Vec<f32> = crate::reference::gemm(&x, &w, 1, k, j).into_iter().map(|z| z as f32).collect();
    let wide: Vec<f64> = r.iter().map(|&r| f64::from(r)).collect();
    for rule in [
        of(vec![term(-2.0, Part::All)]),
        of(vec![term(3.0, Part::Negative), term(-2.0, Part::Positive)]),
        of(vec![term(3.0, Part::Negative), Term { input: InputMap::Value, weight: Part::Positive }]),
    ] {
        let (want, _) = crate::reference::relevance(&rule, &x, &w, &wide);
        let rule = &packed(&rule, &w, j, k);
        assert!(rule.reads_forward());
        let (a, z, r_out) = (MatRef::new(&x, 1, j), MatRef::new(&z, 1, k), MatRef::new(&r, 1, k));
        for kernels in kernel_sets() {
            let (r_in, _) = Call { rule, a, z: Some(z), r_out }.run(&kernels).expect("fits");
            assert_close("a rule of its own", &r_in, &want, 1e-4);
        }
    }
}

#[test]
#[should_panic(expected = "no product, forward product or constant")]
fn terms_without_a_kernel_for_their_denominator_panic() {
    let term = |input, weight| Term { input, weight };
    let terms = vec![term(InputMap::Value, Part::Square), term(InputMap::One, Part::Square)];
    let group = Group { coefficient: 1.0, terms, stabiliser: Stabiliser::Constant(EPS) };
    packed(&Rule { groups: vec![group] }, &[1.0], 1, 1);
}

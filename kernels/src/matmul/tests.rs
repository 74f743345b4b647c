//! Products against their reference implementations, on every backend and thread count.

use super::*;
use crate::dropout::Dropout;
use crate::gemm::pack;
use crate::gemm::pack::{PackedWeights, Part as WeightPart, transpose, unpack};
use crate::gemm::problem::Stabiliser;
use crate::reference;
use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
use proptest::prelude::*;

fn softplus_free_bias(n: usize, seed: u64) -> Vec<f32> {
    let mut bias = floats(n, seed);
    bias.resize(n.next_multiple_of(STRIP), 0.0);
    bias
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_backend_and_thread_count_gives_the_bits_of_mul_add(
        m in 0usize..40, n in 1usize..120, k in 0usize..70, seed in 1u64..1000,
    ) {
        let (a, b, init) = (floats(m * k, seed), floats(k * n, seed + 1), floats(m * n, seed + 2));
        let want = reference::gemm_mul_add(&a, &b, &init, m, n, k);
        let exact = reference::gemm(&a, &b, m, n, k);
        let packed = pack::pack(&b, k, n);
        for kernels in kernel_sets() {
            let mut c = init.clone();
            let (view, panels) = (MatRef::new(&a, m, k), Panels::new(&packed, k, n));
            gemm(&kernels, view, panels, Init::Accumulate, Epilogue::Store, MatMut::new(&mut c, m, n)).expect("fits");
            if kernels.promises_bits() {
                prop_assert!(c.iter().zip(&want).all(|(c, w)| c.to_bits() == w.to_bits()), "{:?}", kernels.backend());
            }
            let base = MatRef::new(&init, m, n);
            let mut from = vec![f32::NAN; m * n];
            gemm(&kernels, view, panels, Init::Copy(base), Epilogue::Store, MatMut::new(&mut from, m, n)).expect("fits");
            prop_assert_eq!(&from, &c);
            let mut zero = vec![f32::NAN; m * n];
            gemm(&kernels, view, panels, Init::Zero, Epilogue::Store, MatMut::new(&mut zero, m, n)).expect("fits");
            assert_close("gemm", &zero, &exact, 1e-5);
        }
    }

    #[test]
    fn every_backend_gives_the_same_weight_gradient(
        m in 1usize..40, n in 1usize..70, k in 1usize..40, first in 0usize..5, seed in 1u64..1000,
    ) {
        let (a, dy) = (floats(m * k, seed), floats(m * n, seed + 1));
        let want = reference::gemm(&reference::transposed(&a, m, k), &dy, k, n, m);
        let total = first + k + 2;
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let mut dw = vec![7.0; panels_len(total, n)];
            let (a, dy) = (MatRef::new(&a, m, k), MatRef::new(&dy, m, n));
            gemm_tn(&kernels, WeightGradient { a, d_y: dy, accumulate: false, d_w: &mut dw, rows: total, first_row: first }).expect("fits");
            let rows = unpack(Panels::new(&dw, total, n).rows(first, first + k));
            assert_close("gemm_tn", &rows, &want, 1e-5);
            prop_assert!((0..n).all(|j| Panels::new(&dw, total, n).at(first + k, j) == 7.0));
            bits.check(&kernels, "gemm_tn", &dw);
            gemm_tn(&kernels, WeightGradient { a, d_y: dy, accumulate: true, d_w: &mut dw, rows: total, first_row: first }).expect("fits");
            let twice: Vec<f64> = want.iter().map(|w| 2.0 * w).collect();
            assert_close("gemm_tn add", &unpack(Panels::new(&dw, total, n).rows(first, first + k)), &twice, 1e-5);
        }
    }

    #[test]
    fn every_epilogue_agrees_with_its_equation(
        m in 1usize..20, n in 1usize..70, k in 1usize..30, seed in 1u64..1000,
    ) {
        let (x, b) = (floats(m * k, seed), floats(k * n, seed + 1));
        let s = reference::gemm(&x, &b, m, n, k);
        let packed = pack::pack(&b, k, n);
        let bias = softplus_free_bias(n, seed + 2);
        let (a, old) = (activations(m * n, seed + 3), floats(m * n, seed + 4));
        let at = MatRef::new(&a, m, n);
        let dropout = Dropout::new(0.5, seed);
        let with_bias = |i: usize| s[i] + f64::from(bias[i % n]);
        type Expected<'t> = Box<dyn Fn(usize) -> f64 + 't>;
        let cases: Vec<(Epilogue, Expected)> = vec![
            (Epilogue::Store, Box::new(|i| s[i])),
            (Epilogue::Bias(&bias), Box::new(with_bias)),
            (Epilogue::BiasRelu(&bias), Box::new(|i| with_bias(i).max(0.0))),
            (Epilogue::BiasReluDropout(&bias, dropout),
                Box::new(|i| with_bias(i).max(0.0) * f64::from(dropout.factor(i as u64)))),
            (Epilogue::ReluGradient { a: at, scale: 2.0, guided: false },
                Box::new(|i| if a[i] > 0.0 { 2.0 * s[i] } else { 0.0 })),
            (Epilogue::ReluGradient { a: at, scale: 1.0, guided: true },
                Box::new(|i| if a[i] > 0.0 { s[i].max(0.0) } else { 0.0 })),
            (Epilogue::Ratio { r: at, coefficient: -2.0, stabiliser: Stabiliser::Constant(100.0) },
                Box::new(|i| -2.0 * f64::from(a[i]) / (s[i] + 100.0))),
            (Epilogue::Ratio { r: at, coefficient: 1.0, stabiliser: Stabiliser::Signed(2.0) },
                Box::new(|i| f64::from(a[i]) / (s[i] + if s[i] < 0.0 { -2.0 } else { 2.0 }))),
            (Epilogue::Times { a: at, shift: 0.25, add: false },
                Box::new(|i| s[i] * (f64::from(a[i]) - 0.25))),
            (Epilogue::Times { a: at, shift: -1.0, add: true },
                Box::new(|i| f64::from(old[i]) + s[i] * (f64::from(a[i]) + 1.0))),
        ];
        for (epilogue, expected) in cases {
            let want: Vec<f64> = (0..m * n).map(&expected).collect();
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let mut c = old.clone();
                let out = MatMut::new(&mut c, m, n);
                gemm(&kernels, MatRef::new(&x, m, k), Panels::new(&packed, k, n), Init::Zero, epilogue, out).expect("fits");
                assert_close(&format!("{epilogue:?}"), &c, &want, 1e-5);
                bits.check(&kernels, "epilogue", &c);
            }
        }
    }
}

#[test]
fn a_bias_without_padding_gives_the_same_bits() {
    let (m, n, k) = (5, 21, 7);
    let (a, b, bias) = (floats(m * k, 1), floats(k * n, 2), softplus_free_bias(n, 3));
    let w = PackedWeights::new(&b, k, n).expect("fits");
    for kernels in kernel_sets() {
        let [padded, exact] = [&bias[..], &bias[..n]].map(|bias| {
            let mut c = vec![f32::NAN; m * n];
            let (a, out) = (MatRef::new(&a, m, k), MatMut::new(&mut c, m, n));
            gemm(&kernels, a, w.panels(), Init::Zero, Epilogue::BiasRelu(bias), out).expect("fits");
            c
        });
        assert_eq!(padded, exact, "{}", kernels.name());
    }
}

/// Forms of weights follow their versions, and are those of their rows: every backend gives the same sums with a cache
/// and without.
#[test]
fn prepacked_weights_give_the_sums_of_their_present_version() {
    let (m, n, k) = (5, 37, 22);
    let a = floats(m * k, 1);
    for kernels in kernel_sets() {
        let mut w = PackedWeights::zeroed(k, n);
        for version in 0..3 {
            w.update(|to| to.copy_from_slice(&pack::pack(&floats(k * n, 10 + version), k, n)));
            let plain = pack::pack(&unpack(w.panels()), k, n);
            for (from, to) in [(0, k), (0, 9), (9, k), (4, 4), (0, k)] {
                let part = MatRef::mapped(&a[from..], m, to - from, Rows::linear(k));
                let [cached, without] = [w.panels(), Panels::new(&plain, k, n)].map(|w| {
                    let mut c = vec![0.5; m * n];
                    let out = MatMut::new(&mut c, m, n);
                    gemm(&kernels, part, w.rows(from, to), Init::Accumulate, Epilogue::Store, out)
                        .expect("fits");
                    c
                });
                assert_eq!(cached, without, "{} rows {from}..{to}, version {version}", kernels.name());
            }
        }
    }
}

#[test]
fn a_sum_split_between_two_calls_has_the_bits_of_one() {
    let (m, n, k) = (9, 50, 41);
    let (a, b) = (floats(m * k, 1), floats(k * n, 2));
    let packed = pack::pack(&b, k, n);
    let panels = Panels::new(&packed, k, n);
    let kernels = Kernels::default();
    let (mut one, mut two) = (vec![0.0; m * n], vec![0.0; m * n]);
    gemm(&kernels, MatRef::new(&a, m, k), panels, Init::Zero, Epilogue::Store, MatMut::new(&mut one, m, n))
        .expect("fits");
    for (from, to, init) in [(0, 17, Init::Zero), (17, 41, Init::Accumulate)] {
        let part = MatRef::mapped(&a[from..], m, to - from, Rows::linear(k));
        gemm(&kernels, part, panels.rows(from, to), init, Epilogue::Store, MatMut::new(&mut two, m, n))
            .expect("fits");
    }
    assert_eq!(one, two);
}

#[test]
fn nan_and_infinity_reach_the_result() {
    let packed = pack::pack(&[1.0, f32::NAN, f32::INFINITY], 1, 3);
    for kernels in kernel_sets() {
        let mut c = [0.0; 3];
        let (a, w) = (MatRef::new(&[0.0], 1, 1), Panels::new(&packed, 1, 3));
        gemm(&kernels, a, w, Init::Zero, Epilogue::Store, MatMut::new(&mut c, 1, 3)).expect("fits");
        assert!(c[0] == 0.0 && c[1].is_nan() && c[2].is_nan());
    }
}

#[test]
fn operands_of_inconsistent_shapes_are_refused_and_c_stays() {
    let w = pack::pack(&[1.0; 6], 3, 2);
    let mut c = [5.0; 2];
    let a = MatRef::new(&[1.0; 4], 1, 4);
    let found = gemm(
        &Kernels::default(),
        a,
        Panels::new(&w, 3, 2),
        Init::Zero,
        Epilogue::Store,
        MatMut::new(&mut c, 1, 2),
    );
    assert_eq!(found.expect_err("K differs").to_string(), "gemm: axis K is 3 in `b`, 4 expected");
    assert_eq!(c, [5.0; 2]);
}

#[test]
fn a_transposed_panel_gives_the_input_gradient() {
    let (m, n, k) = (7, 33, 20);
    let (dy, w) = (floats(m * n, 3), floats(k * n, 4));
    let packed = pack::pack(&w, k, n);
    let mut t = vec![0.0; panels_len(n, k)];
    transpose(Panels::new(&packed, k, n), WeightPart::All, &mut t);
    let want = reference::gemm(&dy, &reference::transposed(&w, k, n), m, k, n);
    let mut dx = vec![0.0; m * k];
    gemm(
        &Kernels::default(),
        MatRef::new(&dy, m, n),
        Panels::new(&t, n, k),
        Init::Zero,
        Epilogue::Store,
        MatMut::new(&mut dx, m, k),
    )
    .expect("fits");
    assert_close("dx", &dx, &want, 1e-5);
}

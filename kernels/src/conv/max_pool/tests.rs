//! Convolution + max-pool against its dense reference implementations, at shapes around every register and
//! window size.

use super::*;
use crate::conv::im2col::im2col;
use crate::conv::{Conv, conv};
use crate::exec::Kernels;
use crate::gemm::pack::{self, Part};
use crate::gemm::problem::{Epilogue, Init};
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef, STRIP};
use crate::panels::Panels;
use crate::reference::{self, Input};
use crate::relevance::{PackedRule, RelevanceConvMaxPool, Rule, relevance_conv_max_pool};
use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
use proptest::prelude::*;

/// A layer, a batch, and the operands of the dense reference implementations.
struct Case {
    shape: ConvPoolShape,
    images: usize,
    /// Without and with a border.
    x: Vec<f32>,
    padded: Vec<f32>,
    w: Vec<f32>,
    packed: Vec<f32>,
    bias: Vec<f32>,
    /// `[images·windows, outputs]`
    v: Vec<f32>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} images of {:?}", self.images, self.shape)
    }
}

impl Case {
    fn new(shape: ConvPoolShape, images: usize, seed: u64) -> Case {
        let conv = shape.conv;
        let x = activations(images * conv.rows * conv.cols * conv.inputs, seed);
        let w = floats(conv.patch() * conv.outputs, seed + 1);
        let mut bias = floats(conv.outputs.next_multiple_of(STRIP), seed + 2);
        bias.iter_mut().for_each(|b| *b = -0.1 * b.abs());
        // The gradient of some windows is 0.
        let mut v = floats(images * shape.windows() * conv.outputs, seed + 3);
        v.iter_mut().skip(seed as usize % 3).step_by(3).for_each(|v| *v = 0.0);
        Case {
            padded: conv.input().padded(&x, images),
            packed: pack::pack(&w, conv.patch(), conv.outputs),
            v,
            shape,
            images,
            x,
            w,
            bias,
        }
    }

    fn panels(&self) -> Panels<'_> {
        Panels::new(&self.packed, self.shape.conv.patch(), self.shape.conv.outputs)
    }

    fn rows(&self) -> usize {
        self.images * self.shape.windows()
    }

    /// Pooled values, argmax positions, and the sums there.
    fn forward(&self, kernels: &Kernels) -> (Vec<f32>, MaxIndices, Vec<f32>) {
        let len = self.v.len();
        let (mut y, mut z, mut max_indices) =
            (vec![f32::NAN; len], vec![f32::NAN; len], MaxIndices::new(&self.shape, self.images));
        let out = MatMut::new(&mut y, self.rows(), self.shape.conv.outputs);
        let (x, w) = (&self.padded, self.panels());
        conv_max_pool(
            kernels,
            ConvMaxPool {
                shape: &self.shape,
                x,
                images: self.images,
                w,
                bias: &self.bias,
                y: out,
                max_indices: &mut max_indices,
                z: Some(&mut z),
            },
        )
        .expect("fits");
        (y, max_indices, z)
    }

    /// The gradient of the windows, scattered to the pixels, `[images·pixels, outputs]`.
    fn dense(&self, max_indices: &MaxIndices) -> Vec<f32> {
        let outputs = self.shape.conv.outputs;
        let mut dense = vec![0.0; self.images * self.shape.conv.output().pixels() * outputs];
        for (i, (&index, &v)) in max_indices.values.iter().zip(&self.v).enumerate() {
            dense[self.shape.pixel(i / outputs, index as usize) * outputs + i % outputs] = v;
        }
        dense
    }

    fn v(&self) -> MatRef<'_> {
        MatRef::new(&self.v, self.rows(), self.shape.conv.outputs)
    }

    /// Runs `make` for the lines of the input.
    fn lines(&self, make: impl FnOnce(MatMut)) -> Vec<f32> {
        let conv = self.shape.conv;
        let mut out = vec![f32::NAN; self.x.len()];
        make(MatMut::new(&mut out, self.images * conv.rows, conv.cols * conv.inputs));
        out
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let image = (1usize..9, 1usize..11, 0usize..4, 1usize..4);
    let channels =
        (prop_oneof![1usize..4, 5usize..36], prop_oneof![1usize..40, Just(8), Just(24), 60usize..90]);
    (image, channels, 1usize..4, 1u64..1000).prop_map(
        |((rows, cols, half, window), (inputs, outputs), images, seed)| {
            let conv = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
            Case::new(ConvPoolShape { conv, window }, images, seed)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn forwards_it_is_convolution_relu_and_pool_to_the_bit(case in cases()) {
        let (conv_shape, outputs) = (case.shape.conv, case.shape.conv.outputs);
        let pixels = case.images * conv_shape.output().pixels();
        let mut bits = [SameBits::default(), SameBits::default(), SameBits::default()];
        for kernels in kernel_sets() {
            let mut sums = vec![f32::NAN; pixels * outputs];
            let out = MatMut::new(&mut sums, pixels, outputs);
            conv(&kernels, Conv { shape: &conv_shape, x: &case.padded, images: case.images, w: case.panels(), init: Init::Zero, epilogue: Epilogue::Store, y: out }).expect("fits");
            let (y, max_indices, z) = case.forward(&kernels);
            // The code for one output channel sums in another order.
            let exact = !kernels.has_external_matmul() && outputs > 1;
            let tolerance = if exact { 0.0 } else { 1e-5 };
            for (i, (&y, &index)) in y.iter().zip(max_indices.values.iter()).enumerate() {
                let (window, o) = (i / outputs, i % outputs);
                let a = |index: usize| (sums[case.shape.pixel(window, index) * outputs + o] + case.bias[o]).max(0.0);
                let at = window % case.shape.windows();
                let (top, left) = (at / case.shape.out_cols() * case.shape.window, at % case.shape.out_cols() * case.shape.window);
                let inside = |index: &usize| {
                    top + index / case.shape.window < conv_shape.rows && left + index % case.shape.window < conv_shape.cols
                };
                let values: Vec<(usize, f32)> = (0..case.shape.window_area()).filter(inside).map(|p| (p, a(p))).collect();
                let most = values.iter().fold(0.0f32, |most, &(_, a)| most.max(a));
                prop_assert!((y - most).abs() <= tolerance, "{y} is not {most}");
                if exact {
                    let first = values.iter().find(|&&(_, a)| a == most).expect("a pixel").0;
                    prop_assert_eq!(index as usize, first);
                    prop_assert_eq!(z[i], sums[case.shape.pixel(window, first) * outputs + o]);
                }
            }
            bits[0].check(&kernels, "y", &y);
            bits[1].check(&kernels, "max_indices", &max_indices.values);
            bits[2].check(&kernels, "z", &z);
        }
    }

    #[test]
    fn backwards_it_is_the_gradient_of_the_dense_reference(case in cases()) {
        let (conv, images) = (case.shape.conv, case.images);
        let (j, k) = (conv.rows * conv.cols * conv.inputs, conv.rows * conv.cols * conv.outputs);
        let dense = reference::conv_as_dense(&conv, &case.w);
        let mut patches = vec![0.0; images * conv.output().pixels() * conv.patch()];
        im2col(&conv, &case.padded, images, &mut patches);
        let pixels = images * conv.output().pixels();
        let mut bits = [SameBits::default(), SameBits::default(), SameBits::default()];
        let (_, max_indices, _) = case.forward(&Kernels::default());
        let d_y = case.dense(&max_indices);
        let d_x = reference::gemm(&d_y, &reference::transposed(&dense, j, k), images, j, k);
        let d_w = reference::gemm(&reference::transposed(&patches, pixels, conv.patch()), &d_y, conv.patch(), conv.outputs, pixels);
        let filters = Filters::new(&case.shape, case.panels(), Part::All, None);
        let a = conv.input().lines_of(&case.padded, images);
        for kernels in kernel_sets() {
            let out = case.lines(|out| {
                conv_max_pool_input_gradient(&kernels, ConvMaxPoolInputGradient { filters: &filters, max_indices: &max_indices, d_h: case.v(), images, epilogues: &[Epilogue::Store], d_x: out }).expect("fits");
            });
            assert_close("input gradient", &out, &d_x, 1e-5);
            bits[0].check(&kernels, "input gradient", &out);
            let relu = [Epilogue::ReluGradient { a, scale: 2.0, guided: true }];
            let out = case.lines(|out| {
                conv_max_pool_input_gradient(&kernels, ConvMaxPoolInputGradient { filters: &filters, max_indices: &max_indices, d_h: case.v(), images, epilogues: &relu, d_x: out }).expect("fits");
            });
            let want: Vec<f64> = d_x.iter().zip(&case.x).map(|(d, &x)| if x > 0.0 { 2.0 * d.max(0.0) } else { 0.0 }).collect();
            assert_close("through the relu", &out, &want, 1e-5);
            bits[1].check(&kernels, "through the relu", &out);
            let mut out = vec![f32::NAN; case.packed.len()];
            conv_max_pool_weight_gradient(&kernels, ConvMaxPoolWeightGradient { shape: &case.shape, x: &case.padded, max_indices: &max_indices, d_h: case.v(), images, d_w: &mut out }).expect("fits");
            let panels = Panels::new(&out, conv.patch(), conv.outputs);
            assert_close("weight gradient", &pack::unpack(panels), &d_w, 1e-5);
            let padding = (conv.outputs..conv.outputs.next_multiple_of(STRIP)).all(|o| (0..conv.patch()).all(|q| panels.at(q, o) == 0.0));
            prop_assert!(padding, "columns after the last output");
            bits[2].check(&kernels, "weight gradient", &out);
        }
    }

    #[test]
    fn relevance_is_shared_as_the_equations_say(case in cases(), rule_number in 0usize..7) {
        let (conv, images) = (case.shape.conv, case.images);
        let (j, k) = (conv.rows * conv.cols * conv.inputs, conv.rows * conv.cols * conv.outputs);
        let mut case = case;
        if rule_number == 1 {
            // No term is so small that its rounding decides the result.
            prop_assume!(conv.inputs * conv.size > 8);
        }
        let (low, high) = (-1.0, 1.0);
        if rule_number >= 5 {
            // The sums are exact, so they have the same sign in every precision.
            case.x.iter_mut().for_each(|x| *x = (*x * 8.0).round() / 8.0);
            case.w.iter_mut().for_each(|w| *w = (*w * 16.0).round() / 16.0);
            case.padded = conv.input().padded(&case.x, images);
            case.packed = pack::pack(&case.w, conv.patch(), conv.outputs);
        }
        if rule_number == 2 {
            prop_assume!(conv.inputs * conv.size > 4);
            case.x = floats(case.x.len(), 77);
            case.padded = conv.input().padded(&case.x, images);
        }
        let (_, max_indices, _) = case.forward(&Kernels::default());
        let r: Vec<f64> = case.dense(&max_indices).into_iter().map(f64::from).collect();
        let rule = match rule_number {
            0 => Rule::z_plus(),
            1 => Rule::alpha_beta(2.0, 1.0),
            2 => Rule::z_beta(low, high),
            3 => Rule::w_square(),
            4 => Rule::flat(),
            5 => Rule::epsilon(0.25),
            _ => Rule::gamma(0.25, 0.25),
        };
        let dense = reference::conv_as_dense(&conv, &case.w);
        let connected = reference::conv_as_dense(&conv, &vec![1.0; case.w.len()]);
        let w = |i: usize, o: usize| (connected[i * k + o] != 0.0).then(|| dense[i * k + o]);
        let (mut want, mut want_absorbed) = (Vec::new(), Vec::new());
        for (a, r) in case.x.chunks_exact(j).zip(r.chunks_exact(k)) {
            let (found, absorbed) = reference::shared_relevance(&[Input { rule: &rule, a, w: &w }], r);
            want.extend(found.into_iter().flatten());
            want_absorbed.push(absorbed);
        }
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let (_, _, z) = case.forward(&kernels);
            let rule = &PackedRule::conv_max_pool(&kernels, &rule, &case.shape, case.panels()).expect("fits");
            let (mut absorbed, x, z) = (vec![0.0; images], &case.padded, Some(&z[..]));
            let out = case.lines(|r_in| {
                let (max_indices, r_out, absorbed) = (&max_indices, case.v(), &mut absorbed);
                let operands = RelevanceConvMaxPool { rule, x, max_indices, z, r_out, r_in, absorbed };
                relevance_conv_max_pool(&kernels, operands).expect("fits");
            });
            assert_close(&format!("rule {rule_number}"), &out, &want, 2e-4);
            let scale = case.v.iter().fold(1e-30f64, |most, &v| most.max(f64::from(v).abs()));
            for (found, want) in absorbed.iter().zip(&want_absorbed) {
                prop_assert!((found - want).abs() <= 1e-4 * scale, "{} absorbed, {} expected", found, want);
            }
            bits.check(&kernels, "relevance", &out);
        }
    }
}

#[test]
fn operands_of_inconsistent_shapes_are_refused_and_nothing_is_written() {
    let conv = ConvShape { rows: 4, cols: 4, size: 3, inputs: 2, outputs: 3 };
    let case = Case::new(ConvPoolShape { conv, window: 2 }, 2, 1);
    let kernels = Kernels::default();
    let (_, max_indices, z) = case.forward(&kernels);
    let filters = Filters::new(&case.shape, case.panels(), Part::All, None);
    let other = ConvPoolShape { window: 3, ..case.shape };
    let of_other = MaxIndices::new(&other, 2);
    let mut d_w = vec![5.0; case.packed.len()];
    let few = MaxIndices::new(&case.shape, 1);
    let messages = [
        conv_max_pool_weight_gradient(
            &kernels,
            ConvMaxPoolWeightGradient {
                shape: &case.shape,
                x: &case.padded,
                max_indices: &of_other,
                d_h: case.v(),
                images: 2,
                d_w: &mut d_w,
            },
        ),
        conv_max_pool_weight_gradient(
            &kernels,
            ConvMaxPoolWeightGradient {
                shape: &case.shape,
                x: &case.padded,
                max_indices: &few,
                d_h: case.v(),
                images: 2,
                d_w: &mut d_w,
            },
        ),
        conv_max_pool_weight_gradient(
            &kernels,
            ConvMaxPoolWeightGradient {
                shape: &case.shape,
                x: &case.padded[1..],
                max_indices: &max_indices,
                d_h: case.v(),
                images: 2,
                d_w: &mut d_w,
            },
        ),
    ]
    .map(|found| found.expect_err("does not fit").to_string());
    assert_eq!(
        messages[0],
        "conv_max_pool_weight_gradient: axis windows is 0 in `max_indices (of this layer)`, 4 expected"
    );
    assert_eq!(messages[1], "conv_max_pool_weight_gradient: axis images is 1 in `max_indices`, 2 expected");
    assert_eq!(messages[2], "conv_max_pool_weight_gradient: axis images·plane is 143 in `x`, 144 expected");
    assert!(d_w.iter().all(|&d| d == 5.0));
    let mut out = vec![5.0; case.x.len()];
    let lines = MatMut::new(&mut out, 8, 7);
    let found = conv_max_pool_input_gradient(
        &kernels,
        ConvMaxPoolInputGradient {
            filters: &filters,
            max_indices: &max_indices,
            d_h: case.v(),
            images: 2,
            epilogues: &[Epilogue::Store],
            d_x: lines,
        },
    );
    assert_eq!(
        found.expect_err("columns").to_string(),
        "conv_max_pool_input_gradient: axis cols·inputs is 7 in `d_x`, 8 expected"
    );
    let rule = &PackedRule::conv_max_pool(&kernels, &Rule::z_beta(-1.0, 1.0), &case.shape, case.panels())
        .expect("fits");
    let (r_out, r_in, absorbed) = (case.v(), MatMut::new(&mut out, 8, 8), &mut [0.0; 2]);
    let (x, max_indices, z) = (&case.padded[..], &max_indices, Some(&z[1..]));
    let operands = RelevanceConvMaxPool { rule, x, max_indices, z, r_out, r_in, absorbed };
    assert_eq!(
        relevance_conv_max_pool(&kernels, operands).expect_err("z").to_string(),
        "relevance_conv_max_pool: axis windows·outputs is 23 in `z`, 24 expected"
    );
    assert!(out.iter().all(|&d| d == 5.0));
}

#[test]
fn a_layer_without_channels_has_no_gradient_and_no_relevance() {
    for (inputs, outputs) in [(0, 3), (2, 0), (0, 0)] {
        for size in [1, 3, 5, 9] {
            let conv = ConvShape { rows: 5, cols: 4, size, inputs, outputs };
            let case = Case::new(ConvPoolShape { conv, window: 2 }, 2, 1);
            for kernels in kernel_sets() {
                let (y, max_indices, z) = case.forward(&kernels);
                assert!(y.iter().all(|&y| y == 0.0));
                let filters = Filters::new(&case.shape, case.panels(), Part::All, None);
                let out = case.lines(|out| {
                    let v = case.v();
                    conv_max_pool_input_gradient(
                        &kernels,
                        ConvMaxPoolInputGradient {
                            filters: &filters,
                            max_indices: &max_indices,
                            d_h: v,
                            images: 2,
                            epilogues: &[Epilogue::Store],
                            d_x: out,
                        },
                    )
                    .expect("fits");
                });
                assert!(out.iter().all(|&d| d == 0.0), "{out:?}");
                let (x, v) = (&case.padded, case.v());
                conv_max_pool_weight_gradient(
                    &kernels,
                    ConvMaxPoolWeightGradient {
                        shape: &case.shape,
                        x,
                        max_indices: &max_indices,
                        d_h: v,
                        images: 2,
                        d_w: &mut [],
                    },
                )
                .expect("fits");
                let rule = Rule::alpha_beta(2.0, 1.0);
                let rule =
                    &PackedRule::conv_max_pool(&kernels, &rule, &case.shape, case.panels()).expect("fits");
                let (max_indices, z) = (&max_indices, Some(&z[..]));
                let out = case.lines(|r_in| {
                    let (r_out, absorbed) = (v, &mut [0.0; 2]);
                    let operands = RelevanceConvMaxPool { rule, x, max_indices, z, r_out, r_in, absorbed };
                    relevance_conv_max_pool(&kernels, operands).expect("fits");
                });
                assert!(out.iter().all(|&r| r == 0.0), "{out:?}");
            }
        }
    }
}

#[test]
fn a_non_finite_value_reaches_the_result() {
    for conv in [
        ConvShape { rows: 5, cols: 4, size: 3, inputs: 16, outputs: 20 },
        ConvShape { rows: 6, cols: 7, size: 5, inputs: 1, outputs: 24 },
    ] {
        let mut case = Case::new(ConvPoolShape { conv, window: 2 }, 2, 1);
        case.v.fill(0.0);
        case.v[conv.outputs + 1] = f32::NAN;
        for kernels in kernel_sets().into_iter().filter(|kernels| !kernels.has_external_matmul()) {
            let (_, max_indices, z) = case.forward(&kernels);
            let filters = Filters::new(&case.shape, case.panels(), Part::All, None);
            let out = case.lines(|out| {
                conv_max_pool_input_gradient(
                    &kernels,
                    ConvMaxPoolInputGradient {
                        filters: &filters,
                        max_indices: &max_indices,
                        d_h: case.v(),
                        images: 2,
                        epilogues: &[Epilogue::Store],
                        d_x: out,
                    },
                )
                .expect("fits");
            });
            let of_first = out.len() / 2;
            assert!(out[..of_first].iter().any(|d| d.is_nan()) && out[of_first..].iter().all(|&d| d == 0.0));
            let mut d_w = case.packed.clone();
            let (x, v) = (&case.padded, case.v());
            conv_max_pool_weight_gradient(
                &kernels,
                ConvMaxPoolWeightGradient {
                    shape: &case.shape,
                    x,
                    max_indices: &max_indices,
                    d_h: v,
                    images: 2,
                    d_w: &mut d_w,
                },
            )
            .expect("fits");
            assert!(d_w.iter().any(|d| d.is_nan()), "weight gradient");
            let rule = Rule::z_plus();
            let rule = &PackedRule::conv_max_pool(&kernels, &rule, &case.shape, case.panels()).expect("fits");
            let (max_indices, z) = (&max_indices, Some(&z[..]));
            let out = case.lines(|r_in| {
                let (r_out, absorbed) = (v, &mut [0.0; 2]);
                let operands = RelevanceConvMaxPool { rule, x, max_indices, z, r_out, r_in, absorbed };
                relevance_conv_max_pool(&kernels, operands).expect("fits");
            });
            assert!(out.iter().any(|r| r.is_nan()), "relevance");
        }
    }
}

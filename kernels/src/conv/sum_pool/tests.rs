//! Convolution + sum-pool against the naive reference, and to the bit against convolution, relu and pool one behind the
//! other.

use super::*;
use crate::conv::{Conv, conv, conv_weight_gradient};
use crate::elementwise::reduce::column_sums;
use crate::exec::Kernels;
use crate::gemm::pack::{self, Part};
use crate::gemm::problem::{Epilogue, Init};
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef, STRIP};
use crate::panels::{Panels, panels_len};
use crate::pool::{PoolBack, PoolBackward, PoolKind, PoolShape, pool, pool_backward, sum_pool_absorbed};
use crate::reference;
use crate::relevance::{
    EPS, PackedRule, RelevanceConv, RelevanceConvSumPool, Rule, relevance_conv, relevance_conv_sum_pool,
};
use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
use proptest::prelude::*;

/// A layer and a batch.
#[derive(Debug)]
struct Case {
    shape: ConvPoolShape,
    images: usize,
    x: Vec<f32>,
    padded: Vec<f32>,
    w: Vec<f32>,
    packed: Vec<f32>,
    bias: Vec<f32>,
    /// `[images·windows, outputs]`
    v: Vec<f32>,
}

/// What the forward pass writes.
struct Found {
    y: Vec<f32>,
    active: ActivePixels,
    z: Vec<f32>,
}

impl Case {
    fn new(shape: ConvPoolShape, images: usize, seed: u64) -> Case {
        let conv = shape.conv;
        let x = activations(images * conv.rows * conv.cols * conv.inputs, seed);
        let w = floats(conv.patch() * conv.outputs, seed + 1);
        let mut bias = floats(conv.outputs.next_multiple_of(STRIP), seed + 2);
        bias.iter_mut().for_each(|b| *b = -0.1 * b.abs());
        let v = floats(images * shape.windows() * conv.outputs, seed + 3);
        let packed = pack::pack(&w, conv.patch(), conv.outputs);
        Case { padded: conv.input().padded(&x, images), packed, v, shape, images, x, w, bias }
    }

    fn panels(&self) -> Panels<'_> {
        Panels::new(&self.packed, self.shape.conv.patch(), self.shape.conv.outputs)
    }

    fn pooling(&self) -> PoolShape {
        let ConvShape { rows, cols, outputs: channels, .. } = self.shape.conv;
        PoolShape { rows, cols, channels, size: self.shape.window, kind: PoolKind::Sum }
    }

    /// Rows of the convolution's output, and of the pool's.
    fn rows(&self) -> [usize; 2] {
        [self.images * self.shape.conv.output().pixels(), self.images * self.shape.windows()]
    }

    fn of_windows<'a>(&self, v: &'a [f32]) -> MatRef<'a> {
        MatRef::new(v, self.rows()[1], self.shape.conv.outputs)
    }

    fn of_pixels<'a>(&self, v: &'a [f32]) -> MatRef<'a> {
        MatRef::new(v, self.rows()[0], self.shape.conv.outputs)
    }

    fn forward(&self, kernels: &Kernels) -> Found {
        let outputs = self.shape.conv.outputs;
        let (mut y, mut z) = (vec![f32::NAN; self.v.len()], vec![f32::NAN; self.rows()[0] * outputs]);
        let mut active = ActivePixels::new(&self.shape, self.images);
        let operands = ConvSumPool {
            shape: &self.shape,
            images: self.images,
            x: &self.padded,
            w: self.panels(),
            bias: &self.bias,
            y: MatMut::new(&mut y, self.rows()[1], outputs),
            active: Some(&mut active),
            z: Some(&mut z),
        };
        conv_sum_pool(kernels, operands).expect("fits");
        Found { y, active, z }
    }

    /// `relu(x ∗ w + bias)` of the convolution alone, or its sums.
    fn convolved(&self, kernels: &Kernels, epilogue: Epilogue) -> Vec<f32> {
        let (conv_shape, [pixels, _]) = (&self.shape.conv, self.rows());
        let mut out = vec![f32::NAN; pixels * conv_shape.outputs];
        let y = MatMut::new(&mut out, pixels, conv_shape.outputs);
        let (x, w, init) = (&self.padded[..], self.panels(), Init::Zero);
        conv(kernels, Conv { shape: conv_shape, images: self.images, x, w, init, epilogue, y })
            .expect("fits");
        out
    }

    /// What the pool alone gives back to the pixels `a`, in planes with the border of the convolution's output.
    fn unpooled(&self, kernels: &Kernels, what: PoolBack, a: &[f32], y: &[f32]) -> Vec<f32> {
        let plane = self.shape.conv.output();
        let mut out = vec![0.0; self.images * plane.len()];
        let operands = PoolBackward {
            shape: self.pooling(),
            images: self.images,
            what,
            a: self.of_pixels(a),
            pooled: self.of_windows(y),
            back: self.of_windows(&self.v),
            out: plane.pixels_mut(&mut out, self.images),
        };
        pool_backward(kernels, operands).expect("fits");
        out
    }

    /// Weights of the input gradient.
    fn reversed(&self) -> Vec<f32> {
        let reversed = self.shape.conv.reversed();
        let mut back = vec![0.0; panels_len(reversed.patch(), reversed.outputs)];
        pack::reverse_conv(&self.shape.conv, self.panels(), Part::All, &mut back);
        back
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let image = (1usize..9, 1usize..11, 0usize..3, 1usize..5);
    let channels =
        (prop_oneof![1usize..4, 5usize..36], prop_oneof![2usize..40, Just(8), Just(24), 60usize..90]);
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
    fn forwards_it_is_the_reference_and_the_separate_kernels_to_the_bit(case in cases()) {
        let (conv, images) = (case.shape.conv, case.images);
        let (j, k) = (conv.rows * conv.cols * conv.inputs, conv.rows * conv.cols * conv.outputs);
        let sums = reference::gemm(&case.x, &reference::conv_as_dense(&conv, &case.w), images, k, j);
        let mut want = Vec::new();
        for sums in sums.chunks_exact(k) {
            let biased = sums.iter().enumerate().map(|(i, s)| s + f64::from(case.bias[i % conv.outputs]));
            let relu: Vec<f32> = biased.map(|h| h.max(0.0) as f32).collect();
            want.extend(reference::sum_pool([conv.rows, conv.cols, conv.outputs], case.shape.window, &relu).0);
        }
        let mut bits = [SameBits::default(), SameBits::default(), SameBits::default()];
        for kernels in kernel_sets() {
            let Found { y, active, z } = case.forward(&kernels);
            assert_close("y", &y, &want, 1e-5);
            let a = case.convolved(&kernels, Epilogue::BiasRelu(&case.bias));
            if !kernels.has_external_matmul() {
                let mut pooled = vec![f32::NAN; y.len()];
                let out = MatMut::new(&mut pooled, case.rows()[1], conv.outputs);
                pool(&kernels, case.pooling(), images, case.of_pixels(&a), out).expect("fits");
                prop_assert_eq!(&y, &pooled);
                prop_assert_eq!(&z, &case.convolved(&kernels, Epilogue::Store));
                for (i, &bits) in active.values.iter().enumerate() {
                    let (window, o) = (i / conv.outputs, i % conv.outputs);
                    for index in (0..case.shape.window_area()).filter(|index| bits as u32 >> index & 1 == 1) {
                        prop_assert!(a[case.shape.pixel(window, index) * conv.outputs + o] > 0.0);
                    }
                }
                let count: u32 = active.values.iter().map(|&bits| (bits as u32).count_ones()).sum();
                prop_assert_eq!(count as usize, a.iter().filter(|&&a| a > 0.0).count());
            }
            bits[0].check(&kernels, "y", &y);
            bits[1].check(&kernels, "active", &active.values);
            bits[2].check(&kernels, "z", &z);
        }
    }

    #[test]
    fn backwards_it_is_the_separate_kernels_to_the_bit(case in cases()) {
        let (conv_shape, images) = (&case.shape.conv, case.images);
        let (output, reversed, back) = (conv_shape.output(), conv_shape.reversed(), case.reversed());
        let w = Panels::new(&back, reversed.patch(), reversed.outputs);
        let pixels = case.rows()[0];
        // One forward pass for all: another GEMM may decide otherwise what is active.
        let Found { y, active, .. } = case.forward(&Kernels::default());
        let a = case.convolved(&Kernels::default(), Epilogue::BiasRelu(&case.bias));
        let relu = Epilogue::ReluGradient { a: conv_shape.input().pixels_of(&case.padded, images), scale: 2.0, guided: true };
        let mut bits = [SameBits::default(), SameBits::default(), SameBits::default()];
        for kernels in kernel_sets() {
            let d_y = case.unpooled(&kernels, PoolBack::Gradient { guided: false }, &a, &y);
            let mut want = [vec![f32::NAN; case.packed.len()], vec![f32::NAN; conv_shape.outputs], vec![f32::NAN; pixels * conv_shape.inputs]];
            conv_weight_gradient(&kernels, conv_shape, &case.padded, &d_y, images, &mut want[0]).expect("fits");
            column_sums(&kernels, output.pixels_of(&d_y, images), &mut want[1]).expect("fits");
            let to = MatMut::new(&mut want[2], pixels, conv_shape.inputs);
            conv(&kernels, Conv { shape: &reversed, images, x: &d_y, w, init: Init::Zero, epilogue: relu, y: to }).expect("fits");
            let mut found = want.clone().map(|floats| vec![f32::NAN; floats.len()]);
            let [d_w, d_b, d_x] = &mut found;
            let operands = ConvSumPoolWeightGradient { shape: &case.shape, images, x: &case.padded, active: &active, d_h: case.of_windows(&case.v), d_w, d_b };
            conv_sum_pool_weight_gradient(&kernels, operands).expect("fits");
            let d_x = MatMut::new(d_x, pixels, conv_shape.inputs);
            let operands = ConvSumPoolInputGradient { shape: &case.shape, images, active: &active, d_h: case.of_windows(&case.v), w, epilogue: relu, d_x };
            conv_sum_pool_input_gradient(&kernels, operands).expect("fits");
            for (i, (found, want)) in found.iter().zip(&want).enumerate() {
                let want: Vec<f64> = want.iter().map(|&d| f64::from(d)).collect();
                assert_close("gradient", found, &want, if kernels.has_external_matmul() { 1e-5 } else { 0.0 });
                bits[i].check(&kernels, "gradient", found);
            }
        }
    }

    #[test]
    fn relevance_is_that_of_the_separate_kernels_to_the_bit(case in cases(), which in 0usize..7) {
        let (conv_shape, images) = (&case.shape.conv, case.images);
        let (output, pixels) = (conv_shape.output(), case.rows()[0]);
        let rule = match which {
            0 => Rule::z_plus(),
            1 => Rule::alpha_beta(2.0, 1.0),
            2 => Rule::z_beta(-1.0, 1.0),
            3 => Rule::w_square(),
            4 => Rule::flat(),
            5 => Rule::epsilon(0.25),
            _ => Rule::gamma(0.25, 0.25),
        };
        let Found { y, z, .. } = case.forward(&Kernels::default());
        let a: Vec<f32> = z.iter().enumerate().map(|(i, z)| (z + case.bias[i % conv_shape.outputs]).max(0.0)).collect();
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let rule = &PackedRule::conv(&kernels, &rule, conv_shape, case.panels()).expect("fits");
            let r = case.unpooled(&kernels, PoolBack::Relevance { eps: EPS }, &a, &y);
            let mut want_absorbed = vec![0.25; images];
            for (image, absorbed) in want_absorbed.iter_mut().enumerate() {
                for window in image * case.shape.windows()..(image + 1) * case.shape.windows() {
                    *absorbed += sum_pool_absorbed(case.of_windows(&y).row(window), case.of_windows(&case.v).row(window), EPS);
                }
            }
            let mut want = vec![f32::NAN; pixels * conv_shape.inputs];
            let operands = RelevanceConv {
                rule,
                a: &case.padded,
                z: Some(case.of_pixels(&z)),
                r_out: output.pixels_of(&r, images),
                r_in: MatMut::new(&mut want, pixels, conv_shape.inputs),
                absorbed: &mut want_absorbed,
            };
            relevance_conv(&kernels, operands).expect("fits");
            let (mut found, mut absorbed) = (vec![f32::NAN; want.len()], vec![0.25; images]);
            let operands = RelevanceConvSumPool {
                rule,
                window: case.shape.window,
                x: &case.padded,
                bias: &case.bias,
                z: &z,
                y: case.of_windows(&y),
                r_out: case.of_windows(&case.v),
                r_in: MatMut::new(&mut found, pixels, conv_shape.inputs),
                absorbed: &mut absorbed,
            };
            relevance_conv_sum_pool(&kernels, operands).expect("fits");
            prop_assert_eq!(&found, &want);
            prop_assert_eq!(absorbed, want_absorbed);
            bits.check(&kernels, "relevance", &found);
        }
    }
}

#[test]
fn operands_of_inconsistent_shapes_are_refused_and_nothing_is_written() {
    let conv = ConvShape { rows: 4, cols: 4, size: 3, inputs: 2, outputs: 3 };
    let case = Case::new(ConvPoolShape { conv, window: 2 }, 2, 1);
    let kernels = Kernels::default();
    let Found { y, active, z } = case.forward(&kernels);
    let (few, of_other) =
        (ActivePixels::new(&case.shape, 1), ActivePixels::new(&ConvPoolShape { window: 3, ..case.shape }, 2));
    let mut d_w = vec![5.0; case.packed.len()];
    let mut gradient = |active: &ActivePixels, x: &[f32], outputs: usize| {
        let (shape, d_h, mut d_b) = (&case.shape, case.of_windows(&case.v), [5.0; 4]);
        let (d_w, d_b) = (&mut d_w, &mut d_b[..outputs]);
        let operands = ConvSumPoolWeightGradient { shape, images: 2, x, active, d_h, d_w, d_b };
        let found = conv_sum_pool_weight_gradient(&kernels, operands).expect_err("does not fit");
        assert!(d_w.iter().chain(d_b.iter()).all(|&d| d == 5.0));
        found.to_string()
    };
    let message = |what: &str| format!("conv_sum_pool_weight_gradient: axis {what} expected");
    assert_eq!(gradient(&few, &case.padded, 3), message("images is 1 in `active`, 2"));
    assert_eq!(gradient(&of_other, &case.padded, 3), message("windows is 0 in `active (of this layer)`, 4"));
    assert_eq!(gradient(&active, &case.padded[1..], 3), message("images·plane is 143 in `x`, 144"));
    assert_eq!(gradient(&active, &case.padded, 4), message("outputs is 4 in `d_b`, 3"));

    let back = case.reversed();
    let (w, mut out) = (Panels::new(&back, conv.reversed().patch(), 2), vec![5.0; case.x.len()]);
    let operands = ConvSumPoolInputGradient {
        shape: &case.shape,
        images: 2,
        active: &active,
        d_h: case.of_windows(&case.v),
        w,
        epilogue: Epilogue::Store,
        d_x: MatMut::new(&mut out, 31, 2),
    };
    let found = conv_sum_pool_input_gradient(&kernels, operands).expect_err("rows").to_string();
    assert_eq!(found, "conv_sum_pool_input_gradient: axis pixels is 31 in `d_x`, 32 expected");

    let rule = &PackedRule::conv(&kernels, &Rule::z_plus(), &conv, case.panels()).expect("fits");
    let mut refused = |window: usize, z: &[f32], r_in: [usize; 2]| {
        let operands = RelevanceConvSumPool {
            rule,
            window,
            x: &case.padded,
            bias: &case.bias,
            z,
            y: case.of_windows(&y),
            r_out: case.of_windows(&case.v),
            r_in: MatMut::new(&mut out, r_in[0], r_in[1]),
            absorbed: &mut [0.0; 2],
        };
        let found = relevance_conv_sum_pool(&kernels, operands).expect_err("does not fit").to_string();
        assert!(out.iter().all(|&d| d == 5.0));
        found
    };
    let message = |what: &str| format!("relevance_conv_sum_pool: axis {what} expected");
    assert_eq!(refused(2, &z[1..], [32, 2]), message("pixels·outputs is 95 in `z`, 96"));
    assert_eq!(refused(1, &z, [32, 2]), message("windows is 8 in `y`, 32"));
    assert_eq!(refused(0, &z, [32, 2]), message("size is 1 in `window`, 0"));
    assert_eq!(refused(2, &z, [32, 1]), message("inputs is 1 in `r_in`, 2"));

    let wide = ConvPoolShape { window: 5, ..case.shape };
    let (mut y, x, w) = ([5.0; 6], &case.padded[..], case.panels());
    let out = MatMut::new(&mut y, 2, 3);
    let operands =
        ConvSumPool { shape: &wide, images: 2, x, w, bias: &case.bias, y: out, active: None, z: None };
    let found = conv_sum_pool(&kernels, operands).expect_err("a window of 25 pixels").to_string();
    assert_eq!(found, "conv_sum_pool: axis size is 4 in `window`, 5 expected");
    assert_eq!(y, [5.0; 6]);
}

#[test]
fn a_layer_without_channels_has_no_gradient_and_no_relevance() {
    for (inputs, outputs) in [(0, 3), (2, 0), (0, 0)] {
        let conv = ConvShape { rows: 5, cols: 4, size: 3, inputs, outputs };
        let case = Case::new(ConvPoolShape { conv, window: 2 }, 2, 1);
        let back = case.reversed();
        for kernels in kernel_sets() {
            let Found { y, active, z } = case.forward(&kernels);
            assert!(y.iter().all(|&y| y == 0.0));
            let (mut d_w, mut d_b) = (vec![f32::NAN; case.packed.len()], vec![f32::NAN; outputs]);
            let (shape, d_h) = (&case.shape, case.of_windows(&case.v));
            let x = &case.padded[..];
            let (d_w, d_b) = (&mut d_w, &mut d_b);
            let operands = ConvSumPoolWeightGradient {
                shape,
                images: 2,
                x,
                active: &active,
                d_h,
                d_w: &mut *d_w,
                d_b: &mut *d_b,
            };
            conv_sum_pool_weight_gradient(&kernels, operands).expect("fits");
            assert!(d_w.iter().chain(d_b.iter()).all(|&d| d == 0.0), "{inputs} {outputs}");
            let mut out = vec![f32::NAN; case.x.len()];
            let (w, d_x) =
                (Panels::new(&back, conv.reversed().patch(), inputs), MatMut::new(&mut out, 40, inputs));
            let epilogue = Epilogue::Store;
            let operands =
                ConvSumPoolInputGradient { shape, images: 2, active: &active, d_h, w, epilogue, d_x };
            conv_sum_pool_input_gradient(&kernels, operands).expect("fits");
            assert!(out.iter().all(|&d| d == 0.0), "{out:?}");
            let rule = &PackedRule::conv(&kernels, &Rule::z_plus(), &conv, case.panels()).expect("fits");
            let (y, z, r_in) = (case.of_windows(&y), &z[..], MatMut::new(&mut out, 40, inputs));
            let (bias, absorbed) = (&case.bias[..], &mut [0.0; 2]);
            let operands =
                RelevanceConvSumPool { rule, window: 2, x, bias, z, y, r_out: d_h, r_in, absorbed };
            relevance_conv_sum_pool(&kernels, operands).expect("fits");
            assert!(out.iter().all(|&r| r == 0.0), "{out:?}");
        }
    }
}

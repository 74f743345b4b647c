use super::super::{PackedRule, RelevanceConv, Rule, relevance_conv};
use super::{Case, Domain, RULES, assert_absorbed, packed, reference, rules};
use crate::conv::{Conv, conv};
use crate::gemm::pack;
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef};
use crate::panels::Panels;
use crate::reference::{Input, conv_as_dense, shared_relevance};
use crate::testing::{SameBits, assert_close, floats, kernel_sets};
use crate::{Epilogue, Init, Kernels, ShapeError};
use proptest::prelude::*;

/// Relevance of one image by the definition, for the dense layer that a convolution is.
pub fn of_image(shape: &ConvShape, rule: &Rule, a: &[f32], w: &[f32], r: &[f64]) -> (Vec<f64>, f64) {
    let (dense, connected) = (conv_as_dense(shape, w), conv_as_dense(shape, &vec![1.0; w.len()]));
    let k = r.len();
    let w = |i: usize, o: usize| (connected[i * k + o] != 0.0).then(|| dense[i * k + o]);
    let (mut r_in, absorbed) = shared_relevance(&[Input { rule, a, w: &w }], r);
    (r_in.remove(0), absorbed)
}

/// A convolution, its forward product in padded planes, and the relevance of its outputs.
struct Layer {
    shape: ConvShape,
    images: usize,
    w: Vec<f32>,
    x: Vec<f32>,
    padded: Vec<f32>,
    r: Vec<f32>,
}

impl Layer {
    fn new(case: &Case, shape: ConvShape, images: usize, seed: u64) -> Self {
        let pixels = images * shape.rows * shape.cols;
        let dead = seed as usize % shape.outputs.max(1);
        let w = case.weights(shape.patch(), shape.outputs, dead, seed);
        let x = case.inputs(pixels * shape.inputs, seed + 1);
        let padded = shape.input().padded(&x, images);
        Layer { shape, images, w, x, padded, r: floats(pixels * shape.outputs, seed + 2) }
    }

    fn pixels(&self) -> usize {
        self.images * self.shape.rows * self.shape.cols
    }

    fn packed(&self, kernels: &Kernels, rule: &Rule) -> PackedRule {
        let panels = pack::pack(&self.w, self.shape.patch(), self.shape.outputs);
        let panels = Panels::new(&panels, self.shape.patch(), self.shape.outputs);
        PackedRule::conv(kernels, rule, &self.shape, panels).expect("fits")
    }

    /// The forward product in planes with a border.
    fn forward(&self, kernels: &Kernels) -> Vec<f32> {
        let Layer { ref shape, images, padded: ref x, .. } = *self;
        let w = pack::pack(&self.w, shape.patch(), shape.outputs);
        let w = Panels::new(&w, shape.patch(), shape.outputs);
        let mut z = vec![0.0; images * shape.output().len()];
        let y = shape.output().pixels_mut(&mut z, images);
        let (init, epilogue) = (Init::Zero, Epilogue::Store);
        conv(kernels, Conv { shape, images, x, w, init, epilogue, y }).expect("fits");
        z
    }

    fn run(&self, kernels: &Kernels, rule: &PackedRule) -> (Vec<f32>, Vec<f64>) {
        let (shape, pixels) = (&self.shape, self.pixels());
        let z = self.forward(kernels);
        let (mut found, mut absorbed) = (vec![f32::NAN; pixels * shape.inputs], vec![0.0; self.images]);
        let operands = RelevanceConv {
            rule,
            a: &self.padded,
            z: rule.reads_forward().then(|| shape.output().pixels_of(&z, self.images)),
            r_out: MatRef::new(&self.r, pixels, shape.outputs),
            r_in: MatMut::new(&mut found, pixels, shape.inputs),
            absorbed: &mut absorbed,
        };
        relevance_conv(kernels, operands).expect("fits");
        (found, absorbed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_is_its_definition(
        which in 0..RULES, rows in 1usize..6, cols in 1usize..6, half in 0usize..3, inputs in 1usize..5,
        outputs in 1usize..20, images in 1usize..4, seed in 1u64..1000,
    ) {
        let case = &rules()[which];
        // The denominators of z^β shall have enough terms, not to be near 0 by chance.
        let (rows, cols, inputs) = match case.domain {
            Domain::Pixels(..) if half == 0 => (rows.max(2), cols.max(2), inputs + 15),
            Domain::Pixels(..) => (rows.max(2), cols.max(2), inputs + 3),
            _ => (rows, cols, inputs),
        };
        let shape = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
        let layer = Layer::new(case, shape, images, seed);
        let j = layer.x.len() / images;
        let (want, want_absorbed) = reference(&layer.r, images, |i, r| {
            of_image(&shape, &case.rule, &layer.x[i * j..][..j], &layer.w, r)
        });
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let (found, absorbed) = layer.run(&kernels, &layer.packed(&kernels, &case.rule));
            assert_close(case.name, &found, &want, 1e-4);
            assert_absorbed(case.name, &absorbed, &want_absorbed, &layer.r);
            bits.check(&kernels, case.name, &found);
        }
    }
}

/// A filter whose relevance goes through the detour for one channel, and images that fill several blocks.
#[test]
fn blocks_of_images_are_those_of_their_definition() {
    for shape in [
        ConvShape { rows: 11, cols: 9, size: 3, inputs: 1, outputs: 24 },
        ConvShape { rows: 6, cols: 5, size: 5, inputs: 3, outputs: 100 },
    ] {
        for case in rules().into_iter().filter(|case| !matches!(case.domain, Domain::Pixels(..))) {
            let layer = Layer::new(&case, shape, 30, 7);
            let j = layer.x.len() / 30;
            let (want, want_absorbed) = reference(&layer.r, 30, |i, r| {
                // The first and the last are compared.
                match i {
                    0 | 29 => of_image(&shape, &case.rule, &layer.x[i * j..][..j], &layer.w, r),
                    _ => (vec![f64::NAN; j], f64::NAN),
                }
            });
            for kernels in kernel_sets() {
                let (found, absorbed) = layer.run(&kernels, &layer.packed(&kernels, &case.rule));
                for part in [0..j, 29 * j..30 * j] {
                    assert_close(case.name, &found[part.clone()], &want[part], 1e-4);
                }
                let r = layer.r.len() / 30;
                assert_absorbed(case.name, &absorbed[..1], &want_absorbed[..1], &layer.r[..r]);
                assert!(found.iter().all(|r| r.is_finite()) && absorbed.iter().all(|a| a.is_finite()));
            }
        }
    }
}

#[test]
fn a_filter_that_the_background_cannot_lower_absorbs_its_relevance_and_gives_no_nan() {
    // Where all pixels are l and all weights excite, numerators and denominator are exactly zero.
    let shape = ConvShape { rows: 3, cols: 3, size: 3, inputs: 1, outputs: 1 };
    let w: Vec<f32> = floats(9, 3).into_iter().map(f32::abs).collect();
    let (x, r) = (vec![-1.0; 9], vec![2.0; 9]);
    let padded = shape.input().padded(&x, 1);
    let layer = Layer { shape, images: 1, w, x, padded, r };
    for kernels in kernel_sets() {
        let rule = layer.packed(&kernels, &Rule::z_beta(-1.0, 1.0));
        let (r_in, absorbed) = layer.run(&kernels, &rule);
        assert_eq!(r_in, [0.0; 9], "{kernels:?}");
        assert!((absorbed[0] - 18.0).abs() < 1e-4, "{kernels:?} {absorbed:?}");
    }
}

#[test]
fn the_flat_rule_shares_among_the_pixels_inside_the_image() {
    let shape = ConvShape { rows: 1, cols: 3, size: 3, inputs: 1, outputs: 1 };
    let (x, r) = (vec![0.0, 5.0, -1.0], vec![6.0, 6.0, 6.0]);
    let padded = shape.input().padded(&x, 1);
    let layer = Layer { shape, images: 1, w: vec![0.0; 9], x, padded, r };
    for kernels in kernel_sets() {
        let (r_in, _) = layer.run(&kernels, &layer.packed(&kernels, &Rule::flat()));
        assert_close("flat", &r_in, &[3.0 + 2.0, 3.0 + 2.0 + 3.0, 2.0 + 3.0], 1e-6);
    }
}

#[test]
fn a_non_finite_relevance_stays_in_its_image_and_not_in_the_scratch() {
    let shape = ConvShape { rows: 4, cols: 3, size: 3, inputs: 2, outputs: 5 };
    for case in rules() {
        let clean = Layer::new(&case, shape, 2, 1);
        let mut layer = Layer::new(&case, shape, 2, 1);
        let of_image = layer.r.len() / 2;
        layer.r[..of_image].fill(f32::NAN);
        for kernels in kernel_sets() {
            let rule = layer.packed(&kernels, &case.rule);
            let (want, _) = clean.run(&kernels, &rule);
            let (found, absorbed) = layer.run(&kernels, &rule);
            let j = found.len() / 2;
            assert!(found[..j].iter().all(|r| r.is_nan()) && absorbed[0].is_nan(), "{}", case.name);
            assert_eq!(found[j..], want[j..], "{}", case.name);
            assert_eq!(clean.run(&kernels, &rule).0, want, "{}", case.name);
        }
    }
}

/// One pixel with one channel.
const TINY: ConvShape = ConvShape { rows: 2, cols: 2, size: 1, inputs: 1, outputs: 1 };

#[test]
fn operands_that_do_not_fit_are_refused_before_anything_is_written() {
    let kernels = Kernels::default();
    let w = pack::pack(&[1.0], 1, 1);
    let refused = |rule: Rule, a: usize, z: Option<usize>, r: (usize, usize), out: (usize, usize)| {
        let rule = &PackedRule::conv(&kernels, &rule, &TINY, Panels::new(&w, 1, 1)).expect("fits");
        let (ones, mut r_in, mut absorbed) = ([1.0; 8], [5.0; 8], [5.0]);
        let operands = RelevanceConv {
            rule,
            a: &ones[..a],
            z: z.map(|rows| MatRef::new(&ones, rows, 1)),
            r_out: MatRef::new(&ones, r.0, r.1),
            r_in: MatMut::new(&mut r_in, out.0, out.1),
            absorbed: &mut absorbed,
        };
        let found = relevance_conv(&kernels, operands);
        assert_eq!((r_in, absorbed), ([5.0; 8], [5.0]));
        found.expect_err("does not fit").to_string()
    };
    let z_plus = Rule::z_plus;
    let message = |what: &str| format!("relevance_conv: axis {what} expected");
    assert_eq!(refused(z_plus(), 5, None, (4, 1), (4, 1)), message("images·plane is 5 in `a`, 4"));
    assert_eq!(refused(z_plus(), 4, None, (3, 1), (4, 1)), message("pixels is 3 in `r_out`, 4"));
    assert_eq!(refused(z_plus(), 4, None, (4, 2), (4, 1)), message("outputs is 2 in `r_out`, 1"));
    assert_eq!(refused(z_plus(), 4, None, (4, 1), (3, 1)), message("pixels is 3 in `r_in`, 4"));
    assert_eq!(refused(z_plus(), 4, None, (4, 1), (4, 2)), message("inputs is 2 in `r_in`, 1"));
    let z_beta = || Rule::z_beta(-1.0, 1.0);
    assert_eq!(refused(z_beta(), 4, Some(5), (4, 1), (4, 1)), message("pixels is 5 in `z`, 4"));
    assert_eq!(refused(z_beta(), 4, None, (4, 1), (4, 1)), message("pixels is 0 in `z`, 4"));
}

#[test]
fn the_rule_of_a_dense_layer_is_not_that_of_a_convolution() {
    let rule = &packed(&Rule::z_plus(), &[1.0], 1, 1);
    let (r_out, r_in) = (MatRef::new(&[], 0, 1), MatMut::new(&mut [], 0, 1));
    let operands = RelevanceConv { rule, a: &[], z: None, r_out, r_in, absorbed: &mut [] };
    assert_eq!(
        relevance_conv(&Kernels::default(), operands).expect_err("another layer").to_string(),
        "relevance_conv: a rule prepared for a dense layer, one for a convolution expected"
    );
}

#[test]
fn weights_of_another_filter_are_refused() {
    let shape = ConvShape { rows: 4, cols: 4, size: 3, inputs: 1, outputs: 1 };
    let w = pack::pack(&[1.0; 8], 8, 1);
    for case in rules() {
        let found = PackedRule::conv(&Kernels::default(), &case.rule, &shape, Panels::new(&w, 8, 1));
        assert_eq!(
            found.expect_err("8 weights").to_string(),
            "relevance_conv: axis patch is 8 in `w`, 9 expected"
        );
    }
}

#[test]
fn images_beyond_all_memory_are_refused() {
    let w = pack::pack(&[1.0], 1, 1);
    for rows_and_cols in [[1 << 33, 1 << 33], [1 << 63, 1]] {
        let [rows, cols] = rows_and_cols;
        let shape = ConvShape { rows, cols, size: 1, inputs: 1, outputs: 1 };
        for case in rules() {
            let found = PackedRule::conv(&Kernels::default(), &case.rule, &shape, Panels::new(&w, 1, 1));
            assert_eq!(found.err(), Some(ShapeError::TooLarge { kernel: "relevance_conv" }));
        }
    }
}

#[test]
fn images_whose_number_of_pixels_wraps_around_are_refused() {
    let shape = ConvShape { rows: 1 << 60, cols: 1, size: 1, inputs: 1, outputs: 1 };
    let (kernels, w) = (Kernels::default(), pack::pack(&[1.0], 1, 1));
    let rule = &PackedRule::conv(&kernels, &Rule::z_plus(), &shape, Panels::new(&w, 1, 1)).expect("fits");
    let (r_out, r_in) = (MatRef::new(&[], 0, 1), MatMut::new(&mut [], 0, 1));
    let operands = RelevanceConv { rule, a: &[], z: None, r_out, r_in, absorbed: &mut [0.0; 16] };
    assert!(relevance_conv(&kernels, operands).is_err());
}

#[test]
fn no_images_and_images_without_a_pixel_are_no_work() {
    for case in rules() {
        for (rows, images) in [(3, 0), (0, 1)] {
            let shape = ConvShape { rows, cols: 3, size: 3, inputs: 2, outputs: 3 };
            let layer = Layer::new(&case, shape, images, 1);
            for kernels in kernel_sets() {
                let (r_in, absorbed) = layer.run(&kernels, &layer.packed(&kernels, &case.rule));
                assert!(r_in.is_empty() && absorbed.iter().all(|&a| a == 0.0));
            }
        }
    }
}

#[test]
fn convolutions_without_channels_have_no_relevance() {
    for case in rules() {
        for (inputs, outputs) in [(0, 3), (2, 0), (0, 0)] {
            let shape = ConvShape { rows: 2, cols: 3, size: 3, inputs, outputs };
            let w = vec![0.5; shape.patch() * outputs];
            let padded = vec![1.0; 2 * shape.input().len()];
            let layer = Layer { shape, images: 2, w, x: vec![], padded, r: vec![1.0; 12 * outputs] };
            for kernels in kernel_sets() {
                let (r_in, _) = layer.run(&kernels, &layer.packed(&kernels, &case.rule));
                assert!(r_in.iter().all(|&r| r == 0.0), "{}", case.name);
            }
        }
    }
}

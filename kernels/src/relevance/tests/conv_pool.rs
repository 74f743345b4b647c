use super::super::{PackedRule, RelevanceConvMaxPool, Rule, relevance_conv_max_pool};
use super::conv::of_image;
use super::{Case, Domain, RULES, assert_absorbed, packed, reference, rules};
use crate::conv::max_pool::{ConvMaxPool, ConvPoolShape, MaxIndices, conv_max_pool};
use crate::gemm::pack;
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef};
use crate::panels::Panels;
use crate::reference::{gemm, max_pool};
use crate::testing::{SameBits, assert_close, floats, kernel_sets};
use crate::{Kernels, ShapeError, reference::conv_as_dense};
use proptest::prelude::*;

/// A layer, and the relevance of its windows.
struct Layer {
    shape: ConvPoolShape,
    images: usize,
    w: Vec<f32>,
    panels: Vec<f32>,
    x: Vec<f32>,
    padded: Vec<f32>,
    r: Vec<f32>,
}

impl Layer {
    fn new(case: &Case, shape: ConvPoolShape, images: usize, seed: u64) -> Self {
        let conv = shape.conv;
        let dead = seed as usize % conv.outputs.max(1);
        let w = case.weights(conv.patch(), conv.outputs, dead, seed);
        let x = case.inputs(images * conv.rows * conv.cols * conv.inputs, seed + 1);
        let (panels, padded) = (pack::pack(&w, conv.patch(), conv.outputs), conv.input().padded(&x, images));
        Layer {
            shape,
            images,
            w,
            panels,
            x,
            padded,
            r: floats(images * shape.windows() * conv.outputs, seed + 2),
        }
    }

    fn panels(&self) -> Panels<'_> {
        Panels::new(&self.panels, self.shape.conv.patch(), self.shape.conv.outputs)
    }

    fn packed(&self, kernels: &Kernels, rule: &Rule) -> PackedRule {
        PackedRule::conv_max_pool(kernels, rule, &self.shape, self.panels()).expect("fits")
    }

    /// Argmax positions and the forward product there.
    fn forward(&self, kernels: &Kernels) -> (MaxIndices, Vec<f32>) {
        let Layer { ref shape, images, padded: ref x, .. } = *self;
        let (rows, outputs) = (images * shape.windows(), shape.conv.outputs);
        let (mut y, mut z) = (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
        let mut max_indices = MaxIndices::new(shape, images);
        let operands = ConvMaxPool {
            shape,
            images,
            x,
            w: self.panels(),
            bias: &vec![0.0; outputs.next_multiple_of(16)],
            y: MatMut::new(&mut y, rows, outputs),
            max_indices: &mut max_indices,
            z: Some(&mut z),
        };
        conv_max_pool(kernels, operands).expect("fits");
        (max_indices, z)
    }

    /// The relevance of every output of the convolution, by the reference forward pass.
    fn r_of_outputs(&self) -> Vec<f32> {
        let (conv, images) = (self.shape.conv, self.images);
        let (j, k) = (self.x.len() / images, conv.rows * conv.cols * conv.outputs);
        let sums = gemm(&self.x, &conv_as_dense(&conv, &self.w), images, k, j);
        let mut r = Vec::new();
        for (sums, of_windows) in sums.chunks_exact(k).zip(self.r.chunks_exact(self.r.len() / images)) {
            let relu: Vec<f32> = sums.iter().map(|&s| s.max(0.0) as f32).collect();
            let (_, from) = max_pool([conv.rows, conv.cols, conv.outputs], self.shape.window, &relu);
            let mut of_image = vec![0.0; k];
            from.iter().zip(of_windows).for_each(|(&from, &r)| of_image[from] = r);
            r.extend(of_image);
        }
        r
    }

    fn run(&self, kernels: &Kernels, rule: &PackedRule) -> Result<(Vec<f32>, Vec<f64>), ShapeError> {
        let (conv, images) = (&self.shape.conv, self.images);
        let (max_indices, z) = self.forward(kernels);
        let (rows, cols) = (images * conv.rows, conv.cols * conv.inputs);
        let (mut found, mut absorbed) = (vec![f32::NAN; rows * cols], vec![0.0; images]);
        let operands = RelevanceConvMaxPool {
            rule,
            x: &self.padded,
            max_indices: &max_indices,
            z: rule.reads_forward().then_some(&z),
            r_out: MatRef::new(&self.r, images * self.shape.windows(), conv.outputs),
            r_in: MatMut::new(&mut found, rows, cols),
            absorbed: &mut absorbed,
        };
        relevance_conv_max_pool(kernels, operands)?;
        Ok((found, absorbed))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_is_its_definition(
        which in 0..RULES, rows in 1usize..8, cols in 1usize..8, half in 0usize..3, inputs in 1usize..8,
        outputs in 1usize..24, window in 1usize..4, images in 1usize..4, seed in 1u64..1000,
    ) {
        let case = &rules()[which];
        // No term is so small that its rounding decides the result.
        let inputs = match case.domain {
            Domain::Pixels(..) => inputs + 15,
            _ if case.rule.groups.len() > 1 => inputs + 8,
            _ => inputs,
        };
        let conv = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
        let mut layer = Layer::new(case, ConvPoolShape { conv, window }, images, seed);
        // The argmax positions are the same in every precision.
        layer.w.iter_mut().for_each(|w| *w = (*w * 16.0).round() / 16.0);
        layer.x.iter_mut().for_each(|x| *x = (*x * 8.0).round() / 8.0);
        let layer = Layer {
            panels: pack::pack(&layer.w, conv.patch(), outputs),
            padded: conv.input().padded(&layer.x, images),
            ..layer
        };
        let (j, r) = (layer.x.len() / images, layer.r_of_outputs());
        let (want, want_absorbed) =
            reference(&r, images, |i, r| of_image(&conv, &case.rule, &layer.x[i * j..][..j], &layer.w, r));
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let rule = layer.packed(&kernels, &case.rule);
            let (found, absorbed) = layer.run(&kernels, &rule).expect("fits");
            assert_close(case.name, &found, &want, 1e-4);
            assert_absorbed(case.name, &absorbed, &want_absorbed, &layer.r);
            bits.check(&kernels, case.name, &found);
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_refused_and_nothing_is_written() {
    let conv = ConvShape { rows: 4, cols: 4, size: 3, inputs: 2, outputs: 3 };
    let shape = ConvPoolShape { conv, window: 2 };
    let case = &rules()[3];
    let (kernels, layer) = (Kernels::default(), Layer::new(case, shape, 2, 1));
    let rule = &layer.packed(&kernels, &case.rule);
    let (max_indices, z) = layer.forward(&kernels);
    let refused =
        |x: &[f32], max_indices: &MaxIndices, z: Option<&[f32]>, r: (usize, usize), out: (usize, usize)| {
            let (ones, mut r_in, mut absorbed) = ([1.0; 80], [5.0; 80], [7.0; 2]);
            let operands = RelevanceConvMaxPool {
                rule,
                x,
                max_indices,
                z,
                r_out: MatRef::new(&ones, r.0, r.1),
                r_in: MatMut::new(&mut r_in, out.0, out.1),
                absorbed: &mut absorbed,
            };
            let found = relevance_conv_max_pool(&kernels, operands);
            assert_eq!((r_in, absorbed), ([5.0; 80], [7.0; 2]));
            found.expect_err("does not fit").to_string()
        };
    let (x, fits, lines) = (&layer.padded[..], (8, 3), (8, 8));
    let message = |what: &str| format!("relevance_conv_max_pool: axis {what} expected");
    let found = refused(&x[1..], &max_indices, Some(&z), fits, lines);
    assert_eq!(found, message("images·plane is 143 in `x`, 144"));
    let found = refused(x, &max_indices, Some(&z[1..]), fits, lines);
    assert_eq!(found, message("windows·outputs is 23 in `z`, 24"));
    assert_eq!(refused(x, &max_indices, None, fits, lines), message("windows·outputs is 0 in `z`, 24"));
    let found = refused(x, &max_indices, Some(&z), (8, 2), lines);
    assert_eq!(found, message("outputs is 2 in `r_out`, 3"));
    let found = refused(x, &max_indices, Some(&z), fits, (8, 7));
    assert_eq!(found, message("cols·inputs is 7 in `r_in`, 8"));
    let few = MaxIndices::new(&shape, 1);
    assert_eq!(refused(x, &few, Some(&z), fits, lines), message("images is 1 in `max_indices`, 2"));
}

#[test]
fn rules_for_other_layers_windows_and_weights_are_refused() {
    let conv = ConvShape { rows: 4, cols: 4, size: 3, inputs: 2, outputs: 3 };
    let case = &rules()[0];
    let layer = Layer::new(case, ConvPoolShape { conv, window: 2 }, 2, 1);
    let kernels = Kernels::default();
    let found = layer.run(&kernels, &packed(&case.rule, &[1.0], 1, 1));
    assert_eq!(
        found.expect_err("another layer").to_string(),
        "relevance_conv_max_pool: a rule prepared for a dense layer, one for a convolution with a max-pool expected"
    );
    let refused = |shape: &ConvPoolShape, w: Panels| {
        let found = PackedRule::conv_max_pool(&kernels, &case.rule, shape, w);
        found.expect_err("does not fit").to_string()
    };
    let few = Panels::new(&layer.panels[..17 * 16], 17, 3);
    assert_eq!(refused(&layer.shape, few), "relevance_conv_max_pool: axis patch is 17 in `w`, 18 expected");
    let none = ConvPoolShape { window: 0, ..layer.shape };
    assert_eq!(
        refused(&none, layer.panels()),
        "relevance_conv_max_pool: axis size is 1 in `window`, 0 expected"
    );
}

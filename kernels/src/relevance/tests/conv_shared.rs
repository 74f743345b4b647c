//! Two convolutions with shared denominators are one convolution over the channels of both.

use super::super::{
    DenominatorsConv, MessagesConv, PackedRule, RatiosConv, RelevanceConv, Rule, denominators_conv,
    messages_conv, ratios_conv, relevance_conv,
};
use crate::conv::{Conv, conv};
use crate::gemm::pack;
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef};
use crate::panels::Panels;
use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
use crate::{Epilogue, Init, Kernels};
use proptest::prelude::*;

/// An input of the layer: its channels, values and weights.
struct Part {
    shape: ConvShape,
    x: Vec<f32>,
    w: Vec<f32>,
}

impl Part {
    fn new(shape: ConvShape, images: usize, seed: u64) -> Part {
        let x = activations(images * shape.rows * shape.cols * shape.inputs, seed);
        Part { shape, x, w: floats(shape.patch() * shape.outputs, seed + 1) }
    }

    fn panels(&self) -> Vec<f32> {
        pack::pack(&self.w, self.shape.patch(), self.shape.outputs)
    }

    fn packed(&self, kernels: &Kernels, rule: &Rule) -> PackedRule {
        let panels = self.panels();
        let w = Panels::new(&panels, self.shape.patch(), self.shape.outputs);
        PackedRule::conv(kernels, rule, &self.shape, w).expect("fits")
    }

    /// `x ∗ W`
    fn forward(&self, kernels: &Kernels, images: usize) -> Vec<f32> {
        let (shape, panels) = (&self.shape, self.panels());
        let (x, w) =
            (&shape.input().padded(&self.x, images), Panels::new(&panels, shape.patch(), shape.outputs));
        let mut z = vec![0.0; images * shape.rows * shape.cols * shape.outputs];
        let y = MatMut::new(&mut z, images * shape.rows * shape.cols, shape.outputs);
        let (init, epilogue) = (Init::Zero, Epilogue::Store);
        conv(kernels, Conv { shape, images, x, w, init, epilogue, y }).expect("fits");
        z
    }
}

/// Rows of `a` and `b` one behind the other.
fn joined(a: &[f32], a_width: usize, b: &[f32], b_width: usize) -> Vec<f32> {
    let rows = a.chunks_exact(a_width).zip(b.chunks_exact(b_width));
    rows.flat_map(|(a, b)| a.iter().chain(b).copied()).collect()
}

/// Relevance of both inputs in turn, and what is absorbed.
fn shared(kernels: &Kernels, [one, two]: [&Part; 2], rule: &Rule, r: &[f32], images: usize) -> Vec<f32> {
    let (shape, plane) = (&one.shape, one.shape.output());
    let (pixels, outputs) = (images * plane.pixels(), shape.outputs);
    let (of_one, of_two) = (one.packed(kernels, rule), two.packed(kernels, rule));
    let [x_one, x_two] = [one, two].map(|part| part.shape.input().padded(&part.x, images));
    let [z_one, z_two] = [one, two].map(|part| part.forward(kernels, images));
    let mut absorbed = vec![0.0; images];
    let mut c = vec![vec![0.0; images * plane.len()]; rule.groups.len()];
    for (group, &shared) in Rule::shared(&[rule, rule]).iter().enumerate() {
        let mut base = vec![f32::NAN; pixels * outputs];
        let (z, out) = (Some(MatRef::new(&z_one, pixels, outputs)), MatMut::new(&mut base, pixels, outputs));
        let operands = DenominatorsConv { rule: &of_one, group, images, a: &x_one, z, out };
        denominators_conv(kernels, operands).expect("fits");
        let operands = RatiosConv {
            shared,
            rule: &of_two,
            group,
            base: MatRef::new(&base, pixels, outputs),
            a: Some(&x_two),
            z: Some(MatRef::new(&z_two, pixels, outputs)),
            r_out: MatRef::new(r, pixels, outputs),
            c: plane.pixels_mut(&mut c[group], images),
            absorbed: &mut absorbed,
        };
        ratios_conv(kernels, operands).expect("fits");
    }
    let c: Vec<&[f32]> = c.iter().map(|c| &c[..]).collect();
    let mut found = Vec::new();
    for (rule, part) in [(&of_one, one), (&of_two, two)] {
        let inputs = part.shape.inputs;
        let mut r_in = vec![f32::NAN; pixels * inputs];
        let (a, to) = (MatRef::new(&part.x, pixels, inputs), MatMut::new(&mut r_in, pixels, inputs));
        messages_conv(kernels, MessagesConv { rule, images, c: &c, a, r_in: to }).expect("fits");
        found.push(r_in);
    }
    let mut all = joined(&found[0], one.shape.inputs, &found[1], two.shape.inputs);
    all.extend(absorbed.iter().map(|&x| x as f32));
    all
}

/// The same by one convolution.
fn together(kernels: &Kernels, [one, two]: [&Part; 2], rule: &Rule, r: &[f32], images: usize) -> Vec<f64> {
    let (i, j) = (one.shape.inputs, two.shape.inputs);
    let shape = ConvShape { inputs: i + j, ..one.shape };
    let outputs = shape.outputs;
    let w = joined(&one.w, i * outputs, &two.w, j * outputs);
    let both = Part { shape, x: joined(&one.x, i, &two.x, j), w };
    let (packed, pixels) = (both.packed(kernels, rule), images * shape.rows * shape.cols);
    let z = both.forward(kernels, images);
    let (mut r_in, mut absorbed) = (vec![f32::NAN; pixels * (i + j)], vec![0.0; images]);
    let operands = RelevanceConv {
        rule: &packed,
        a: &shape.input().padded(&both.x, images),
        z: Some(MatRef::new(&z, pixels, outputs)),
        r_out: MatRef::new(r, pixels, outputs),
        r_in: MatMut::new(&mut r_in, pixels, i + j),
        absorbed: &mut absorbed,
    };
    relevance_conv(kernels, operands).expect("fits");
    r_in.iter().map(|&x| f64::from(x)).chain(absorbed).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inputs_with_shared_denominators_are_one_input(
        images in 1usize..4, rows in 1usize..6, cols in 1usize..6, radius in 0usize..3,
        one in 1usize..5, two in 1usize..20, outputs in 1usize..20, rule in 0usize..5, seed in 1u64..1000,
    ) {
        let rules =
            [Rule::z_plus(), Rule::alpha_beta(2.0, 1.0), Rule::z_beta(-0.5, 1.0), Rule::w_square(), Rule::flat()];
        let rule = &rules[rule];
        let shape = ConvShape { rows, cols, size: 2 * radius + 1, inputs: one, outputs };
        let parts = [Part::new(shape, images, seed), Part::new(ConvShape { inputs: two, ..shape }, images, seed + 5)];
        let parts = [&parts[0], &parts[1]];
        let r = floats(images * rows * cols * outputs, seed + 9);
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            let found = shared(&kernels, parts, rule, &r, images);
            assert_close("shared", &found, &together(&kernels, parts, rule, &r, images), 1e-4);
            bits.check(&kernels, "shared", &found);
        }
    }
}

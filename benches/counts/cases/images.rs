//! Convolutions, pools, and both as one layer.

use super::Cases;
use benches::{activations, floats};
use kernels::conv::max_pool::{
    ConvMaxPool, ConvMaxPoolInputGradient, ConvMaxPoolWeightGradient, ConvPoolShape, Filters, MaxIndices,
    conv_max_pool, conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use kernels::pack::{Part, pack, reverse_conv};
use kernels::pool::{PoolBack, PoolBackward, PoolKind, PoolShape, pool, pool_backward};
use kernels::relevance::{
    DenominatorsConv, EPS, MessagesConv, PackedRule, RatiosConv, RelevanceConv, RelevanceConvMaxPool, Rule,
    denominators_conv, messages_conv, ratios_conv, relevance_conv, relevance_conv_max_pool,
};
use kernels::{
    Conv, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, Panels, conv, conv_weight_gradient, panels_len,
};

/// Images of a convolution or a pool.
const IMAGES: usize = 4;

fn named(shape: &ConvShape) -> String {
    let ConvShape { rows, cols, size, inputs, outputs } = shape;
    format!("{size}×{size} {inputs}→{outputs} on {rows}×{cols}")
}

/// Convolutions, their gradients and rules.
pub(super) fn convolutions(cases: &mut Cases, kernels: &Kernels, shape: ConvShape) {
    let pixels = IMAGES * shape.rows * shape.cols;
    let w = pack(&floats(shape.patch() * shape.outputs, 2), shape.patch(), shape.outputs);
    let x = || shape.input().padded(&activations(pixels * shape.inputs, 1), IMAGES);
    let panels = |w: &[f32]| {
        PackedRule::conv(kernels, &Rule::z_plus(), &shape, Panels::new(w, shape.patch(), shape.outputs))
    };
    let rule = panels(&w).expect("shapes fit");
    let (planes, weights, mut y) = (x(), w.clone(), vec![0.0; pixels * shape.outputs]);
    cases.add("conv", named(&shape), move |kernels| {
        let (w, y) =
            (Panels::new(&weights, shape.patch(), shape.outputs), MatMut::new(&mut y, pixels, shape.outputs));
        let (init, epilogue) = (Init::Zero, Epilogue::Store);
        conv(kernels, Conv { shape: &shape, x: &planes, images: IMAGES, w, init, epilogue, y })
            .expect("shapes fit");
    });
    let d_planes = shape.output().padded(&floats(pixels * shape.outputs, 3), IMAGES);
    let (planes, mut d_w) = (x(), vec![0.0; w.len()]);
    cases.add("conv_weight_gradient", named(&shape), move |kernels| {
        conv_weight_gradient(kernels, &shape, &planes, &d_planes, IMAGES, &mut d_w).expect("shapes fit");
    });
    let back = shape.reversed();
    let (weights, mut reversed) = (w, vec![0.0; panels_len(back.patch(), back.outputs)]);
    cases.add("reverse_conv", named(&shape), move |_| {
        reverse_conv(&shape, Panels::new(&weights, shape.patch(), shape.outputs), Part::All, &mut reversed);
    });
    let (a, r) = (x(), activations(pixels * shape.outputs, 3));
    let (mut r_in, mut absorbed) = (vec![0.0; pixels * shape.inputs], vec![0.0; IMAGES]);
    cases.add("relevance_conv z⁺", named(&shape), move |kernels| {
        let (r_out, r_in) =
            (MatRef::new(&r, pixels, shape.outputs), MatMut::new(&mut r_in, pixels, shape.inputs));
        let operands = RelevanceConv { rule: &rule, a: &a, z: None, r_out, r_in, absorbed: &mut absorbed };
        relevance_conv(kernels, operands).expect("shapes fit");
    });
}

/// The rules of two convolutions that share their denominators.
pub(super) fn shared_rules(cases: &mut Cases, kernels: &Kernels, shape: ConvShape) {
    let pixels = IMAGES * shape.rows * shape.cols;
    let w = pack(&floats(shape.patch() * shape.outputs, 2), shape.patch(), shape.outputs);
    let panels = Panels::new(&w, shape.patch(), shape.outputs);
    let rule = Rule::z_plus();
    let shared = Rule::shared(&[&rule, &rule])[0];
    let packed = PackedRule::conv(kernels, &rule, &shape, panels).expect("shapes fit");
    let planes = shape.input().padded(&activations(pixels * shape.inputs, 1), IMAGES);
    let (rule, a, mut out) = (packed.clone(), planes.clone(), vec![0.0; pixels * shape.outputs]);
    cases.add("denominators_conv", named(&shape), move |kernels| {
        let (a, out) = (&a, MatMut::new(&mut out, pixels, shape.outputs));
        denominators_conv(
            kernels,
            DenominatorsConv { rule: &rule, group: 0, images: IMAGES, a, z: None, out },
        )
        .expect("shapes fit");
    });
    let (rule, a, r) = (packed.clone(), planes.clone(), activations(pixels * shape.outputs, 3));
    let (mut c, mut absorbed) = (vec![0.0; IMAGES * shape.output().len()], vec![0.0; IMAGES]);
    let base = activations(pixels * shape.outputs, 4);
    cases.add("ratios_conv", named(&shape), move |kernels| {
        let [base, r_out] = [&base, &r].map(|x| MatRef::new(x, pixels, shape.outputs));
        let (c, absorbed) = (shape.output().pixels_mut(&mut c, IMAGES), &mut absorbed[..]);
        let (rule, a, z, group) = (&rule, Some(&a[..]), None, 0);
        ratios_conv(kernels, RatiosConv { shared, rule, group, base, a, z, r_out, c, absorbed })
            .expect("shapes fit");
    });
    let c = shape.output().padded(&floats(pixels * shape.outputs, 3), IMAGES);
    let mut r_in = vec![0.0; pixels * shape.inputs];
    cases.add("messages_conv", named(&shape), move |kernels| {
        let a = shape.input().pixels_of(&planes, IMAGES);
        let r_in = MatMut::new(&mut r_in, pixels, shape.inputs);
        messages_conv(kernels, MessagesConv { rule: &packed, images: IMAGES, c: &[&c], a, r_in })
            .expect("shapes fit");
    });
}

/// Pools, and the way back through them.
pub(super) fn pools(cases: &mut Cases, shape: ConvShape) {
    let (pixels, channels) = (IMAGES * shape.rows * shape.cols, shape.outputs);
    for kind in [PoolKind::Max, PoolKind::Sum] {
        let pooling = PoolShape { rows: shape.rows, cols: shape.cols, channels, size: 2, kind };
        let pooled = IMAGES * pooling.out_rows() * pooling.out_cols();
        let x = activations(pixels * channels, 1);
        let (a, mut y) = (x.clone(), vec![0.0; pooled * channels]);
        cases.add(&format!("pool {kind:?}"), named(&shape), move |kernels| {
            let a = MatRef::new(&a, pixels, channels);
            pool(kernels, pooling, IMAGES, a, MatMut::new(&mut y, pooled, channels)).expect("shapes fit");
        });
        let ways = [
            ("gradient", PoolBack::Gradient { guided: false }),
            ("relevance", PoolBack::Relevance { eps: EPS }),
        ];
        for (name, what) in ways {
            let (a, y, back) = (x.clone(), activations(pooled * channels, 2), floats(pooled * channels, 3));
            let mut out = vec![0.0; pixels * channels];
            cases.add(&format!("pool_backward {kind:?} {name}"), named(&shape), move |kernels| {
                let [pooled, back] = [&y, &back].map(|x| MatRef::new(x, pooled, channels));
                let (a, out) = (MatRef::new(&a, pixels, channels), MatMut::new(&mut out, pixels, channels));
                let operands = PoolBackward { shape: pooling, images: IMAGES, what, a, pooled, back, out };
                pool_backward(kernels, operands).expect("shapes fit");
            });
        }
    }
}

/// Convolution, relu and max-pool as one layer.
pub(super) fn max_pooled(cases: &mut Cases, kernels: &Kernels, shape: ConvPoolShape) {
    let conv = shape.conv;
    let (rows, pixels) = (IMAGES * shape.windows(), IMAGES * conv.rows * conv.cols);
    let w = pack(&floats(conv.patch() * conv.outputs, 2), conv.patch(), conv.outputs);
    let bias = vec![-0.1; conv.outputs.next_multiple_of(16)];
    let x = conv.input().padded(&activations(pixels * conv.inputs, 1), IMAGES);
    let v = floats(rows * conv.outputs, 3);
    let panels = Panels::new(&w, conv.patch(), conv.outputs);
    let filters = Filters::new(&shape, panels, Part::All, None);
    let rule = PackedRule::conv_max_pool(kernels, &Rule::z_plus(), &shape, panels).expect("shapes fit");
    let (mut max_indices, mut z, mut y) =
        (MaxIndices::new(&shape, IMAGES), vec![0.0; rows * conv.outputs], vec![0.0; rows * conv.outputs]);
    let mut forward = {
        let (x, w) = (x.clone(), w.clone());
        move |kernels: &Kernels, max_indices: &mut MaxIndices, z: &mut [f32]| {
            let (w, y) =
                (Panels::new(&w, conv.patch(), conv.outputs), MatMut::new(&mut y, rows, conv.outputs));
            let (x, bias, z) = (&x, &bias, Some(z));
            let operands = ConvMaxPool { shape: &shape, x, images: IMAGES, w, bias, y, max_indices, z };
            conv_max_pool(kernels, operands).expect("shapes fit");
        }
    };
    forward(kernels, &mut max_indices, &mut z);
    let (mut own_indices, mut own_z) = (MaxIndices::new(&shape, IMAGES), z.clone());
    cases.add("conv_max_pool", named(&conv), move |kernels| forward(kernels, &mut own_indices, &mut own_z));
    let (indices, planes, d_h, mut d_w) = (max_indices.clone(), x.clone(), v.clone(), vec![0.0; w.len()]);
    cases.add("conv_max_pool_weight_gradient", named(&conv), move |kernels| {
        let (max_indices, d_h) = (&indices, MatRef::new(&d_h, rows, conv.outputs));
        let (shape, x, d_w) = (&shape, &planes, &mut d_w);
        let operands = ConvMaxPoolWeightGradient { shape, x, max_indices, d_h, images: IMAGES, d_w };
        conv_max_pool_weight_gradient(kernels, operands).expect("shapes fit");
    });
    let (lines, cols) = (IMAGES * conv.rows, conv.cols * conv.inputs);
    let (indices, planes, d_h, mut d_x) =
        (max_indices.clone(), x.clone(), v.clone(), vec![0.0; lines * cols]);
    cases.add("conv_max_pool_input_gradient", named(&conv), move |kernels| {
        let a = conv.input().lines_of(&planes, IMAGES);
        let epilogues = &[Epilogue::ReluGradient { a, scale: 1.0, guided: false }];
        let (d_h, d_x) = (MatRef::new(&d_h, rows, conv.outputs), MatMut::new(&mut d_x, lines, cols));
        let (filters, max_indices) = (&filters, &indices);
        let operands = ConvMaxPoolInputGradient { filters, max_indices, d_h, images: IMAGES, epilogues, d_x };
        conv_max_pool_input_gradient(kernels, operands).expect("shapes fit");
    });
    let (mut r_in, mut absorbed) = (vec![0.0; lines * cols], vec![0.0; IMAGES]);
    cases.add("relevance_conv_max_pool z⁺", named(&conv), move |kernels| {
        let (r_out, r_in) = (MatRef::new(&v, rows, conv.outputs), MatMut::new(&mut r_in, lines, cols));
        let (max_indices, z, absorbed) = (&max_indices, Some(&z[..]), &mut absorbed[..]);
        let operands = RelevanceConvMaxPool { rule: &rule, x: &x, max_indices, z, r_out, r_in, absorbed };
        relevance_conv_max_pool(kernels, operands).expect("shapes fit");
    });
}

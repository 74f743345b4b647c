//! The kernels that are counted, each at two shapes.

use benches::{activations, floats};
use kernels::conv::max_pool::{
    ConvMaxPool, ConvMaxPoolInputGradient, ConvMaxPoolWeightGradient, ConvPoolShape, Filters, MaxIndices,
    conv_max_pool, conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use kernels::elementwise::activation::bias_relu;
use kernels::elementwise::gates::{
    CellBackward, CellForward, CellRelevance, cell_backward, cell_forward, cell_relevance,
};
use kernels::elementwise::optimiser::{AdamStep, adam, sgd};
use kernels::elementwise::reduce::column_sums;
use kernels::elementwise::softmax::{CrossEntropy, cross_entropy};
use kernels::pack::{Part, pack, part, reverse_conv, transpose};
use kernels::pool::{PoolBack, PoolBackward, PoolKind, PoolShape, pool, pool_backward};
use kernels::relevance::{
    Denominators, EPS, Messages, PackedRule, Ratios, Relevance, RelevanceConv, RelevanceConvMaxPool,
    RelevanceNeuron, Rule, denominators, messages, ratios, relevance, relevance_conv,
    relevance_conv_max_pool, relevance_neuron,
};
use kernels::{
    Conv, ConvShape, Dropout, Epilogue, Init, Kernels, MatMut, MatRef, Panels, WeightGradient, conv,
    conv_weight_gradient, gemm, gemm_tn, panels_len,
};

/// One call of a kernel; results and operands belong to the case.
pub struct Case {
    pub name: String,
    pub work: Box<dyn FnMut(&Kernels)>,
}

/// Collects cases whose names begin alike.
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &str, shape: String, work: impl FnMut(&Kernels) + 'static) {
        self.0.push(Case { name: format!("{name} {shape}"), work: Box::new(work) });
    }
}

/// Every case.
pub fn all(kernels: &Kernels) -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    for sizes in [[50, 128, 256], [48, 40, 112]] {
        products(&mut cases, sizes);
        rules(&mut cases, sizes);
    }
    for shape in [
        ConvShape { rows: 14, cols: 2, size: 3, inputs: 24, outputs: 48 },
        ConvShape { rows: 8, cols: 8, size: 5, inputs: 1, outputs: 24 },
    ] {
        convolutions(&mut cases, kernels, shape);
        max_pooled(&mut cases, kernels, ConvPoolShape { conv: shape, window: 2 });
    }
    for [n, width] in [[50, 96], [7, 45]] {
        elements(&mut cases, n, width);
        gates(&mut cases, n, width);
    }
    cases.0
}

/// An epilogue that reads this bias.
type Ends = fn(&[f32]) -> Epilogue<'_>;

/// Dense products `[n, k]·[k, m]`.
fn products(cases: &mut Cases, [n, m, k]: [usize; 3]) {
    let shape = || format!("{n}×{m}×{k}");
    let bias = || floats(m.next_multiple_of(16), 4);
    let epilogues: [(&str, Ends); 3] = [
        ("gemm", |_| Epilogue::Store),
        ("gemm, relu", |bias| Epilogue::BiasRelu(bias)),
        ("gemm, dropout", |bias| Epilogue::BiasReluDropout(bias, Dropout::new(0.5, 1))),
    ];
    for (name, epilogue) in epilogues {
        let (a, w, bias) = (activations(n * k, 1), pack(&floats(k * m, 2), k, m), bias());
        let mut c = vec![0.0; n * m];
        cases.add(name, shape(), move |kernels| {
            let (a, w, c) = (MatRef::new(&a, n, k), Panels::new(&w, k, m), MatMut::new(&mut c, n, m));
            gemm(kernels, a, w, Init::Zero, epilogue(&bias), c).expect("shapes fit");
        });
    }
    let (a, d_y, mut d_w) = (activations(n * k, 1), floats(n * m, 2), vec![0.0; panels_len(k, m)]);
    cases.add("gemm_tn", shape(), move |kernels| {
        let (a, d_y) = (MatRef::new(&a, n, k), MatRef::new(&d_y, n, m));
        let gradient = WeightGradient { a, d_y, accumulate: false, d_w: &mut d_w, rows: k, first_row: 0 };
        gemm_tn(kernels, gradient).expect("shapes fit");
    });
    let (w, mut to, mut positive) =
        (pack(&floats(k * m, 2), k, m), vec![0.0; panels_len(m, k)], vec![0.0; panels_len(k, m)]);
    cases.add("transpose, part", shape(), move |_| {
        transpose(Panels::new(&w, k, m), Part::All, &mut to);
        part(Panels::new(&w, k, m), Part::Positive, &mut positive);
    });
}

/// Rules of dense layers.
fn rules(cases: &mut Cases, [n, k, j]: [usize; 3]) {
    let shape = || format!("{n}×{j}×{k}");
    let w = || pack(&floats(j * k, 2), j, k);
    let named = [
        ("relevance z⁺", Rule::z_plus()),
        ("relevance αβ", Rule::alpha_beta(2.0, 1.0)),
        ("relevance ε", Rule::epsilon(1e-6)),
        ("relevance z^β", Rule::z_beta(-1.0, 1.0)),
        ("relevance w²", Rule::w_square()),
    ];
    for (name, rule) in named {
        let packed = PackedRule::dense(&rule, Panels::new(&w(), j, k));
        let (a, r, z) = (activations(n * j, 1), activations(n * k, 3), floats(n * k, 5));
        let (mut r_in, mut absorbed) = (vec![0.0; n * j], vec![0.0; n]);
        cases.add(name, shape(), move |kernels| {
            let (a, r_out, z) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k), Some(MatRef::new(&z, n, k)));
            let r_in = MatMut::new(&mut r_in, n, j);
            let operands = Relevance { rule: &packed, a, z, r_out, r_in, absorbed: &mut absorbed };
            relevance(kernels, operands).expect("shapes fit");
        });
    }
    let packed = PackedRule::dense(&Rule::z_plus(), Panels::new(&w(), j, k));
    let shared = Rule::shared(&[&Rule::z_plus(), &Rule::z_plus()])[0];
    let (a, base, r, mut c) =
        (activations(n * j, 1), activations(n * k, 2), activations(n * k, 3), vec![0.0; n * k]);
    let (rule, mut absorbed) = (packed.clone(), vec![0.0; n]);
    cases.add("ratios", shape(), move |kernels| {
        let [base, r_out] = [&base, &r].map(|x| MatRef::new(x, n, k));
        let (a, c) = (MatRef::new(&a, n, j), MatMut::new(&mut c, n, k));
        let operands =
            Ratios { shared, rule: &rule, group: 0, base, a, z: None, r_out, c, absorbed: &mut absorbed };
        ratios(kernels, operands).expect("shapes fit");
    });
    let (a, c, mut r_in, rule) = (activations(n * j, 1), floats(n * k, 2), vec![0.0; n * j], packed.clone());
    cases.add("messages", shape(), move |kernels| {
        let (a, r_in) = (MatRef::new(&a, n, j), MatMut::new(&mut r_in, n, j));
        messages(kernels, Messages { rule: &rule, c: &[MatRef::new(&c, n, k)], a, r_in })
            .expect("shapes fit");
    });
    let rule = PackedRule::dense(&Rule::z_beta(-1.0, 1.0), Panels::new(&w(), j, k));
    let (a, z, mut out) = (floats(n * j, 1), floats(n * k, 2), vec![0.0; n * k]);
    cases.add("denominators z^β", shape(), move |kernels| {
        let (a, z, out) = (MatRef::new(&a, n, j), Some(MatRef::new(&z, n, k)), MatMut::new(&mut out, n, k));
        denominators(kernels, Denominators { rule: &rule, group: 0, a, z, out }).expect("shapes fit");
    });
    let (a, d, f) = (activations(n * j, 1), floats(n * j, 2), floats(n, 3));
    let (mut r_in, mut absorbed) = (vec![0.0; n * j], vec![0.0; n]);
    cases.add("relevance_neuron", format!("{n}×{j}"), move |kernels| {
        let ([a, d], r_in) = ([&a, &d].map(|x| MatRef::new(x, n, j)), MatMut::new(&mut r_in, n, j));
        let operands = RelevanceNeuron { rule: &Rule::z_plus(), a, d, f: &f, r_in, absorbed: &mut absorbed };
        relevance_neuron(kernels, operands).expect("shapes fit");
    });
}

/// Images of a convolution or a pool.
const IMAGES: usize = 4;

fn named(shape: &ConvShape) -> String {
    let ConvShape { rows, cols, size, inputs, outputs } = shape;
    format!("{size}×{size} {inputs}→{outputs} on {rows}×{cols}")
}

/// Convolutions, their gradients and rules.
fn convolutions(cases: &mut Cases, kernels: &Kernels, shape: ConvShape) {
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
    for kind in [PoolKind::Max, PoolKind::Sum] {
        let channels = shape.outputs;
        let pooling = PoolShape { rows: shape.rows, cols: shape.cols, channels, size: 2, kind };
        let pooled = IMAGES * pooling.out_rows() * pooling.out_cols();
        let x = activations(pixels * channels, 1);
        let (mut y, back, mut r_in) =
            (vec![0.0; pooled * channels], floats(pooled * channels, 2), vec![0.0; pixels * channels]);
        cases.add(&format!("pool and back, {kind:?}"), named(&shape), move |kernels| {
            let a = MatRef::new(&x, pixels, channels);
            pool(kernels, pooling, IMAGES, a, MatMut::new(&mut y, pooled, channels)).expect("shapes fit");
            for what in [PoolBack::Gradient { guided: false }, PoolBack::Relevance { eps: EPS }] {
                let [pooled, back] = [&y, &back].map(|x| MatRef::new(x, pooled, channels));
                let out = MatMut::new(&mut r_in, pixels, channels);
                let operands = PoolBackward { shape: pooling, images: IMAGES, what, a, pooled, back, out };
                pool_backward(kernels, operands).expect("shapes fit");
            }
        });
    }
}

/// Convolution, relu and max-pool as one layer.
fn max_pooled(cases: &mut Cases, kernels: &Kernels, shape: ConvPoolShape) {
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

/// Elementwise functions, losses and optimisers.
fn elements(cases: &mut Cases, n: usize, k: usize) {
    let shape = || format!("{n}×{k}");
    let (z, b, mut a) = (floats(n * k, 1), floats(k, 2), vec![0.0; n * k]);
    cases.add("bias_relu", shape(), move |kernels| {
        bias_relu(kernels, MatRef::new(&z, n, k), &b, MatMut::new(&mut a, n, k)).expect("shapes fit");
    });
    let (x, mut sums) = (floats(n * k, 1), vec![0.0; k]);
    cases.add("column_sums", shape(), move |kernels| {
        column_sums(kernels, MatRef::new(&x, n, k), &mut sums).expect("shapes fit");
    });
    let (logits, labels) = (floats(n * k, 1), (0..n).map(|i| (i % k) as u8).collect::<Vec<u8>>());
    let (mut gradient, mut losses) = (vec![0.0; n * k], vec![0.0; n]);
    cases.add("cross_entropy", shape(), move |kernels| {
        let (logits, gradient) = (MatRef::new(&logits, n, k), MatMut::new(&mut gradient, n, k));
        let (labels, losses) = (&labels, &mut losses);
        let operands = CrossEntropy { logits, labels, zero_logit: true, gradient, losses };
        cross_entropy(kernels, operands).expect("shapes fit");
    });
    let (g, mut m, mut v, mut p) = (floats(n * k, 1), vec![0.0; n * k], vec![0.0; n * k], floats(n * k, 2));
    cases.add("adam, sgd", shape(), move |kernels| {
        adam(kernels, AdamStep::new(1e-3, 1), &g, &mut m, &mut v, &mut p).expect("shapes fit");
        sgd(kernels, 1e-3, 0.9, &g, &mut m, &mut p).expect("shapes fit");
    });
}

/// The gates of an LSTM cell.
fn gates(cases: &mut Cases, n: usize, cells: usize) {
    let size = n * cells;
    let (z, candidate, before) = (floats(3 * size, 1), activations(size, 2), activations(size, 3));
    let (mut gates, mut c, mut h) = (z.clone(), vec![0.0; size], vec![0.0; size]);
    let (mut d_c, mut d_gates, mut d_candidate) = (floats(size, 4), vec![0.0; 3 * size], vec![0.0; size]);
    let (d_h, mut r_c, mut r_candidate) = (floats(size, 5), floats(size, 6), vec![0.0; size]);
    cases.add("cell_forward, backward, relevance", format!("{n}×{cells}"), move |kernels| {
        gates.copy_from_slice(&z);
        let (candidate, c_before) = (&candidate[..], Some(&before[..]));
        let forward = CellForward { cells, gates: &mut gates, candidate, c_before, c: &mut c, h: &mut h };
        cell_forward(kernels, forward).expect("shapes fit");
        let (gates, c, d_h) = (&gates[..], &c[..], &d_h[..]);
        let (d_gates, d_candidate) = (&mut d_gates[..], &mut d_candidate[..]);
        let backward = CellBackward {
            cells,
            gates,
            candidate,
            c_before,
            c,
            d_h,
            d_c: &mut d_c,
            d_gates,
            d_candidate,
            guided: false,
        };
        cell_backward(kernels, backward).expect("shapes fit");
        let (r_c, r_candidate) = (&mut r_c[..], &mut r_candidate[..]);
        let back = CellRelevance { cells, gates, c_before, c, r_h: d_h, r_c, r_candidate, eps: EPS };
        cell_relevance(kernels, back).expect("shapes fit");
    });
}

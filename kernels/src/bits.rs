//! Tests of the bit-identity guarantee at 200 random shapes: every form of product, convolution and pool,
//! every relevance rule and elementwise function, on every backend with this guarantee, on 1, 2, 3 and 7
//! threads, compared with `==`.

use crate::conv::max_pool::{
    ConvMaxPool, ConvMaxPoolInputGradient, ConvMaxPoolWeightGradient, ConvPoolShape, Filters, MaxIndices,
    conv_max_pool, conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use crate::conv::sum_pool::{
    ActivePixels, ConvSumPool, ConvSumPoolInputGradient, ConvSumPoolWeightGradient, conv_sum_pool,
    conv_sum_pool_input_gradient, conv_sum_pool_weight_gradient,
};
use crate::conv::{Conv, conv, conv_weight_gradient};
use crate::dropout::Dropout;
use crate::elementwise::gates::{
    CellBackward, CellForward, CellRelevance, cell_backward, cell_forward, cell_relevance,
};
use crate::elementwise::{activation, optimiser, reduce, softmax};
use crate::error::ShapeError;
use crate::exec::Kernels;
use crate::gemm::pack::{self, Part, reverse_conv, transpose};
use crate::gemm::problem::{Epilogue, Init, Stabiliser};
use crate::gemm::tuning::{Cpu, Tuning};
use crate::image::{ConvShape, Plane};
use crate::layout::{MatMut, MatRef, Rows};
use crate::matmul::{WeightGradient, gemm, gemm_tn};
use crate::panels::{Panels, panels_len};
use crate::pool::{PoolBack, PoolBackward, PoolKind, PoolShape, pool, pool_backward};
use crate::relevance::{
    Denominators, DenominatorsConv, EPS, Messages, MessagesConv, PackedRule, Ratios, RatiosConv, Relevance,
    RelevanceConv, RelevanceConvMaxPool, RelevanceConvSumPool, RelevanceNeuron, Rule, denominators,
    denominators_conv, messages, messages_conv, ratios, ratios_conv, relevance, relevance_conv,
    relevance_conv_max_pool, relevance_conv_sum_pool, relevance_neuron,
};
use crate::simd::dispatch::Backend;
use crate::testing::{activations, floats, kernel_sets, shapes};
use crate::threads::Threads;

const SHAPES: usize = 200;

/// A number in `from..to`, determined by `seed` and `index`.
fn pick(seed: u64, index: u64, from: usize, to: usize) -> usize {
    let mixed = (seed * 31 + index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    from + (mixed >> 33) as usize % (to - from)
}

/// Named results in the order they were made.
pub type Results = Vec<(&'static str, Vec<f32>)>;

/// Adds a result of `len` floats that `make` writes.
fn add(
    results: &mut Results,
    name: &'static str,
    mut out: Vec<f32>,
    make: impl FnOnce(&mut [f32]) -> Result<(), ShapeError>,
) {
    make(&mut out).expect("shapes fit");
    results.push((name, out));
}

/// Every rule, with a pixel range.
fn rules() -> [(&'static str, Rule); 7] {
    [
        ("z⁺", Rule::z_plus()),
        ("αβ", Rule::alpha_beta(2.0, 1.0)),
        ("z^β", Rule::z_beta(-0.5, 1.0)),
        ("w²", Rule::w_square()),
        ("flat", Rule::flat()),
        ("ε", Rule::epsilon(1e-3)),
        ("γ", Rule::gamma(0.25, 1e-3)),
    ]
}

/// Every product and dense rule at `[n, j]·[j, k]`.
pub fn dense(kernels: &Kernels, [n, j, k]: [usize; 3], seed: u64) -> Results {
    let (a, r) = (activations(n * j, seed), floats(n * k, seed + 1));
    let (w, gradients) = (pack::pack(&floats(j * k, seed + 2), j, k), floats(n * k, seed + 3));
    let bias = floats(k.next_multiple_of(16), seed + 4);
    let panels = Panels::new(&w, j, k);
    let mut back = vec![0.0; panels_len(k, j)];
    transpose(panels, Part::All, &mut back);
    let (a, r, dy) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k), MatRef::new(&gradients, n, k));
    let mut results = Results::new();
    let epilogues = [
        ("NN", Epilogue::Store),
        ("bias", Epilogue::Bias(&bias)),
        ("bias relu", Epilogue::BiasRelu(&bias)),
        ("bias relu dropout", Epilogue::BiasReluDropout(&bias, Dropout::new(0.5, seed))),
        (
            "repeated dropout",
            Epilogue::BiasReluDropout(&bias, Dropout::new(0.5, seed).repeating(n.div_ceil(2) * k)),
        ),
        ("relu gradient", Epilogue::ReluGradient { a: r, scale: 2.0, guided: false }),
        ("guided", Epilogue::ReluGradient { a: r, scale: 1.0, guided: true }),
        ("ratio", Epilogue::Ratio { r, coefficient: 2.0, stabiliser: Stabiliser::Constant(EPS) }),
        ("times", Epilogue::Times { a: r, shift: 0.5, add: true }),
    ];
    for (name, epilogue) in epilogues {
        for init in [Init::Zero, Init::Accumulate, Init::Copy(dy)] {
            add(&mut results, name, vec![0.25; n * k], |out| {
                gemm(kernels, a, panels, init, epilogue, MatMut::new(out, n, k))
            });
        }
    }
    add(&mut results, "NT", vec![0.0; n * j], |out| {
        let out = MatMut::new(out, n, j);
        gemm(kernels, dy, Panels::new(&back, k, j), Init::Zero, Epilogue::Store, out)
    });
    for accumulate in [false, true] {
        add(&mut results, "TN", pack::pack(&vec![0.5; (j + 1) * k], j + 1, k), |out| {
            gemm_tn(kernels, WeightGradient { a, d_y: dy, accumulate, d_w: out, rows: j + 1, first_row: 1 })
        });
    }
    let mut z = vec![0.0; n * k];
    gemm(kernels, a, panels, Init::Zero, Epilogue::Store, MatMut::new(&mut z, n, k)).expect("shapes fit");
    let z = Some(MatRef::new(&z, n, k));
    for (name, rule) in rules() {
        let rule = &PackedRule::dense(&rule, panels);
        let mut absorbed = vec![0.0; n];
        add(&mut results, name, vec![0.0; n * j], |out| {
            let r_in = MatMut::new(out, n, j);
            relevance(kernels, Relevance { rule, a, z, r_out: r, r_in, absorbed: &mut absorbed })
        });
        results.push(("absorbed", absorbed.into_iter().map(|a| a as f32).collect()));
    }
    // The second input does not contribute to the second group.
    let (first, second) = (Rule::alpha_beta(2.0, 1.0), Rule::z_beta(-0.5, 1.0));
    let shared = Rule::shared(&[&first, &second]);
    let [first, second] = [first, second].map(|rule| PackedRule::dense(&rule, panels));
    for (group, &shared) in shared.iter().enumerate() {
        let mut base = vec![0.0; n * k];
        add(&mut results, "denominators", vec![0.0; n * k], |out| {
            let out = MatMut::new(out, n, k);
            denominators(kernels, Denominators { rule: &second, group, a, z, out })
        });
        base.copy_from_slice(&results[results.len() - 1].1);
        let (rule, base) = (&first, MatRef::new(&base, n, k));
        add(&mut results, "ratios", vec![0.0; n * k], |out| {
            let (c, absorbed) = (MatMut::new(out, n, k), &mut vec![0.0; n]);
            ratios(kernels, Ratios { shared, rule, group, base, a, z, r_out: r, c, absorbed })
        });
    }
    for rule in [&first, &second] {
        add(&mut results, "messages", vec![0.0; n * j], |out| {
            messages(kernels, Messages { rule, c: &[r, dy], a, r_in: MatMut::new(out, n, j) })
        });
    }
    results
}

/// The operands of a convolution, its rules and a pool.
#[derive(Debug)]
pub struct Batch {
    pub shape: ConvShape,
    pub images: usize,
    /// Kind and size of the pool's window.
    pub pool: (PoolKind, usize),
}

impl Batch {
    fn picked(seed: u64) -> Self {
        let shape = ConvShape {
            rows: pick(seed, 3, 1, 9),
            cols: pick(seed, 4, 1, 9),
            size: [1, 3, 5][pick(seed, 5, 0, 3)],
            inputs: pick(seed, 6, 1, 30),
            outputs: pick(seed, 7, 1, 60),
        };
        let kind = [PoolKind::Max, PoolKind::Sum][pick(seed, 9, 0, 2)];
        Batch { shape, images: pick(seed, 8, 1, 4), pool: (kind, pick(seed, 10, 1, 4)) }
    }
}

/// Every convolution, every pool, and their rules.
pub fn images(kernels: &Kernels, batch: &Batch, seed: u64) -> Results {
    let Batch { shape, images, pool: (kind, size) } = *batch;
    let (input, output) = (shape.input(), shape.output());
    let (pixels, inputs, outputs) = (images * input.pixels(), shape.inputs, shape.outputs);
    let w = pack::pack(&floats(shape.patch() * outputs, seed + 2), shape.patch(), outputs);
    let panels = Panels::new(&w, shape.patch(), outputs);
    let filled = |plane: &Plane, seed| {
        plane.padded(&activations(images * plane.pixels() * plane.channels, seed), images)
    };
    let (x, dy) = (filled(&input, seed), filled(&output, seed + 1));
    let r = floats(pixels * outputs, seed + 5);
    let r = MatRef::new(&r, pixels, outputs);
    let mut results = Results::new();
    let bias = floats(outputs.next_multiple_of(16), seed + 4);
    add(&mut results, "conv", vec![0.0; images * output.len()], |out| {
        let out = output.pixels_mut(out, images);
        conv(
            kernels,
            Conv {
                shape: &shape,
                x: &x,
                images,
                w: panels,
                init: Init::Zero,
                epilogue: Epilogue::BiasRelu(&bias),
                y: out,
            },
        )
    });
    add(&mut results, "conv dX", vec![0.0; pixels * inputs], |out| {
        let back = shape.reversed();
        let mut reversed = vec![0.0; panels_len(back.patch(), inputs)];
        reverse_conv(&shape, panels, Part::All, &mut reversed);
        let (w, out) = (Panels::new(&reversed, back.patch(), inputs), MatMut::new(out, pixels, inputs));
        conv(
            kernels,
            Conv { shape: &back, x: &dy, images, w, init: Init::Zero, epilogue: Epilogue::Store, y: out },
        )
    });
    add(&mut results, "conv dW", vec![0.0; w.len()], |out| {
        conv_weight_gradient(kernels, &shape, &x, &dy, images, out)
    });
    let mut z = vec![0.0; pixels * outputs];
    let (init, epilogue, y) = (Init::Zero, Epilogue::Store, MatMut::new(&mut z, pixels, outputs));
    conv(kernels, Conv { shape: &shape, images, x: &x, w: panels, init, epilogue, y }).expect("shapes fit");
    let z = Some(MatRef::new(&z, pixels, outputs));
    for (name, rule) in rules() {
        let rule = &PackedRule::conv(kernels, &rule, &shape, panels).expect("shapes fit");
        add(&mut results, name, vec![0.0; pixels * inputs], |out| {
            let (r_in, absorbed) = (MatMut::new(out, pixels, inputs), &mut vec![0.0; images]);
            relevance_conv(kernels, RelevanceConv { rule, a: &x, z, r_out: r, r_in, absorbed })
        });
    }
    // A lateral convolution: z^β of the pixels and z⁺ of the outputs before share one denominator.
    let (first, second) = (Rule::z_beta(-0.5, 1.0), Rule::z_plus());
    let shared = Rule::shared(&[&first, &second])[0];
    let [first, second] =
        [first, second].map(|rule| PackedRule::conv(kernels, &rule, &shape, panels).expect("shapes fit"));
    add(&mut results, "denominators of a convolution", vec![0.0; pixels * outputs], |out| {
        let out = MatMut::new(out, pixels, outputs);
        denominators_conv(kernels, DenominatorsConv { rule: &first, group: 0, images, a: &x, z, out })
    });
    let base = results[results.len() - 1].1.clone();
    let plane = shape.output();
    for a in [Some(&x[..]), None] {
        add(&mut results, "ratios of a convolution", vec![0.0; images * plane.len()], |out| {
            let base = MatRef::new(&base, pixels, outputs);
            let (c, absorbed) = (plane.pixels_mut(out, images), &mut vec![0.0; images]);
            let rule = &second;
            let operands = RatiosConv { shared, rule, group: 0, base, a, z: None, r_out: r, c, absorbed };
            ratios_conv(kernels, operands)
        });
    }
    let c = results[results.len() - 1].1.clone();
    for rule in [&first, &second] {
        add(&mut results, "messages of a convolution", vec![0.0; pixels * inputs], |out| {
            let r_in = MatMut::new(out, pixels, inputs);
            let a = shape.input().pixels_of(&x, images);
            messages_conv(kernels, MessagesConv { rule, images, c: &[&c], a, r_in })
        });
    }
    let pooling = PoolShape { rows: shape.rows, cols: shape.cols, channels: inputs, size, kind };
    let pooled = images * pooling.out_rows() * pooling.out_cols();
    let a = input.pixels_of(&x, images);
    let mut y = vec![0.0; pooled * inputs];
    let out = MatMut::new(&mut y, pooled, inputs);
    pool(kernels, pooling, images, a, out).expect("shapes fit");
    let above = floats(pooled * inputs, seed + 6);
    for what in [PoolBack::Gradient { guided: false }, PoolBack::Relevance { eps: EPS }] {
        add(&mut results, "pool back", vec![0.0; images * input.len()], |out| {
            let (y, above) = (MatRef::new(&y, pooled, inputs), MatRef::new(&above, pooled, inputs));
            let to = input.pixels_mut(out, images);
            pool_backward(
                kernels,
                PoolBackward { shape: pooling, images, what, a, pooled: y, back: above, out: to },
            )
        });
    }
    results.push(("pool", y));
    let shape = ConvPoolShape { conv: shape, window: size };
    behind_pool(kernels, &shape, images, panels, &x, seed, &mut results);
    results
}

/// Convolution + max-pool, its gradients, and every rule for it.
fn behind_pool(
    kernels: &Kernels,
    shape: &ConvPoolShape,
    images: usize,
    w: Panels,
    x: &[f32],
    seed: u64,
    results: &mut Results,
) {
    let (conv, rows) = (&shape.conv, images * shape.windows());
    let bias = floats(conv.outputs.next_multiple_of(16), seed + 4);
    let (mut z, mut max_indices) = (vec![0.0; rows * conv.outputs], MaxIndices::new(shape, images));
    add(results, "pooled", vec![0.0; rows * conv.outputs], |out| {
        let y = MatMut::new(out, rows, conv.outputs);
        conv_max_pool(
            kernels,
            ConvMaxPool {
                shape,
                x,
                images,
                w,
                bias: &bias,
                y,
                max_indices: &mut max_indices,
                z: Some(&mut z),
            },
        )
    });
    let v = floats(rows * conv.outputs, seed + 7);
    let v = MatRef::new(&v, rows, conv.outputs);
    add(results, "pooled dW", vec![0.0; panels_len(conv.patch(), conv.outputs)], |out| {
        conv_max_pool_weight_gradient(
            kernels,
            ConvMaxPoolWeightGradient { shape, x, max_indices: &max_indices, d_h: v, images, d_w: out },
        )
    });
    let (lines, cols) = (images * conv.rows, conv.cols * conv.inputs);
    let filters = Filters::new(shape, w, Part::All, None);
    let relu = Epilogue::ReluGradient { a: conv.input().lines_of(x, images), scale: 1.0, guided: false };
    add(results, "pooled dX", vec![0.0; lines * cols], |out| {
        conv_max_pool_input_gradient(
            kernels,
            ConvMaxPoolInputGradient {
                filters: &filters,
                max_indices: &max_indices,
                d_h: v,
                images,
                epilogues: &[relu],
                d_x: MatMut::new(out, lines, cols),
            },
        )
    });
    behind_sum_pool(kernels, shape, images, w, x, [&bias, v.data], results);
    for (name, rule) in rules() {
        let rule = &PackedRule::conv_max_pool(kernels, &rule, shape, w).expect("shapes fit");
        let (max_indices, z) = (&max_indices, Some(&z[..]));
        add(results, name, vec![0.0; lines * cols], |out| {
            let (r_in, absorbed) = (MatMut::new(out, lines, cols), &mut vec![0.0; images]);
            let operands = RelevanceConvMaxPool { rule, x, max_indices, z, r_out: v, r_in, absorbed };
            relevance_conv_max_pool(kernels, operands)
        });
    }
}

/// Convolution + sum-pool, its gradients, and every rule for it; `bias` and `v`, the gradient of the windows.
fn behind_sum_pool(
    kernels: &Kernels,
    shape: &ConvPoolShape,
    images: usize,
    w: Panels,
    x: &[f32],
    [bias, v]: [&[f32]; 2],
    results: &mut Results,
) {
    let (conv, rows) = (&shape.conv, images * shape.windows());
    let (pixels, reversed) = (images * conv.output().pixels(), conv.reversed());
    let (mut y, mut z) = (vec![0.0; rows * conv.outputs], vec![0.0; pixels * conv.outputs]);
    let mut active = ActivePixels::new(shape, images);
    let out = MatMut::new(&mut y, rows, conv.outputs);
    let (to_active, to_z) = (Some(&mut active), Some(&mut z[..]));
    conv_sum_pool(kernels, ConvSumPool { shape, images, x, w, bias, y: out, active: to_active, z: to_z })
        .expect("shapes fit");
    let (d_h, mut d_b) = (MatRef::new(v, rows, conv.outputs), vec![0.0; conv.outputs]);
    add(results, "sum-pooled dW", vec![0.0; panels_len(conv.patch(), conv.outputs)], |d_w| {
        let (active, d_b) = (&active, &mut d_b[..]);
        let operands = ConvSumPoolWeightGradient { shape, images, x, active, d_h, d_w, d_b };
        conv_sum_pool_weight_gradient(kernels, operands)
    });
    results.push(("sum-pooled db", d_b));
    let mut back = vec![0.0; panels_len(reversed.patch(), reversed.outputs)];
    reverse_conv(conv, w, Part::All, &mut back);
    let relu = Epilogue::ReluGradient { a: conv.input().pixels_of(x, images), scale: 1.0, guided: false };
    add(results, "sum-pooled dX", vec![0.0; pixels * conv.inputs], |out| {
        let (w, d_x) =
            (Panels::new(&back, reversed.patch(), reversed.outputs), MatMut::new(out, pixels, conv.inputs));
        let (active, epilogue) = (&active, relu);
        let operands = ConvSumPoolInputGradient { shape, images, active, d_h, w, epilogue, d_x };
        conv_sum_pool_input_gradient(kernels, operands)
    });
    for (name, rule) in rules() {
        let rule = &PackedRule::conv(kernels, &rule, conv, w).expect("shapes fit");
        let (y, z, window) = (MatRef::new(&y, rows, conv.outputs), &z[..], shape.window);
        add(results, name, vec![0.0; pixels * conv.inputs], |out| {
            let (r_in, absorbed) = (MatMut::new(out, pixels, conv.inputs), &mut vec![0.0; images]);
            let operands = RelevanceConvSumPool { rule, window, x, bias, z, y, r_out: d_h, r_in, absorbed };
            relevance_conv_sum_pool(kernels, operands)
        });
    }
    results.push(("sum-pooled", y));
    results.push(("sum-pooled z", z));
}

/// Every elementwise function on `[n, k]`; rows are `gap` floats apart.
pub fn elements(kernels: &Kernels, [n, k, gap]: [usize; 3], seed: u64) -> Results {
    let step = k + gap;
    // There is no gap after the last row.
    let len = n * step - gap;
    let (x, y) = (floats(len, seed), floats(n * k, seed + 1));
    let (x, y) = (MatRef::mapped(&x, n, k, Rows::linear(step)), MatRef::new(&y, n, k));
    let b = floats(k, seed + 2);
    let mut results = Results::new();
    add(&mut results, "bias relu", vec![0.0; len], |out| {
        activation::bias_relu(kernels, x, &b, MatMut::mapped(out, n, k, Rows::linear(step)))
    });
    add(&mut results, "softplus", vec![0.5; k + gap], |out| activation::softplus_bias(kernels, &b, out));
    add(&mut results, "softplus gradient", floats(k, seed + 3), |out| {
        activation::softplus_gradient(kernels, &b, out)
    });
    add(&mut results, "column sums", vec![0.5; k], |out| reduce::column_sums(kernels, x, out));
    let labels: Vec<u8> = (0..n).map(|i| (i * 7 % k) as u8).collect();
    for (name, zero_logit) in [("cross-entropy", false), ("cross-entropy with a zero logit", true)] {
        let mut losses = vec![0.0; n];
        add(&mut results, name, vec![0.0; n * k], |out| {
            let (gradient, losses) = (MatMut::new(out, n, k), &mut losses);
            let operands = softmax::CrossEntropy { logits: x, labels: &labels, zero_logit, gradient, losses };
            softmax::cross_entropy(kernels, operands)
        });
        results.push(("losses", losses));
    }
    let (mut m, mut v) = (floats(n * k, seed + 4), activations(n * k, seed + 5));
    add(&mut results, "Adam", floats(n * k, seed + 6), |out| {
        optimiser::adam(kernels, optimiser::AdamStep::new(0.1, 3), y.data, &mut m, &mut v, out)
    });
    add(&mut results, "SGD", floats(n * k, seed + 7), |out| {
        optimiser::sgd(kernels, 0.1, 0.9, y.data, &mut m, out)
    });
    let sums = vec![reduce::sum(y.data) as f32, reduce::sum_of_squares(y.data) as f32];
    results.extend([("first moment", m), ("second moment", v), ("sums", sums)]);
    cells(kernels, n, k, seed, &mut results);
    results
}

/// The gates of an LSTM cell, and the rule of one neuron a sample.
fn cells(kernels: &Kernels, n: usize, k: usize, seed: u64, results: &mut Results) {
    let size = n * k;
    let (candidate, before) = (activations(size, seed + 8), activations(size, seed + 9));
    let (candidate, d_h) = (&candidate[..], &floats(size, seed + 10)[..]);
    for c_before in [Some(&before[..]), None] {
        let (mut gates, mut c, mut h) = (floats(3 * size, seed + 11), vec![0.0; size], vec![0.0; size]);
        let forward = CellForward { cells: k, gates: &mut gates, candidate, c_before, c: &mut c, h: &mut h };
        cell_forward(kernels, forward).expect("shapes fit");
        for guided in [false, true] {
            let (mut d_c, mut d_gates) = (floats(size, seed + 12), vec![0.0; 3 * size]);
            add(results, "gradient of candidates", vec![0.0; size], |d_candidate| {
                let (gates, c, d_c, d_gates) = (&gates[..], &c[..], &mut d_c[..], &mut d_gates[..]);
                let operands = CellBackward {
                    cells: k,
                    gates,
                    candidate,
                    c_before,
                    c,
                    d_h,
                    d_c,
                    d_gates,
                    d_candidate,
                    guided,
                };
                cell_backward(kernels, operands)
            });
            results.extend([("gradient of the state", d_c), ("gradient of gates", d_gates)]);
        }
        let mut r_c = floats(size, seed + 13);
        add(results, "relevance of candidates", vec![0.0; size], |r_candidate| {
            let (gates, c, r_c) = (&gates[..], &c[..], &mut r_c[..]);
            let operands =
                CellRelevance { cells: k, gates, c_before, c, r_h: d_h, r_c, r_candidate, eps: EPS };
            cell_relevance(kernels, operands)
        });
        results.extend([("relevance of the state", r_c), ("gates", gates), ("state", c), ("output", h)]);
    }
    let (a, d, f) = (MatRef::new(candidate, n, k), MatRef::new(d_h, n, k), floats(n, seed + 14));
    for (name, rule) in rules() {
        let mut absorbed = vec![0.0; n];
        add(results, name, vec![0.0; size], |out| {
            let r_in = MatMut::new(out, n, k);
            let operands = RelevanceNeuron { rule: &rule, a, d, f: &f, r_in, absorbed: &mut absorbed };
            relevance_neuron(kernels, operands)
        });
        results.push(("absorbed by a neuron", absorbed.into_iter().map(|a| a as f32).collect()));
    }
}

fn check(all: impl Fn(&Kernels, u64) -> Results) {
    let sets: Vec<Kernels> = kernel_sets().into_iter().filter(Kernels::promises_bits).collect();
    for seed in 1..=shapes(SHAPES) as u64 {
        let want = all(&sets[0], seed);
        for kernels in &sets[1..] {
            for ((name, want), (_, found)) in want.iter().zip(all(kernels, seed)) {
                let same = want.iter().zip(&found).all(|(w, f)| w.to_bits() == f.to_bits());
                let (set, threads) = (kernels.name(), kernels.threads().count());
                assert!(
                    same && want.len() == found.len(),
                    "{name}, shape {seed}: {set} on {threads} threads"
                );
            }
        }
    }
}

#[test]
fn products_and_dense_rules_have_the_same_bits_at_200_shapes() {
    let sizes = |seed| [pick(seed, 0, 1, 70), pick(seed, 1, 1, 90), pick(seed, 2, 1, 90)];
    check(|kernels, seed| dense(kernels, sizes(seed), seed));
}

#[test]
fn convolutions_pools_and_their_rules_have_the_same_bits_at_200_shapes() {
    check(|kernels, seed| images(kernels, &Batch::picked(seed), seed));
}

#[test]
fn functions_of_elements_have_the_same_bits_at_200_shapes() {
    let sizes = |seed| [pick(seed, 11, 1, 70), pick(seed, 12, 1, 90), pick(seed, 13, 0, 3)];
    check(|kernels, seed| elements(kernels, sizes(seed), seed));
}

#[test]
fn no_choice_of_the_tuning_changes_a_bit() {
    let odd = [
        "prefetch=0,strips=1,k-block=1,l1=1",
        "prefetch=1024,strips=2,k-block=3,pack-tiles=0,pack-step=0,l1=0",
        "prefetch=1,strips=3,k-block=16,pack-tiles=1,pack-step=17,l1=700",
        "prefetch=12,strips=4,k-block=7,pack-tiles=1048576,pack-step=1048576,l1=1048576",
    ];
    let odd = odd.map(|text| Tuning::chosen().parse(text).expect("keys and values"));
    let rows: Vec<Tuning> = Tuning::rows().map(|(_, tuning)| tuning).chain(odd).collect();
    for seed in 1..=shapes(20) as u64 {
        let sizes = [pick(seed, 0, 1, 300), pick(seed, 1, 1, 60), pick(seed, 2, 1, 90)];
        let image = Batch::picked(seed);
        for backend in Backend::available() {
            let kernels = Kernels::new(backend, Threads::one());
            let all = || {
                let mut results = dense(&kernels, sizes, seed);
                results.extend(images(&kernels, &image, seed));
                results
            };
            Tuning::rows().next_back().expect("the table has rows").1.choose();
            let want = all();
            for tuning in &rows {
                tuning.choose();
                for ((name, found), (_, want)) in all().iter().zip(&want) {
                    let same = found.iter().zip(want).all(|(x, y)| x.to_bits() == y.to_bits());
                    assert!(same && found.len() == want.len(), "{name} of {sizes:?}, {backend:?}: {tuning}");
                }
            }
        }
    }
    Cpu::detect().row().1.choose();
}

//! Every convolution and pool, and their rules.

use super::{Results, add, pick, rules};
use crate::conv::max_pool::{
    ConvMaxPool, ConvMaxPoolInputGradient, ConvMaxPoolWeightGradient, ConvPoolShape, Filters, MaxIndices,
    conv_max_pool, conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use crate::conv::sum_pool::{
    ActivePixels, ConvSumPool, ConvSumPoolInputGradient, ConvSumPoolWeightGradient, conv_sum_pool,
    conv_sum_pool_input_gradient, conv_sum_pool_weight_gradient,
};
use crate::conv::{Conv, conv, conv_weight_gradient};
use crate::exec::Kernels;
use crate::gemm::pack::{self, Part, reverse_conv};
use crate::gemm::problem::{Epilogue, Init};
use crate::image::{ConvShape, Plane};
use crate::layout::{MatMut, MatRef};
use crate::panels::{Panels, panels_len};
use crate::pool::{PoolBack, PoolBackward, PoolKind, PoolShape, pool, pool_backward};
use crate::relevance::{
    DenominatorsConv, EPS, MessagesConv, PackedRule, RatiosConv, RelevanceConv, RelevanceConvMaxPool,
    RelevanceConvSumPool, Rule, denominators_conv, messages_conv, ratios_conv, relevance_conv,
    relevance_conv_max_pool, relevance_conv_sum_pool,
};
use crate::testing::{activations, floats};

/// The operands of a convolution, its rules and a pool.
#[derive(Debug)]
pub struct Batch {
    pub shape: ConvShape,
    pub images: usize,
    /// Kind and size of the pool's window.
    pub pool: (PoolKind, usize),
}

impl Batch {
    pub(super) fn picked(seed: u64) -> Self {
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

//! Convolutions of ConvDeep, for a batch of images, against the FMA peak.

use crate::measure::{Bench, Candidate, ours};
use benches::patches::{assert_conv, assert_weight_gradient, turned};
use benches::{BATCH, activations, floats};
use kernels::pack::{Part, pack, reverse_conv};
use kernels::{
    Conv, ConvShape, Epilogue, Init, Kernels, MatMut, Panels, STRIP, conv, conv_weight_gradient, panels_len,
};
use serde_json::{Value, json};

/// Columns of the strips that an image is cut into.
const STRIPS: [usize; 4] = [28, 7, 4, 2];

/// `[size, inputs, outputs]`; the first reads pixels, which need no gradient.
const PIXEL_LAYER: [usize; 3] = [5, 1, 24];
const HIDDEN_LAYER: [usize; 3] = [3, 24, 48];

/// The convolutions of lateral connections, above the pixels and above a pool, in an image of the majority problem.
const LATERAL: [ConvShape; 2] = [
    ConvShape { rows: 28, cols: 7, size: 5, inputs: 24, outputs: 24 },
    ConvShape { rows: 14, cols: 4, size: 3, inputs: 32, outputs: 32 },
];

/// Multiply-adds with the zeros of the border are counted, those with padded channels are not.
fn row(bench: &Bench, shape: &ConvShape, pass: &str, candidate: Candidate) -> Value {
    let ConvShape { rows, cols, size, inputs, outputs } = *shape;
    let flop = 2 * BATCH * rows * cols * shape.patch() * outputs;
    let mut row = bench.measure(vec![candidate]).row(flop as f64);
    row.extend([
        ("layer".to_owned(), json!(format!("{size}×{size} {inputs}→{outputs}"))),
        ("image".to_owned(), json!(format!("{rows}×{cols}"))),
        ("pass".to_owned(), json!(pass)),
    ]);
    Value::Object(row)
}

fn pixels(shape: &ConvShape) -> usize {
    BATCH * shape.rows * shape.cols
}

fn run(kernels: &Kernels, shape: &ConvShape, x: &[f32], w: Panels, epilogue: Epilogue, y: &mut [f32]) {
    let out = MatMut::new(y, pixels(shape), shape.outputs);
    conv(kernels, Conv { shape, x, images: BATCH, w, init: Init::Zero, epilogue, y: out })
        .expect("shapes fit");
}

/// With bias and relu.
fn forward(bench: &Bench, shape: &ConvShape) -> Value {
    let (x, w) = (activations(pixels(shape) * shape.inputs, 1), floats(shape.patch() * shape.outputs, 2));
    let bias = floats(shape.outputs.next_multiple_of(STRIP), 3);
    let (planes, packed) = (shape.input().padded(&x, BATCH), pack(&w, shape.patch(), shape.outputs));
    let panels = Panels::new(&packed, shape.patch(), shape.outputs);
    let mut y = vec![f32::NAN; pixels(shape) * shape.outputs];
    run(bench.kernels(), shape, &planes, panels, Epilogue::BiasRelu(&bias), &mut y);
    assert_conv("forward", shape, &x, &w, &y, |o, sum| (sum + f64::from(bias[o])).max(0.0));
    let work = |kernels: &Kernels| run(kernels, shape, &planes, panels, Epilogue::BiasRelu(&bias), &mut y);
    row(bench, shape, "forward", ours(work))
}

fn input_gradient(bench: &Bench, shape: &ConvShape) -> Value {
    let back = shape.reversed();
    let (d_y, w) = (floats(pixels(shape) * shape.outputs, 1), floats(shape.patch() * shape.outputs, 2));
    let (planes, packed) = (shape.output().padded(&d_y, BATCH), pack(&w, shape.patch(), shape.outputs));
    let mut reversed = vec![0.0; panels_len(back.patch(), back.outputs)];
    reverse_conv(shape, Panels::new(&packed, shape.patch(), shape.outputs), Part::All, &mut reversed);
    let panels = Panels::new(&reversed, back.patch(), back.outputs);
    let mut d_x = vec![f32::NAN; pixels(shape) * shape.inputs];
    run(bench.kernels(), &back, &planes, panels, Epilogue::Store, &mut d_x);
    assert_conv("input gradient", &back, &d_y, &turned(shape, &w), &d_x, |_, sum| sum);
    let work = |kernels: &Kernels| run(kernels, &back, &planes, panels, Epilogue::Store, &mut d_x);
    row(bench, shape, "input gradient", ours(work))
}

fn weight_gradient(bench: &Bench, shape: &ConvShape) -> Value {
    let (x, d_y) = (activations(pixels(shape) * shape.inputs, 1), floats(pixels(shape) * shape.outputs, 2));
    let (planes, d_planes) = (shape.input().padded(&x, BATCH), shape.output().padded(&d_y, BATCH));
    let mut d_w = vec![f32::NAN; panels_len(shape.patch(), shape.outputs)];
    let work = |kernels: &Kernels, d_w: &mut [f32]| {
        conv_weight_gradient(kernels, shape, &planes, &d_planes, BATCH, d_w).expect("shapes fit");
    };
    work(bench.kernels(), &mut d_w);
    assert_weight_gradient(shape, &x, &d_y, &d_w);
    row(bench, shape, "weight gradient", ours(|kernels| work(kernels, &mut d_w)))
}

/// The figures of every layer, pass by pass.
pub fn measure(bench: &Bench) -> Vec<Value> {
    let shapes = |[size, inputs, outputs]: [usize; 3]| {
        STRIPS.map(|cols| ConvShape { rows: 28, cols, size, inputs, outputs })
    };
    let (hidden, pixel) = (shapes(HIDDEN_LAYER), shapes(PIXEL_LAYER));
    let mut rows = Vec::new();
    rows.extend(hidden.iter().map(|shape| forward(bench, shape)));
    rows.extend(hidden.iter().map(|shape| input_gradient(bench, shape)));
    rows.extend(hidden.iter().map(|shape| weight_gradient(bench, shape)));
    rows.extend(pixel.iter().map(|shape| forward(bench, shape)));
    rows.extend(pixel.iter().map(|shape| weight_gradient(bench, shape)));
    for pass in [forward, input_gradient, weight_gradient] {
        rows.extend(LATERAL.iter().map(|shape| pass(bench, shape)));
    }
    rows
}

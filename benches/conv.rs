//! Convolutions of the convolutional cell, in FLOP/s: forward, input gradient, weight gradient. A
//! multiply-add with the border of zeros counts like any other.

use benches::{BATCH, activations, assert_close, best, floats, label, padded, sample};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernels::pack::{Part, pack, reverse_conv};
use kernels::{
    ConvShape, Epilogue, Kernels, MatMut, Panels, Start, conv, conv_weight_gradient, panels_len, reference,
};
use std::time::Duration;

/// The two layers on a whole image and on a strip of four columns.
const SHAPES: [ConvShape; 4] = [
    ConvShape { rows: 28, cols: 28, size: 5, inputs: 1, outputs: 24 },
    ConvShape { rows: 14, cols: 14, size: 3, inputs: 24, outputs: 48 },
    ConvShape { rows: 28, cols: 4, size: 5, inputs: 1, outputs: 24 },
    ConvShape { rows: 14, cols: 2, size: 3, inputs: 24, outputs: 48 },
];

fn group<'a>(c: &'a mut Criterion, name: &str, shape: &ConvShape) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let flop = 2 * BATCH * shape.rows * shape.cols * shape.patch() * shape.outputs;
    group.throughput(Throughput::Elements(flop as u64));
    group
}

fn id(kernels: &Kernels, shape: &ConvShape) -> BenchmarkId {
    let ConvShape { rows, cols, size, inputs, outputs } = shape;
    BenchmarkId::new(label(kernels), format!("{size}x{size}-{inputs}-{outputs}-on-{rows}x{cols}"))
}

/// The patch of pixel `p`, from images without border: an index that falls outside reads zero.
fn patch(shape: &ConvShape, x: &[f32], p: usize) -> Vec<f32> {
    let ConvShape { rows, cols, size, inputs, .. } = *shape;
    let (image, row, col) = (p / (rows * cols), p / cols % rows, p % cols);
    let mut patch = Vec::new();
    for dy in 0..size {
        for dx in 0..size {
            let (y, x_at) = ((row + dy).wrapping_sub(size / 2), (col + dx).wrapping_sub(size / 2));
            let inside = y < rows && x_at < cols;
            let from = if inside { ((image * rows + y) * cols + x_at) * inputs } else { 0 };
            patch.extend((0..inputs).map(|i| if inside { x[from + i] } else { 0.0 }));
        }
    }
    patch
}

/// Weights HWIO for the way back, as the definition says: turned, inputs and outputs exchanged.
fn turned(shape: &ConvShape, w: &[f32]) -> Vec<f32> {
    let (area, inputs, outputs) = (shape.size * shape.size, shape.inputs, shape.outputs);
    let at = |q: usize, o: usize, i: usize| w[((area - 1 - q) * inputs + i) * outputs + o];
    let places = (0..area).flat_map(|q| (0..outputs).map(move |o| (q, o)));
    places.flat_map(|(q, o)| (0..inputs).map(move |i| (q, o, i))).map(|(q, o, i)| at(q, o, i)).collect()
}

/// Compares sampled pixels of `y` with the products of their patches and the weights.
fn check(what: &str, shape: &ConvShape, x: &[f32], w: &[f32], y: &[f32]) {
    for p in sample(BATCH * shape.rows * shape.cols) {
        let want = reference::gemm(&patch(shape, x, p), w, 1, shape.outputs, shape.patch());
        assert_close(what, &y[p * shape.outputs..][..shape.outputs], &want);
    }
}

fn run(kernels: &Kernels, shape: &ConvShape, x: &[f32], w: Panels, y: &mut [f32]) {
    let out = MatMut::new(y, BATCH * shape.rows * shape.cols, shape.outputs);
    conv(kernels, shape, x, BATCH, w, Start::Zero, Epilogue::Store, out).expect("shapes fit");
}

fn forward(c: &mut Criterion) {
    for shape in &SHAPES {
        let mut group = group(c, "conv/forward", shape);
        let pixels = BATCH * shape.rows * shape.cols;
        let (x, w) = (activations(pixels * shape.inputs, 1), floats(shape.patch() * shape.outputs, 2));
        let (planes, packed) = (padded(&shape.input(), &x, BATCH), pack(&w, shape.patch(), shape.outputs));
        let panels = Panels::new(&packed, shape.patch(), shape.outputs);
        for kernels in best() {
            let mut y = vec![0.0; pixels * shape.outputs];
            run(&kernels, shape, &planes, panels, &mut y);
            check("conv", shape, &x, &w, &y);
            group.bench_function(id(&kernels, shape), |bench| {
                bench.iter(|| run(&kernels, shape, &planes, panels, &mut y));
            });
        }
    }
}

fn input_gradient(c: &mut Criterion) {
    // The first layer's input is pixels, which need no gradient.
    for shape in SHAPES.iter().filter(|shape| shape.inputs > 1) {
        let mut group = group(c, "conv/input-gradient", shape);
        let (back, pixels) = (shape.reversed(), BATCH * shape.rows * shape.cols);
        let (dy, w) = (floats(pixels * shape.outputs, 1), floats(shape.patch() * shape.outputs, 2));
        let mut reversed = vec![0.0; panels_len(back.patch(), back.outputs)];
        let packed = pack(&w, shape.patch(), shape.outputs);
        reverse_conv(shape, Panels::new(&packed, shape.patch(), shape.outputs), Part::All, &mut reversed);
        let panels = Panels::new(&reversed, back.patch(), back.outputs);
        let planes = padded(&shape.output(), &dy, BATCH);
        for kernels in best() {
            let mut dx = vec![0.0; pixels * shape.inputs];
            run(&kernels, &back, &planes, panels, &mut dx);
            check("input gradient", &back, &dy, &turned(shape, &w), &dx);
            group.bench_function(id(&kernels, shape), |bench| {
                bench.iter(|| run(&kernels, &back, &planes, panels, &mut dx));
            });
        }
    }
}

fn weight_gradient(c: &mut Criterion) {
    for shape in &SHAPES {
        let mut group = group(c, "conv/weight-gradient", shape);
        let pixels = BATCH * shape.rows * shape.cols;
        let (x, dy) = (activations(pixels * shape.inputs, 1), floats(pixels * shape.outputs, 2));
        let (planes, d_planes) = (padded(&shape.input(), &x, BATCH), padded(&shape.output(), &dy, BATCH));
        for kernels in best() {
            let mut dw = vec![0.0; panels_len(shape.patch(), shape.outputs)];
            let run = |dw: &mut [f32]| {
                conv_weight_gradient(&kernels, shape, &planes, &d_planes, BATCH, dw).expect("shapes fit");
            };
            run(&mut dw);
            let patches: Vec<Vec<f32>> = (0..pixels).map(|p| patch(shape, &x, p)).collect();
            for q in sample(shape.patch()) {
                let column: Vec<f32> = patches.iter().map(|patch| patch[q]).collect();
                let want = reference::gemm(&column, &dy, 1, shape.outputs, pixels);
                let view = Panels::new(&dw, shape.patch(), shape.outputs);
                let found: Vec<f32> = (0..shape.outputs).map(|o| view.at(q, o)).collect();
                assert_close("weight gradient", &found, &want);
            }
            group.bench_function(id(&kernels, shape), |bench| bench.iter(|| run(&mut dw)));
        }
    }
}

criterion_group!(benches, forward, input_gradient, weight_gradient);
criterion_main!(benches);

//! Convolutions of ConvDeep, in FLOP/s: forward, input gradient, weight gradient. Multiply-adds with the
//! zeros of the border are counted, too.

use benches::patches::{assert_conv, assert_weight_gradient, patch, turned};
use benches::{BATCH, activations, assert_close, best, floats, label, sample};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use kernels::pack::{Part, pack, reverse_conv};
use kernels::{
    Conv, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, Panels, conv, conv_weight_gradient, panels_len,
    reference,
};
use std::time::Duration;

/// The two layers on a whole image and on a strip of four columns.
const SHAPES: [ConvShape; 4] = [
    ConvShape { rows: 28, cols: 28, size: 5, inputs: 1, outputs: 24 },
    ConvShape { rows: 14, cols: 14, size: 3, inputs: 24, outputs: 48 },
    ConvShape { rows: 28, cols: 4, size: 5, inputs: 1, outputs: 24 },
    ConvShape { rows: 14, cols: 2, size: 3, inputs: 24, outputs: 48 },
];

/// The lateral weights of Conv⁺Deep, on a step of the majority problem.
const LATERAL: [ConvShape; 2] = [
    ConvShape { rows: 28, cols: 7, size: 5, inputs: 24, outputs: 24 },
    ConvShape { rows: 14, cols: 4, size: 3, inputs: 32, outputs: 32 },
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

fn run(kernels: &Kernels, shape: &ConvShape, x: &[f32], w: Panels, y: &mut [f32]) {
    let out = MatMut::new(y, BATCH * shape.rows * shape.cols, shape.outputs);
    conv(kernels, Conv { shape, x, images: BATCH, w, init: Init::Zero, epilogue: Epilogue::Store, y: out })
        .expect("shapes fit");
}

fn forward(c: &mut Criterion) {
    for shape in &SHAPES {
        let mut group = group(c, "conv/forward", shape);
        let pixels = BATCH * shape.rows * shape.cols;
        let (x, w) = (activations(pixels * shape.inputs, 1), floats(shape.patch() * shape.outputs, 2));
        let (planes, packed) = (shape.input().padded(&x, BATCH), pack(&w, shape.patch(), shape.outputs));
        let panels = Panels::new(&packed, shape.patch(), shape.outputs);
        for kernels in best() {
            let mut y = vec![0.0; pixels * shape.outputs];
            run(&kernels, shape, &planes, panels, &mut y);
            assert_conv("conv", shape, &x, &w, &y, |_, sum| sum);
            group.bench_function(id(&kernels, shape), |bench| {
                bench.iter(|| run(&kernels, shape, &planes, panels, &mut y));
            });
        }
    }
}

fn input_gradient(c: &mut Criterion) {
    // The input of the first layer are pixels, which need no gradient.
    for shape in SHAPES.iter().filter(|shape| shape.inputs > 1) {
        let mut group = group(c, "conv/input-gradient", shape);
        let (back, pixels) = (shape.reversed(), BATCH * shape.rows * shape.cols);
        let (dy, w) = (floats(pixels * shape.outputs, 1), floats(shape.patch() * shape.outputs, 2));
        let mut reversed = vec![0.0; panels_len(back.patch(), back.outputs)];
        let packed = pack(&w, shape.patch(), shape.outputs);
        reverse_conv(shape, Panels::new(&packed, shape.patch(), shape.outputs), Part::All, &mut reversed);
        let panels = Panels::new(&reversed, back.patch(), back.outputs);
        let planes = shape.output().padded(&dy, BATCH);
        for kernels in best() {
            let mut dx = vec![0.0; pixels * shape.inputs];
            run(&kernels, &back, &planes, panels, &mut dx);
            assert_conv("input gradient", &back, &dy, &turned(shape, &w), &dx, |_, sum| sum);
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
        let (planes, d_planes) = (shape.input().padded(&x, BATCH), shape.output().padded(&dy, BATCH));
        for kernels in best() {
            let mut dw = vec![0.0; panels_len(shape.patch(), shape.outputs)];
            let run = |dw: &mut [f32]| {
                conv_weight_gradient(&kernels, shape, &planes, &d_planes, BATCH, dw).expect("shapes fit");
            };
            run(&mut dw);
            assert_weight_gradient(shape, &x, &dy, &dw);
            group.bench_function(id(&kernels, shape), |bench| bench.iter(|| run(&mut dw)));
        }
    }
}

/// One step of a lateral convolution: what `x` gives is there, `y ∗ U` of the step before is added, then bias and relu.
fn lateral(c: &mut Criterion) {
    for shape in &LATERAL {
        let mut group = group(c, "conv/lateral", shape);
        let (pixels, outputs) = (BATCH * shape.rows * shape.cols, shape.outputs);
        let (x, w) = (activations(pixels * shape.inputs, 1), floats(shape.patch() * outputs, 2));
        let (of_x, bias) = (floats(pixels * outputs, 3), vec![-0.5; outputs]);
        let (planes, packed) = (shape.input().padded(&x, BATCH), pack(&w, shape.patch(), outputs));
        let w_panels = Panels::new(&packed, shape.patch(), outputs);
        for kernels in best() {
            let mut y = vec![0.0; pixels * outputs];
            let run = |y: &mut [f32]| {
                let (init, epilogue) =
                    (Init::Copy(MatRef::new(&of_x, pixels, outputs)), Epilogue::BiasRelu(&bias));
                let (x, y) = (&planes[..], MatMut::new(y, pixels, outputs));
                conv(&kernels, Conv { shape, x, images: BATCH, w: w_panels, init, epilogue, y })
                    .expect("shapes fit");
            };
            run(&mut y);
            for p in sample(pixels) {
                let sums = reference::gemm(&patch(shape, &x, p), &w, 1, outputs, shape.patch());
                let of_x = &of_x[p * outputs..][..outputs];
                let want: Vec<f64> =
                    sums.iter().zip(of_x).map(|(sum, &x)| (sum + f64::from(x) - 0.5).max(0.0)).collect();
                assert_close("lateral", &y[p * outputs..][..outputs], &want);
            }
            group.bench_function(id(&kernels, shape), |bench| bench.iter(|| run(&mut y)));
        }
    }
}

criterion_group!(benches, forward, input_gradient, weight_gradient, lateral);
fn main() {
    benches::noise::watch(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}

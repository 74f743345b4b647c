//! Relevance rules, in FLOP/s of the products that no rule can do without: z⁺ and z^β two, αβ four,
//! w² one; divisions and scaling are not counted.

use benches::{BATCH, activations, assert_close, best, floats, label, sample};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use kernels::pack::{Part, pack};
use kernels::relevance::alpha_beta::alpha_beta;
use kernels::relevance::w_square::{dense_denominators, w_square};
use kernels::relevance::z_beta::{ZBeta, z_beta, z_beta_conv};
use kernels::relevance::z_plus::{z_plus, z_plus_conv};
use kernels::relevance::{EPS, PackedPart};
use kernels::{Conv, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, Panels, conv, gemm, reference};
use std::time::Duration;

/// Layers `[N, J, K]`: the combine layer of the deep cell a batch, seven steps of it, a test set; and
/// the layer that sees seven steps of pixels.
const DENSE: [[usize; 3]; 3] = [[50, 640, 256], [350, 640, 256], [10_000, 640, 256]];
const PIXELS: [usize; 3] = [350, 112, 512];
const CONV: ConvShape = ConvShape { rows: 14, cols: 14, size: 3, inputs: 24, outputs: 48 };
const PIXEL_CONV: ConvShape = ConvShape { rows: 28, cols: 28, size: 5, inputs: 1, outputs: 24 };

fn group<'a>(c: &'a mut Criterion, name: &str, flop: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(format!("relevance/{name}"));
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(flop as u64));
    group
}

fn id(kernels: &Kernels, [n, j, k]: [usize; 3]) -> BenchmarkId {
    BenchmarkId::new(label(kernels), format!("{n}x{j}to{k}"))
}

fn conv_id(kernels: &Kernels, shape: &ConvShape) -> BenchmarkId {
    let ConvShape { rows, cols, size, inputs, outputs } = shape;
    BenchmarkId::new(label(kernels), format!("{size}x{size}-{inputs}-{outputs}-on-{rows}x{cols}"))
}

/// Compares sampled samples, `J` and `K` floats each, with a reference implementation that is given sample and relevance.
fn check(
    what: &str,
    [n, j, k]: [usize; 3],
    r: &[f32],
    r_in: &[f32],
    expected: impl Fn(usize, &[f64]) -> Vec<f64>,
) {
    for i in sample(n) {
        let r: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
        assert_close(what, &r_in[i * j..][..j], &expected(i, &r));
    }
}

fn z_plus_dense(c: &mut Criterion) {
    for shape @ [n, j, k] in DENSE {
        let mut group = group(c, "z_plus", 4 * n * j * k);
        let (a, w, r) = (activations(n * j, 1), floats(j * k, 2), activations(n * k, 3));
        let positive = PackedPart::dense(Panels::new(&pack(&w, j, k), j, k), Part::Positive);
        for kernels in best() {
            let (mut r_in, mut lost) = (vec![0.0; n * j], vec![0.0; n]);
            let mut run = |r_in: &mut [f32]| {
                let (a, r) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k));
                z_plus(&kernels, a, &positive, r, MatMut::new(r_in, n, j), &mut lost).expect("shapes fit");
            };
            run(&mut r_in);
            check("z_plus", shape, &r, &r_in, |i, r| {
                reference::z_plus(&a[i * j..][..j], &w, r, f64::from(EPS)).0
            });
            group.bench_function(id(&kernels, shape), |bench| bench.iter(|| run(&mut r_in)));
        }
    }
}

fn alpha_beta_dense(c: &mut Criterion) {
    let shape @ [n, j, k] = DENSE[1];
    let mut group = group(c, "alpha_beta", 8 * n * j * k);
    let (a, w, r) = (activations(n * j, 1), floats(j * k, 2), activations(n * k, 3));
    let packed = pack(&w, j, k);
    let part = |part| PackedPart::dense(Panels::new(&packed, j, k), part);
    let (positive, negative) = (part(Part::Positive), part(Part::Negative));
    for kernels in best() {
        let (mut r_in, mut lost) = (vec![0.0; n * j], vec![0.0; n]);
        let mut run = |r_in: &mut [f32]| {
            let (a, r) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k));
            let out = MatMut::new(r_in, n, j);
            alpha_beta(&kernels, (2.0, 1.0), a, &positive, &negative, r, out, &mut lost).expect("shapes fit");
        };
        run(&mut r_in);
        check("alpha_beta", shape, &r, &r_in, |i, r| {
            reference::alpha_beta((2.0, 1.0), &a[i * j..][..j], &w, r, f64::from(EPS)).0
        });
        group.bench_function(id(&kernels, shape), |bench| bench.iter(|| run(&mut r_in)));
    }
}

fn w_square_dense(c: &mut Criterion) {
    let shape @ [n, j, k] = PIXELS;
    let mut group = group(c, "w_square", 2 * n * j * k);
    let (w, r) = (floats(j * k, 1), activations(n * k, 2));
    let square = PackedPart::dense(Panels::new(&pack(&w, j, k), j, k), Part::Square);
    let z = dense_denominators(&square);
    for kernels in best() {
        let (mut r_in, mut ratio, mut lost) = (vec![0.0; n * j], vec![0.0; n * k], vec![0.0; n]);
        let mut run = |r_in: &mut [f32]| {
            let (r, out) = (MatRef::new(&r, n, k), MatMut::new(r_in, n, j));
            w_square(&kernels, &square, &z, r, out, &mut ratio, &mut lost).expect("shapes fit");
        };
        run(&mut r_in);
        check("w_square", shape, &r, &r_in, |_, r| reference::w_square(j, &w, r, f64::from(EPS)).0);
        group.bench_function(id(&kernels, shape), |bench| bench.iter(|| run(&mut r_in)));
    }
}

/// The forward product is there already when z^β needs it; copying it in is not timed.
fn z_beta_dense(c: &mut Criterion) {
    let shape @ [n, j, k] = PIXELS;
    let mut group = group(c, "z_beta", 4 * n * j * k);
    let (x, w, r) = (floats(n * j, 1), floats(j * k, 2), activations(n * k, 3));
    let packed = pack(&w, j, k);
    let weights = Panels::new(&packed, j, k);
    let rule = ZBeta::dense(weights, -1.0, 1.0);
    for kernels in best() {
        let (mut r_in, mut lost, mut z) = (vec![0.0; n * j], vec![0.0; n], vec![0.0; n * k]);
        let view = MatRef::new(&x, n, j);
        let product = MatMut::new(&mut z, n, k);
        gemm(&kernels, view, weights, Init::Zero, Epilogue::Store, product).expect("shapes fit");
        let mut run = |z: &mut [f32], r_in: &mut [f32]| {
            let (r, out) = (MatRef::new(&r, n, k), MatMut::new(r_in, n, j));
            z_beta(&kernels, &rule, view, z, r, out, &mut lost).expect("shapes fit");
        };
        run(&mut z.clone(), &mut r_in);
        check("z_beta", shape, &r, &r_in, |i, r| {
            reference::z_beta(&x[i * j..][..j], &w, (-1.0, 1.0), r, f64::from(EPS)).0
        });
        group.bench_function(id(&kernels, shape), |bench| {
            bench.iter_batched_ref(|| z.clone(), |z| run(z, &mut r_in), BatchSize::LargeInput);
        });
    }
}

/// A convolution's operands; the rules differ in which of them they read.
struct Filters {
    shape: ConvShape,
    images: usize,
    x: Vec<f32>,
    planes: Vec<f32>,
    w: Vec<f32>,
    packed: Vec<f32>,
    r: Vec<f32>,
}

impl Filters {
    fn new(shape: ConvShape, images: usize) -> Self {
        let pixels = images * shape.rows * shape.cols;
        let x = activations(pixels * shape.inputs, 1);
        let planes = shape.input().padded(&x, images);
        let w = floats(shape.patch() * shape.outputs, 2);
        let packed = pack(&w, shape.patch(), shape.outputs);
        Filters { shape, images, x, planes, w, packed, r: activations(pixels * shape.outputs, 3) }
    }

    fn panels(&self) -> Panels<'_> {
        Panels::new(&self.packed, self.shape.patch(), self.shape.outputs)
    }

    fn pixels(&self) -> usize {
        self.images * self.shape.rows * self.shape.cols
    }

    fn r(&self) -> MatRef<'_> {
        MatRef::new(&self.r, self.pixels(), self.shape.outputs)
    }

    fn r_in(&self) -> Vec<f32> {
        vec![0.0; self.pixels() * self.shape.inputs]
    }

    fn planes_of_outputs(&self) -> Vec<f32> {
        vec![0.0; self.images * self.shape.output().len()]
    }

    /// FLOP of one product.
    fn flop(&self) -> usize {
        2 * self.pixels() * self.shape.patch() * self.shape.outputs
    }

    /// Compares all images with a reference implementation that is given pixels, dense weights and relevance.
    fn check(&self, what: &str, r_in: &[f32], expected: impl Fn(&[f32], &[f32], &[f64]) -> Vec<f64>) {
        let dense = reference::conv_as_dense(&self.shape, &self.w);
        let (j, k) = (self.x.len() / self.images, self.r.len() / self.images);
        check(what, [self.images, j, k], &self.r, r_in, |i, r| expected(&self.x[i * j..][..j], &dense, r));
    }
}

/// The same filters on a smaller image, whose dense reference implementation is not too large to compare with.
fn small(shape: ConvShape) -> Filters {
    Filters::new(ConvShape { rows: 5, cols: 4, ..shape }, 2)
}

fn z_plus_filters(c: &mut Criterion) {
    let run = |kernels: &Kernels, f: &Filters, part: &PackedPart, ratio: &mut [f32], r_in: &mut [f32]| {
        let (out, mut lost) = (MatMut::new(r_in, f.pixels(), f.shape.inputs), [0.0; BATCH]);
        let lost = &mut lost[..f.images];
        z_plus_conv(kernels, &f.shape, &f.planes, part, f.r(), out, ratio, lost).expect("shapes fit");
    };
    let (tiny, full) = (small(CONV), Filters::new(CONV, BATCH));
    let part = PackedPart::conv(&CONV, full.panels(), Part::Positive);
    let mut group = group(c, "z_plus_conv", 2 * full.flop());
    for kernels in best() {
        let mut r_in = tiny.r_in();
        run(&kernels, &tiny, &part, &mut tiny.planes_of_outputs(), &mut r_in);
        tiny.check("z_plus_conv", &r_in, |a, w, r| reference::z_plus(a, w, r, f64::from(EPS)).0);
        let (mut ratio, mut r_in) = (full.planes_of_outputs(), full.r_in());
        group.bench_function(conv_id(&kernels, &CONV), |bench| {
            bench.iter(|| run(&kernels, &full, &part, &mut ratio, &mut r_in));
        });
    }
}

fn z_beta_filters(c: &mut Criterion) {
    let forward = |kernels: &Kernels, f: &Filters| {
        let mut z = f.planes_of_outputs();
        let out = f.shape.output().pixels_mut(&mut z, f.images);
        conv(
            kernels,
            Conv {
                shape: &f.shape,
                x: &f.planes,
                images: f.images,
                w: f.panels(),
                init: Init::Zero,
                epilogue: Epilogue::Store,
                y: out,
            },
        )
        .expect("shapes fit");
        z
    };
    let run = |kernels: &Kernels, f: &Filters, rule: &ZBeta, z: &mut [f32], r_in: &mut [f32]| {
        let (out, mut lost) = (MatMut::new(r_in, f.pixels(), f.shape.inputs), [0.0; BATCH]);
        let lost = &mut lost[..f.images];
        z_beta_conv(kernels, rule, &f.shape, &f.planes, z, f.r(), out, lost).expect("shapes fit");
    };
    let (tiny, full) = (small(PIXEL_CONV), Filters::new(PIXEL_CONV, BATCH));
    let mut group = group(c, "z_beta_conv", 2 * full.flop());
    for kernels in best() {
        let rule = |f: &Filters| ZBeta::conv(&kernels, &f.shape, f.panels(), -1.0, 1.0).expect("shapes fit");
        let mut r_in = tiny.r_in();
        run(&kernels, &tiny, &rule(&tiny), &mut forward(&kernels, &tiny), &mut r_in);
        tiny.check("z_beta_conv", &r_in, |x, w, r| reference::z_beta(x, w, (-1.0, 1.0), r, f64::from(EPS)).0);
        let (rule, z, mut r_in) = (rule(&full), forward(&kernels, &full), full.r_in());
        group.bench_function(conv_id(&kernels, &PIXEL_CONV), |bench| {
            let step = |z: &mut Vec<f32>| run(&kernels, &full, &rule, z, &mut r_in);
            bench.iter_batched_ref(|| z.clone(), step, BatchSize::LargeInput);
        });
    }
}

criterion_group!(
    benches,
    z_plus_dense,
    alpha_beta_dense,
    w_square_dense,
    z_beta_dense,
    z_plus_filters,
    z_beta_filters
);
criterion_main!(benches);

//! Relevance rules, in FLOP/s of the matrix products that each rule needs: z⁺ and z^β two, αβ four, w² one;
//! divisions and scaling are not counted.

use benches::{BATCH, activations, assert_close, best, floats, label, sample};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use kernels::pack::pack;
use kernels::reference::{self, Input};
use kernels::relevance::{PackedRule, Relevance, RelevanceConv, Rule, relevance, relevance_conv};
use kernels::{Conv, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, Panels, conv, gemm};
use std::time::Duration;

/// Layers `[N, J, K]`: the combine layer of Deep for a batch, for seven steps of a batch and for a test set;
/// and the layer that reads seven steps of pixels.
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

/// A rule and the number of products that it needs.
struct Case {
    name: &'static str,
    rule: Rule,
    products: usize,
    shapes: &'static [[usize; 3]],
}

/// The rules of dense layers; z^β reads the forward product, which exists already.
fn dense(c: &mut Criterion) {
    let case = |name, rule, products, shapes| Case { name, rule, products, shapes };
    for Case { name, rule, products, shapes } in [
        case("z_plus", Rule::z_plus(), 2, &DENSE[..]),
        case("alpha_beta", Rule::alpha_beta(2.0, 1.0), 4, &DENSE[1..2]),
        case("epsilon", Rule::epsilon(1e-6), 2, &DENSE[1..2]),
        case("w_square", Rule::w_square(), 1, &[PIXELS]),
        case("z_beta", Rule::z_beta(-1.0, 1.0), 2, &[PIXELS]),
    ] {
        for &shape @ [n, j, k] in shapes {
            let mut group = group(c, name, 2 * products * n * j * k);
            let x = if shape == PIXELS { floats(n * j, 1) } else { activations(n * j, 1) };
            let (w, r) = (floats(j * k, 2), activations(n * k, 3));
            let panels = pack(&w, j, k);
            let panels = Panels::new(&panels, j, k);
            let packed = &PackedRule::dense(&rule, panels);
            let (a, r_out) = (MatRef::new(&x, n, j), MatRef::new(&r, n, k));
            for kernels in best() {
                let (mut r_in, mut absorbed, mut z) = (vec![0.0; n * j], vec![0.0; n], vec![0.0; n * k]);
                let product = MatMut::new(&mut z, n, k);
                gemm(&kernels, a, panels, Init::Zero, Epilogue::Store, product).expect("shapes fit");
                let z = packed.reads_forward().then(|| MatRef::new(&z, n, k));
                let mut run = |r_in: &mut [f32]| {
                    let r_in = MatMut::new(r_in, n, j);
                    let operands = Relevance { rule: packed, a, z, r_out, r_in, absorbed: &mut absorbed };
                    relevance(&kernels, operands).expect("shapes fit");
                };
                run(&mut r_in);
                for i in sample(n) {
                    let r: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
                    let (want, _) = reference::relevance(&rule, &x[i * j..][..j], &w, &r);
                    assert_close(name, &r_in[i * j..][..j], &want);
                }
                group.bench_function(id(&kernels, shape), |bench| bench.iter(|| run(&mut r_in)));
            }
        }
    }
}

/// A convolution's operands; each rule reads some of them.
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

    /// FLOP of one product.
    fn flop(&self) -> usize {
        2 * self.pixels() * self.shape.patch() * self.shape.outputs
    }

    /// Compares all images with the definition of the rule, for the dense layer that is equivalent to the
    /// convolution.
    fn check(&self, what: &str, rule: &Rule, r_in: &[f32]) {
        let dense = reference::conv_as_dense(&self.shape, &self.w);
        let connected = reference::conv_as_dense(&self.shape, &vec![1.0; self.w.len()]);
        let (j, k) = (self.x.len() / self.images, self.r.len() / self.images);
        let w = |i: usize, o: usize| (connected[i * k + o] != 0.0).then(|| dense[i * k + o]);
        for i in 0..self.images {
            let r: Vec<f64> = self.r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
            let input = Input { rule, a: &self.x[i * j..][..j], w: &w };
            let (want, _) = reference::shared_relevance(&[input], &r);
            assert_close(what, &r_in[i * j..][..j], &want[0]);
        }
    }

    /// The forward product.
    fn forward(&self, kernels: &Kernels) -> Vec<f32> {
        let Filters { shape, images, planes: x, .. } = self;
        let mut z = vec![0.0; self.pixels() * shape.outputs];
        let (init, epilogue) = (Init::Zero, Epilogue::Store);
        let (images, y) = (*images, MatMut::new(&mut z, self.pixels(), shape.outputs));
        conv(kernels, Conv { shape, images, x, w: self.panels(), init, epilogue, y }).expect("shapes fit");
        z
    }

    fn packed(&self, kernels: &Kernels, rule: &Rule) -> PackedRule {
        PackedRule::conv(kernels, rule, &self.shape, self.panels()).expect("shapes fit")
    }

    fn run(&self, kernels: &Kernels, rule: &PackedRule, z: &[f32], r_in: &mut [f32]) {
        let (a, r_out) = (&self.planes, self.r());
        let r_in = MatMut::new(r_in, self.pixels(), self.shape.inputs);
        let z = rule.reads_forward().then(|| MatRef::new(z, self.pixels(), self.shape.outputs));
        let absorbed = &mut [0.0; BATCH][..self.images];
        relevance_conv(kernels, RelevanceConv { rule, a, z, r_out, r_in, absorbed }).expect("shapes fit");
    }
}

/// The same filters on a smaller image, whose equivalent dense layer is small enough for the comparison.
fn small(shape: ConvShape) -> Filters {
    Filters::new(ConvShape { rows: 5, cols: 4, ..shape }, 2)
}

/// The rules of convolutions.
fn filters(c: &mut Criterion) {
    for (name, rule, shape) in
        [("z_plus_conv", Rule::z_plus(), CONV), ("z_beta_conv", Rule::z_beta(-1.0, 1.0), PIXEL_CONV)]
    {
        let (tiny, full) = (small(shape), Filters::new(shape, BATCH));
        let mut group = group(c, name, 2 * full.flop());
        for kernels in best() {
            let mut r_in = tiny.r_in();
            tiny.run(&kernels, &tiny.packed(&kernels, &rule), &tiny.forward(&kernels), &mut r_in);
            tiny.check(name, &rule, &r_in);
            let (packed, z, mut r_in) = (full.packed(&kernels, &rule), full.forward(&kernels), full.r_in());
            group.bench_function(conv_id(&kernels, &shape), |bench| {
                bench.iter(|| full.run(&kernels, &packed, &z, &mut r_in));
            });
        }
    }
}

criterion_group!(benches, dense, filters);
fn main() {
    benches::noise::watch(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}

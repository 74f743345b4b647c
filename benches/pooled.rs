//! Convolution, relu and pool as one layer, with a max- and with a sum-pool, in FLOP/s of the whole convolution: what a
//! max-pool leaves out backwards counts as done.

use benches::{BATCH, activations, assert_close, best, floats, label};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use kernels::conv::max_pool::{
    ConvMaxPool, ConvMaxPoolInputGradient, ConvMaxPoolWeightGradient, Filters, MaxIndices, conv_max_pool,
    conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use kernels::conv::sum_pool::{
    ActivePixels, ConvPoolShape, ConvSumPool, ConvSumPoolInputGradient, ConvSumPoolWeightGradient,
    conv_sum_pool, conv_sum_pool_input_gradient, conv_sum_pool_weight_gradient,
};
use kernels::pack::{Part, pack, reverse_conv, unpack};
use kernels::relevance::{
    EPS, PackedRule, RelevanceConvMaxPool, RelevanceConvSumPool, Rule, relevance_conv_max_pool,
    relevance_conv_sum_pool,
};
use kernels::{ConvShape, Epilogue, Kernels, MatMut, MatRef, Panels, panels_len, reference};
use std::time::Duration;

/// The second layer of ConvDeep, on a whole image and on a step of the majority problem.
const SHAPES: [ConvShape; 2] = [
    ConvShape { rows: 14, cols: 14, size: 3, inputs: 24, outputs: 48 },
    ConvShape { rows: 14, cols: 4, size: 3, inputs: 24, outputs: 32 },
];

/// A batch, and the numbers of one layer.
struct Layer {
    shape: ConvPoolShape,
    x: Vec<f32>,
    planes: Vec<f32>,
    w: Vec<f32>,
    packed: Vec<f32>,
    reversed: Vec<f32>,
    bias: Vec<f32>,
    /// Gradient or relevance of the windows.
    v: Vec<f32>,
}

impl Layer {
    fn new(conv: ConvShape) -> Layer {
        let shape = ConvPoolShape { conv, window: 2 };
        let x = activations(BATCH * conv.rows * conv.cols * conv.inputs, 1);
        let w = floats(conv.patch() * conv.outputs, 2);
        let packed = pack(&w, conv.patch(), conv.outputs);
        let back = conv.reversed();
        let mut reversed = vec![0.0; panels_len(back.patch(), back.outputs)];
        reverse_conv(&conv, Panels::new(&packed, conv.patch(), conv.outputs), Part::All, &mut reversed);
        let v = floats(BATCH * shape.windows() * conv.outputs, 3);
        Layer {
            planes: conv.input().padded(&x, BATCH),
            shape,
            x,
            w,
            packed,
            reversed,
            bias: vec![-0.1; conv.outputs],
            v,
        }
    }

    fn rows(&self) -> usize {
        BATCH * self.shape.windows()
    }

    fn pixels(&self) -> usize {
        BATCH * self.shape.conv.rows * self.shape.conv.cols
    }

    fn panels(&self) -> Panels<'_> {
        Panels::new(&self.packed, self.shape.conv.patch(), self.shape.conv.outputs)
    }

    fn d_h(&self) -> MatRef<'_> {
        MatRef::new(&self.v, self.rows(), self.shape.conv.outputs)
    }

    fn group<'a>(&self, c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
        let mut group = c.benchmark_group(format!("pooled/{name}"));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        let flop = 2 * self.pixels() * self.shape.conv.patch() * self.shape.conv.outputs;
        group.throughput(Throughput::Elements(flop as u64));
        group
    }

    fn id(&self, kernels: &Kernels) -> BenchmarkId {
        let ConvShape { rows, cols, size, inputs, outputs } = self.shape.conv;
        BenchmarkId::new(label(kernels), format!("{size}x{size}-{inputs}-{outputs}-on-{rows}x{cols}"))
    }

    /// Activations of the first image by the reference.
    fn first_image(&self) -> Vec<f32> {
        let conv = &self.shape.conv;
        let (j, k) = (self.x.len() / BATCH, conv.rows * conv.cols * conv.outputs);
        let sums = reference::gemm(&self.x[..j], &reference::conv_as_dense(conv, &self.w), 1, k, j);
        sums.iter().map(|sum| (sum - 0.1).max(0.0) as f32).collect()
    }

    /// What the pool gives back to the pixels of the first image: gradients, or with `eps` relevance.
    fn spread(&self, eps: Option<f64>) -> Vec<f32> {
        let (conv, a) = (&self.shape.conv, self.first_image());
        let (sums, into) = reference::sum_pool([conv.rows, conv.cols, conv.outputs], 2, &a);
        let share = |(&a, &window): (&f32, &usize)| {
            let v = f64::from(self.v[window]);
            let gradient = if a > 0.0 { v } else { 0.0 };
            eps.map_or(gradient, |eps| v * f64::from(a) / (sums[window] + eps)) as f32
        };
        a.iter().zip(&into).map(share).collect()
    }

    fn sum_forward(
        &self,
        kernels: &Kernels,
        y: &mut [f32],
        active: Option<&mut ActivePixels>,
        z: Option<&mut [f32]>,
    ) {
        let (shape, x, w, bias) = (&self.shape, &self.planes[..], self.panels(), &self.bias[..]);
        let y = MatMut::new(y, self.rows(), shape.conv.outputs);
        conv_sum_pool(kernels, ConvSumPool { shape, images: BATCH, x, w, bias, y, active, z })
            .expect("shapes fit");
    }

    fn max_forward(&self, kernels: &Kernels, y: &mut [f32], max_indices: &mut MaxIndices) {
        let (shape, x, w, bias) = (&self.shape, &self.planes[..], self.panels(), &self.bias[..]);
        let y = MatMut::new(y, self.rows(), shape.conv.outputs);
        let operands = ConvMaxPool { shape, images: BATCH, x, w, bias, y, max_indices, z: None };
        conv_max_pool(kernels, operands).expect("shapes fit");
    }
}

fn forward(c: &mut Criterion) {
    for layer in SHAPES.map(Layer::new) {
        let (conv, a) = (layer.shape.conv, layer.first_image());
        let at = [conv.rows, conv.cols, conv.outputs];
        let mut group = layer.group(c, "forward, sum-pool");
        for kernels in best() {
            let (mut y, mut active) = (vec![0.0; layer.v.len()], ActivePixels::new(&layer.shape, BATCH));
            layer.sum_forward(&kernels, &mut y, Some(&mut active), None);
            let want = reference::sum_pool(at, 2, &a).0;
            assert_close("sum-pool", &y[..want.len()], &want);
            group.bench_function(layer.id(&kernels), |bench| {
                bench.iter(|| layer.sum_forward(&kernels, &mut y, Some(&mut active), None));
            });
        }
        group.finish();
        let mut group = layer.group(c, "forward, max-pool");
        for kernels in best() {
            let (mut y, mut indices) = (vec![0.0; layer.v.len()], MaxIndices::new(&layer.shape, BATCH));
            layer.max_forward(&kernels, &mut y, &mut indices);
            let want: Vec<f64> = reference::max_pool(at, 2, &a).0.into_iter().map(f64::from).collect();
            assert_close("max-pool", &y[..want.len()], &want);
            group.bench_function(layer.id(&kernels), |bench| {
                bench.iter(|| layer.max_forward(&kernels, &mut y, &mut indices));
            });
        }
    }
}

/// Gradients of weights and input, one behind the other.
fn backward(c: &mut Criterion) {
    for layer in SHAPES.map(Layer::new) {
        let (conv, mut y) = (layer.shape.conv, vec![0.0; layer.v.len()]);
        let (pixels, epilogue) = (layer.pixels(), Epilogue::Store);
        let (mut d_w, mut d_b) = (vec![0.0; layer.packed.len()], vec![0.0; conv.outputs]);
        let mut d_x = vec![0.0; pixels * conv.inputs];
        let (x, shape, images) = (&layer.planes[..], &layer.shape, BATCH);
        let mut group = layer.group(c, "gradients, sum-pool");
        for kernels in best() {
            let mut active = ActivePixels::new(shape, BATCH);
            layer.sum_forward(&kernels, &mut y, Some(&mut active), None);
            let active = &active;
            let mut run = |d_w: &mut [f32], d_x: &mut [f32]| {
                let (d_h, d_b) = (layer.d_h(), &mut d_b[..]);
                let operands = ConvSumPoolWeightGradient { shape, images, x, active, d_h, d_w, d_b };
                conv_sum_pool_weight_gradient(&kernels, operands).expect("shapes fit");
                let w = Panels::new(&layer.reversed, conv.reversed().patch(), conv.inputs);
                let d_x = MatMut::new(d_x, pixels, conv.inputs);
                let operands = ConvSumPoolInputGradient { shape, images, active, d_h, w, epilogue, d_x };
                conv_sum_pool_input_gradient(&kernels, operands).expect("shapes fit");
            };
            run(&mut d_w, &mut d_x);
            let (j, d_y) = (layer.x.len() / BATCH, layer.spread(None));
            let dense = reference::conv_as_dense(&conv, &layer.w);
            let want = reference::gemm(&d_y, &reference::transposed(&dense, j, d_y.len()), 1, j, d_y.len());
            assert_close("input gradient", &d_x[..want.len()], &want);
            check_sum_weight_gradient(&layer, &kernels);
            group.bench_function(layer.id(&kernels), |bench| bench.iter(|| run(&mut d_w, &mut d_x)));
        }
        group.finish();
        let filters = Filters::new(shape, layer.panels(), Part::All, None);
        let (lines, cols) = (BATCH * conv.rows, conv.cols * conv.inputs);
        let mut group = layer.group(c, "gradients, max-pool");
        for kernels in best() {
            let mut indices = MaxIndices::new(shape, BATCH);
            layer.max_forward(&kernels, &mut y, &mut indices);
            let max_indices = &indices;
            let run = |d_w: &mut [f32], d_x: &mut [f32]| {
                let d_h = layer.d_h();
                let operands = ConvMaxPoolWeightGradient { shape, images, x, max_indices, d_h, d_w };
                conv_max_pool_weight_gradient(&kernels, operands).expect("shapes fit");
                let (d_x, epilogues, filters) = (MatMut::new(d_x, lines, cols), &[epilogue][..], &filters);
                let operands = ConvMaxPoolInputGradient { filters, images, max_indices, d_h, epilogues, d_x };
                conv_max_pool_input_gradient(&kernels, operands).expect("shapes fit");
            };
            run(&mut d_w, &mut d_x);
            let a = layer.first_image();
            let (_, from) = reference::max_pool([conv.rows, conv.cols, conv.outputs], 2, &a);
            let mut d_y = vec![0.0; a.len()];
            from.iter().zip(&layer.v).for_each(|(&from, &v)| d_y[from] = v);
            let (j, dense) = (layer.x.len() / BATCH, reference::conv_as_dense(&conv, &layer.w));
            let want = reference::gemm(&d_y, &reference::transposed(&dense, j, a.len()), 1, j, a.len());
            assert_close("input gradient", &d_x[..want.len()], &want);
            group.bench_function(layer.id(&kernels), |bench| bench.iter(|| run(&mut d_w, &mut d_x)));
        }
    }
}

/// The weight gradient of the first image alone.
fn check_sum_weight_gradient(layer: &Layer, kernels: &Kernels) {
    let (conv, d_y) = (layer.shape.conv, layer.spread(None));
    let pixels = conv.rows * conv.cols;
    let mut active = ActivePixels::new(&layer.shape, BATCH);
    layer.sum_forward(kernels, &mut vec![0.0; layer.v.len()], Some(&mut active), None);
    let (mut d_w, mut d_b) = (vec![0.0; layer.packed.len()], vec![0.0; conv.outputs]);
    let operands = ConvSumPoolWeightGradient {
        shape: &layer.shape,
        images: 1,
        x: &layer.planes[..conv.input().len()],
        active: &active,
        d_h: MatRef::new(&layer.v, layer.shape.windows(), conv.outputs),
        d_w: &mut d_w,
        d_b: &mut d_b,
    };
    conv_sum_pool_weight_gradient(kernels, operands).expect("shapes fit");
    let patches: Vec<f32> = (0..pixels).flat_map(|p| benches::patches::patch(&conv, &layer.x, p)).collect();
    let transposed = reference::transposed(&patches, pixels, conv.patch());
    let want = reference::gemm(&transposed, &d_y, conv.patch(), conv.outputs, pixels);
    assert_close("weight gradient", &unpack(Panels::new(&d_w, conv.patch(), conv.outputs)), &want);
    assert_close("bias gradient", &d_b, &reference::gemm(&vec![1.0; pixels], &d_y, 1, conv.outputs, pixels));
}

fn relevance(c: &mut Criterion) {
    for layer in SHAPES.map(Layer::new) {
        let (conv, mut y) = (layer.shape.conv, vec![0.0; layer.v.len()]);
        let (pixels, rule) = (layer.pixels(), Rule::z_plus());
        let (mut r_in, mut absorbed) = (vec![0.0; pixels * conv.inputs], vec![0.0; BATCH]);
        let mut group = layer.group(c, "relevance z⁺, sum-pool");
        for kernels in best() {
            let mut z = vec![0.0; pixels * conv.outputs];
            layer.sum_forward(&kernels, &mut y, None, Some(&mut z));
            let rule = &PackedRule::conv(&kernels, &rule, &conv, layer.panels()).expect("shapes fit");
            let (x, bias, z, r_out) = (&layer.planes[..], &layer.bias[..], &z[..], layer.d_h());
            let y = MatRef::new(&y, layer.rows(), conv.outputs);
            let mut run = |r_in: &mut [f32]| {
                let (r_in, absorbed) = (MatMut::new(r_in, pixels, conv.inputs), &mut absorbed[..]);
                let operands = RelevanceConvSumPool { rule, window: 2, x, bias, z, y, r_out, r_in, absorbed };
                relevance_conv_sum_pool(&kernels, operands).expect("shapes fit");
            };
            run(&mut r_in);
            let r: Vec<f64> = layer.spread(Some(f64::from(EPS))).into_iter().map(f64::from).collect();
            let (j, dense) = (layer.x.len() / BATCH, reference::conv_as_dense(&conv, &layer.w));
            let w = |i: usize, o: usize| Some(dense[i * r.len() + o]);
            let input = reference::Input { rule: &Rule::z_plus(), a: &layer.x[..j], w: &w };
            let (want, _) = reference::shared_relevance(&[input], &r);
            assert_close("relevance", &r_in[..want[0].len()], &want[0]);
            group.bench_function(layer.id(&kernels), |bench| bench.iter(|| run(&mut r_in)));
        }
        group.finish();
        let (lines, cols) = (BATCH * conv.rows, conv.cols * conv.inputs);
        let mut group = layer.group(c, "relevance z⁺, max-pool");
        for kernels in best() {
            let mut indices = MaxIndices::new(&layer.shape, BATCH);
            layer.max_forward(&kernels, &mut y, &mut indices);
            let rule = &PackedRule::conv_max_pool(&kernels, &rule, &layer.shape, layer.panels())
                .expect("shapes fit");
            let (x, max_indices, r_out) = (&layer.planes[..], &indices, layer.d_h());
            let mut run = |r_in: &mut [f32]| {
                let (r_in, absorbed) = (MatMut::new(r_in, lines, cols), &mut absorbed[..]);
                let operands = RelevanceConvMaxPool { rule, x, max_indices, z: None, r_out, r_in, absorbed };
                relevance_conv_max_pool(&kernels, operands).expect("shapes fit");
            };
            run(&mut r_in);
            let a = layer.first_image();
            let (_, from) = reference::max_pool([conv.rows, conv.cols, conv.outputs], 2, &a);
            let mut r = vec![0.0; a.len()];
            from.iter().zip(&layer.v).for_each(|(&from, &v)| r[from] = f64::from(v));
            let (j, dense) = (layer.x.len() / BATCH, reference::conv_as_dense(&conv, &layer.w));
            let w = |i: usize, o: usize| Some(dense[i * r.len() + o]);
            let input = reference::Input { rule: &Rule::z_plus(), a: &layer.x[..j], w: &w };
            let (want, _) = reference::shared_relevance(&[input], &r);
            assert_close("relevance", &r_in[..want[0].len()], &want[0]);
            group.bench_function(layer.id(&kernels), |bench| bench.iter(|| run(&mut r_in)));
        }
    }
}

criterion_group!(benches, forward, backward, relevance);
fn main() {
    benches::noise::watch(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}

//! Elementwise kernels, in bytes read and written per second.

use benches::{BATCH, activations, alone, assert_close, floats, label, sample};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group};
use kernels::elementwise::activation::{bias_relu, softplus_bias};
use kernels::elementwise::gates::{CellBackward, CellForward, cell_backward, cell_forward};
use kernels::elementwise::optimiser::{AdamStep, adam, sgd};
use kernels::elementwise::reduce::column_sums;
use kernels::elementwise::softmax::{CrossEntropy, cross_entropy};
use kernels::pool::{PoolBack, PoolBackward, PoolKind, PoolShape, pool, pool_backward};
use kernels::reference::Cell;
use kernels::{Backend, Kernels, MatMut, MatRef, reference};
use std::time::Duration;

/// Parameters of Deep.
const PARAMETERS: usize = 550_346;
const UNITS: usize = 512;
const CLASSES: usize = 10;
/// Cells of the R-LSTM.
const CELLS: usize = 72;
const POOL: PoolShape = PoolShape { rows: 28, cols: 28, channels: 24, size: 2, kind: PoolKind::Max };

/// These loops run on the calling thread; one group per function, one entry per backend.
fn group<'a>(c: &'a mut Criterion, name: &str, bytes: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(format!("elementwise/{name}"));
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
    group.throughput(Throughput::Bytes(bytes as u64));
    group
}

fn sets() -> Vec<Kernels> {
    let fast = |backend: &Backend| backend.name() != "reference";
    Backend::available().into_iter().filter(fast).map(alone).collect()
}

fn f64s(xs: &[f32]) -> Vec<f64> {
    xs.iter().map(|&x| f64::from(x)).collect()
}

/// Sampled elements with the results of the reference implementation.
fn check(what: &str, found: &[f32], expected: impl Fn(usize) -> f64) {
    let sampled = sample(found.len());
    let found: Vec<f32> = sampled.iter().map(|&i| found[i]).collect();
    assert_close(what, &found, &sampled.into_iter().map(expected).collect::<Vec<f64>>());
}

fn optimisers(c: &mut Criterion) {
    let (start, gradient) = (floats(PARAMETERS, 1), floats(PARAMETERS, 2));
    let expected = |i: usize| (f64::from(gradient[i]), f64::from(start[i]));
    let mut steps = group(c, "adam", 7 * 4 * PARAMETERS);
    for kernels in sets() {
        let (mut m, mut v, mut p) = (vec![0.0; PARAMETERS], vec![0.0; PARAMETERS], start.clone());
        let mut t = 0;
        let mut run = |p: &mut [f32]| {
            t += 1;
            adam(&kernels, AdamStep::new(1e-3, t), &gradient, &mut m, &mut v, p).expect("shapes fit");
        };
        run(&mut p);
        check("adam", &p, |i| reference::adam(1e-3, &[expected(i).0], expected(i).1));
        steps.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut p)));
    }
    steps.finish();
    let mut steps = group(c, "sgd", 5 * 4 * PARAMETERS);
    for kernels in sets() {
        let (mut m, mut p) = (vec![0.0; PARAMETERS], start.clone());
        let mut run = |p: &mut [f32]| sgd(&kernels, 1e-6, 0.9, &gradient, &mut m, p).expect("shapes fit");
        run(&mut p);
        check("sgd", &p, |i| reference::sgd(1e-6, 0.9, &[expected(i).0], expected(i).1));
        steps.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut p)));
    }
}

fn losses(c: &mut Criterion) {
    let logits = floats(BATCH * CLASSES, 1);
    let labels: Vec<u8> = (0..BATCH).map(|i| (i % CLASSES) as u8).collect();
    let mut group = group(c, "cross_entropy", BATCH * (2 * 4 * CLASSES + 5));
    for kernels in sets() {
        let (mut gradient, mut losses) = (vec![0.0; BATCH * CLASSES], vec![0.0; BATCH]);
        let run = |gradient: &mut [f32], losses: &mut [f32]| {
            let (h, out) = (MatRef::new(&logits, BATCH, CLASSES), MatMut::new(gradient, BATCH, CLASSES));
            let operands =
                CrossEntropy { logits: h, labels: &labels, zero_logit: false, gradient: out, losses };
            cross_entropy(&kernels, operands).expect("shapes fit");
        };
        run(&mut gradient, &mut losses);
        for i in 0..BATCH {
            let row = i * CLASSES..(i + 1) * CLASSES;
            let (loss, d) =
                reference::cross_entropy(&logits[row.clone()], usize::from(labels[i]), BATCH, false);
            assert_close("loss", &losses[i..=i], &[loss]);
            assert_close("gradient", &gradient[row], &d);
        }
        group.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut gradient, &mut losses)));
    }
}

fn biases(c: &mut Criterion) {
    let (b, z) = (floats(UNITS, 1), floats(BATCH * UNITS, 2));
    let mut softplus = group(c, "softplus_bias", 2 * 4 * UNITS);
    for kernels in sets() {
        let mut bias = vec![0.0; UNITS];
        let run = |bias: &mut [f32]| softplus_bias(&kernels, &b, bias).expect("shapes fit");
        run(&mut bias);
        check("softplus_bias", &bias, |i| -reference::softplus(f64::from(b[i])));
        softplus.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut bias)));
    }
    softplus.finish();
    let mut relu = group(c, "bias_relu", 4 * (2 * BATCH * UNITS + UNITS));
    for kernels in sets() {
        let mut a = vec![0.0; BATCH * UNITS];
        let run = |a: &mut [f32]| {
            let out = MatMut::new(a, BATCH, UNITS);
            bias_relu(&kernels, MatRef::new(&z, BATCH, UNITS), &b, out).expect("shapes fit");
        };
        run(&mut a);
        check("bias_relu", &a, |i| (f64::from(z[i]) + f64::from(b[i % UNITS])).max(0.0));
        relu.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut a)));
    }
    relu.finish();
    let mut sums = group(c, "column_sums", 4 * (BATCH * UNITS + UNITS));
    for kernels in sets() {
        let mut d_b = vec![0.0; UNITS];
        let run = |d_b: &mut [f32]| {
            column_sums(&kernels, MatRef::new(&z, BATCH, UNITS), d_b).expect("shapes fit");
        };
        run(&mut d_b);
        assert_close("column_sums", &d_b, &reference::gemm(&[1.0; BATCH], &z, 1, UNITS, BATCH));
        sums.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut d_b)));
    }
}

fn pooling(c: &mut Criterion) {
    let (pixels, pooled) = (BATCH * POOL.rows * POOL.cols, BATCH * POOL.out_rows() * POOL.out_cols());
    let channels = POOL.channels;
    let (x, back) = (activations(pixels * channels, 1), floats(pooled * channels, 2));
    let at = [POOL.rows, POOL.cols, channels];
    // The reference implementation of the first image.
    let (want, from) = reference::max_pool(at, POOL.size, &x[..x.len() / BATCH]);
    let mut want_back = vec![0.0; x.len() / BATCH];
    from.iter().zip(&back).for_each(|(&from, &back)| want_back[from] = f64::from(back));
    let view = MatRef::new(&x, pixels, channels);
    let bytes = 4 * (pixels + pooled) * channels;
    let mut forward = group(c, "max_pool", bytes);
    for kernels in sets() {
        let mut y = vec![0.0; pooled * channels];
        let run = |y: &mut [f32]| {
            let out = MatMut::new(y, pooled, channels);
            pool(&kernels, POOL, BATCH, view, out).expect("shapes fit");
        };
        run(&mut y);
        assert_close("max_pool", &y[..want.len()], &f64s(&want));
        forward.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut y)));
    }
    forward.finish();
    // Relevance goes to the argmax position of each pooled value; pixels are only written.
    let mut backward = group(c, "max_pool_back", bytes);
    for kernels in sets() {
        let mut y = vec![0.0; pooled * channels];
        pool(&kernels, POOL, BATCH, view, MatMut::new(&mut y, pooled, channels)).expect("shapes fit");
        let (y, r) = (MatRef::new(&y, pooled, channels), MatRef::new(&back, pooled, channels));
        let mut r_in = vec![0.0; pixels * channels];
        let run = |r_in: &mut [f32]| {
            let (what, out) = (PoolBack::Relevance { eps: 1e-9 }, MatMut::new(r_in, pixels, channels));
            pool_backward(
                &kernels,
                PoolBackward { shape: POOL, images: BATCH, what, a: view, pooled: y, back: r, out },
            )
            .expect("shapes fit");
        };
        run(&mut r_in);
        assert_close("max_pool_back", &r_in[..want_back.len()], &want_back);
        backward.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut r_in)));
    }
}

/// The gates of an R-LSTM, at the batch and width of the finished thesis.
fn gates(c: &mut Criterion) {
    let size = BATCH * CELLS;
    let (pre, candidate, before) = (floats(3 * size, 1), activations(size, 2), activations(size, 3));
    let (d_h, d_c_after) = (floats(size, 4), floats(size, 5));
    let cell = |at: usize| {
        let (row, j) = (at / CELLS, at % CELLS);
        let pre = [0, 1, 2].map(|gate| f64::from(pre[(3 * row + gate) * CELLS + j]));
        Cell::new(pre, f64::from(candidate[at]), f64::from(before[at]))
    };
    let (candidate_of, c_before) = (&candidate[..], Some(&before[..]));
    // Gates are read and written; the backward pass works on its own copy of d_c as the forward pass does of them.
    let mut forward = group(c, "cell_forward", 4 * 10 * size);
    for kernels in sets() {
        let (mut gates, mut state, mut h) = (vec![0.0; 3 * size], vec![0.0; size], vec![0.0; size]);
        let mut run = |h: &mut [f32]| {
            gates.copy_from_slice(&pre);
            let (gates, c) = (&mut gates[..], &mut state[..]);
            let operands = CellForward { cells: CELLS, gates, candidate: candidate_of, c_before, c, h };
            cell_forward(&kernels, operands).expect("shapes fit");
        };
        run(&mut h);
        check("cell_forward", &h, |at| cell(at).h);
        forward.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut h)));
    }
    forward.finish();
    let mut backward = group(c, "cell_backward", 4 * 14 * size);
    for kernels in sets() {
        let (mut gates, mut state, mut h) = (pre.clone(), vec![0.0; size], vec![0.0; size]);
        let operands = CellForward {
            cells: CELLS,
            gates: &mut gates,
            candidate: candidate_of,
            c_before,
            c: &mut state,
            h: &mut h,
        };
        cell_forward(&kernels, operands).expect("shapes fit");
        let (mut d_c, mut d_gates, mut d_candidate) = (vec![0.0; size], vec![0.0; 3 * size], vec![0.0; size]);
        let mut run = |d_c: &mut [f32], d_gates: &mut [f32]| {
            d_c.copy_from_slice(&d_c_after);
            let operands = CellBackward {
                cells: CELLS,
                gates: &gates,
                candidate: candidate_of,
                c_before,
                c: &state,
                d_h: &d_h,
                d_c,
                d_gates,
                d_candidate: &mut d_candidate,
                guided: false,
            };
            cell_backward(&kernels, operands).expect("shapes fit");
        };
        run(&mut d_c, &mut d_gates);
        let of = |at: usize| cell(at).backward(f64::from(d_h[at]), f64::from(d_c_after[at]), false);
        check("d_c", &d_c, |at| of(at).d_before);
        check("d_gates", &d_gates, |at| {
            let (row, gate, j) = (at / (3 * CELLS), at / CELLS % 3, at % CELLS);
            of(row * CELLS + j).d_pre[gate]
        });
        backward.bench_function(label(&kernels), |bench| bench.iter(|| run(&mut d_c, &mut d_gates)));
    }
}

criterion_group!(benches, optimisers, losses, biases, gates, pooling);
fn main() {
    benches::noise::watch(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}

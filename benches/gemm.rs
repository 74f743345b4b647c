//! Matrix products, in FLOP/s: forward (`nn`), weight gradient (`tn`), input gradient (`nt`), and the FMA
//! peak.

use benches::{
    FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, activations, assert_product, backends, best, column, floats,
    label,
};
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use kernels::pack::{self, Part, pack, transpose};
use kernels::{Epilogue, Init, Kernels, MatMut, MatRef, Panels, WeightGradient, gemm, gemm_tn, panels_len};
use std::time::Duration;

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, criterion::measurement::WallTime> {
    let mut group = c.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

fn flop([m, n, k]: [usize; 3]) -> Throughput {
    Throughput::Elements((2 * m * n * k) as u64)
}

fn id(kernels: &Kernels, [m, n, k]: [usize; 3]) -> BenchmarkId {
    BenchmarkId::new(label(kernels), format!("{m}x{n}x{k}"))
}

fn product(kernels: &Kernels, a: MatRef, b: Panels, c: &mut [f32]) {
    let out = MatMut::new(c, a.rows(), b.n());
    gemm(kernels, a, b, Init::Zero, Epilogue::Store, out).expect("shapes fit");
}

fn forward(c: &mut Criterion) {
    let mut group = group(c, "gemm/nn");
    for shape @ [m, n, k] in FORWARD {
        group.throughput(flop(shape));
        let (a, b) = (activations(m * k, 1), floats(k * n, 2));
        let packed = pack(&b, k, n);
        let (view, panels) = (MatRef::new(&a, m, k), Panels::new(&packed, k, n));
        let sets = if shape == FORWARD[1] { backends() } else { best() };
        for kernels in sets {
            let mut c = vec![0.0; m * n];
            product(&kernels, view, panels, &mut c);
            let row = |i: usize| a[i * k..][..k].to_vec();
            assert_product("nn", [m, n], |i, j| c[i * n + j], row, |j| column(&b, j, n));
            group.bench_function(id(&kernels, shape), |bench| {
                bench.iter(|| product(&kernels, view, panels, &mut c));
            });
        }
    }
}

/// The forward product with the epilogue of a layer: bias, relu and dropout.
fn layer(c: &mut Criterion) {
    let mut group = group(c, "gemm/layer");
    let shape @ [m, n, k] = FORWARD[0];
    group.throughput(flop(shape));
    let (a, b, bias) = (activations(m * k, 1), floats(k * n, 2), floats(n, 3));
    let packed = pack(&b, k, n);
    let dropout = kernels::Dropout::new(0.5, 4);
    for kernels in best() {
        let mut c = vec![0.0; m * n];
        let mut run = || {
            let (a, b) = (MatRef::new(&a, m, k), Panels::new(&packed, k, n));
            let epilogue = Epilogue::BiasReluDropout(&bias, dropout);
            gemm(&kernels, a, b, Init::Zero, epilogue, MatMut::new(&mut c, m, n)).expect("shapes fit");
            c[(m - 1) * n + n - 1]
        };
        let last = run();
        let s = kernels::reference::gemm(&a[(m - 1) * k..], &column(&b, n - 1, n), 1, 1, k)[0];
        let want = (s + f64::from(bias[n - 1])).max(0.0) * f64::from(dropout.factor((m * n - 1) as u64));
        assert!((f64::from(last) - want).abs() <= 1e-4 * want.abs(), "{last}, {want} expected");
        group.bench_function(id(&kernels, shape), |bench| bench.iter(&mut run));
    }
}

fn weight_gradient(c: &mut Criterion) {
    let mut group = group(c, "gemm/tn");
    for shape @ [k, n, m] in WEIGHT_GRADIENT {
        group.throughput(flop(shape));
        let (a, dy) = (activations(m * k, 1), floats(m * n, 2));
        for kernels in best() {
            let mut dw = vec![0.0; panels_len(k, n)];
            let run = |dw: &mut [f32]| {
                let (a, dy) = (MatRef::new(&a, m, k), MatRef::new(&dy, m, n));
                gemm_tn(
                    &kernels,
                    WeightGradient { a, d_y: dy, accumulate: false, d_w: dw, rows: k, first_row: 0 },
                )
                .expect("shapes fit");
            };
            run(&mut dw);
            let view = Panels::new(&dw, k, n);
            assert_product("tn", [k, n], |i, j| view.at(i, j), |i| column(&a, i, k), |j| column(&dy, j, n));
            group.bench_function(id(&kernels, shape), |bench| bench.iter(|| run(&mut dw)));
        }
    }
}

fn input_gradient(c: &mut Criterion) {
    let mut group = group(c, "gemm/nt");
    for shape @ [m, n, k] in INPUT_GRADIENT {
        group.throughput(flop(shape));
        let (dy, w) = (floats(m * k, 1), floats(n * k, 2));
        let mut transposed = vec![0.0; panels_len(k, n)];
        transpose(Panels::new(&pack(&w, n, k), n, k), Part::All, &mut transposed);
        let (view, panels) = (MatRef::new(&dy, m, k), Panels::new(&transposed, k, n));
        for kernels in best() {
            let mut dx = vec![0.0; m * n];
            product(&kernels, view, panels, &mut dx);
            let row = |i: usize| dy[i * k..][..k].to_vec();
            assert_product("nt", [m, n], |i, j| dx[i * n + j], row, |j| w[j * k..][..k].to_vec());
            group.bench_function(id(&kernels, shape), |bench| {
                bench.iter(|| product(&kernels, view, panels, &mut dx));
            });
        }
    }
}

/// The packing that is done once per version of the weights, in bytes read and written.
fn packing(c: &mut Criterion) {
    let mut group = group(c, "gemm/pack");
    let [_, n, k] = FORWARD[1];
    group.throughput(Throughput::Bytes(2 * (4 * k * n) as u64));
    let w = floats(k * n, 1);
    let packed = pack(&w, k, n);
    let panels = Panels::new(&packed, k, n);
    let (mut same, mut turned) = (vec![0.0; panels_len(k, n)], vec![0.0; panels_len(n, k)]);
    pack::part(panels, Part::Positive, &mut same);
    transpose(panels, Part::Positive, &mut turned);
    for (i, j) in [(0, 0), (k - 1, n - 1), (17, 31)] {
        let want = w[i * n + j].max(0.0);
        assert_eq!((Panels::new(&same, k, n).at(i, j), Panels::new(&turned, n, k).at(j, i)), (want, want));
    }
    group.bench_function(format!("positive/{k}x{n}"), |bench| {
        bench.iter(|| pack::part(panels, Part::Positive, &mut same));
    });
    group.bench_function(format!("transposed/{k}x{n}"), |bench| {
        bench.iter(|| transpose(panels, Part::Positive, &mut turned));
    });
}

/// The FMA peak: fused multiply-adds on registers, without memory accesses; the upper limit of the figures
/// below.
fn limit(_: &mut Criterion) {
    for kernels in backends() {
        let peak = kernels::peak::measure_all(&kernels, 0.2) / 1e9;
        println!("gemm/limit/{}: {peak:.0} GFLOP/s", label(&kernels));
    }
}

criterion_group!(benches, limit, forward, layer, weight_gradient, input_gradient, packing);
fn main() {
    benches::noise::watch(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}

//! Our products against other libraries' and against the register peak, interleaved in one process.
//!
//! `cargo run --release -p benches --bin peers -- [--rounds N] [--json] [--require RATIO]`

use clap::Parser;
use kernels::pack::{self, Part};
use kernels::peers::PEERS;
use kernels::relevance::PackedPart;
use kernels::relevance::z_plus::z_plus;
use kernels::{
    Backend, Epilogue, Kernels, MatMut, MatRef, Panels, Start, Threads, gemm, gemm_tn, panels_len, peak,
    reference,
};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Instant;

/// Our GEMM and relevance kernels against peers, on one thread.
#[derive(Parser)]
struct Args {
    /// Rounds; each measures the peak and every candidate of a shape once
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Kernel set [default: the fastest]
    #[arg(long)]
    kernels: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Exit with 1 unless our ratio to the best peer is at least this on every shape
    #[arg(long)]
    require: Option<f64>,
}

/// `[M, N, K]`, and which of the three forms it stands for.
const SHAPES: [(&str, [usize; 3]); 17] = [
    ("NN", [50, 512, 112]),
    ("NN", [50, 256, 640]),
    ("NN", [50, 128, 256]),
    ("NN", [50, 768, 240]),
    ("NN", [50, 768, 784]),
    ("NN", [350, 512, 112]),
    ("NN", [1000, 512, 784]),
    ("NN", [50, 10, 256]),
    ("TN", [112, 512, 50]),
    ("TN", [640, 256, 50]),
    ("TN", [784, 768, 50]),
    ("NT", [50, 640, 256]),
    ("NT", [50, 112, 512]),
    ("NT", [50, 784, 768]),
    ("NN", [1024, 1024, 1024]),
    ("NN", [2048, 2048, 2048]),
    ("NN", [10_000, 512, 112]),
];

fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7 + seed * 13) % 31) as f32 / 16.0 - 1.0).collect()
}

fn median(mut xs: Vec<f64>) -> f64 {
    xs.sort_by(f64::total_cmp);
    xs[xs.len() / 2]
}

/// Seconds of one call, over as many as last a millisecond.
fn seconds(calls: usize, work: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        work();
    }
    start.elapsed().as_secs_f64() / calls as f64
}

/// Medians over interleaved rounds: the peak in FLOP/s, then each candidate's seconds.
fn rounds(
    kernels: &Kernels,
    rounds: usize,
    flop: f64,
    candidates: &mut [Box<dyn FnMut() + '_>],
) -> (f64, Vec<f64>) {
    let calls = (2e8 / flop).clamp(1.0, 1000.0) as usize;
    let mut peaks = Vec::new();
    let mut times = vec![Vec::new(); candidates.len()];
    for candidate in candidates.iter_mut() {
        seconds(calls, candidate);
    }
    for _ in 0..rounds {
        peaks.push(peak::measure(kernels.backend(), 0.002));
        for (times, candidate) in times.iter_mut().zip(candidates.iter_mut()) {
            times.push(seconds(calls, candidate));
        }
    }
    (median(peaks), times.into_iter().map(median).collect())
}

fn assert_same(what: &str, found: &[f32], want: &[f64]) {
    let scale = want.iter().fold(1e-30, |max: f64, w| max.max(w.abs()));
    for (&found, &want) in found.iter().zip(want) {
        assert!((f64::from(found) - want).abs() <= 1e-4 * scale, "{what}: {found}, {want} expected");
    }
}

fn products(args: &Args, kernels: &Kernels) -> (Vec<Value>, f64) {
    let mut rows = Vec::new();
    let mut worst = f64::INFINITY;
    let mut logs = 0.0;
    for (form, [m, n, k]) in SHAPES {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (a_t, packed) = (reference::transposed(&a, m, k), pack::pack(&b, k, n));
        let mut ours = vec![0.0; if form == "TN" { panels_len(m, n) } else { m * n }];
        let mut theirs = [vec![0.0; m * n], vec![0.0; m * n]];
        let product = |out: &mut [f32]| match form {
            "TN" => {
                let (x, dy) = (MatRef::new(&a_t, k, m), MatRef::new(&b, k, n));
                gemm_tn(kernels, x, dy, false, out, m, 0).expect("shapes fit");
            }
            // NT multiplies transposed panels: the same walk over other weights.
            _ => {
                let (x, w) = (MatRef::new(&a, m, k), Panels::new(&packed, k, n));
                gemm(kernels, x, w, Start::Zero, Epilogue::Store, MatMut::new(out, m, n))
                    .expect("shapes fit");
            }
        };
        product(&mut ours);
        let found = if form == "TN" { pack::unpack(Panels::new(&ours, m, n)) } else { ours.clone() };
        let rows_checked = m.min(4);
        assert_same(
            form,
            &found[..rows_checked * n],
            &reference::gemm(&a[..rows_checked * k], &b, rows_checked, n, k),
        );
        let flop = 2.0 * (m * n * k) as f64;
        let [first, second] = &mut theirs;
        let mut candidates: Vec<Box<dyn FnMut()>> = vec![
            Box::new(|| product(&mut ours)),
            Box::new(|| PEERS[0].1(&a, &b, first, m, n, k)),
            Box::new(|| PEERS[1].1(&a, &b, second, m, n, k)),
        ];
        let (peak, times) = rounds(kernels, args.rounds, flop, &mut candidates);
        let best = times[1].min(times[2]);
        let ratio = best / times[0];
        worst = worst.min(ratio);
        logs += ratio.ln();
        rows.push(json!({
            "form": form, "m": m, "n": n, "k": k, "peak": peak / 1e9,
            "ours": flop / times[0] / 1e9, "percent": 100.0 * flop / times[0] / peak,
            PEERS[0].0: flop / times[1] / 1e9, PEERS[1].0: flop / times[2] / 1e9, "ratio": ratio,
        }));
    }
    let mean = (logs / SHAPES.len() as f64).exp();
    rows.push(json!({ "geometric_mean": mean }));
    (rows, worst)
}

/// z⁺ fused, against two plain products of ours over a materialised W⁺ with the division and the
/// multiplication between them.
fn relevance(args: &Args, kernels: &Kernels) -> Vec<Value> {
    let mut rows = Vec::new();
    for [m, j, k] in [[50, 640, 256], [350, 640, 256], [10_000, 640, 256]] {
        let a: Vec<f32> = numbers(m * j, 3).into_iter().map(|x| x.max(0.0)).collect();
        let (w, r) = (numbers(j * k, 4), numbers(m * k, 5));
        let packed = pack::pack(&w, j, k);
        let part = PackedPart::dense(Panels::new(&packed, j, k), Part::Positive);
        let (mut fused, mut plain, mut lost) = (vec![0.0; m * j], vec![0.0; m * j], vec![0.0; m]);
        let (mut z, mut s) = (vec![0.0; m * k], vec![0.0; m * j]);
        let (av, rv) = (MatRef::new(&a, m, j), MatRef::new(&r, m, k));
        let mut by_rule =
            || z_plus(kernels, av, &part, rv, MatMut::new(&mut fused, m, j), &mut lost).expect("fits");
        let mut by_hand = || {
            let store = Epilogue::Store;
            gemm(kernels, av, part.forward(), Start::Zero, store, MatMut::new(&mut z, m, k)).expect("fits");
            for (z, r) in z.iter_mut().zip(&r) {
                *z = r / (*z + 1e-9);
            }
            let c = MatRef::new(&z, m, k);
            gemm(kernels, c, part.back(), Start::Zero, store, MatMut::new(&mut s, m, j)).expect("fits");
            for ((out, s), a) in plain.iter_mut().zip(&s).zip(&a) {
                *out = s * a;
            }
        };
        by_rule();
        by_hand();
        let flop = 4.0 * (m * j * k) as f64;
        let (peak, times) = rounds(kernels, args.rounds, flop, &mut [Box::new(by_rule), Box::new(by_hand)]);
        assert!(fused == plain, "both ways have the same bits");
        rows.push(json!({
            "rule": "z_plus", "m": m, "j": j, "k": k, "ours": flop / times[0] / 1e9,
            "percent": 100.0 * flop / times[0] / peak, "ratio": times[1] / times[0],
        }));
    }
    rows
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let backend = match &args.kernels {
        Some(name) => Backend::by_name(name).ok_or_else(|| anyhow::anyhow!("no kernel set {name} here"))?,
        None => Backend::best(),
    };
    let kernels = Kernels::new(backend, Threads::one());
    let (products, worst) = products(&args, &kernels);
    let relevance = relevance(&args, &kernels);
    if args.json {
        println!("{}", json!({ "kernels": backend.name(), "products": products, "relevance": relevance }));
    } else {
        println!("{}, one thread, median of {} interleaved rounds, GFLOP/s", backend.name(), args.rounds);
        println!("form      M     N     K |  peak  ours   % |  gemm  matrixmultiply | ours / best peer");
        for row in &products {
            if let Some(mean) = row["geometric_mean"].as_f64() {
                println!("geometric mean of the ratios {mean:.3}");
                continue;
            }
            let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
            println!(
                "{} {:>8} {:>5} {:>5} | {:>5.0} {:>5.0} {:>3.0} | {:>5.0} {:>15.0} | {:.2}",
                row["form"].as_str().unwrap_or_default(),
                number("m"),
                number("n"),
                number("k"),
                number("peak"),
                number("ours"),
                number("percent"),
                number("gemm"),
                number("matrixmultiply"),
                number("ratio")
            );
        }
        println!("relevance against the same rule by plain products of ours over a materialised W⁺");
        for row in &relevance {
            let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
            println!(
                "z⁺ {:>6}×{}→{} | {:>5.0} {:>3.0} % | {:.2}",
                number("m"),
                number("j"),
                number("k"),
                number("ours"),
                number("percent"),
                number("ratio")
            );
        }
    }
    let met = args.require.is_none_or(|require| worst >= require);
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

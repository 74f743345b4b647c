//! Measures candidates of the tuning of matrix products on this machine and prints the row to add to
//! `kernels/src/gemm/tuning.rs`.
//!
//! One key is changed at a time, starting from what is chosen for this CPU. All candidates of a key run in turn in each
//! round; each is compared with the chosen value by the geometric mean over the products of the ratio of the least
//! times. The chosen value is a candidate, too, so that its least time is known twice, and the lesser counts. Another value wins
//! only if it is faster by more than 1 % and two standard errors over the products. On a busy machine nothing wins; take
//! more rounds there. `cargo run --release -p benches --bin tune`.

use anyhow::Result;
use benches::{BATCH, FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, activations, floats};
use clap::Parser;
use kernels::{
    Backend, Cpu, Epilogue, Init, Kernels, MatMut, MatRef, Panels, Threads, Tuning, WeightGradient,
};
use kernels::{ConvShape, conv_weight_gradient, gemm, gemm_tn, pack, panels_len};
use std::time::Instant;

/// Candidates of each key.
const CANDIDATES: [(&str, &[usize]); 7] = [
    ("prefetch", &[0, 8, 12, 16, 24, 32]),
    ("strips", &[1, 2, 3, 4]),
    ("k-block", &[0, 96, 128, 192, 256, 384, 512]),
    ("pack-tiles", &[4, 8, 16]),
    ("pack-step", &[64, 128, 256, 512]),
    ("pack-terms", &[0, 40, 64, 128, 256]),
    (OF_CONVOLUTIONS, &[0, 2048, 3072, 4096, 6144, 8192, 12288]),
];

/// The key that only weight gradients of convolutions depend on.
const OF_CONVOLUTIONS: &str = "l1";

/// A candidate wins if it takes at most this share of the time.
const WINS: f64 = 0.99;

/// Measures candidates of the tuning and prints the row to add.
#[derive(Parser)]
struct Args {
    /// Rounds of each key
    #[arg(long, default_value_t = 30)]
    rounds: usize,
    /// Print the ratio of each product, too
    #[arg(long)]
    each: bool,
    /// Kernel set [default: the best]
    #[arg(long)]
    kernels: Option<String>,
}

/// A product as one call.
type Work<'a> = Box<dyn FnMut(&Kernels) + 'a>;

/// Forward, input gradient and weight gradient of all shapes of the benches.
fn products() -> (Vec<String>, Vec<Work<'static>>) {
    let (mut shapes, mut works) = (Vec::new(), Vec::<Work>::new());
    for [m, n, k] in FORWARD.into_iter().chain(INPUT_GRADIENT) {
        let (a, w, mut c) = (activations(m * k, 1), pack::pack(&floats(k * n, 2), k, n), vec![0.0; m * n]);
        shapes.push(format!("{m}×{n}×{k}"));
        works.push(Box::new(move |kernels| {
            let (a, w, c) = (MatRef::new(&a, m, k), Panels::new(&w, k, n), MatMut::new(&mut c, m, n));
            gemm(kernels, a, w, Init::Zero, Epilogue::Store, c).expect("shapes fit");
        }));
    }
    for [rows, n, m] in WEIGHT_GRADIENT {
        let (a, d_y, mut d_w) = (activations(m * rows, 1), floats(m * n, 2), vec![0.0; panels_len(rows, n)]);
        shapes.push(format!("{rows}×{n}×{m} TN"));
        works.push(Box::new(move |kernels| {
            let (a, d_y) = (MatRef::new(&a, m, rows), MatRef::new(&d_y, m, n));
            let gradient = WeightGradient { a, d_y, accumulate: false, d_w: &mut d_w, rows, first_row: 0 };
            gemm_tn(kernels, gradient).expect("shapes fit");
        }));
    }
    (shapes, works)
}

/// The weight gradients of convolutions.
fn convolutions() -> (Vec<String>, Vec<Work<'static>>) {
    let shape = |rows, cols, size, inputs, outputs| ConvShape { rows, cols, size, inputs, outputs };
    let shapes = [
        shape(28, 7, 5, 1, 24),
        shape(28, 28, 3, 24, 48),
        shape(28, 7, 3, 24, 48),
        shape(28, 4, 3, 24, 48),
        shape(28, 7, 5, 24, 24),
        shape(14, 4, 3, 32, 32),
    ];
    let work = |shape: &ConvShape| -> Work<'static> {
        let shape = *shape;
        let (x, d_y) = (floats(BATCH * shape.input().len(), 1), floats(BATCH * shape.output().len(), 2));
        let mut d_w = vec![0.0; panels_len(shape.patch(), shape.outputs)];
        Box::new(move |kernels| {
            conv_weight_gradient(kernels, &shape, &x, &d_y, BATCH, &mut d_w).expect("shapes fit");
        })
    };
    let name = |of: &ConvShape| {
        format!("{0}×{0} {1}→{2} on {3}×{4}", of.size, of.inputs, of.outputs, of.rows, of.cols)
    };
    (shapes.iter().map(name).collect(), shapes.iter().map(work).collect())
}

/// The least seconds of each product under each tuning, measured in turn.
fn measure(kernels: &Kernels, works: &mut [Work], tunings: &[Tuning], rounds: usize) -> Vec<Vec<f64>> {
    let mut least = vec![vec![f64::INFINITY; works.len()]; tunings.len()];
    for round in 0..rounds {
        for i in 0..tunings.len() {
            let i = (i + round) % tunings.len();
            tunings[i].choose();
            for (work, least) in works.iter_mut().zip(&mut least[i]) {
                let start = Instant::now();
                work(kernels);
                *least = least.min(start.elapsed().as_secs_f64());
            }
        }
    }
    least
}

/// The logarithms of the ratios of a candidate's least times to the lesser ones of the chosen value.
fn logs(of: &[f64], chosen: &[f64]) -> Vec<f64> {
    of.iter().zip(chosen).map(|(a, b)| (a / b).ln()).collect()
}

fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

/// Whether a candidate with these logarithms of ratios is faster than the noise explains.
fn wins(logs: &[f64]) -> bool {
    let (n, mean) = (logs.len() as f64, mean(logs));
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    mean < WINS.ln() - 2.0 * (variance / n).sqrt()
}

fn main() -> Result<()> {
    let Args { rounds, each, kernels } = Args::parse();
    let backend = match kernels {
        Some(name) => Backend::by_name(&name).ok_or_else(|| anyhow::anyhow!("this CPU has no {name}"))?,
        None => Backend::best(),
    };
    let (kernels, cpu) = (Kernels::new(backend, Threads::one()), Cpu::detect());
    let mut best = Tuning::chosen();
    let (mut products, mut convolutions) = (products(), convolutions());
    println!("{}, {:?}, row \"{}\": {best}", backend.name(), cpu, cpu.row().0);
    for (key, values) in CANDIDATES {
        let (shapes, works) = if key == OF_CONVOLUTIONS { &mut convolutions } else { &mut products };
        let tunings: Vec<Tuning> =
            values.iter().map(|value| best.parse(&format!("{key}={value}"))).collect::<Result<_, _>>()?;
        let mut all = vec![best];
        all.extend(&tunings);
        let least = measure(&kernels, works, &all, rounds.max(1));
        // The chosen value was measured as the first and, if it is in the list, as a candidate.
        let same = all.iter().zip(&least).filter(|(tuning, _)| **tuning == best).map(|(_, of)| of);
        let chosen: Vec<f64> =
            (0..works.len()).map(|i| same.clone().map(|of| of[i]).fold(f64::INFINITY, f64::min)).collect();
        let logs: Vec<Vec<f64>> = least[1..].iter().map(|of| logs(of, &chosen)).collect();
        let ratios: Vec<f64> = logs.iter().map(|logs| mean(logs).exp()).collect();
        let shown: Vec<String> =
            values.iter().zip(&ratios).map(|(value, r)| format!("{value}: {r:.3}")).collect();
        println!("{key:<11} time against what was chosen: {}", shown.join(", "));
        for (i, shape) in shapes.iter().enumerate().filter(|_| each) {
            let ratios = least[1..].iter().map(|of| format!("{:.3}", of[i] / chosen[i]));
            println!("  {shape:<16} {}", ratios.collect::<Vec<_>>().join("  "));
        }
        let faster = (0..logs.len()).filter(|&i| wins(&logs[i]));
        if let Some(fastest) = faster.min_by(|&i, &j| ratios[i].total_cmp(&ratios[j])) {
            best = tunings[fastest];
        }
    }
    let Tuning { prefetch, strips, k_block, pack_tiles, pack_step, pack_terms, l1 } = best;
    println!(
        "Tuning {{ prefetch: {prefetch}, strips: {strips}, k_block: {k_block}, pack_tiles: {pack_tiles}, pack_step: {pack_step}, pack_terms: {pack_terms}, l1: {l1} }}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_wins_only_beyond_the_noise() {
        let ratios = |ratios: [f64; 4]| logs(&ratios, &[1.0; 4]);
        assert!(wins(&ratios([0.97, 0.96, 0.97, 0.965])));
        assert!(!wins(&ratios([0.995, 0.994, 0.996, 0.995])), "less than 1 %");
        assert!(!wins(&ratios([0.7, 1.2, 0.9, 1.0])), "noise");
    }
}

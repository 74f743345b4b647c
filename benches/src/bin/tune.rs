//! Measures candidates of the tuning of matrix products on this machine and prints the row to add to
//! `kernels/src/gemm/tuning.rs`.
//!
//! One key is changed at a time, starting from what is chosen for this CPU. All candidates of a key run in turn in each
//! round; each is compared with the chosen value by the geometric mean over the products of the ratio of the least
//! times. The chosen value is a candidate, too: what it seems to win or lose against itself is the noise. Another wins only
//! if it is faster by 1 % more than the noise. `cargo run --release -p benches --bin tune`.

use anyhow::Result;
use benches::{FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, activations, floats};
use clap::Parser;
use kernels::{
    Backend, Cpu, Epilogue, Init, Kernels, MatMut, MatRef, Panels, Threads, Tuning, WeightGradient,
};
use kernels::{gemm, gemm_tn, pack, panels_len};
use std::time::Instant;

/// Candidates of each key.
const CANDIDATES: [(&str, &[usize]); 5] = [
    ("prefetch", &[0, 8, 12, 16, 24, 32]),
    ("strips", &[1, 2, 3, 4]),
    ("k-block", &[0, 96, 128, 192, 256, 384, 512]),
    ("pack-tiles", &[4, 8, 16, 32]),
    ("pack-step", &[64, 128, 256, 512]),
];

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

/// The fastest candidate, if the noise does not explain it; else `chosen`.
fn winner(chosen: Tuning, tunings: &[Tuning], ratios: &[f64]) -> Tuning {
    let noise = tunings.iter().zip(ratios).filter(|(tuning, _)| **tuning == chosen);
    let noise = noise.map(|(_, ratio)| ratio.min(1.0 / ratio)).fold(1.0, f64::min);
    let fastest = tunings.iter().zip(ratios).min_by(|(_, a), (_, b)| a.total_cmp(b));
    fastest.filter(|(_, ratio)| **ratio < WINS * noise).map_or(chosen, |(tuning, _)| *tuning)
}

fn main() -> Result<()> {
    let Args { rounds, each, kernels } = Args::parse();
    let backend = match kernels {
        Some(name) => Backend::by_name(&name).ok_or_else(|| anyhow::anyhow!("this CPU has no {name}"))?,
        None => Backend::best(),
    };
    let (kernels, cpu) = (Kernels::new(backend, Threads::one()), Cpu::detect());
    let (mut best, (shapes, mut works)) = (Tuning::chosen(), products());
    println!("{}, {:?}, row \"{}\": {best}", backend.name(), cpu, cpu.row().0);
    for (key, values) in CANDIDATES {
        let tunings: Vec<Tuning> =
            values.iter().map(|value| best.parse(&format!("{key}={value}"))).collect::<Result<_, _>>()?;
        let mut all = vec![best];
        all.extend(&tunings);
        let least = measure(&kernels, &mut works, &all, rounds.max(1));
        let ratio = |of: &[f64]| {
            let logs = of.iter().zip(&least[0]).map(|(a, b)| (a / b).ln());
            (logs.sum::<f64>() / of.len() as f64).exp()
        };
        let ratios: Vec<f64> = least[1..].iter().map(|of| ratio(of)).collect();
        let shown: Vec<String> =
            values.iter().zip(&ratios).map(|(value, r)| format!("{value}: {r:.3}")).collect();
        println!("{key:<11} time against what was chosen: {}", shown.join(", "));
        for (i, shape) in shapes.iter().enumerate().filter(|_| each) {
            let ratios = least[1..].iter().map(|of| format!("{:.3}", of[i] / least[0][i]));
            println!("  {shape:<16} {}", ratios.collect::<Vec<_>>().join("  "));
        }
        best = winner(best, &tunings, &ratios);
    }
    let Tuning { prefetch, strips, k_block, pack_tiles, pack_step } = best;
    println!(
        "Tuning {{ prefetch: {prefetch}, strips: {strips}, k_block: {k_block}, pack_tiles: {pack_tiles}, pack_step: {pack_step} }}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_wins_only_beyond_the_noise() {
        let chosen = Tuning::chosen();
        let tunings = [chosen, Tuning { k_block: 256, ..chosen }, Tuning { k_block: 512, ..chosen }];
        assert_eq!(winner(chosen, &tunings, &[1.0, 0.97, 0.995]), tunings[1]);
        assert_eq!(winner(chosen, &tunings, &[1.05, 0.97, 0.995]), chosen);
        assert_eq!(winner(chosen, &tunings, &[1.0, 1.2, 0.995]), chosen);
    }
}

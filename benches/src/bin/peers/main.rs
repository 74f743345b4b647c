//! Our kernels against those of other libraries, against plain products and against the FMA peak, interleaved
//! in one process: medians over many short rounds.
//!
//! `cargo run --release -p benches --bin peers -- [--threads N] [--rounds R] [--kernels NAME] [--json]
//! [--require RATIO] [--busy N] [--only PART] [--least] [--tune KEY=VALUE,…] [--blas NAME=FILE]`
//!
//! - Every result is checked before it is timed.
//! - Weights are packed once per version, so the packing of ours is not timed; peers take row-major operands
//!   or their transposes, as in training, and pack at each call.
//! - Percentages are relative to the FMA peak of the same rounds, on the same number of threads.

mod amx;
mod busy;
mod by_hand;
mod conv;
mod libraries;
mod measure;
mod operands;
mod page;
mod products;
mod relevance;
mod report;
mod swapped;

use anyhow::Context;
use benches::noise::during;
use busy::Busy;
use clap::Parser;
use kernels::peers::matrixmultiply;
use kernels::{Backend, Kernels, Tuning};
use libraries::Libraries;
use measure::{Bench, Statistic};
use products::Products;
use serde_json::json;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

/// Our products, relevance rules and convolutions against peers and against the peak.
#[derive(Parser)]
struct Args {
    /// Threads for ours and for the peers; several threads are also compared with one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Rounds; each measures the peak and every candidate of a shape once
    #[arg(long, value_name = "R", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Kernel set [default: the fastest]
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Exit with 1 unless our ratio to the best peer is at least this on every shape
    #[arg(long, value_name = "RATIO")]
    require: Option<f64>,
    /// Threads that compute as background load during the whole measurement
    #[arg(long, value_name = "N", default_value_t = 0)]
    busy: u16,
    /// Measure only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Take the least time of the rounds instead of the median, and shorter samples: for a machine with other load
    #[arg(long)]
    least: bool,
    /// Replace values of the tuning of matrix products, as `KERNELS_TUNE` does for `harness`
    #[arg(long, value_name = "KEY=VALUE,…", default_value = "")]
    tune: String,
    /// A library in C as a further peer of the products, such as OpenBLAS=libopenblas.so.0; can be repeated. Any with the
    /// CBLAS interface, or oneDNN; weights are prepacked as well where it can (MKL). Needs the cargo feature `blas`
    #[arg(long, value_name = "NAME=FILE")]
    blas: Vec<String>,
}

/// A part of the page.
#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    Products,
    Relevance,
    Conv,
    Swapped,
    /// Products on AMX, where this CPU has it
    Amx,
}

/// The variables that limit the threads of libraries in C.
const THREADS_IN_C: [&str; 4] =
    ["OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"];

/// Starts this program again with the environment variables that limit the threads of peers. A
/// running program cannot safely set its own environment.
fn again(threads: &str) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("finding this program to start it again")?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env(matrixmultiply::THREADS, threads);
    command.envs(THREADS_IN_C.map(|name| (name, threads)));
    #[cfg(unix)]
    let status = Err(std::os::unix::process::CommandExt::exec(&mut command));
    #[cfg(not(unix))]
    let status = command.status();
    let status: ExitStatus = status.context("starting this program again")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// What a part measures, or nothing where it is not wanted.
fn measured<T: Default>(wanted: bool, measure: impl FnOnce() -> T) -> T {
    if wanted { measure() } else { T::default() }
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let threads = args.threads.to_string();
    if std::env::var(matrixmultiply::THREADS).ok().as_deref() != Some(&threads) {
        return again(&threads);
    }
    let backend = match &args.kernels {
        Some(name) => Backend::by_name(name)
            .with_context(|| format!("no kernel set {name} here: one of {:?}", Backend::available()))?,
        None => Backend::best(),
    };
    // The time slices of the scheduler are a few milliseconds: under load a sample has to last several of
    // them.
    let sample = match (args.least, args.busy) {
        (true, _) => (Duration::from_micros(300), Statistic::Least),
        (false, 0) => (Duration::from_millis(1), Statistic::Median),
        (false, _) => (Duration::from_millis(20), Statistic::Median),
    };
    if args.only == [Part::Amx] {
        let why_not = Kernels::why_not("amx");
        anyhow::ensure!(why_not.is_none(), "--only amx: {}", why_not.unwrap_or_default());
    }
    let libraries = Libraries::open(&args.blas)?;
    let tuning = Tuning::chosen().parse(&args.tune)?;
    tuning.choose();
    let bench = Bench::new(backend, args.threads.into(), args.rounds as usize, sample)?;
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let busy = Busy::start(args.busy.into());
    let ((products, relevance, conv, swapped, amx), noise) = during(|| {
        (
            measured(wanted(Part::Products), || Products::measure(&bench, &libraries)),
            measured(wanted(Part::Relevance), || relevance::measure(&bench)),
            measured(wanted(Part::Conv), || conv::measure(&bench)),
            measured(wanted(Part::Swapped), || swapped::measure(&bench)),
            measured(wanted(Part::Amx), || amx::measure(&bench)),
        )
    });
    drop(busy);
    let ((swapped, swapped_mean), (amx, amx_means)) = (swapped, amx.unwrap_or_default());

    let all = json!({
        "cpu": report::cpu(),
        "kernels": backend.name(),
        "threads": args.threads,
        "busy": args.busy,
        "rounds": args.rounds,
        "statistic": if args.least { "Least" } else { "Medians" },
        "tuning": tuning.to_string(),
        "gemm": format!("{} with x86-v4 and rayon", report::locked("gemm")),
        "matrixmultiply": format!("{} with threading, 4 threads at most", report::locked("matrixmultiply")),
        "libraries": products.libraries,
        "products": products.rows,
        "geometric_mean": products.geometric_mean,
        "relevance": relevance,
        "conv": conv,
        "swapped": swapped,
        "swapped_mean": swapped_mean,
        "amx": amx,
        "amx_means": amx_means,
        "machine_is_busy": noise.is_busy(),
        "noise": noise.to_string(),
    });
    if args.json {
        println!("{all}");
    } else {
        println!("{}", page::text(&all));
    }
    let below = args.require.map_or(Vec::new(), |required| products.below(required));
    for line in &below {
        eprintln!("{line}");
    }
    Ok(if below.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `harness check`: checks that results are bit-identical on this machine.

use crate::context::GlobalOptions;
use crate::dataset::samples::Arrays;
use crate::dataset::synth;
use crate::error::UsageError;
use crate::io::bounds::{BATCH_IN_MEMORY, CHECKED_SAMPLES, SEQ_LEN, STEPS, bounded};
use crate::io::output::{out, write_json_result};
use crate::io::progress::Job;
use crate::report::table::Table;
use crate::signal::{check_stop, stop_on_signals};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use kernels::{Kernels, Threads};
use model::explain::{Explainer, Method, Target};
use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer, shuffled};
use model::{Architecture, Network, Task};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Arguments of `harness check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Train and explain every preset on every kernel set except portable, with 1, 2 and 4 threads: all bits
    /// of a family must agree. With --kernels NAME only on the family of NAME, of AMX also on its slow model
    Bits(BitsArgs),
}

#[derive(Debug, Args)]
struct BitsArgs {
    /// Training steps
    #[arg(long, value_name = "N", default_value_t = 200)]
    steps: usize,
    /// Samples to explain
    #[arg(long, value_name = "N", default_value_t = 200)]
    samples: usize,
    /// Batch size
    #[arg(long, value_name = "N", default_value_t = 20)]
    batch: usize,
    /// Cells
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values_t = Architecture::PRESETS.map(str::to_owned))]
    cells: Vec<String>,
    /// Sequence length T
    #[arg(long, value_name = "T", default_value_t = 7)]
    seq_len: usize,
}

/// Thread counts that must give the same bits.
const THREADS: [usize; 3] = [1, 2, 4];
/// Samples to explain at once.
const CHUNK: usize = 50;
/// Methods that together use every rule.
const METHODS: [Method; 4] =
    [Method::DEEP_TAYLOR, Method::lrp(2.0, 1.0), Method::W_SQUARE, Method::SimpleTaylor];

/// The result of one combination.
#[derive(Debug, Serialize)]
struct Line {
    cell: String,
    /// Kernel sets of one family have the same bits.
    family: String,
    kernels: String,
    threads: usize,
    /// Hash of every loss, the parameters and the moments.
    training: String,
    /// Hash of every logit and relevance.
    explanation: String,
}

/// Runs `harness check`.
///
/// # Errors
/// If bits differ between two combinations of one cell.
pub fn run(args: &CheckArgs, options: &GlobalOptions) -> Result<()> {
    let What::Bits(args) = &args.what;
    stop_on_signals()?;
    bounded("--steps", args.steps, STEPS)?;
    bounded("--samples", args.samples, CHECKED_SAMPLES)?;
    bounded("--batch", args.batch, BATCH_IN_MEMORY)?;
    bounded("--seq-len", args.seq_len, SEQ_LEN)?;
    let combinations = combinations(options)?;
    // An epoch of at least two batches, so that the order of the samples matters.
    let (pixels, labels) = synth::draw(synth::DEFAULT_SEED, args.samples.max(2 * args.batch));
    let images = pixels.iter().map(|&p| f32::from(p) / 127.5 - 1.0).collect();
    let samples = Arrays { images, size: synth::SIZE * synth::SIZE, labels: Some(labels) };
    let networks = args.cells.iter().map(|name| {
        let task = Task { rows: synth::SIZE, cols: synth::SIZE, seq_len: args.seq_len, ..Task::default() };
        Architecture::preset(name)
            .and_then(|preset| Network::new(preset, task, 1))
            .map_err(|e| UsageError(e.to_string()))
    });
    let networks: Vec<Network> = networks.collect::<Result<_, UsageError>>()?;
    let progress = options.progress();
    let parts = networks.len() * combinations.len() * (args.steps + args.samples.div_ceil(CHUNK));
    let job = progress.job("bits", parts as u64);
    let mut lines = Vec::new();
    for network in networks {
        for kernels in &combinations {
            let (training, explanation) = hashes(args, kernels, network.clone(), &samples, &job)?;
            let (cell, threads) = (network.architecture().name(), kernels.threads().count());
            let (family, kernels) =
                (kernels.family().unwrap_or_default().to_owned(), kernels.name().to_owned());
            lines.push(Line { cell, family, kernels, threads, training, explanation });
        }
    }
    job.finish();
    print(options, &lines)?;
    let different = different(&lines);
    ensure!(
        different.is_empty(),
        "bits differ between combinations of {}; results of this machine are not reproducible, please report its CPU",
        different.join(", ")
    );
    Ok(())
}

/// The kernel sets that promise bits, on each number of threads.
fn combinations(options: &GlobalOptions) -> Result<Vec<Kernels>> {
    let mut names: Vec<String> = options.kernel_names().into_iter().map(str::to_owned).collect();
    let mut wanted = None;
    if options.kernels.is_some() {
        let chosen = options.kernels(1)?;
        let Some(family) = chosen.family() else {
            bail!(UsageError(format!("--kernels {}: it promises no bits", chosen.name())));
        };
        names.push(format!("{family}-model"));
        wanted = Some(family.to_owned());
    }
    let mut all = Vec::new();
    for (name, threads) in names.iter().flat_map(|name| THREADS.map(|threads| (name, threads))) {
        let threads = Threads::new(threads).context("cannot start the threads")?;
        let promises = |kernels: &Kernels| match (kernels.family(), wanted.as_deref()) {
            (Some(family), Some(wanted)) => family == wanted,
            (family, _) => family.is_some(),
        };
        all.extend(options.kernel_set(name, threads).filter(promises));
    }
    Ok(all)
}

/// The cells whose combinations differ within a family.
fn different(lines: &[Line]) -> Vec<&str> {
    let of = |line: &Line| (line.training.clone(), line.explanation.clone());
    let same = |a: &Line, b: &Line| a.cell == b.cell && a.family == b.family;
    let first = |line: &Line| lines.iter().find(|first| same(first, line)).map(of);
    let mut cells: Vec<&str> = Vec::new();
    for line in lines.iter().filter(|line| first(line) != Some(of(line))) {
        if !cells.contains(&line.cell.as_str()) {
            cells.push(&line.cell);
        }
    }
    cells
}

fn print(options: &GlobalOptions, lines: &[Line]) -> Result<()> {
    if options.json {
        return write_json_result(&lines);
    }
    let mut table = Table::new(&["cell", "family", "kernels", "threads", "training", "explanation"]);
    for line in lines {
        table.row(vec![
            line.cell.clone(),
            line.family.clone(),
            line.kernels.clone(),
            line.threads.to_string(),
            line.training.clone(),
            line.explanation.clone(),
        ]);
    }
    out!("{table}")
}

/// A hash of the bits of floats.
#[derive(Default)]
struct Bits(Sha256);

impl Bits {
    fn add(&mut self, values: &[f32]) {
        for value in values {
            self.0.update(value.to_bits().to_le_bytes());
        }
    }

    fn finish(self) -> String {
        self.0.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Trains and explains; returns the hash of each.
fn hashes(
    args: &BitsArgs,
    kernels: &Kernels,
    network: Network,
    samples: &Arrays,
    job: &Job,
) -> Result<(String, String)> {
    let total = samples.images.len() / samples.size;
    let dropout = DropoutPolicy::draft(network.architecture());
    let options =
        TrainOptions { optimiser: Optimiser::Adam { lr: 5e-4 }, batch: args.batch, seed: 1, dropout };
    let mut trainer = Trainer::new(network, options)?;
    let (mut training, mut explanation) = (Bits::default(), Bits::default());
    let a_pass = total / args.batch;
    for step in 0..args.steps {
        check_stop()?;
        let order = shuffled(total, 1, (step / a_pass) as u64);
        let batch = &order[step % a_pass * args.batch..][..args.batch];
        let found = trainer.step(kernels, samples, batch)?;
        training.0.update(found.loss.to_bits().to_le_bytes());
        job.advance(1);
    }
    training.add(trainer.network().values());
    training.add(&trainer.state().m);
    training.add(&trainer.state().v);
    let network = trainer.network();
    let mut explainers = Vec::new();
    for method in METHODS {
        explainers.push(Explainer::new(kernels, network, method, CHUNK.min(args.samples))?);
    }
    let indices: Vec<usize> = (0..args.samples).collect();
    for chunk in indices.chunks(CHUNK) {
        check_stop()?;
        for explainer in &mut explainers {
            for found in explainer.explain(kernels, samples, chunk, Target::Predicted)? {
                explanation.add(&found.logits);
                explanation.add(&found.relevance);
            }
        }
        job.advance(1);
    }
    Ok((training.finish(), explanation.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_that_differs_changes_the_hash_and_names_the_cell() {
        let hash = |values: &[f32]| {
            let mut bits = Bits::default();
            bits.add(values);
            bits.finish()
        };
        assert_eq!(hash(&[1.0, 2.0]), hash(&[1.0, 2.0]));
        assert_ne!(hash(&[0.0]), hash(&[-0.0]));
        assert_eq!(hash(&[]).len(), 16);
        let line = |cell: &str, training: &str, explanation: &str| Line {
            cell: cell.to_owned(),
            family: "f32".to_owned(),
            kernels: "avx2".to_owned(),
            threads: 1,
            training: training.to_owned(),
            explanation: explanation.to_owned(),
        };
        let same = [line("deep", "a", "b"), line("shallow", "c", "d"), line("deep", "a", "b")];
        assert!(different(&same).is_empty());
        let other = [
            line("deep", "a", "b"),
            line("deep", "x", "b"),
            line("deep", "a", "y"),
            line("shallow", "a", "b"),
        ];
        assert_eq!(different(&other), ["deep"]);
        let amx = Line { family: "amx".to_owned(), ..line("deep", "x", "y") };
        assert!(different(&[line("deep", "a", "b"), amx]).is_empty(), "another family has other bits");
    }
}

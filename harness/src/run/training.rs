//! The training loop over epochs: metrics, manifest and checkpoints as it goes.

use super::check_stop;
use super::checkpoint::Checkpoint;
use super::folder::{self, Existing};
use super::settings::Settings;
use crate::cli::Misuse;
use crate::dataset::{Dataset, SplitSha256};
use crate::images::Scaled;
use crate::model_file;
use crate::progress::Progress;
use crate::report::write_atomically;
use anyhow::{Context, Result, bail, ensure};
use kernels::Kernels;
use model::train::{Trainer, shuffled};
use model::{Evaluation, Evaluator, Network, Samples};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// Samples evaluated at once.
const CHUNK: usize = 250;

/// Checksums of the files a run has seen.
#[derive(Clone, Debug, Serialize)]
pub struct DataSha256 {
    /// Training half.
    pub train: SplitSha256,
    /// Test half.
    pub test: SplitSha256,
}

/// What surrounds a run.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The data, mapped; runs side by side share it.
    pub dataset: &'a Dataset,
    /// Its checksums.
    pub sha256: &'a DataSha256,
    /// The kernel set.
    pub kernels: &'a Kernels,
    /// Where progress goes.
    pub progress: &'a Progress,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// `Deep-7`
    pub title: String,
    /// Variables of the network.
    pub variables: usize,
    /// Accuracy on the held-out training samples after the last epoch.
    pub validation_accuracy: f64,
    /// Accuracy on the test set after the last epoch.
    pub test_accuracy: f64,
    /// Epoch of the best validation accuracy.
    pub best_epoch: u64,
    /// Seconds of this process.
    pub seconds: f64,
}

#[derive(Serialize)]
struct Manifest<'a> {
    state: &'a str,
    settings: &'a Settings,
    variables: usize,
    dataset: &'a str,
    samples: [usize; 3],
    data_sha256: &'a DataSha256,
    version: &'a str,
    commit: Option<&'a str>,
    cpu: &'a str,
    kernels: &'a str,
    threads: usize,
    seconds: f64,
    outcome: Option<&'a Outcome>,
}

/// Which samples a run learns from, validates on and tests on.
struct Division {
    train: usize,
    validation: std::ops::Range<usize>,
    test: usize,
}

fn divide(settings: &Settings, dataset: &Dataset) -> Result<Division> {
    let total = settings.limit_train.unwrap_or(usize::MAX).min(dataset.train.len());
    let held_out = settings.validation.unwrap_or(total / 12);
    if held_out == 0 || held_out >= total {
        let text = format!(
            "{held_out} of {total} training samples held out; both parts need at least one: see --validation and --limit-train"
        );
        bail!(Misuse(text));
    }
    let test = settings.limit_test.unwrap_or(usize::MAX).min(dataset.test.len());
    ensure!(test > 0, Misuse("--limit-test is 0; it must be at least 1".to_owned()));
    Ok(Division { train: total - held_out, validation: total - held_out..total, test })
}

/// Trains one network in `out`.
///
/// # Errors
/// If the folder holds another run, a file cannot be written, the loss stops being a number, or the
/// run is interrupted.
pub fn train(settings: &Settings, out: &Path, existing: Existing, around: &Surroundings) -> Result<Outcome> {
    let Surroundings { dataset, kernels, progress, .. } = *around;
    let begin = Instant::now();
    let title = settings.title();
    let task = settings.task(dataset.rows, dataset.cols, dataset.classes);
    let network =
        Network::new(settings.cell()?, task, settings.seed).map_err(|error| Misuse(error.to_string()))?;
    let division = divide(settings, dataset)?;
    folder::open(out, existing)?;
    let (train_set, test_set) =
        (Scaled::new(&dataset.train, task.low, task.high), Scaled::new(&dataset.test, task.low, task.high));
    let variables = network.variables();
    let mut evaluator = Evaluator::new(&network, CHUNK.min(division.test.max(division.validation.len())));
    let mut trainer = Trainer::new(network, settings.optimiser(), settings.batch, settings.seed);
    let settings_text = serde_json::to_string(settings)?;
    let data_text = serde_json::to_string(around.sha256)?;
    let mut best = None;
    let mut first_epoch = 0;
    let resume = out.join("resume.safetensors");
    if existing == Existing::Resume && resume.exists() {
        let checkpoint = Checkpoint::read(&resume)?;
        let now = settings_text.clone();
        ensure!(
            same_but_epochs(&checkpoint.settings, settings),
            "{}: is of a run with other settings; found {}, asked for {now}; give it the same or choose another --out",
            resume.display(),
            checkpoint.settings
        );
        ensure!(
            checkpoint.data == data_text,
            "{}: has learnt from other files named {}; give it the same data or choose another --out",
            resume.display(),
            dataset.name
        );
        let mut network = trainer.network().clone();
        network.set_values(&checkpoint.values).with_context(|| resume.display().to_string())?;
        trainer = Trainer::new(network, settings.optimiser(), settings.batch, settings.seed);
        trainer.restore(checkpoint.state).with_context(|| resume.display().to_string())?;
        (first_epoch, best) = (checkpoint.epoch, checkpoint.best);
    }
    let mut metrics = Metrics::open(&out.join("metrics.csv"), task.seq_len, first_epoch)?;
    let (commit, cpu) = (commit(), cpu());
    let write_manifest = |state: &str, outcome: Option<&Outcome>| {
        let manifest = Manifest {
            state,
            settings,
            variables,
            dataset: &dataset.name,
            samples: [division.train, division.validation.len(), division.test],
            data_sha256: around.sha256,
            version: env!("CARGO_PKG_VERSION"),
            commit: commit.as_deref(),
            cpu: &cpu,
            kernels: kernels.name(),
            threads: kernels.threads().count(),
            seconds: begin.elapsed().as_secs_f64(),
            outcome,
        };
        write_json(&out.join("run.json"), &manifest)
    };
    write_manifest("running", None)?;
    let steps = division.train.div_ceil(settings.batch) as u64;
    let job = progress.job(&title, (settings.epochs.saturating_sub(first_epoch)) * steps);
    let mut last = None;
    for epoch in first_epoch..settings.epochs {
        let epoch_begin = Instant::now();
        let order = shuffled(division.train, settings.seed, epoch);
        let mut seen = Evaluation::default();
        let mut norms = vec![0.0; task.seq_len];
        for (step, batch) in order.chunks(settings.batch).enumerate() {
            if let Err(interrupted) = check_stop() {
                write_manifest("interrupted", None)?;
                return Err(interrupted.into());
            }
            let found = trainer.step(kernels, &train_set, batch)?;
            if !found.loss.is_finite() {
                write_manifest("failed", None)?;
                bail!(
                    "{title}: the loss is {} in epoch {}, step {}; the last good checkpoint is kept; try a smaller --lr",
                    found.loss,
                    epoch + 1,
                    step + 1
                );
            }
            seen.add(found);
            for (sum, norm) in norms.iter_mut().zip(trainer.step_norms()) {
                *sum += norm / steps as f64;
            }
            job.advance(1);
        }
        let (validation, test) =
            evaluate_both(kernels, &trainer, &mut evaluator, &train_set, &test_set, &division)?;
        last = Some((validation, test));
        let seconds = epoch_begin.elapsed().as_secs_f64();
        metrics.add(epoch + 1, [seen, validation, test], seconds, &norms)?;
        let better = best.is_none_or(|(_, accuracy)| validation.accuracy() > accuracy);
        if better {
            best = Some((epoch + 1, validation.accuracy()));
            model_file::save(&out.join("best.safetensors"), trainer.network())?;
        }
        model_file::save(&out.join("last.safetensors"), trainer.network())?;
        let checkpoint = Checkpoint {
            epoch: epoch + 1,
            best,
            state: trainer.state().clone(),
            values: trainer.network().values().to_vec(),
            settings: settings_text.clone(),
            data: data_text.clone(),
        };
        checkpoint.write(&resume)?;
        job.message(&format!(
            "epoch {}/{}, loss {:.4}, validation {:.4}, test {:.4}",
            epoch + 1,
            settings.epochs,
            seen.mean_loss(),
            validation.accuracy(),
            test.accuracy()
        ));
    }
    job.finish();
    // A run that was finished already has nothing to train, and is only judged.
    let (validation, test) = match last {
        Some(last) => last,
        None => evaluate_both(kernels, &trainer, &mut evaluator, &train_set, &test_set, &division)?,
    };
    let outcome = Outcome {
        title,
        variables,
        validation_accuracy: validation.accuracy(),
        test_accuracy: test.accuracy(),
        best_epoch: best.map_or(0, |(epoch, _)| epoch),
        seconds: begin.elapsed().as_secs_f64(),
    };
    write_manifest("done", Some(&outcome))?;
    Ok(outcome)
}

/// Whether a checkpoint's settings are these, but for the number of epochs.
fn same_but_epochs(found: &str, settings: &Settings) -> bool {
    serde_json::from_str::<Settings>(found)
        .is_ok_and(|found| Settings { epochs: settings.epochs, ..found } == *settings)
}

fn evaluate_both(
    kernels: &Kernels,
    trainer: &Trainer,
    evaluator: &mut Evaluator,
    train: &Scaled,
    test: &Scaled,
    division: &Division,
) -> Result<(Evaluation, Evaluation)> {
    let network = trainer.network();
    Ok((
        evaluate(kernels, network, evaluator, train, division.validation.clone())?,
        evaluate(kernels, network, evaluator, test, 0..division.test)?,
    ))
}

/// Evaluates a range of samples through bounded memory.
///
/// # Errors
/// If a label is no class of the network.
pub fn evaluate(
    kernels: &Kernels,
    network: &Network,
    evaluator: &mut Evaluator,
    samples: &dyn Samples,
    range: std::ops::Range<usize>,
) -> Result<Evaluation> {
    let mut sum = Evaluation::default();
    let indices: Vec<usize> = range.collect();
    for chunk in indices.chunks(evaluator.capacity()) {
        sum.add(evaluator.evaluate(kernels, network, samples, chunk)?);
    }
    Ok(sum)
}

/// Writes a value as indented JSON, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    write_atomically(path, |file| Ok(file.write_all(text.as_bytes())?))
}

/// `metrics.csv`: a line an epoch, readable while the run goes on.
struct Metrics {
    file: std::fs::File,
    path: std::path::PathBuf,
}

impl Metrics {
    /// Opens the file; of an older one, the lines of epochs that will not be repeated are kept.
    fn open(path: &Path, steps: usize, epochs: u64) -> Result<Metrics> {
        let at = || format!("{}: the metrics cannot be written", path.display());
        let mut text = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,test_loss,test_accuracy,seconds"
            .to_owned();
        for t in 1..=steps {
            write!(text, ",gradient_norm_{t}")?;
        }
        text.push('\n');
        if epochs > 0 {
            let old = std::fs::read_to_string(path).with_context(at)?;
            for line in old.lines().skip(1).take(epochs as usize) {
                writeln!(text, "{line}")?;
            }
        }
        write_atomically(path, |file| Ok(file.write_all(text.as_bytes())?)).with_context(at)?;
        let file = std::fs::OpenOptions::new().append(true).open(path).with_context(at)?;
        Ok(Metrics { file, path: path.to_owned() })
    }

    fn add(&mut self, epoch: u64, parts: [Evaluation; 3], seconds: f64, norms: &[f64]) -> Result<()> {
        let mut line = epoch.to_string();
        for part in parts {
            write!(line, ",{:.6},{:.6}", part.mean_loss(), part.accuracy())?;
        }
        write!(line, ",{seconds:.3}")?;
        for norm in norms {
            write!(line, ",{norm:.6e}")?;
        }
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        written.with_context(|| format!("{}: the metrics cannot be written", self.path.display()))
    }
}

/// The commit of the working folder, where there is one.
fn commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The CPU's name, where the system tells it.
pub fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

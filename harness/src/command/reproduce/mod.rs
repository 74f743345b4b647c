//! `harness reproduce`: trains the cells side by side, explains the test set, and sets both beside the
//! draft thesis.

mod results;

use crate::cli::{Common, Misuse};
use crate::dataset::Dataset;
use crate::explaining::{Summary, explain_all};
use crate::images::Scaled;
use crate::model_file;
use crate::progress::Progress;
use crate::report::share::per_step;
use crate::run::folder::{Existing, free};
use crate::run::settings::{Given, Settings};
use crate::run::training::{Outcome, Surroundings, train};
use crate::run::{Interrupted, stop_on_signals};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use kernels::Kernels;
use model::Samples;
use model::explain::{Method, Target};
use model::train::shuffled;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Arguments of `harness reproduce`.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// mnist, fashion-mnist, kmnist, synth or the name of a folder
    #[arg(long, value_name = "NAME", default_value = "synth")]
    dataset: String,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Cells to compare
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "shallow,deep")]
    cells: Vec<String>,
    /// Sequence lengths T
    #[arg(long, value_name = "TS", value_delimiter = ',', default_value = "1,4,7")]
    seq_lens: Vec<usize>,
    /// Epochs
    #[arg(long, value_name = "N", default_value_t = 6)]
    epochs: u64,
    /// Samples a step
    #[arg(long, value_name = "N", default_value_t = 50)]
    batch: usize,
    /// Learning rate
    #[arg(long, value_name = "X", default_value_t = 5e-4)]
    lr: f32,
    /// Seed
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Use only the first N training samples
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Use only the first N test samples
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
    /// Folder of the results [default: runs/quick-DATASET, with a number where there is one already]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Trainings side by side [default: one a thread]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Go on with the reproduction in --out
    #[arg(long, requires = "out", conflicts_with = "overwrite")]
    resume: bool,
    /// Replace the reproduction in --out
    #[arg(long)]
    overwrite: bool,
}

/// Samples in Fig. 4.8.
const POPULATION: usize = 16;
/// The class of Fig. 4.8 and 4.9.
const CLASS: usize = 1;

/// Which samples the figures show.
struct Chosen {
    /// One of each class.
    each_class: Vec<usize>,
    /// Random ones of [`CLASS`].
    population: Vec<usize>,
}

/// What one run's explanations come to.
#[derive(Clone, Debug, Default)]
struct Explained {
    summary: Summary,
    /// Relevance of each step, summed over the class's test samples.
    class_steps: Vec<f64>,
    /// Heatmaps of [`Chosen::each_class`], then of [`Chosen::population`].
    maps: Vec<Vec<f32>>,
}

struct Finished {
    settings: Settings,
    outcome: Outcome,
    explained: Explained,
}

/// Runs `harness reproduce`.
///
/// # Errors
/// If a setting does not fit, the data is not found, or a run fails; the others are finished first.
pub fn run(args: &ReproduceArgs, common: &Common) -> Result<()> {
    stop_on_signals()?;
    let settings = all_settings(args)?;
    let threads = common.thread_count()?;
    let jobs = args.jobs.unwrap_or(threads).clamp(1, settings.len());
    let kernels = common.kernels((threads / jobs).max(1))?;
    let dataset = Dataset::open(&args.dataset, args.data_dir.as_deref())?;
    let out = args.out.clone().unwrap_or_else(|| free(&format!("quick-{}", dataset.name)));
    let existing = Existing::from_flags(args.resume, args.overwrite);
    ensure!(
        existing != Existing::Keep || !out.join("results.json").exists(),
        "{}: holds a reproduction already; choose another --out, --resume or --overwrite",
        out.display()
    );
    if existing == Existing::Overwrite {
        remove_results(&out)?;
    }
    let progress = common.progress();
    progress.say(&format!(
        "{} trainings on {} ({} + {} samples), {jobs} side by side, into {}",
        settings.len(),
        dataset.name,
        dataset.train.len(),
        dataset.test.len(),
        out.display()
    ));
    let chosen = choose(&dataset, args)?;
    let sha256 = super::train::checksums(&dataset);
    let around = Surroundings { dataset: &dataset, sha256: &sha256, kernels: &kernels, progress: &progress };
    let results = side_by_side(&settings, jobs, |settings| {
        let folder = out.join(settings.title().to_lowercase());
        let outcome = train(settings, &folder, existing, &around)?;
        let explained = explain(settings, &folder, &dataset, &kernels, &chosen, args, &progress)?;
        Ok(Finished { settings: settings.clone(), outcome, explained })
    });
    let (mut finished, mut failed) = (Vec::new(), Vec::new());
    for (settings, result) in settings.iter().zip(results) {
        match result {
            Ok(run) => finished.push(run),
            Err(error) => match error.downcast_ref::<Interrupted>() {
                Some(interrupted) => return Err(interrupted.clone().into()),
                None => failed.push(format!("{}: {error:#}", settings.title())),
            },
        }
    }
    if !finished.is_empty() {
        results::report(args, common, &dataset, &chosen, &finished, &out)?;
    }
    if !failed.is_empty() {
        bail!("{} of {} trainings failed: {}", failed.len(), settings.len(), failed.join("; "));
    }
    Ok(())
}

/// Removes what an earlier reproduction has said in this folder; its runs remove their own.
fn remove_results(out: &Path) -> Result<()> {
    let ours = |name: &str| name == "results.json" || name.starts_with("figure-4.");
    let Ok(entries) = std::fs::read_dir(out) else { return Ok(()) };
    for path in entries.filter_map(|entry| entry.ok()).map(|entry| entry.path()) {
        if path.file_name().and_then(|name| name.to_str()).is_some_and(ours) {
            std::fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

fn all_settings(args: &ReproduceArgs) -> Result<Vec<Settings>> {
    let mut all: Vec<Settings> = Vec::new();
    for cell in &args.cells {
        for &seq_len in &args.seq_lens {
            let given = Given {
                cell: Some(cell.clone()),
                seq_len: Some(seq_len),
                dataset: Some(args.dataset.clone()),
                epochs: Some(args.epochs),
                batch: Some(args.batch),
                lr: Some(args.lr),
                seed: Some(args.seed),
                limit_train: args.limit_train,
                limit_test: args.limit_test,
                ..Given::default()
            };
            let settings = given.complete()?;
            let title = settings.title();
            let repeated = all.iter().any(|other| other.title() == title);
            ensure!(!repeated, Misuse(format!("--cells and --seq-lens name {title} twice")));
            all.push(settings);
        }
    }
    ensure!(!all.is_empty(), Misuse("--cells and --seq-lens must name at least one each".to_owned()));
    Ok(all)
}

/// Runs `work` on every setting, `jobs` at a time, the long ones first; results in the given order.
fn side_by_side<R: Send>(
    settings: &[Settings],
    jobs: usize,
    work: impl Fn(&Settings) -> Result<R> + Sync,
) -> Vec<Result<R>> {
    let mut order: Vec<usize> = (0..settings.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(settings[i].seq_len));
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R>>>> = settings.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(&i) = order.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let result = work(&settings[i]);
                    if let Ok(mut slot) = results[i].lock() {
                        *slot = Some(result);
                    }
                }
            });
        }
    });
    let take = |slot: Mutex<Option<Result<R>>>| {
        let result = slot.into_inner().ok().flatten();
        result.unwrap_or_else(|| Err(anyhow::anyhow!("the run did not end")))
    };
    results.into_iter().map(take).collect()
}

fn test_len(dataset: &Dataset, args: &ReproduceArgs) -> usize {
    args.limit_test.unwrap_or(usize::MAX).min(dataset.test.len())
}

fn choose(dataset: &Dataset, args: &ReproduceArgs) -> Result<Chosen> {
    let labels = &dataset.test.labels()[..test_len(dataset, args)];
    let first = |class: usize| labels.iter().position(|&label| usize::from(label) == class);
    let of_class: Vec<usize> = (0..labels.len()).filter(|&i| usize::from(labels[i]) == CLASS).collect();
    ensure!(!of_class.is_empty(), "no test sample has class {CLASS}; raise --limit-test");
    let order = shuffled(of_class.len(), args.seed, u64::MAX);
    let population = order.iter().take(POPULATION).map(|&i| of_class[i]).collect();
    Ok(Chosen { each_class: (0..dataset.classes).filter_map(first).collect(), population })
}

/// Deep Taylor over the whole test set.
fn explain(
    settings: &Settings,
    folder: &Path,
    dataset: &Dataset,
    kernels: &Kernels,
    chosen: &Chosen,
    args: &ReproduceArgs,
    progress: &Progress,
) -> Result<Explained> {
    let network = model_file::load(&folder.join("last.safetensors"))?;
    let task = *network.task();
    let samples = Scaled::new(&dataset.test, task.low, task.high);
    let indices: Vec<usize> = (0..test_len(dataset, args)).collect();
    let size = task.rows * task.cols;
    let wanted: Vec<usize> = chosen.each_class.iter().chain(&chosen.population).copied().collect();
    let mut explained = Explained {
        class_steps: vec![0.0; task.seq_len],
        maps: vec![Vec::new(); wanted.len()],
        ..Explained::default()
    };
    let job = progress.job(&settings.title(), indices.len() as u64);
    let summary = explain_all(
        kernels,
        &network,
        Method::DeepTaylor,
        &samples,
        &indices,
        Target::Predicted,
        |chunk, found| {
            let Some(batch) = found.first() else { return Ok(()) };
            for (i, &index) in chunk.iter().enumerate() {
                let map = &batch.relevance[i * size..][..size];
                if usize::from(samples.label(index)) == CLASS {
                    let steps = per_step(map, task.rows, task.cols, task.seq_len);
                    explained.class_steps.iter_mut().zip(steps).for_each(|(sum, step)| *sum += step);
                }
                for (slot, _) in wanted.iter().enumerate().filter(|&(_, &w)| w == index) {
                    explained.maps[slot] = map.to_vec();
                }
            }
            job.advance(chunk.len() as u64);
            Ok(())
        },
    )?;
    job.message(&format!("explained {} test samples", indices.len()));
    job.finish();
    explained.summary = summary;
    Ok(explained)
}

//! `harness reproduce`: trains the cells side by side, explains the test set, and sets both beside the
//! draft thesis.

use crate::cli::{Common, Misuse};
use crate::dataset::Dataset;
use crate::explaining::{Summary, explain_all};
use crate::images::Scaled;
use crate::model_file;
use crate::progress::Progress;
use crate::report::colormap::{Colormap, Norm};
use crate::report::panel::{HeatRow, Style, heat_grid};
use crate::report::share::{cosine, figure_4_9, jensen_shannon_distance, normalised, per_step};
use crate::report::table::Table;
use crate::run::folder::{Existing, free};
use crate::run::settings::{Given, Settings};
use crate::run::training::{Outcome, Surroundings, train, write_json};
use crate::run::{Interrupted, stop_on_signals};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use kernels::Kernels;
use model::Samples;
use model::explain::{Method, Target};
use model::train::shuffled;
use serde::Serialize;
use serde_json::{Value, json};
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

/// Accuracies of the draft (Table 4.5, MNIST test).
const TABLE_4_5: [(&str, [(usize, f64); 3]); 2] =
    [("shallow", [(1, 0.9813), (4, 0.9830), (7, 0.9807)]), ("deep", [(1, 0.9788), (4, 0.9861), (7, 0.9852)])];

/// The draft's accuracy of a network, where it prints one.
fn draft_accuracy(cell: &str, seq_len: usize) -> Option<f64> {
    let (_, row) = TABLE_4_5.iter().find(|(name, _)| *name == cell)?;
    row.iter().find(|(t, _)| *t == seq_len).map(|&(_, accuracy)| accuracy)
}

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

#[derive(Serialize)]
struct Shares {
    network: String,
    share: Vec<f64>,
    last_step: f64,
    cosine: f64,
    jensen_shannon_distance: f64,
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
        report(args, common, &dataset, &chosen, &finished, &out)?;
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

/// Share of the pixels' intensity in each step, over the class's test samples.
fn pixel_share(dataset: &Dataset, args: &ReproduceArgs, seq_len: usize) -> Vec<f64> {
    let mut sums = vec![0.0; seq_len];
    for i in (0..test_len(dataset, args)).filter(|&i| usize::from(dataset.test.label(i)) == CLASS) {
        let image: Vec<f32> = dataset.test.image(i).iter().map(|&byte| f32::from(byte)).collect();
        let steps = per_step(&image, dataset.rows, dataset.cols, seq_len);
        sums.iter_mut().zip(steps).for_each(|(sum, step)| *sum += step);
    }
    normalised(&sums)
}

fn report(
    args: &ReproduceArgs,
    common: &Common,
    dataset: &Dataset,
    chosen: &Chosen,
    finished: &[Finished],
    out: &Path,
) -> Result<()> {
    let accuracy = accuracy_table(dataset, finished);
    let conservation = conservation_table(finished);
    let mut lengths: Vec<usize> =
        finished.iter().map(|run| run.settings.seq_len).filter(|&t| t > 1).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut shares = Vec::new();
    for &seq_len in &lengths {
        let pixels = pixel_share(dataset, args, seq_len);
        let of = |run: &&Finished| run.settings.seq_len == seq_len;
        let found: Vec<Shares> = finished.iter().filter(of).map(|run| share_of(run, &pixels)).collect();
        shares.push((seq_len, pixels, found));
    }
    let written = figures(args, dataset, chosen, finished, &shares, out)?;
    let shares_json: Vec<Value> = shares
        .iter()
        .map(|(t, pixels, networks)| json!({ "seq_len": t, "class": CLASS, "pixels": pixels, "networks": networks }))
        .collect();
    let results = json!({
        "dataset": dataset.name,
        "epochs": args.epochs,
        "seed": args.seed,
        "accuracy": accuracy.to_json(),
        "shares": shares_json,
        "conservation": conservation.to_json(),
        "runs": finished.iter().map(|run| json!({
            "settings": run.settings, "outcome": run.outcome, "explanations": run.explained.summary,
        })).collect::<Vec<_>>(),
        "figures": written,
    });
    write_json(&out.join("results.json"), &results)?;
    if common.json {
        println!("{results}");
        return Ok(());
    }
    println!("Test accuracy on {} after {} epochs, seed {}", dataset.name, args.epochs, args.seed);
    println!("{accuracy}");
    for (seq_len, pixels, networks) in &shares {
        println!(
            "Class {CLASS}, T = {seq_len}: share of relevance (deep Taylor) and of pixel intensity in each step"
        );
        println!("{}", share_table(pixels, networks));
    }
    println!("Conservation of deep Taylor over the test set: |f − ΣR − lost| / |f|, and lost / |f|");
    println!("{conservation}");
    for figure in written {
        println!("{}", out.join(figure).display());
    }
    Ok(())
}

fn share_of(run: &Finished, pixels: &[f64]) -> Shares {
    let share = normalised(&run.explained.class_steps);
    Shares {
        network: run.settings.title(),
        last_step: share.last().copied().unwrap_or(0.0),
        cosine: cosine(&share, pixels),
        jensen_shannon_distance: jensen_shannon_distance(&share, pixels),
        share,
    }
}

fn accuracy_table(dataset: &Dataset, finished: &[Finished]) -> Table {
    let mnist = dataset.is_mnist();
    let mut columns = vec!["network", "variables", "validation", "test"];
    if mnist {
        columns.extend(["Table 4.5", "difference"]);
    }
    let mut table = Table::new(&columns);
    for Finished { settings, outcome, .. } in finished {
        let mut row = vec![
            outcome.title.clone(),
            outcome.variables.to_string(),
            format!("{:.4}", outcome.validation_accuracy),
            format!("{:.4}", outcome.test_accuracy),
        ];
        if mnist {
            let draft = draft_accuracy(&settings.cell, settings.seq_len);
            let shown = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
            row.extend([shown(draft), shown(draft.map(|draft| outcome.test_accuracy - draft))]);
        }
        table.row(row);
    }
    table
}

fn share_table(pixels: &[f64], networks: &[Shares]) -> Table {
    let steps: Vec<String> = (1..=pixels.len()).map(|t| t.to_string()).collect();
    let mut columns = vec!["share in step"];
    columns.extend(steps.iter().map(String::as_str));
    columns.extend(["cosine", "JS distance"]);
    let mut table = Table::new(&columns);
    let cells = |shares: &[f64]| shares.iter().map(|share| format!("{share:.3}")).collect::<Vec<_>>();
    let row = |name: &str, shares: &[f64], rest: [String; 2]| {
        [vec![name.to_owned()], cells(shares), rest.to_vec()].concat()
    };
    table.row(row("pixels", pixels, [String::new(), String::new()]));
    for network in networks {
        let rest = [format!("{:.3}", network.cosine), format!("{:.3}", network.jensen_shannon_distance)];
        table.row(row(&network.network, &network.share, rest));
    }
    table
}

fn conservation_table(finished: &[Finished]) -> Table {
    let mut table = Table::new(&["network", "error mean", "error max", "lost mean", "lost max", "f ≤ 0"]);
    for run in finished {
        let s = &run.explained.summary;
        let small = |value: f64| format!("{value:.1e}");
        table.row(vec![
            run.outcome.title.clone(),
            small(s.conservation_error_mean),
            small(s.conservation_error_max),
            small(s.lost_share_mean),
            small(s.lost_share_max),
            s.not_positive.to_string(),
        ]);
    }
    table
}

fn figures(
    args: &ReproduceArgs,
    dataset: &Dataset,
    chosen: &Chosen,
    finished: &[Finished],
    shares: &[(usize, Vec<f64>, Vec<Shares>)],
    out: &Path,
) -> Result<Vec<String>> {
    let Some(any) = finished.first() else { return Ok(Vec::new()) };
    let range = any.settings.input_range;
    let samples = Scaled::new(&dataset.test, range.0, range.1);
    let style = Style {
        rows: dataset.rows,
        cols: dataset.cols,
        low: range.0,
        high: range.1,
        cmap: Colormap::Bwr,
        norm: Norm::Symmetric,
        scale: 3,
    };
    let images = |indices: &[usize]| -> Vec<Vec<f32>> {
        let mut x = vec![0.0; dataset.rows * dataset.cols];
        let image = |&i: &usize| {
            samples.pixels(i, &mut x);
            x.clone()
        };
        indices.iter().map(image).collect()
    };
    let classes = chosen.each_class.len();
    let draw = |title: &str,
                caption: &str,
                labels: Vec<String>,
                indices: &[usize],
                runs: &[&Finished],
                from: usize| {
        let inputs = images(indices);
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let rows: Vec<HeatRow> = runs
            .iter()
            .map(|run| HeatRow {
                label: run.settings.title(),
                seq_len: run.settings.seq_len,
                maps: run.explained.maps[from..from + indices.len()].iter().map(Vec::as_slice).collect(),
            })
            .collect();
        heat_grid(title, caption, &labels, &inputs, &rows, &style).draw()
    };
    let mut written = Vec::new();
    let all: Vec<&Finished> = finished.iter().collect();
    let labels = chosen.each_class.iter().map(|&i| dataset.test.label(i).to_string()).collect();
    let title = format!("Deep Taylor heatmaps, {} ({} epochs)", dataset.name, args.epochs);
    let caption =
        "One test sample a class. Red: evidence for the predicted class; ticks: the steps of the sequence.";
    draw(&title, caption, labels, &chosen.each_class, &all, 0).save_png(&out.join("figure-4.7.png"))?;
    written.push("figure-4.7.png".to_owned());
    // The draft shows T = 7; where it is not among the runs, the longest is.
    let longest = shares.iter().map(|(t, ..)| *t).max();
    if let Some(seq_len) =
        longest.map(|longest| if shares.iter().any(|(t, ..)| *t == 7) { 7 } else { longest })
    {
        let runs: Vec<&Finished> = finished.iter().filter(|run| run.settings.seq_len == seq_len).collect();
        let labels = chosen.population.iter().map(|i| format!("#{i}")).collect();
        let title =
            format!("{} random test samples of class {CLASS}, T = {seq_len}", chosen.population.len());
        let caption =
            "A network that can be explained puts its relevance where the stroke is, not in the last steps.";
        draw(&title, caption, labels, &chosen.population, &runs, classes)
            .save_png(&out.join("figure-4.8.png"))?;
        written.push("figure-4.8.png".to_owned());
    }
    for (seq_len, pixels, networks) in shares {
        let name = format!("figure-4.9-t{seq_len}.svg");
        let series: Vec<(String, Vec<f64>)> =
            networks.iter().map(|network| (network.network.clone(), network.share.clone())).collect();
        let title =
            format!("Class {CLASS}, {}: relevance against pixel intensity, T = {seq_len}", dataset.name);
        figure_4_9(&out.join(&name), &title, pixels, &series).with_context(|| name.clone())?;
        written.push(name);
    }
    Ok(written)
}

//! `harness explain`: the relevance of every pixel for a decision.

use super::source::{Source, SourceArgs};
use crate::cli::{Common, Misuse};
use crate::explaining::{Summary, explain_all};
use crate::output::{out, outln};
use crate::report::colormap::{Colormap, Norm};
use crate::report::npy;
use crate::report::picture::{ColourBar, heatmap, input, side_by_side};
use crate::report::table::Table;
use crate::run::folder::refuse_existing;
use crate::run::stop_on_signals;
use crate::run::training::write_json;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use model::explain::{Method, Target};
use model::{Network, Samples};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How relevance is found.
#[derive(Debug, Args)]
pub struct MethodArgs {
    /// deep-taylor, lrp, z-plus, w-square, sensitivity, simple-taylor or guided-backprop
    #[arg(long, value_name = "NAME", default_value = "deep-taylor")]
    pub method: String,
    /// Weight of what excites, for lrp; α − β = 1
    #[arg(long, value_name = "X", default_value_t = 2.0)]
    pub alpha: f32,
    /// Weight of what inhibits, for lrp
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub beta: f32,
}

/// Arguments of `harness explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    method: MethodArgs,
    /// Which logit: predicted, true, a class number, or all
    #[arg(long, value_name = "WHICH", default_value = "predicted")]
    target: String,
    /// Only samples of this class
    #[arg(long, value_name = "K")]
    class: Option<u8>,
    /// Only the first N of them [default: all; 16 where pictures are written]
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// FILE.npy: relevance; FILE.npz: x_batch, y_batch, a_batch; else a folder for pictures
    #[arg(long, value_name = "FILE|DIR")]
    out: PathBuf,
    /// Colours of the pictures
    #[arg(long, value_enum, default_value_t = Colormap::Bwr)]
    cmap: Colormap,
    /// How a picture's relevance is scaled
    #[arg(long, value_enum, default_value_t = Norm::Symmetric)]
    relevance_norm: Norm,
    /// Replace a file, or pictures in a folder, that is there
    #[arg(long)]
    overwrite: bool,
}

const PICTURES: usize = 16;

/// Everything found, in the order of samples, then targets.
#[derive(Default)]
struct Found {
    index: Vec<usize>,
    target: Vec<usize>,
    explained: Vec<f32>,
    relevance: Vec<f32>,
    lost: Vec<f64>,
    conservation_error: Vec<f64>,
}

#[derive(Serialize)]
struct Line<'a> {
    picture: &'a str,
    sample: usize,
    label: Option<u8>,
    target: usize,
    logit: f32,
    lost: f64,
    conservation_error: f64,
}

/// The logit that a word names.
fn target(text: &str, network: &Network, source: &Source) -> Result<Target> {
    Ok(match text {
        "predicted" => Target::Predicted,
        "true" if source.has_labels() => Target::True,
        "true" => bail!(Misuse("--target true: the input has no labels; give --labels".to_owned())),
        "all" => Target::All,
        number => {
            let classes = network.task().classes;
            let class = number.parse().ok().filter(|&class: &usize| class < classes);
            let why = || {
                format!(
                    "--target {number}: it must be predicted, true, all, or a class from 0 to {}",
                    classes - 1
                )
            };
            Target::Class(class.ok_or_else(|| Misuse(why()))?)
        }
    })
}

impl MethodArgs {
    /// The method.
    ///
    /// # Errors
    /// [`Misuse`] if none has that name, or α and β do not go together.
    pub fn parse(&self) -> Result<Method> {
        let method = Method::by_name(&self.method, self.alpha, self.beta).ok_or_else(|| {
            Misuse(format!("--method {}: it must be one of {}", self.method, Method::NAMES.join(", ")))
        })?;
        if let Method::Lrp { alpha, beta } = method
            && !((alpha - beta - 1.0).abs() < 1e-6 && beta >= 0.0)
        {
            bail!(Misuse(format!("--alpha {alpha} --beta {beta}: α − β must be 1 and β at least 0")));
        }
        Ok(method)
    }
}

/// Runs `harness explain`.
///
/// # Errors
/// If the model or the samples cannot be read, an option does not fit, or the output cannot be written.
pub fn run(args: &ExplainArgs, common: &Common) -> Result<()> {
    stop_on_signals()?;
    let method = args.method.parse()?;
    let kernels = common.kernels(common.thread_count()?)?;
    let (network, source) = args.source.open()?;
    let target = target(&args.target, &network, &source)?;
    let samples = source.samples();
    if args.class.is_some() && !source.has_labels() {
        bail!(Misuse("--class: the input has no labels; give --labels".to_owned()));
    }
    let extension = args.out.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    let pictures = !matches!(extension.as_str(), "npy" | "npz");
    let limit = args.samples.unwrap_or(if pictures { PICTURES } else { usize::MAX });
    let of_class = |&i: &usize| args.class.is_none_or(|class| samples.label(i) == class);
    let indices: Vec<usize> = (0..samples.len()).filter(of_class).take(limit).collect();
    if indices.is_empty() {
        bail!(Misuse("no sample is left: see --class and --samples".to_owned()));
    }
    if pictures {
        open_folder(&args.out, args.overwrite)?;
    } else {
        refuse_existing(&args.out, args.overwrite)?;
    }
    let progress = common.progress();
    let job = progress.job("explaining", indices.len() as u64);
    let mut found = Found::default();
    let size = network.task().rows * network.task().cols;
    let summary = explain_all(&kernels, &network, method, samples, &indices, target, |chunk, batches| {
        for (i, &index) in chunk.iter().enumerate() {
            for batch in &batches {
                found.index.push(index);
                found.target.push(batch.target[i]);
                found.explained.push(batch.explained[i]);
                found.relevance.extend_from_slice(&batch.relevance[i * size..][..size]);
                found.lost.push(batch.lost[i]);
                found.conservation_error.push(batch.conservation_error[i]);
            }
        }
        job.advance(chunk.len() as u64);
        Ok(())
    })?;
    job.finish();
    match extension.as_str() {
        "npy" => write_npy(&args.out, &network, &found, indices.len())?,
        "npz" => write_npz(&args.out, &network, samples, &found)?,
        _ => write_pictures(args, &network, &source, &found)?,
    }
    print_summary(args, common, &summary)
}

fn open_folder(out: &Path, overwrite: bool) -> Result<()> {
    let name = out.display();
    ensure!(!out.is_file(), "{name}: is a file; give a folder, or a name that ends in .npy or .npz");
    let full = out.join("explanations.json").exists();
    ensure!(!full || overwrite, "{name}: holds pictures already; choose another --out or --overwrite");
    std::fs::create_dir_all(out).with_context(|| format!("{name}: the folder cannot be made"))
}

fn write_npy(out: &Path, network: &Network, found: &Found, samples: usize) -> Result<()> {
    let (rows, cols) = (network.task().rows, network.task().cols);
    let targets = found.index.len() / samples;
    let shape = if targets == 1 { vec![samples, rows, cols] } else { vec![samples, targets, rows, cols] };
    npy::write_f32(out, &shape, &found.relevance)
}

fn write_npz(out: &Path, network: &Network, samples: &dyn Samples, found: &Found) -> Result<()> {
    let (rows, cols) = (network.task().rows, network.task().cols);
    let mut x = vec![0.0; found.index.len() * rows * cols];
    for (&index, x) in found.index.iter().zip(x.chunks_exact_mut(rows * cols)) {
        samples.pixels(index, x);
    }
    let y: Vec<i64> = found.target.iter().map(|&class| class as i64).collect();
    npy::write_npz(out, [found.index.len(), rows, cols], &x, &y, &found.relevance)
}

fn write_pictures(args: &ExplainArgs, network: &Network, source: &Source, found: &Found) -> Result<()> {
    const SCALE: usize = 8;
    let task = network.task();
    let (size, samples) = (task.rows * task.cols, source.samples());
    let mut x = vec![0.0; size];
    let mut names = Vec::new();
    for (i, &index) in found.index.iter().enumerate() {
        samples.pixels(index, &mut x);
        let r = &found.relevance[i * size..][..size];
        let label = source.has_labels().then(|| samples.label(index));
        let label_text = label.map_or(String::new(), |label| format!("label {label}, "));
        let caption =
            format!("sample {index}, {label_text}class {}: {:.2}", found.target[i], found.explained[i]);
        let left = input(task.rows, task.cols, &x, task.low, task.high, SCALE);
        let right = heatmap(task.rows, task.cols, r, args.cmap, args.relevance_norm, SCALE);
        let bar = ColourBar::of(args.cmap, args.relevance_norm, r);
        let name = format!("{index:05}-class-{}.png", found.target[i]);
        side_by_side(&left, &right, &bar, &caption).save_png(&args.out.join(&name))?;
        names.push((name, label));
    }
    let lines: Vec<Line> = names
        .iter()
        .enumerate()
        .map(|(i, (picture, label))| Line {
            picture,
            sample: found.index[i],
            label: *label,
            target: found.target[i],
            logit: found.explained[i],
            lost: found.lost[i],
            conservation_error: found.conservation_error[i],
        })
        .collect();
    write_json(&args.out.join("explanations.json"), &lines)
}

fn print_summary(args: &ExplainArgs, common: &Common, summary: &Summary) -> Result<()> {
    if common.json {
        return outln!(
            "{}",
            serde_json::json!({ "method": args.method.method, "out": args.out, "summary": summary })
        );
    }
    let mut table = Table::new(&[
        "method",
        "explanations",
        "conservation error",
        "largest",
        "lost share",
        "largest lost",
        "lose > 1e-4",
        "f ≤ 0",
    ]);
    table.row(vec![
        args.method.method.clone(),
        summary.explanations.to_string(),
        format!("{:.1e}", summary.conservation_error_mean),
        format!("{:.1e}", summary.conservation_error_max),
        format!("{:.1e}", summary.lost_share_mean),
        format!("{:.1e}", summary.lost_share_max),
        summary.losing.to_string(),
        summary.not_positive.to_string(),
    ]);
    out!("{table}")?;
    outln!("{}", args.out.display())
}

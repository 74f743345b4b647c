//! `harness explain`: the relevance of every pixel for a decision.

mod write;

use super::source::{Source, SourceArgs};
use crate::cli::{Common, Misuse};
use crate::explaining::{Summary, explain_all};
use crate::output::{out, outln};
use crate::report::colormap::{Colormap, Norm};
use crate::report::table::Table;
use crate::run::folder::refuse_existing;
use crate::run::stop_on_signals;
use anyhow::{Result, bail};
use clap::Args;
use model::Network;
use model::explain::{Method, Target};
use std::path::PathBuf;
use write::{Asked, Visit};

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
    if !pictures {
        refuse_existing(&args.out, args.overwrite)?;
    }
    let targets = if target == Target::All { network.task().classes } else { 1 };
    let asked = Asked { task: network.task(), source: &source, indices: &indices, targets };
    let progress = common.progress();
    let job = progress.job("explaining", indices.len() as u64);
    let explain = |visit: &mut Visit| {
        let summary = explain_all(&kernels, &network, method, samples, &indices, target, |chunk, found| {
            visit(chunk, &found)?;
            job.advance(chunk.len() as u64);
            Ok(())
        })?;
        job.finish();
        source.unchanged()?;
        Ok(summary)
    };
    let summary = match extension.as_str() {
        "npy" => asked.to_npy(&args.out, explain)?,
        "npz" => asked.to_npz(&args.out, explain)?,
        _ => asked.to_pictures(args, explain)?,
    };
    print_summary(args, common, &summary)
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

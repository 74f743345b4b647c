//! `harness prototype`: activation maximisation.

use super::source::{load_model, model_path};
use crate::context::GlobalOptions;
use crate::dataset::Dataset;
use crate::dataset::samples::Scaled;
use crate::error::UsageError;
use crate::io::array;
use crate::io::atomic::check_target;
use crate::io::bounds::{STEPS, bounded};
use crate::io::ending::format;
use crate::io::output::{outln, status, write_json_result};
use crate::io::show::{json_path, shown};
use crate::report::picture::input;
use anyhow::{Result, ensure};
use clap::Args;
use model::explain::{Ascent, prototype};
use model::{Network, Samples};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `harness prototype`.
#[derive(Debug, Args)]
pub struct PrototypeArgs {
    /// Model file (safetensors), or the folder of a run
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Class
    #[arg(long, value_name = "K")]
    class: usize,
    /// PNG file to write, or FILE.npy: the image as f32 [rows, cols]
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    /// Start from the mean training image of this data set [default: the middle of the pixel range]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Folder to search for data first
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Steps of gradient ascent
    #[arg(long, value_name = "N", default_value_t = 200)]
    steps: usize,
    /// Step length per pixel
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    rate: f32,
    /// Weight of the penalty on the distance from the start image
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    lambda: f32,
    /// Replace an existing picture
    #[arg(long)]
    overwrite: bool,
}

/// The mean training image of a data set, or the middle of the range.
fn mean(args: &PrototypeArgs, network: &Network) -> Result<Vec<f32>> {
    let task = network.task();
    let size = task.rows * task.cols;
    let Some(name) = &args.dataset else { return Ok(vec![0.5 * (task.low + task.high); size]) };
    let dataset = Dataset::open(name, args.data_dir.as_deref())?;
    ensure!(
        (dataset.rows, dataset.cols) == (task.rows, task.cols),
        "{}: reads {}×{} images, {name} has {}×{}",
        args.model.display(),
        task.rows,
        task.cols,
        dataset.rows,
        dataset.cols
    );
    let samples = Scaled::new(&dataset.train, task.low, task.high);
    let (mut sum, mut x) = (vec![0.0f64; size], vec![0.0; size]);
    for i in 0..samples.len() {
        samples.pixels(i, &mut x);
        sum.iter_mut().zip(&x).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    dataset.unchanged()?;
    Ok(sum.into_iter().map(|sum| (sum / samples.len() as f64) as f32).collect())
}

/// Runs `harness prototype`.
///
/// # Errors
/// If the model or the data cannot be read, the class does not exist, or the picture cannot be written.
pub fn run(args: &PrototypeArgs, options: &GlobalOptions) -> Result<()> {
    for (name, value) in [("--rate", args.rate), ("--lambda", args.lambda)] {
        ensure!(
            value.is_finite() && value >= 0.0,
            UsageError(format!("{name} is {value}; it must be a number of at least 0"))
        );
    }
    bounded("--steps", args.steps, 0..=*STEPS.end())?;
    let format = format("--out", &args.out, &["png", "npy"])?;
    check_target(&args.out, args.overwrite)?;
    let kernels = options.kernels(options.thread_count()?)?;
    let network = load_model(&model_path(&args.model)?, None)?;
    let mean = mean(args, &network)?;
    let ascent = Ascent { steps: args.steps, rate: args.rate, lambda: args.lambda };
    let found = prototype(&kernels, &network, args.class, &mean, ascent)
        .map_err(|error| UsageError(format!("--class {}: {error}", args.class)))?;
    let task = network.task();
    match format {
        "npy" => array::write_f32(&args.out, &[task.rows, task.cols], &found.image)?,
        _ => input(task.rows, task.cols, &found.image, task.low, task.high, 8).save_png(&args.out)?,
    }
    if args.steps > 0 && args.rate > 0.0 && found.image == mean {
        let advice = match args.dataset {
            Some(_) => "",
            None => "; give --dataset NAME to start from its mean image",
        };
        status!(
            "warning: the image did not move: all gradients are zero where it starts, since a layer has no active unit{advice}"
        );
    }
    let ends = [found.probability.first(), found.probability.last()].map(|p| p.copied().unwrap_or(0.0));
    if options.json {
        write_json_result(&json!({ "class": args.class, "probability": ends, "out": json_path(&args.out) }))
    } else {
        outln!("P({} | x) from {:.4} to {:.4}: {}", args.class, ends[0], ends[1], shown(&args.out))
    }
}

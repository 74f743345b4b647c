//! `harness measure`: how reliable the heatmaps of any model file are.

mod all_values;

use super::source::SourceArgs;
use crate::context::GlobalOptions;
use crate::dataset::samples::Arrays;
use crate::error::UsageError;
use crate::io::atomic::check_target;
use crate::io::bounds::{MEASURED, bounded};
use crate::io::ending::format;
use crate::io::json::write_json;
use crate::io::output::{outln, write_json_result};
use crate::io::show::shown;
use crate::measure::classes::{ClassRequest, class_dependence};
use crate::measure::explanations::ExplanationRequest;
use crate::measure::flipping::{Fill, Flipping, Order};
use crate::measure::heatmaps::{FURTHER, NAMES, Relevance};
use crate::measure::intervals::of_mean;
use crate::measure::quality::{Quality, quality};
use crate::report::table::Table;
use crate::signal::stop_on_signals;
use anyhow::{Result, ensure};
use clap::Args;
use model::explain::{Target, Value};
use model::measure::Interval;
use model::{Evaluator, arg_max};
use serde_json::json;
use std::path::PathBuf;

/// `--value` for every value.
const ALL_VALUES: &str = "all";

/// The default of `--region`.
const REGION: usize = 4;

/// Arguments of `harness measure`.
#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// The model and the samples.
    #[command(flatten)]
    source: SourceArgs,
    /// Methods to measure: those of `explain`, and random as a control
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    methods: Vec<String>,
    /// What is explained of the logit: logit, relu, centred, runner-up or contrast; all compares every method and value by
    /// class dependence, pixel flipping and conservation
    #[arg(long, value_name = "VALUE", default_value = "logit")]
    value: String,
    /// Only the first N samples
    #[arg(long, value_name = "N", default_value_t = 50)]
    samples: usize,
    /// Side of the regions that pixel flipping removes [default: 4]
    #[arg(long, value_name = "N")]
    region: Option<usize>,
    /// Write everything that was measured, with every curve and layer, to this file
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
}

/// Runs `harness measure`.
///
/// # Errors
/// If the model or the samples cannot be read, a name is unknown, or the file cannot be written.
pub fn run(args: &MeasureArgs, options: &GlobalOptions) -> Result<()> {
    stop_on_signals()?;
    bounded("--samples", args.samples, MEASURED)?;
    let region = bounded("--region", args.region.unwrap_or(REGION), MEASURED)?;
    if let Some(out) = &args.out {
        format("--out", out, &["json"])?;
        check_target(out, args.overwrite)?;
    }
    if args.value == ALL_VALUES {
        return all_values::run(args, options);
    }
    let defaults: Vec<String> = NAMES.iter().chain(&FURTHER).map(ToString::to_string).collect();
    let names = if args.methods.is_empty() { &defaults } else { &args.methods };
    let mut methods = Vec::new();
    for name in names {
        let found = Relevance::by_name(name);
        let known = || [&NAMES[..], &FURTHER].concat().join(", ");
        ensure!(
            found.is_some(),
            UsageError(format!("--methods {name}: unknown; use {}, or a method of explain", known()))
        );
        methods.extend(found.map(|found| (name, found)));
    }
    let value = Value::by_name(&args.value).ok_or_else(|| {
        UsageError(format!(
            "--value {}: it must be one of {}, {ALL_VALUES}",
            args.value,
            Value::NAMES.join(", ")
        ))
    })?;
    let kernels = options.kernels(options.thread_count()?)?;
    let (network, source) = args.source.open()?;
    let task = *network.task();
    ensure!(task.classes > 1, "{}: has one class, so no class to compare", args.source.model.display());
    let n = args.samples.min(source.samples().len());
    let chosen: Vec<usize> = (0..n).collect();
    // Where labels are unknown, the predicted class stands for the true one.
    let size = task.rows * task.cols;
    let mut images = vec![0.0f32; n * size];
    images.chunks_exact_mut(size).enumerate().for_each(|(i, image)| source.samples().pixels(i, image));
    let mut evaluator = Evaluator::new(&network, n.max(1));
    let logits = evaluator.logits(&kernels, &network, source.samples(), &chosen)?;
    let predicted: Vec<u8> = logits.chunks_exact(task.classes).map(|h| arg_max(h) as u8).collect();
    let labels: Vec<u8> = match source.has_labels() {
        true => chosen.iter().map(|&i| source.samples().label(i)).collect(),
        false => predicted.clone(),
    };
    let correct = labels.iter().zip(&predicted).filter(|(a, b)| a == b).count();
    let samples = Arrays { images, size, labels: Some(labels) };
    let progress = options.progress();
    let job = progress.job("measuring", methods.len() as u64 + 2);
    let random = Flipping::new(&kernels, &network, &samples, &chosen, region)?.run(
        &network,
        &kernels,
        Order::Random,
        None,
    )?;
    job.advance(1);
    let classes = ClassRequest { network: &network, samples: &samples, indices: &chosen };
    let classes = class_dependence(&kernels, classes)?;
    job.advance(1);
    let at = Value::NAMES.iter().position(|name| *name == args.value).unwrap_or(0);
    let mut table = Table::new(&[
        "method",
        "AOPC most",
        "AOPC least",
        "AOPC random",
        "gain over random",
        "other class",
        "all classes",
        "random weights",
        "noise",
        "conservation error",
    ]);
    let mut found: Vec<(&String, Quality)> = Vec::new();
    for (name, relevance) in methods {
        let request = ExplanationRequest {
            network: &network,
            samples: &samples,
            indices: &chosen,
            target: Target::True,
            value: &value,
        };
        let of = quality(&kernels, relevance, request, region, &random)?;
        let aopc = |curves: &[crate::measure::flipping::Flipped], order| {
            let found = curves.iter().find(|of| of.fill == Fill::Background && of.order == order);
            of_mean(found.iter().flat_map(|of| of.samples.iter().map(|&area| Some(area))))
        };
        let all = classes.iter().find(|of| of.method == *name).and_then(|of| *of.intervals.get(at)?);
        table.row(vec![
            name.clone(),
            interval(aopc(&of.flipped, Order::MostFirst)),
            interval(aopc(&of.flipped, Order::LeastFirst)),
            interval(aopc(&random, Order::Random)),
            interval(of.intervals.gain),
            interval(of.intervals.other_class),
            interval(all),
            interval(of.intervals.randomised),
            interval(of.intervals.noise),
            format!("{:.1e}", of.summary.conservation_error_mean),
        ]);
        found.push((name, of));
        job.advance(1);
    }
    job.finish();
    source.unchanged()?;
    let result = json!({
        "model": args.source.model.display().to_string(),
        "samples": n,
        "correct": correct,
        "labels_known": source.has_labels(),
        "value": args.value,
        "methods": found.iter().map(|(name, of)| json!({ "method": name, "measured": of })).collect::<Vec<_>>(),
        "random_order": random,
        "class_dependence": classes,
    });
    if let Some(out) = &args.out {
        write_json(out, &result)?;
    }
    if options.json {
        return write_json_result(&result);
    }
    let what = if source.has_labels() {
        "are classified correctly"
    } else {
        "have no label: the predicted class stands for it"
    };
    let count = if source.has_labels() { correct } else { n };
    outln!("{n} samples, of which {count} {what}; [ ]: 95 % intervals over the samples")?;
    outln!("{}", table.to_string().trim_end())?;
    outln!(
        "AOPC: mean drop of P(class) as regions become background; other class, all classes: mean |cos| of heatmaps, 1 is no \
         dependence; random weights: rank correlation, 1 is no dependence"
    )?;
    args.out.as_ref().map_or(Ok(()), |out| outln!("{}", shown(out)))
}

/// `0.981 [0.978, 0.984]`, or a dash.
fn interval(of: Option<Interval>) -> String {
    of.map_or("–".to_owned(), |of| format!("{:.3} [{:.3}, {:.3}]", of.estimate, of.low, of.high))
}

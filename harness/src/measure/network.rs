//! Measures the explanations of one trained network.

use super::classes::{ClassRequest, class_dependence, value_signs};
use super::explanations::{ExplanationRequest, Summary};
use super::flipping::{Flipped, Flipping, Order};
use super::fold::{FoldRequest, measure_fold};
use super::heatmaps::{self, Relevance};
use super::intervals::{Intervals, Steps};
use super::quality::quality;
use super::result::{Group, Measured, OfMethod, request};
use super::samples::SampleSelection;
use super::settings::Measure;
use crate::dataset::Dataset;
use crate::dataset::samples::Scaled;
use crate::io::array;
use crate::io::file;
use crate::io::hash::sha256;
use crate::io::json::write_json;
use crate::io::progress::Progress;
use crate::model_file;
use crate::signal::check_stop;
use anyhow::{Context, Result};
use kernels::Kernels;
use model::Network;
use model::explain::{Ascent, Target, Value, prototype};
use model::measure::shares::per_step;
use std::path::Path;

/// Prototypes (section 3.2): number of steps, step length, and weight of the penalty on the distance from the
/// mean image.
const ASCENT: Ascent = Ascent { steps: 100, rate: 0.02, lambda: 0.001 };

/// The inputs of a measurement besides the network.
#[derive(Debug)]
pub struct MeasureContext<'a> {
    /// The data.
    pub dataset: &'a Dataset,
    /// The selected samples.
    pub selection: &'a SampleSelection,
    /// The measurements to make.
    pub measure: &'a Measure,
    /// The kernel set.
    pub kernels: &'a Kernels,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

/// Measures the network of a run and writes the result to its folder.
///
/// # Errors
/// If the model cannot be read, a signal stops the run, or a file cannot be written.
pub fn measure(folder: &Path, title: &str, context: &MeasureContext) -> Result<()> {
    let model = folder.join("last.safetensors");
    let bytes = file::read(&model, file::OF_A_RUN)?;
    let network = model_file::load(&model)?;
    let job = context.progress.job(title, context.measure.methods.len() as u64 + 2);
    let mut found = Measured {
        model_sha256: sha256(&bytes),
        request: request(context.measure, context.selection)?,
        ..Measured::default()
    };
    let mut maps = Vec::new();
    let task = *network.task();
    let samples = Scaled::new(&context.dataset.test, task.low, task.high);
    if !context.measure.checks {
        let MeasureContext { selection, measure, kernels, .. } = *context;
        let request = FoldRequest { network: &network, samples: &samples, selection, measure, kernels };
        let (of_fold, maps) = measure_fold(request, || job.advance(1))?;
        let Measured { model_sha256, request, .. } = found;
        keep(folder, &network, context, Measured { model_sha256, request, ..of_fold }, &maps)?;
        job.finish();
        return Ok(());
    }
    found.test = whole_test(&network, &samples, context)?;
    job.advance(1);
    let mut random = Flipping::new(
        context.kernels,
        &network,
        &samples,
        &context.selection.measured,
        context.measure.region,
    )?;
    found.random_order = random.run(&network, context.kernels, Order::Random, None)?;
    for name in &context.measure.methods {
        let pictures = Pictures { maps: &mut maps, groups: &mut found.groups };
        let of = Trained { network: &network, samples: &samples, random: &found.random_order };
        found.methods.push(of_method(name, &of, context, pictures)?);
        job.advance(1);
    }
    let all: Vec<usize> = (0..context.selection.test).collect();
    let request = ClassRequest { network: &network, samples: &samples, indices: &all };
    found.values = value_signs(context.kernels, request)?;
    let indices = &context.selection.measured;
    found.classes = class_dependence(context.kernels, ClassRequest { indices, ..request })?;
    found.prototype_probability = prototypes(&network, context, &mut maps)?;
    found.groups.push(Group { name: "prototypes".to_owned(), count: task.classes });
    keep(folder, &network, context, found, &maps)?;
    job.message("measured");
    job.finish();
    Ok(())
}

/// Writes heatmaps and numbers to the folder of the run.
fn keep(
    folder: &Path,
    network: &Network,
    context: &MeasureContext,
    mut found: Measured,
    maps: &[f32],
) -> Result<()> {
    context.dataset.unchanged()?;
    let (path, task) = (folder.join("heatmaps.npy"), network.task());
    array::write_f32(&path, &[maps.len() / (task.rows * task.cols), task.rows, task.cols], maps)?;
    let bytes = file::read(&path, file::OF_A_RUN)?;
    found.heatmaps_sha256 = sha256(&bytes);
    write_json(&folder.join("measured.json"), &found)
}

/// Conservation on all test samples, for the method of the figures.
fn whole_test(network: &Network, samples: &Scaled, context: &MeasureContext) -> Result<Summary> {
    let all: Vec<usize> = (0..context.selection.test).collect();
    let relevance = Relevance::by_name(heatmaps::MAIN).context("the main method")?;
    let value = &context.measure.value();
    let request = ExplanationRequest { network, samples, indices: &all, target: Target::Predicted, value };
    relevance.explain(context.kernels, request, |_, _| Ok(()))
}

/// A network, its samples, and what a random order of pixel flipping came to on them.
struct Trained<'a> {
    network: &'a Network,
    samples: &'a Scaled,
    random: &'a [Flipped],
}

/// The heatmaps that are kept, and their names.
struct Pictures<'a> {
    maps: &'a mut Vec<f32>,
    groups: &'a mut Vec<Group>,
}

fn of_method(
    name: &str,
    trained: &Trained,
    context: &MeasureContext,
    pictures: Pictures,
) -> Result<OfMethod> {
    let &Trained { network, samples, random } = trained;
    let Pictures { maps, groups } = pictures;
    let MeasureContext { selection, kernels, .. } = *context;
    let relevance = Relevance::by_name(name).with_context(|| format!("no method is named {name}"))?;
    let (rows, cols) = (network.task().rows, network.task().cols);
    let size = rows * cols;
    let mut class_columns = vec![0.0; cols];
    let mut steps = Steps { pixels: pixel_steps(network, context), ..Steps::default() };
    let value = &context.measure.value();
    let of = |indices, target| ExplanationRequest { network, samples, indices, target, value };
    relevance.explain(kernels, of(&selection.of_class, Target::Predicted), |_, found| {
        for (i, &r) in found.relevance.iter().enumerate() {
            class_columns[i % cols] += f64::from(r);
        }
        let sums = |map| per_step(map, rows, cols, network.task().seq_len);
        steps.relevance.extend(found.relevance.chunks_exact(size).map(sums));
        Ok(())
    })?;
    let mut kept = |group: &str, indices: &[usize], value: &Value| -> Result<()> {
        let target = Target::Predicted;
        let request = ExplanationRequest { network, samples, indices, target, value };
        let (found, _) = relevance.collect(kernels, request)?;
        maps.extend(found);
        groups.push(Group { name: format!("{name}/{group}"), count: indices.len() });
        Ok(())
    };
    kept("each-class", &selection.each_class, value)?;
    if name == heatmaps::MAIN {
        kept("each-class-centred", &selection.each_class, &Value::Centred)?;
        kept("population", &selection.population, value)?;
    }
    let request = of(&selection.measured, Target::True);
    let found = quality(kernels, relevance, request, context.measure.region, random)?;
    let intervals = Intervals { last_steps: steps.last_steps(), cosine: steps.cosine(), ..found.intervals };
    Ok(OfMethod {
        method: name.to_owned(),
        summary: found.summary,
        class_columns,
        noise: found.noise,
        runner_up_cosine: found.other_class,
        flipped: found.flipped,
        randomised: found.randomised,
        intervals,
    })
}

/// Pixel intensity of each step of the class's test samples.
fn pixel_steps(network: &Network, context: &MeasureContext) -> Vec<Vec<f64>> {
    let task = network.task();
    let steps = |&i: &usize| {
        let image: Vec<f32> = context.dataset.test.image(i).iter().map(|&byte| f32::from(byte)).collect();
        per_step(&image, task.rows, task.cols, task.seq_len)
    };
    context.selection.of_class.iter().map(steps).collect()
}

/// One image per class by activation maximisation, from the mean of the training images.
fn prototypes(network: &Network, context: &MeasureContext, maps: &mut Vec<f32>) -> Result<Vec<f64>> {
    let task = network.task();
    let mean: Vec<f32> =
        context.selection.mean.iter().map(|&x| task.low + x * (task.high - task.low)).collect();
    (0..task.classes)
        .map(|class| {
            check_stop()?;
            let found = prototype(context.kernels, network, class, &mean, ASCENT)?;
            maps.extend(found.image.iter().map(|x| (x - task.low) / (task.high - task.low)));
            Ok(found.probability.last().copied().unwrap_or_default())
        })
        .collect()
}

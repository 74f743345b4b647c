//! Measures the explanations of one trained network.

use super::classes::{ClassRequest, class_dependence, value_signs};
use super::explanations::{ExplanationRequest, Summary};
use super::flipping::{Flipping, Order};
use super::heatmaps::{self, Relevance};
use super::result::{Group, Measured, OfMethod, request};
use super::samples::SampleSelection;
use super::settings::Measure;
use super::{numbers, randomise};
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
    found.test = whole_test(&network, &samples, context)?;
    job.advance(1);
    for name in &context.measure.methods {
        found.methods.push(of_method(name, &network, &samples, context, &mut maps, &mut found.groups)?);
        job.advance(1);
    }
    let mut random = Flipping::new(
        context.kernels,
        &network,
        &samples,
        &context.selection.measured,
        context.measure.region,
    )?;
    found.random_order = random.run(&network, context.kernels, Order::Random, None)?;
    let all: Vec<usize> = (0..context.selection.test).collect();
    let request = ClassRequest { network: &network, samples: &samples, indices: &all };
    found.values = value_signs(context.kernels, request)?;
    let indices = &context.selection.measured;
    found.classes = class_dependence(context.kernels, ClassRequest { indices, ..request })?;
    found.prototype_probability = prototypes(&network, context, &mut maps)?;
    found.groups.push(Group { name: "prototypes".to_owned(), count: task.classes });
    context.dataset.unchanged()?;
    let path = folder.join("heatmaps.npy");
    array::write_f32(&path, &[maps.len() / (task.rows * task.cols), task.rows, task.cols], &maps)?;
    let bytes = file::read(&path, file::OF_A_RUN)?;
    found.heatmaps_sha256 = sha256(&bytes);
    write_json(&folder.join("measured.json"), &found)?;
    job.message("measured");
    job.finish();
    Ok(())
}

/// Conservation on all test samples, for the method of the figures.
fn whole_test(network: &Network, samples: &Scaled, context: &MeasureContext) -> Result<Summary> {
    let all: Vec<usize> = (0..context.selection.test).collect();
    let relevance = Relevance::by_name(heatmaps::MAIN).context("the main method")?;
    let value = &context.measure.value();
    let request = ExplanationRequest { network, samples, indices: &all, target: Target::Predicted, value };
    relevance.explain(context.kernels, request, |_, _| Ok(()))
}

fn of_method(
    name: &str,
    network: &Network,
    samples: &Scaled,
    context: &MeasureContext,
    maps: &mut Vec<f32>,
    groups: &mut Vec<Group>,
) -> Result<OfMethod> {
    let MeasureContext { selection, kernels, .. } = *context;
    let relevance = Relevance::by_name(name).with_context(|| format!("no method is named {name}"))?;
    let (rows, cols) = (network.task().rows, network.task().cols);
    let size = rows * cols;
    let mut class_columns = vec![0.0; cols];
    let value = &context.measure.value();
    let of = |indices, target| ExplanationRequest { network, samples, indices, target, value };
    relevance.explain(kernels, of(&selection.of_class, Target::Predicted), |_, found| {
        for (i, &r) in found.relevance.iter().enumerate() {
            class_columns[i % cols] += f64::from(r);
        }
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
    let at = &selection.measured;
    let (predicted, summary) = relevance.collect(kernels, of(at, Target::Predicted))?;
    let (labelled, _) = relevance.collect(kernels, of(at, Target::True))?;
    let (rival, _) = relevance.collect(kernels, of(at, Target::Rival))?;
    let noise = numbers::mean(predicted.chunks_exact(size).map(|map| numbers::noise(map, cols)));
    let pairs = || labelled.chunks_exact(size).zip(rival.chunks_exact(size));
    let rival_cosine = numbers::mean(pairs().map(|(a, b)| numbers::cosine(a, b).map(f64::abs)));
    let mut flipped = Vec::new();
    let mut flipping = Flipping::new(kernels, network, samples, at, context.measure.region)?;
    for order in [Order::MostFirst, Order::LeastFirst] {
        flipped.extend(flipping.run(network, kernels, order, Some(&predicted))?);
    }
    let randomised = randomise::cascade(&labelled, network, |network| {
        let request = ExplanationRequest { network, ..of(at, Target::True) };
        Ok(relevance.collect(kernels, request)?.0)
    })?;
    Ok(OfMethod { method: name.to_owned(), summary, class_columns, noise, rival_cosine, flipped, randomised })
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

//! What is measured of a trained network: where its relevance goes and whether that can be believed.
//!
//! The numbers and the heatmaps of a run stay in its folder, so that a report needs neither the data nor the network.
//! Everything is a function of network, data and [`Measure`]; chance is drawn from seeds.

pub mod flipping;
pub mod heatmaps;
pub mod numbers;
pub mod randomise;
pub mod samples;

use crate::cli::Misuse;
use crate::dataset::Dataset;
use crate::explaining::Summary;
use crate::images::Scaled;
use crate::model_file;
use crate::progress::Progress;
use crate::report::npy;
use crate::run::training::write_json;
use anyhow::{Context, Result};
use flipping::{Flipped, Flipping, Order};
use heatmaps::Relevance;
use kernels::Kernels;
use model::Network;
use model::explain::{Ascent, Target, prototype};
use samples::Chosen;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is measured, as an experiment says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Measure {
    /// Methods of explanation; `random` is the control that does not look at the network.
    pub methods: Vec<String>,
    /// Test samples of all classes that pixel flipping, noise, classes and randomisation are measured on.
    pub samples: usize,
    /// The class whose test samples show where relevance goes along the sequence (Figures 4.8 and 4.9).
    pub class: usize,
    /// Samples of that class that are drawn (Figure 4.8).
    pub population: usize,
    /// Side of the regions that pixel flipping removes.
    pub region: usize,
    /// The neuron of Figures 3.4 to 3.6.
    pub neuron: Neuron,
}

/// A relu neuron of two inputs: `R = max(0, w·a + b)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Neuron {
    /// Weights.
    pub weights: [f64; 2],
    /// Bias, not positive.
    pub bias: f64,
    /// Where it is looked at; within 0…1, so that each of the three rules applies.
    pub activations: [f64; 2],
}

impl Default for Measure {
    fn default() -> Measure {
        Measure {
            methods: heatmaps::NAMES.map(str::to_owned).to_vec(),
            samples: 100,
            class: 1,
            population: 16,
            region: 4,
            neuron: Neuron { weights: [1.0, -0.6], bias: -0.15, activations: [0.8, 0.45] },
        }
    }
}

impl Measure {
    /// Checks what can be checked without data.
    ///
    /// # Errors
    /// [`Misuse`] that names the setting.
    pub fn check(&self) -> Result<(), Misuse> {
        let refuse = |text: String| Err(Misuse(format!("[measure] {text}")));
        if self.samples == 0 || self.population == 0 || self.region == 0 {
            return refuse("samples, population and region must be at least 1".to_owned());
        }
        let unknown = self.methods.iter().find(|name| Relevance::by_name(name).is_none());
        if let Some(name) = unknown {
            return refuse(format!("methods names {name}; there are {}", heatmaps::NAMES.join(", ")));
        }
        if !self.methods.iter().any(|name| name == heatmaps::MAIN) {
            return refuse(format!("methods must hold {}, which the figures show", heatmaps::MAIN));
        }
        let Neuron { weights, bias, activations } = self.neuron;
        let value = weights[0] * activations[0] + weights[1] * activations[1] + bias;
        let inside = activations.iter().all(|a| (0.0..=1.0).contains(a));
        // A NaN fails both comparisons.
        if !(inside && bias <= 0.0 && value > 0.0 && value.is_finite()) {
            return refuse(format!(
                "neuron is {value} at its activations; it must be above 0, with a bias of at most 0 and activations in 0…1"
            ));
        }
        Ok(())
    }
}

/// What a method shows on one network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfMethod {
    /// Its name.
    pub method: String,
    /// Conservation, lost and negative relevance on the measured samples.
    pub summary: Summary,
    /// Relevance of each image column, summed over the class's test samples.
    pub class_columns: Vec<f64>,
    /// Mean total variation of a heatmap over its absolute sum: see [`numbers::noise`].
    pub noise: Option<f64>,
    /// Mean size of the cosine between the heatmaps of the true class and of its strongest rival.
    pub rival_cosine: Option<f64>,
    /// Pixel flipping by this method's order.
    pub flipped: Vec<Flipped>,
    /// Likeness to the original heatmaps as layers are randomised, from the logits down.
    pub randomised: Vec<randomise::Likeness>,
}

/// Heatmaps or images kept in `heatmaps.npy`: a name and how many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// `deep-taylor/each-class`, `deep-taylor/population`, `prototypes`, …
    pub name: String,
    /// Pictures.
    pub count: usize,
}

/// Everything measured of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// SHA-256 of the model that was measured.
    pub model_sha256: String,
    /// SHA-256 of `heatmaps.npy`.
    pub heatmaps_sha256: String,
    /// What was asked for, as JSON.
    pub asked: String,
    /// Deep Taylor on every test sample.
    pub test: Summary,
    /// Each method on the measured samples.
    pub methods: Vec<OfMethod>,
    /// Pixel flipping in random order, which is every method's baseline.
    pub random_order: Vec<Flipped>,
    /// `P(class | prototype)`, by class.
    pub prototype_probability: Vec<f64>,
    /// What `heatmaps.npy` holds, in order.
    pub groups: Vec<Group>,
}

impl Measured {
    /// One method's numbers.
    pub fn method(&self, name: &str) -> Option<&OfMethod> {
        self.methods.iter().find(|of| of.method == name)
    }
}

/// Files that measuring writes to a run's folder.
pub const FILES: [&str; 2] = ["measured.json", "heatmaps.npy"];

/// Goes up when the same settings come to other numbers, so that old measurements are made again.
const VERSION: u32 = 2;

/// Steps, length of a step and pull to the mean of the prototypes (section 3.2).
const ASCENT: Ascent = Ascent { steps: 100, rate: 0.02, lambda: 0.001 };

/// What measuring needs beside the network.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The data.
    pub dataset: &'a Dataset,
    /// The samples that are looked at.
    pub chosen: &'a Chosen,
    /// What is asked for.
    pub measure: &'a Measure,
    /// The kernel set.
    pub kernels: &'a Kernels,
    /// Where progress goes.
    pub progress: &'a Progress,
}

/// What a run's measurements were asked for: the settings and the samples they were made on.
///
/// # Errors
/// If they cannot be written as JSON.
pub fn asked(measure: &Measure, chosen: &Chosen) -> Result<String> {
    // The neuron of Figures 3.4 to 3.6 is no part of a run.
    let measure = Measure { neuron: Measure::default().neuron, ..measure.clone() };
    Ok(serde_json::to_string(&(VERSION, measure, &chosen.measured, &chosen.population, chosen.test))?)
}

/// Measures the network of a run's folder and writes what it finds there.
///
/// # Errors
/// If the model cannot be read, the process is told to stop, or a file cannot be written.
pub fn measure(folder: &Path, title: &str, bench: &Bench) -> Result<()> {
    let model = folder.join("last.safetensors");
    let bytes = std::fs::read(&model).with_context(|| format!("{}: cannot be read", model.display()))?;
    let network = model_file::load(&model)?;
    let job = bench.progress.job(title, bench.measure.methods.len() as u64 + 2);
    let mut found = Measured {
        model_sha256: crate::dataset::checksum::sha256(&bytes),
        asked: asked(bench.measure, bench.chosen)?,
        ..Measured::default()
    };
    let mut maps = Vec::new();
    let task = *network.task();
    let samples = Scaled::new(&bench.dataset.test, task.low, task.high);
    found.test = whole_test(&network, &samples, bench)?;
    job.advance(1);
    for name in &bench.measure.methods {
        found.methods.push(of_method(name, &network, &samples, bench, &mut maps, &mut found.groups)?);
        job.advance(1);
    }
    let mut random =
        Flipping::new(bench.kernels, &network, &samples, &bench.chosen.measured, bench.measure.region)?;
    found.random_order = random.run(&network, bench.kernels, Order::Random, None)?;
    found.prototype_probability = prototypes(&network, bench, &mut maps)?;
    found.groups.push(Group { name: "prototypes".to_owned(), count: task.classes });
    bench.dataset.unchanged()?;
    let path = folder.join("heatmaps.npy");
    npy::write_f32(&path, &[maps.len() / (task.rows * task.cols), task.rows, task.cols], &maps)?;
    let bytes = std::fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    found.heatmaps_sha256 = crate::dataset::checksum::sha256(&bytes);
    write_json(&folder.join("measured.json"), &found)?;
    job.message("measured");
    job.finish();
    Ok(())
}

/// Conservation over all test samples, by the method of the figures.
fn whole_test(network: &Network, samples: &Scaled, bench: &Bench) -> Result<Summary> {
    let all: Vec<usize> = (0..bench.chosen.test).collect();
    let relevance = Relevance::by_name(heatmaps::MAIN).context("the main method")?;
    relevance.explain(bench.kernels, network, samples, &all, Target::Predicted, |_, _| Ok(()))
}

fn of_method(
    name: &str,
    network: &Network,
    samples: &Scaled,
    bench: &Bench,
    maps: &mut Vec<f32>,
    groups: &mut Vec<Group>,
) -> Result<OfMethod> {
    let Bench { chosen, kernels, .. } = *bench;
    let relevance = Relevance::by_name(name).with_context(|| format!("no method is named {name}"))?;
    let (rows, cols) = (network.task().rows, network.task().cols);
    let size = rows * cols;
    let mut class_columns = vec![0.0; cols];
    relevance.explain(kernels, network, samples, &chosen.of_class, Target::Predicted, |_, found| {
        for (i, &r) in found.relevance.iter().enumerate() {
            class_columns[i % cols] += f64::from(r);
        }
        Ok(())
    })?;
    let mut kept = |group: &str, indices: &[usize]| -> Result<()> {
        let (found, _) = relevance.collect(kernels, network, samples, indices, Target::Predicted)?;
        maps.extend(found);
        groups.push(Group { name: format!("{name}/{group}"), count: indices.len() });
        Ok(())
    };
    kept("each-class", &chosen.each_class)?;
    if name == heatmaps::MAIN {
        kept("population", &chosen.population)?;
    }
    let at = &chosen.measured;
    let (predicted, summary) = relevance.collect(kernels, network, samples, at, Target::Predicted)?;
    let (labelled, _) = relevance.collect(kernels, network, samples, at, Target::True)?;
    let (rival, _) = relevance.collect(kernels, network, samples, at, Target::Rival)?;
    let noise = numbers::mean(predicted.chunks_exact(size).map(|map| numbers::noise(map, cols)));
    let pairs = || labelled.chunks_exact(size).zip(rival.chunks_exact(size));
    let rival_cosine = numbers::mean(pairs().map(|(a, b)| numbers::cosine(a, b).map(f64::abs)));
    let mut flipped = Vec::new();
    let mut flipping = Flipping::new(kernels, network, samples, at, bench.measure.region)?;
    for order in [Order::MostFirst, Order::LeastFirst] {
        flipped.extend(flipping.run(network, kernels, order, Some(&predicted))?);
    }
    let randomised = randomise::cascade(&labelled, network, |network| {
        Ok(relevance.collect(kernels, network, samples, at, Target::True)?.0)
    })?;
    Ok(OfMethod { method: name.to_owned(), summary, class_columns, noise, rival_cosine, flipped, randomised })
}

/// One image a class by activation maximisation, from the mean of the training images.
fn prototypes(network: &Network, bench: &Bench, maps: &mut Vec<f32>) -> Result<Vec<f64>> {
    let task = network.task();
    let mean: Vec<f32> = bench.chosen.mean.iter().map(|&x| task.low + x * (task.high - task.low)).collect();
    (0..task.classes)
        .map(|class| {
            crate::run::check_stop()?;
            let found = prototype(bench.kernels, network, class, &mean, ASCENT)?;
            maps.extend(found.image.iter().map(|x| (x - task.low) / (task.high - task.low)));
            Ok(found.probability.last().copied().unwrap_or_default())
        })
        .collect()
}

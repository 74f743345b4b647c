//! Every method and value beside each other: how much a heatmap depends on the class, how fast the class falls when the most
//! relevant regions are removed, and what is not conserved.

use super::classes::{CHUNK, ClassRequest, pairs, values};
use super::explanations::Summary;
use super::flipping::{Fill, Flipping, Order};
use super::numbers::mean;
use crate::signal::check_stop;
use anyhow::Result;
use kernels::Kernels;
use model::explain::{Explained, Explainer, Method, Numbers, Target, Value};
use serde::Serialize;

/// Side of the regions that are removed, and how many of them.
pub const SIDE: usize = 4;
/// See [`SIDE`].
pub const REGIONS: usize = 30;

/// The measures of one method with one value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measures {
    /// The method.
    pub method: String,
    /// The value: one of [`Value::NAMES`].
    pub value: String,
    /// Mean size of the cosine between the heatmaps of two classes, over all pairs and samples.
    pub cosine: Option<f64>,
    /// Area over the perturbation curve, in the order of the predicted class's heatmap.
    pub aopc: f64,
    /// Conservation over the samples and all classes; a gradient method promises none.
    pub summary: Summary,
}

/// The measures of all methods, and the area of a random order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllMethods {
    /// Samples.
    pub samples: usize,
    /// The area of a random order.
    pub random_aopc: f64,
    /// By method, then value.
    pub methods: Vec<Measures>,
}

/// Measures all methods with all values; `done` is called after each method.
///
/// # Errors
/// An error of the explainer, or an interruption.
pub fn all_methods(kernels: &Kernels, request: ClassRequest, done: &dyn Fn()) -> Result<AllMethods> {
    let ClassRequest { network, samples, indices } = request;
    let task = network.task();
    let (classes, size) = (task.classes, task.rows * task.cols);
    let values: Vec<Value> = values(classes).collect();
    let of_all = |value: &Value| Explained { target: Target::All, value: value.clone() };
    let what: Vec<Explained> = values.iter().map(of_all).collect();
    let flipping = Flipping::new(kernels, network, samples, indices, SIDE)?;
    let mut flipping = flipping.limited(Fill::Background, REGIONS);
    let mut aopc = |order, relevance: Option<&[f32]>| -> Result<f64> {
        Ok(flipping.run(network, kernels, order, relevance)?.iter().map(|of| of.aopc).sum())
    };
    let random_aopc = aopc(Order::Random, None)?;
    let mut methods = Vec::new();
    for name in Method::names() {
        let Some(method) = Method::by_name(name, &Numbers::default()) else { continue };
        let mut explainer = Explainer::new(kernels, network, method, CHUNK)?;
        let mut cosines: Vec<Vec<Option<f64>>> = vec![Vec::new(); values.len()];
        let mut summaries = vec![Summary::default(); values.len()];
        let mut maps: Vec<Vec<f32>> = vec![Vec::new(); values.len()];
        for chunk in indices.chunks(CHUNK) {
            check_stop()?;
            let all = explainer.explain_values(kernels, samples, chunk, &what)?;
            for (at, of_value) in all.chunks_exact(classes).enumerate() {
                of_value.iter().for_each(|batch| summaries[at].add(batch));
                for i in 0..chunk.len() {
                    cosines[at].extend(pairs(of_value, i, chunk.len()));
                    let logits = &of_value[0].logits[i * classes..][..classes];
                    let larger = |best: usize, class| if logits[class] > logits[best] { class } else { best };
                    let predicted = &of_value[(0..classes).fold(0, larger)];
                    maps[at].extend_from_slice(&predicted.relevance[i * size..][..size]);
                }
            }
        }
        for (((value, cosines), summary), map) in Value::NAMES.iter().zip(cosines).zip(summaries).zip(maps) {
            methods.push(Measures {
                method: name.to_owned(),
                value: (*value).to_owned(),
                cosine: mean(cosines.into_iter()),
                aopc: aopc(Order::MostFirst, Some(&map))?,
                summary,
            });
        }
        done();
    }
    Ok(AllMethods { samples: indices.len(), random_aopc, methods })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::samples::Arrays;
    use model::{Architecture, Network, Task};

    #[test]
    fn relevance_is_conserved_and_class_dependence_is_that_of_the_report() {
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        let network = Network::new(Architecture::preset("deep").unwrap(), task, 3).unwrap();
        let images: Vec<f32> = (0..4 * 64).map(|i| ((i * 37) % 61) as f32 / 30.5 - 1.0).collect();
        let samples = Arrays { images, size: 64, labels: Some(vec![0; 4]) };
        let indices = [0, 1, 2, 3];
        let request = ClassRequest { network: &network, samples: &samples, indices: &indices };
        let kernels = Kernels::default();
        let found = all_methods(&kernels, request, &|| ()).unwrap();
        assert_eq!(found.methods.len(), Method::names().count() * Value::NAMES.len());
        let of_report = crate::measure::classes::class_dependence(&kernels, request).unwrap();
        for (of_method, method) in found.methods.chunks(Value::NAMES.len()).zip(&of_report) {
            assert_eq!(of_method.iter().map(|of| of.cosine).collect::<Vec<_>>(), method.cosine);
            let is_gradient = Method::GRADIENTS.contains(&method.method.as_str());
            for of in of_method {
                assert_eq!((of.summary.explanations, of.method.as_str()), (12, method.method.as_str()));
                assert!(is_gradient || of.summary.not_conserved == 0, "{of:?}");
            }
        }
    }
}

//! Every method and value beside each other: how much a heatmap depends on the class, how fast the class falls when the most
//! relevant regions are removed, and what is not conserved.

use super::classes::{ClassRequest, of_method, values};
use super::explanations::Summary;
use super::flipping::{Fill, Flipping, Order};
use super::intervals;
use anyhow::Result;
use kernels::Kernels;
use model::arg_max;
use model::explain::{Method, Value};
use model::measure::Interval;
use serde::Serialize;

/// Side of the regions that are removed, and how many of them.
pub const SIDE: usize = 4;
/// See [`SIDE`].
pub const REGIONS: usize = 30;

/// The measures of one method with one value; intervals are 95 % bootstrap intervals over the samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measures {
    /// The method.
    pub method: String,
    /// The value: one of [`Value::NAMES`].
    pub value: String,
    /// Mean size of the cosine between the heatmaps of two classes, over all pairs and samples.
    pub cosine: Option<Interval>,
    /// Area over the perturbation curve, in the order of the predicted class's heatmap.
    pub aopc: Option<Interval>,
    /// Conservation over the samples and all classes; a gradient method promises none.
    pub summary: Summary,
}

/// The measures of all methods, and the area of a random order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllMethods {
    /// Samples.
    pub samples: usize,
    /// The area of a random order.
    pub random_aopc: Option<Interval>,
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
    let flipping = Flipping::new(kernels, network, samples, indices, SIDE)?;
    let mut flipping = flipping.limited(Fill::Background, REGIONS);
    let mut aopc = |order, relevance: Option<&[f32]>| -> Result<Option<Interval>> {
        let found = flipping.run(network, kernels, order, relevance)?;
        Ok(intervals::of_mean(found.iter().flat_map(|of| of.samples.iter().map(|&area| Some(area)))))
    };
    let random_aopc = aopc(Order::Random, None)?;
    let mut methods = Vec::new();
    for name in Method::names_of_one_pass() {
        let mut summaries = vec![Summary::default(); values.len()];
        let mut maps: Vec<Vec<f32>> = vec![Vec::new(); values.len()];
        let dependence = of_method(kernels, request, name, |at, of_classes| {
            of_classes.iter().for_each(|batch| summaries[at].add(batch));
            for (i, logits) in of_classes[0].logits.chunks_exact(classes).enumerate() {
                let predicted = &of_classes[arg_max(logits)];
                maps[at].extend_from_slice(&predicted.relevance[i * size..][..size]);
            }
        })?;
        let of_values = dependence.intervals.into_iter().zip(summaries).zip(maps);
        for (value, ((cosine, summary), map)) in Value::NAMES.iter().zip(of_values) {
            methods.push(Measures {
                method: name.to_owned(),
                value: (*value).to_owned(),
                cosine,
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
    use crate::measure::classes::tests::small;

    #[test]
    fn relevance_is_conserved_and_class_dependence_is_that_of_the_report() {
        let (network, samples) = small();
        let request = ClassRequest { network: &network, samples: &samples, indices: &[0, 1, 2, 3] };
        let kernels = Kernels::default();
        let found = all_methods(&kernels, request, &|| ()).unwrap();
        assert_eq!(found.methods.len(), Method::names_of_one_pass().count() * Value::NAMES.len());
        let of_report = crate::measure::classes::class_dependence(&kernels, request).unwrap();
        for (of_method, method) in found.methods.chunks(Value::NAMES.len()).zip(&of_report) {
            assert_eq!(of_method.iter().map(|of| of.cosine).collect::<Vec<_>>(), method.intervals);
            let is_gradient = Method::GRADIENTS.contains(&method.method.as_str());
            for of in of_method {
                assert_eq!((of.summary.explanations, of.method.as_str()), (12, method.method.as_str()));
                assert!(is_gradient || of.summary.not_conserved == 0, "{of:?}");
            }
        }
    }
}

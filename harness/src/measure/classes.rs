//! Class dependence: how alike the heatmaps of all classes are, by method and value; and the values' signs.

use super::intervals;
use crate::signal::check_stop;
use anyhow::{Context, Result};
use kernels::Kernels;
use model::explain::{Explained, Explainer, Explanation, Method, Numbers, Target, Value};
use model::measure::Interval;
use model::measure::heatmap::cosine;
use model::{Evaluator, Network, Samples, arg_max};
use serde::{Deserialize, Serialize};

/// The most samples whose heatmaps of all classes are compared.
pub const SAMPLES: usize = 60;
/// Samples explained at once: each has a heatmap for every class and value.
const CHUNK: usize = 10;
/// Samples evaluated at once.
const BATCH: usize = 250;

/// How alike the heatmaps of all classes are, by one method.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassDependence {
    /// The method.
    pub method: String,
    /// For each of [`Value::NAMES`], the mean size of the cosine between the heatmaps of two classes, over all pairs and
    /// samples: 1 if they are the same but for a factor. None if every heatmap is 0.
    pub cosine: Vec<Option<f64>>,
    /// Their 95 % bootstrap intervals over the samples; none in results of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intervals: Vec<Option<Interval>>,
}

/// What the predicted class's value is over many samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueSigns {
    /// One of [`Value::NAMES`].
    pub value: String,
    /// Its mean.
    pub mean: f64,
    /// The smallest.
    pub least: f64,
    /// Samples for which it is not positive.
    pub not_positive: usize,
}

/// The samples of a network that are explained for every class.
#[derive(Clone, Copy)]
pub struct ClassRequest<'a> {
    /// The network.
    pub network: &'a Network,
    /// The samples.
    pub samples: &'a dyn Samples,
    /// Indices of those that are compared.
    pub indices: &'a [usize],
}

/// The values of this many classes: some ask for another logit.
pub(super) fn values(classes: usize) -> impl Iterator<Item = Value> {
    let named = Value::NAMES.into_iter().filter_map(Value::by_name);
    named.filter(move |value| classes > 1 || !matches!(value, Value::RunnerUp | Value::Contrast))
}

/// Measures every method of one pass by name; all values of a batch share its forward pass.
///
/// # Errors
/// An error of the explainer, or an interruption.
pub fn class_dependence(kernels: &Kernels, request: ClassRequest) -> Result<Vec<ClassDependence>> {
    let indices = &request.indices[..request.indices.len().min(SAMPLES)];
    let request = ClassRequest { indices, ..request };
    let of = |name: &str| of_method(kernels, request, name, |_, _| {});
    Method::names_of_one_pass().map(of).collect()
}

/// Measures one method; `visit` gets the position of a value and the explanations of some samples, one a class.
///
/// # Errors
/// If there is no method of that name; an error of the explainer, or an interruption.
pub(super) fn of_method(
    kernels: &Kernels,
    request: ClassRequest,
    name: &str,
    mut visit: impl FnMut(usize, &[Explanation]),
) -> Result<ClassDependence> {
    let ClassRequest { network, samples, indices } = request;
    let classes = network.task().classes;
    let what: Vec<Explained> =
        values(classes).map(|value| Explained { target: Target::All, value }).collect();
    let method = Method::by_name(name, &Numbers::default()).with_context(|| format!("the method {name}"))?;
    let mut explainer = Explainer::new(kernels, network, method, CHUNK)?;
    let mut cosines: Vec<Vec<Vec<f64>>> = vec![Vec::new(); what.len()];
    for chunk in indices.chunks(CHUNK) {
        check_stop()?;
        let all = explainer.explain_values(kernels, samples, chunk, &what)?;
        for (at, of_value) in all.chunks_exact(classes).enumerate() {
            visit(at, of_value);
            cosines[at].extend((0..chunk.len()).map(|i| pairs(of_value, i, chunk.len())));
        }
    }
    let intervals: Vec<Option<Interval>> =
        cosines.iter().map(|of_value| intervals::of_groups(of_value)).collect();
    let cosine = intervals.iter().map(|of| of.map(|of| of.estimate)).collect();
    Ok(ClassDependence { method: name.to_owned(), cosine, intervals })
}

/// The sizes of the cosines between the heatmaps of all pairs of classes of the `i`th sample, where they are defined.
fn pairs(of_classes: &[Explanation], i: usize, samples: usize) -> Vec<f64> {
    let map = |batch: &Explanation| {
        let size = batch.relevance.len() / samples;
        batch.relevance[i * size..][..size].to_vec()
    };
    let maps: Vec<Vec<f32>> = of_classes.iter().map(map).collect();
    let pair = |a: usize| {
        let maps = &maps;
        (a + 1..maps.len()).filter_map(move |b| cosine(&maps[a], &maps[b]).map(f64::abs))
    };
    (0..maps.len()).flat_map(pair).collect()
}

/// The signs of every value of the predicted class, over the given samples.
///
/// # Errors
/// An error of the evaluator, or an interruption.
pub fn value_signs(kernels: &Kernels, request: ClassRequest) -> Result<Vec<ValueSigns>> {
    let ClassRequest { network, samples, indices } = request;
    let classes = network.task().classes;
    let values: Vec<Value> = values(classes).collect();
    let mut found: Vec<ValueSigns> = Value::NAMES[..values.len()]
        .iter()
        .map(|name| ValueSigns { value: (*name).to_owned(), least: f64::INFINITY, ..ValueSigns::default() })
        .collect();
    let mut evaluator = Evaluator::new(network, BATCH.min(indices.len().max(1)));
    for chunk in indices.chunks(BATCH) {
        check_stop()?;
        let logits = evaluator.logits(kernels, network, samples, chunk)?;
        for logits in logits.chunks_exact(classes) {
            let predicted = arg_max(logits);
            for (of, value) in found.iter_mut().zip(&values) {
                let f = value.of(logits, predicted).map_or(0.0, f64::from);
                of.mean += f / indices.len() as f64;
                of.least = of.least.min(f);
                of.not_positive += usize::from(f <= 0.0);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dataset::samples::Arrays;
    use model::{Architecture, Task};

    /// A network of three classes, and four images.
    pub fn small() -> (Network, Arrays) {
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        let network = Network::new(Architecture::preset("deep").unwrap(), task, 3).unwrap();
        let images: Vec<f32> = (0..4 * 64).map(|i| ((i * 37) % 61) as f32 / 30.5 - 1.0).collect();
        (network, Arrays { images, size: 64, labels: Some(vec![0; 4]) })
    }

    #[test]
    fn deep_taylor_says_the_same_of_every_class_and_simple_taylor_does_not() {
        let (network, samples) = small();
        let request = ClassRequest { network: &network, samples: &samples, indices: &[0, 1, 2, 3] };
        let found = class_dependence(&Kernels::default(), request).unwrap();
        assert_eq!(found.len(), Method::names_of_one_pass().count());
        let of = |name: &str| found.iter().find(|of| of.method == name).unwrap();
        let [deep, simple] = ["deep-taylor", "simple-taylor"].map(|name| of(name).cosine[0].unwrap());
        assert!(deep > 0.9 && simple < deep, "{deep} {simple}");
        for of in found.iter().flat_map(|of| &of.intervals).flatten() {
            assert!(of.low <= of.estimate && of.estimate <= of.high && of.high <= 1.0 + 1e-9, "{of:?}");
        }
        let interval = of("simple-taylor").intervals[0].unwrap();
        assert!(interval.low < interval.high, "{interval:?}");
        let signs = value_signs(&Kernels::default(), request).unwrap();
        assert_eq!(signs.len(), Value::NAMES.len());
        for of in signs.iter().filter(|of| of.value != "logit") {
            assert!(of.least >= 0.0 && of.mean >= of.least, "{of:?}");
        }
    }
}

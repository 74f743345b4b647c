//! Explained values and composites: what holds for any network.

use crate::support::{Arrays, bits, narrow, samples_for, thesis};
use kernels::Kernels;
use kernels::pool::PoolKind;
use model::explain::{Explained, Explainer, Explanation, LayerLedger, Method, Numbers, Target, Value};
use model::{Architecture, NamedTensor, Network};

/// Narrow networks of every preset.
fn networks() -> impl Iterator<Item = Network> {
    Architecture::PRESETS.into_iter().flat_map(|name| {
        let cases = [(1, PoolKind::Max), (2, PoolKind::Max), (4, PoolKind::Max), (2, PoolKind::Sum)];
        cases.map(|(seq_len, pool)| narrow(name, seq_len, pool))
    })
}

fn title(network: &Network) -> String {
    format!("{}-{}", network.architecture().name(), network.task().seq_len)
}

/// Explanations of all samples.
fn explain(network: &Network, method: Method, samples: &Arrays, what: &[Explained]) -> Vec<Explanation> {
    let indices: Vec<usize> = (0..samples.labels.len()).collect();
    let kernels = Kernels::default();
    let mut explainer = Explainer::new(&kernels, network, method, indices.len()).expect("fits");
    explainer.explain_values(&kernels, samples, &indices, what).expect("runs")
}

fn explained(target: Target, value: Value) -> Explained {
    Explained { target, value }
}

/// Every composite and gradient method.
fn methods() -> impl Iterator<Item = (&'static str, Method)> {
    Method::names()
        .map(|name| (name, Method::by_name(name, &Numbers::default()).expect("a name of the list")))
}

/// The same network without the mean over the classes in its last layer. No softplus bias is positive, so all logits
/// are lower by the constant `common`.
fn without_class_mean(network: &Network) -> (Network, f64) {
    let mut tensors = network.tensors();
    let name = format!("head.{}", network.architecture().head.len());
    let of = |tensor: &NamedTensor, part: &str| tensor.name == format!("{name}.{part}");
    let mut common = 0.0;
    for tensor in &mut tensors {
        let classes = network.task().classes;
        let rows = tensor.values.chunks_exact(classes);
        if of(tensor, "weight") {
            let means: Vec<f32> = rows.map(|row| row.iter().sum::<f32>() / classes as f32).collect();
            let values = tensor.values.chunks_exact_mut(classes).zip(means);
            values.for_each(|(row, mean)| row.iter_mut().for_each(|w| *w -= mean));
        } else if of(tensor, "bias") {
            let softplus: Vec<f64> = tensor.values.iter().map(|&b| f64::from(b).exp().ln_1p()).collect();
            let mean = softplus.iter().sum::<f64>() / classes as f64;
            common = mean + 1.0;
            for (b, s) in tensor.values.iter_mut().zip(softplus) {
                *b = (s - mean + common).exp_m1().ln() as f32;
            }
        }
    }
    let again = Network::from_tensors(network.architecture().clone(), *network.task(), &tensors);
    (again.expect("the same shapes"), common)
}

#[test]
fn the_centred_value_is_the_logit_of_the_network_without_its_class_mean() {
    for network in networks() {
        let samples = samples_for(&network, 5, 11);
        let (other, common) = without_class_mean(&network);
        for (name, method) in methods() {
            let centred =
                explain(&network, method, &samples, &[explained(Target::Class(1), Value::Centred)]).remove(0);
            let logit = explain(&other, method, &samples, &[Target::Class(1).into()]).remove(0);
            let size = samples.size;
            for i in 0..5 {
                let what = format!("{} {name} [{i}]", title(&network));
                let (f, h) = (f64::from(centred.explained[i]), f64::from(logit.explained[i]) + common);
                assert!((f - h).abs() <= 1e-4 * h.abs().max(1.0), "{what}: {f}, {h}");
                // Relevance is in proportion to f; gradients do not depend on it.
                let relevance = matches!(method, Method::Relevance(_));
                let factor = if relevance { f / f64::from(logit.explained[i]) } else { 1.0 };
                let (a, b) = (&centred.relevance[i * size..][..size], &logit.relevance[i * size..][..size]);
                let scale = a.iter().fold(1e-30f64, |most, &r| most.max(f64::from(r).abs()));
                for (&a, &b) in a.iter().zip(b) {
                    let error = (f64::from(a) - factor * f64::from(b)).abs() / scale;
                    // Rules with terms of both signs lose digits where their denominators are small.
                    let tolerance = if name.starts_with("epsilon") { 0.02 } else { 1e-3 };
                    assert!(error <= tolerance, "{what}: {a}, {b} times {factor}: {error:.1e}");
                }
            }
        }
    }
}

#[test]
fn differences_of_logits_explain_the_predicted_class_by_positive_relevance() {
    let what: Vec<Explained> = [Value::Centred, Value::RunnerUp, Value::Contrast, Value::Relu]
        .map(|value| explained(Target::Predicted, value))
        .to_vec();
    for network in networks().chain(Architecture::PRESETS.map(|name| thesis(name, 4))) {
        let samples = samples_for(&network, 6, 12);
        for name in ["deep-taylor", "w-square", "flat"] {
            let method = Method::by_name(name, &Numbers::default()).expect("a composite");
            for (one, Explained { value, .. }) in explain(&network, method, &samples, &what).iter().zip(&what)
            {
                let place = format!("{} {name} {value:?}", title(&network));
                assert!(one.explained.iter().all(|&f| f >= 0.0), "{place}: {:?}", one.explained);
                assert!(one.relevance.iter().all(|&r| r >= 0.0), "{place}");
                let negative = one.ledger.iter().flat_map(|of| &of.negative);
                assert!(negative.into_iter().all(|&r| r == 0.0), "{place}: {:?}", one.ledger);
            }
        }
    }
}

#[test]
fn values_of_one_call_are_those_of_their_own() {
    let values = Value::NAMES.map(|name| Value::by_name(name).expect("a name of the list"));
    for name in Architecture::PRESETS {
        let network = narrow(name, 4, PoolKind::Max);
        let samples = samples_for(&network, 4, 13);
        let rows = Value::Rows((0..4 * 5).map(|i| ((i * 7) % 9) as f32 * 0.25 - 1.0).collect());
        let mut what: Vec<Explained> =
            values.iter().map(|value| explained(Target::True, value.clone())).collect();
        what.extend([Explained { target: Target::RunnerUp, value: rows }, Target::All.into()]);
        for (method_name, method) in methods() {
            let together = explain(&network, method, &samples, &what);
            assert_eq!(together.len(), values.len() + 1 + 5, "one a class for all of them");
            let alone =
                what.iter().flat_map(|one| explain(&network, method, &samples, std::slice::from_ref(one)));
            for (together, alone) in together.iter().zip(alone) {
                assert_eq!(bits(&together.relevance), bits(&alone.relevance), "{name} {method_name}");
                assert_eq!(together.explained, alone.explained, "{name} {method_name}");
            }
        }
    }
}

#[test]
fn every_composite_conserves_relevance_by_its_ledger() {
    let what: Vec<Explained> = ["logit", "centred", "runner-up"]
        .map(|name| explained(Target::True, Value::by_name(name).expect("a value")))
        .to_vec();
    for network in networks() {
        let samples = samples_for(&network, 6, 14);
        for (name, method) in methods().filter(|(_, method)| matches!(method, Method::Relevance(_))) {
            for one in explain(&network, method, &samples, &what) {
                let steps = network.task().seq_len;
                assert_eq!(one.ledger.len(), network.layers().len());
                for (i, map) in one.relevance.chunks_exact(samples.size).enumerate() {
                    let sum: f64 = map.iter().map(|&r| f64::from(r)).sum();
                    let size: f64 = map.iter().map(|&r| f64::from(r).abs()).sum();
                    let of_layer = |of: &LayerLedger| of.absorbed[i * steps..][..steps].iter().sum::<f64>();
                    let absorbed: f64 = one.ledger.iter().map(of_layer).sum();
                    let (f, most) = (
                        f64::from(one.explained[i]),
                        one.ledger
                            .iter()
                            .map(|of| of.negative[i * steps..][..steps].iter().map(|r| -2.0 * r).sum::<f64>())
                            .fold(size, f64::max),
                    );
                    let error = (f - sum - absorbed).abs() / f.abs().max(most);
                    assert!(
                        error <= 1e-4,
                        "{} {name} [{i}]: f {f}, ΣR {sum}, absorbed {absorbed}: {error:.1e}",
                        title(&network)
                    );
                    assert!((one.absorbed[i] - absorbed).abs() <= 1e-9 * absorbed.abs().max(1e-30));
                }
            }
        }
    }
}

//! Golden values of an independent float64 implementation, on every backend.

use crate::support::{Golden, assert_close, backends, full, tiny, trainer};
use kernels::Kernels;
use model::explain::{Explainer, Method, Target};
use model::train::Optimiser;
use model::{Evaluator, Network, Task};

fn check_logits(golden: &Golden, kernels: &Kernels) {
    let Golden { name, network, samples, tensors, .. } = golden;
    let mut evaluator = Evaluator::new(network, samples.labels.len());
    let logits = evaluator.logits(kernels, network, samples, &golden.indices()).expect("runs");
    assert_close(&format!("{name} logits"), logits, &tensors["logits"], 1e-5);
    let found = evaluator.evaluate(kernels, network, samples, &golden.indices()).expect("runs");
    assert_close(&format!("{name} loss"), &[found.mean_loss() as f32], &tensors["loss"], 1e-5);
}

fn check_gradients(golden: &Golden, kernels: &Kernels) {
    let Golden { name, network, samples, tensors, .. } = golden;
    let batch = samples.labels.len();
    let mut trainer = trainer(network, Optimiser::Adam { lr: 1e-3 }, batch, 0);
    for round in 0..3 {
        trainer.gradient_without_dropout(kernels, samples, &golden.indices()).expect("runs");
        if round == 0 {
            for tensor in network.export(trainer.gradients()) {
                let want = &tensors[&format!("grad.{}", tensor.name)];
                assert_close(&format!("{name} grad.{}", tensor.name), &tensor.values, want, 1e-4);
            }
        }
        trainer.update(kernels).expect("runs");
    }
    for tensor in trainer.network().tensors() {
        if let Some(want) = tensors.get(&format!("adam3.{}", tensor.name)) {
            assert_close(&format!("{name} adam3.{}", tensor.name), &tensor.values, want, 1e-4);
        }
    }
}

fn check_relevance(golden: &Golden, kernels: &Kernels) {
    let Golden { name, network, samples, tensors, .. } = golden;
    let lrp = |alpha, beta| Method::lrp(alpha, beta);
    let cases = [
        ("deep_taylor", Method::DEEP_TAYLOR, Target::Predicted),
        ("deep_taylor", lrp(1.0, 0.0), Target::Predicted),
        ("deep_taylor_true_class", Method::DEEP_TAYLOR, Target::True),
        ("lrp_alpha2_beta1", lrp(2.0, 1.0), Target::Predicted),
        ("lrp_alpha3_beta2", lrp(3.0, 2.0), Target::Predicted),
        ("sensitivity", Method::Sensitivity, Target::Predicted),
        ("simple_taylor", Method::SimpleTaylor, Target::Predicted),
        ("guided_backprop", Method::GuidedBackprop, Target::Predicted),
    ];
    let explain = |network: &Network, samples, method, target| {
        let mut explainer = Explainer::new(kernels, network, method, golden.indices().len()).expect("fits");
        let found = explainer.explain(kernels, samples, &golden.indices(), target);
        found.expect("runs").remove(0).relevance
    };
    for (what, method, target) in cases {
        let found = explain(network, samples, method, target);
        assert_close(&format!("{name} {what}"), &found, &tensors[&format!("relevance.{what}")], 1e-4);
    }
    // The same parameters with pixels in 0…1.
    let task = Task { low: 0.0, high: 1.0, ..*network.task() };
    let unit = Network::from_tensors(network.architecture().clone(), task, &network.tensors()).expect("fits");
    let mut mapped = samples.clone();
    mapped.images.iter_mut().for_each(|x| *x = *x * 0.5 + 0.5);
    let found = explain(&unit, &mapped, Method::DEEP_TAYLOR, Target::Predicted);
    let what = "relevance.deep_taylor_unit_range";
    assert_close(&format!("{name} {what}"), &found, &tensors[what], 1e-4);
}

#[test]
fn narrow_cells_agree_on_every_backend() {
    for golden in tiny() {
        for kernels in backends() {
            check_logits(&golden, &kernels);
            check_gradients(&golden, &kernels);
            check_relevance(&golden, &kernels);
        }
    }
}

#[test]
fn thesis_cells_agree_on_every_backend() {
    for golden in full().unwrap_or_default() {
        for kernels in backends() {
            check_logits(&golden, &kernels);
            check_gradients(&golden, &kernels);
            check_relevance(&golden, &kernels);
        }
    }
}

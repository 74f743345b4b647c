//! Gradients against central differences of a network written out in f64, and the guarantees of training.

use crate::support::{
    Arrays, Reference, backends, bits, explain, gated_and_lateral, lively, narrow, samples_for, thesis,
    trainer as new_trainer, unpooled,
};
use kernels::pool::PoolKind;
use kernels::{Kernels, Threads};
use model::explain::{Method, Target};
use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer};
use model::{Architecture, Core, EncoderLayer, Evaluator, Network, Task};

/// The central difference at 0, `None` if two step sizes disagree, because a relu or a pool has a kink there.
fn slope(mut f: impl FnMut(f64) -> f64, scale: f64) -> Option<f64> {
    let mut central = |step: f64| (f(step) - f(-step)) / (2.0 * step);
    let (wide, close) = (central(1e-5), central(1e-6));
    ((wide - close).abs() <= 1e-5 * scale).then_some(close)
}

/// The number of checked points without a kink.
#[derive(Default)]
struct Usable {
    all: usize,
    smooth: usize,
}

impl Usable {
    fn check(&mut self, what: &str, found: f64, want: Option<f64>, scale: f64) {
        self.all += 1;
        if let Some(want) = want {
            self.smooth += 1;
            let error = (found - want).abs() / scale;
            assert!(error <= 1e-3, "{what}: {found}, {want} by differences: {error:.1e} of the largest");
        }
    }

    fn finish(&self, what: &str) {
        assert!(self.all > 0 && self.smooth * 10 >= self.all * 8, "{what}: {} of {}", self.smooth, self.all);
    }
}

/// Up to 12 indices below `len`, with a stride that is not a multiple of a layer's axis.
fn spread(len: usize) -> impl Iterator<Item = usize> {
    let count = len.min(12);
    (0..count).map(move |i| (i * len / count + i * 7) % len)
}

fn narrow_cells() -> impl Iterator<Item = (String, Network)> {
    let presets = Architecture::PRESETS.into_iter().flat_map(|name| {
        let pools = if name == "convdeep" { &[PoolKind::Max, PoolKind::Sum][..] } else { &[PoolKind::Max] };
        let cases = pools.iter().flat_map(|&pool| [1, 2, 4].map(|seq_len| (seq_len, pool)));
        cases.map(move |(t, pool)| (format!("{name}-{t} {pool:?}"), narrow(name, t, pool)))
    });
    let others = [1, 2].into_iter().flat_map(unpooled).chain([2, 4].into_iter().flat_map(gated_and_lateral));
    presets.chain(others.map(|network| (network.architecture().name(), network)))
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |max, v| max.max(v.abs()))
}

#[test]
fn logits_and_loss_are_those_of_the_network_in_f64() {
    let kernels = Kernels::default();
    for (what, network) in narrow_cells().chain(narrow_cells().map(with_zero_logit)) {
        let samples = samples_for(&network, 6, 1);
        let reference = Reference::new(&network);
        let mut evaluator = Evaluator::new(&network, 6);
        let indices = [0, 1, 2, 3, 4, 5];
        let found = evaluator.logits(&kernels, &network, &samples, &indices).expect("runs").to_vec();
        for (i, image) in samples.images.chunks_exact(samples.size).enumerate() {
            let want = reference.logits(&image.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
            let scale = largest(want.iter().copied());
            for (found, want) in found[i * 5..].iter().zip(want) {
                assert!((f64::from(*found) - want).abs() <= 1e-5 * scale, "{what}: {found}, {want}");
            }
        }
        let loss = evaluator.evaluate(&kernels, &network, &samples, &indices).expect("runs").mean_loss();
        assert!((loss - reference.loss(&samples)).abs() <= 1e-5, "{what}: {loss}");
    }
}

/// The same network with another softmax.
fn with_zero_logit((what, network): (String, Network)) -> (String, Network) {
    let task = Task { zero_logit: true, ..*network.task() };
    let again = Network::from_tensors(network.architecture().clone(), task, &network.tensors());
    (format!("{what}, zero logit"), again.expect("the same shapes"))
}

#[test]
fn gradients_of_parameters_are_central_differences() {
    for (what, network) in narrow_cells().chain(narrow_cells().map(with_zero_logit)) {
        let samples = samples_for(&network, 4, 2);
        let mut reference = Reference::new(&network);
        let mut usable = Usable::default();
        let mut trainer = new_trainer(&network, Optimiser::Adam { lr: 1e-3 }, 4, 0);
        trainer.gradient_without_dropout(&Kernels::default(), &samples, &[0, 1, 2, 3]).expect("runs");
        for tensor in network.export(trainer.gradients()) {
            let scale = largest(tensor.values.iter().map(|&d| f64::from(d)));
            assert!(scale > 0.0, "{what} {}: every gradient is 0", tensor.name);
            for i in spread(tensor.values.len()) {
                let mut nudged = |by: f64| {
                    let before = reference.tensors[&tensor.name][i];
                    reference.tensors.get_mut(&tensor.name).expect("its own")[i] = before + by;
                    let loss = reference.loss(&samples);
                    reference.tensors.get_mut(&tensor.name).expect("its own")[i] = before;
                    loss
                };
                let want = slope(&mut nudged, scale);
                usable.check(
                    &format!("{what} {}[{i}]", tensor.name),
                    f64::from(tensor.values[i]),
                    want,
                    scale,
                );
            }
        }
        usable.finish(&what);
    }
}

#[test]
fn gradients_of_pixels_are_central_differences() {
    for (what, network) in narrow_cells() {
        let samples = samples_for(&network, 3, 3);
        let reference = Reference::new(&network);
        let mut usable = Usable::default();
        for target in [Target::Predicted, Target::Class(1)] {
            let of = |method| {
                explain(&Kernels::default(), &network, method, (&samples, &[0, 1, 2]), target).remove(0)
            };
            let (square, taylor) = (of(Method::Sensitivity), of(Method::SimpleTaylor));
            for (n, image) in samples.images.chunks_exact(samples.size).enumerate() {
                let x: Vec<f64> = image.iter().map(|&x| f64::from(x)).collect();
                let part = n * samples.size..(n + 1) * samples.size;
                let squares: Vec<f64> =
                    square.relevance[part.clone()].iter().map(|&r| f64::from(r)).collect();
                let scale = largest(squares.iter().map(|r| r.sqrt()));
                assert!(scale > 0.0, "{what}: every gradient is 0");
                for i in (0..samples.size).step_by(3) {
                    let f = |by: f64| {
                        let mut x = x.clone();
                        x[i] += by;
                        reference.logits(&x)[square.target[n]]
                    };
                    let want = slope(f, scale);
                    let place = format!("{what} {target:?} [{n}, {i}]");
                    usable.check(&place, squares[i].sqrt(), want.map(f64::abs), scale);
                    let found = f64::from(taylor.relevance[part.start + i]);
                    usable.check(&place, found, want.map(|d| d * x[i]), scale);
                }
            }
        }
        usable.finish(&what);
    }
}

#[test]
fn step_norms_are_norms_of_the_gradient_by_the_pre_activations_of_the_core() {
    for (what, network) in narrow_cells() {
        let steps = network.task().seq_len;
        let samples = samples_for(&network, 6, 4);
        let mut trainer = new_trainer(&network, Optimiser::Adam { lr: 1e-3 }, 6, 0);
        trainer.gradient_without_dropout(&Kernels::default(), &samples, &[0, 1, 2, 3, 4, 5]).expect("runs");
        let norms = trainer.step_norms();
        assert_eq!(norms.len(), steps, "{what}");
        for (t, &norm) in norms.iter().enumerate() {
            assert!(norm.is_finite() && norm > 0.0, "{what} step {t}: {norm}");
            // The pre-activations of the core: those of an LSTM's three gates and of its candidate.
            let units = match network.architecture().core {
                Core::Rnn { combine, .. } => combine,
                Core::RLstm { cells } => 4 * cells,
            };
            let units = (0..6).flat_map(|n| (0..units).map(move |k| (n, k)));
            let slopes = units.map(|(n, k)| {
                let images = samples.images[n * samples.size..][..samples.size].to_vec();
                let one = Arrays { images, labels: vec![samples.labels[n]], size: samples.size };
                let mut reference = Reference::new(&network);
                let by = |by| {
                    reference.nudge = (t, k, by);
                    reference.loss(&one) / 6.0
                };
                slope(by, 1.0).expect("no kink within 1e-5")
            });
            let want = slopes.map(|d| d * d).sum::<f64>().sqrt();
            assert!((norm - want).abs() <= 1e-3 * want, "{what} step {t}: {norm}, {want} by differences");
        }
    }
}

const ADAM: Optimiser = Optimiser::Adam { lr: 2e-3 };
const SGD: Optimiser = Optimiser::Sgd { lr: 0.02, momentum: 0.9 };

/// Continues to `steps` steps over 12 samples, six at a time.
fn train(kernels: &Kernels, trainer: &mut Trainer, steps: u64) {
    let samples = samples_for(trainer.network(), 12, 5);
    while trainer.state().steps < steps {
        let from = trainer.state().steps as usize * 5;
        let batch: Vec<usize> = (from..from + 6).map(|i| i % 12).collect();
        trainer.step(kernels, &samples, &batch).expect("runs");
    }
}

fn trained(kernels: &Kernels, network: &Network, optimiser: Optimiser, seed: u64) -> Vec<u32> {
    let mut trainer = new_trainer(network, optimiser, 6, seed);
    train(kernels, &mut trainer, 5);
    bits(trainer.network().values())
}

#[test]
fn a_seed_decides_the_dropout_and_with_it_every_bit() {
    let kernels = Kernels::default();
    for name in Architecture::PRESETS {
        let network = narrow(name, 2, PoolKind::Max);
        let first = trained(&kernels, &network, ADAM, 1);
        assert!(first == trained(&kernels, &network, ADAM, 1), "{name}: the same seed");
        let other = trained(&kernels, &network, ADAM, 2);
        assert_eq!(first == other, network.architecture().encoder.is_empty(), "{name}: another seed");
    }
}

/// Checks the gradient of every tensor under dropout against central differences along it, of one of the given widths.
/// The losses are f32: a narrow step shows their rounding, a wide one meets kinks of relus and pools.
fn check_under_dropout(network: &Network, dropout: DropoutPolicy, widths: &[f64]) {
    let kernels = Kernels::default();
    let samples = samples_for(network, 12, 6);
    let indices: Vec<usize> = (0..12).collect();
    // A fresh trainer's first step draws the same masks each time.
    let first_step = |network: &Network| {
        let options = TrainOptions { optimiser: SGD, batch: 12, seed: 8, dropout };
        let mut trainer = Trainer::new(network.clone(), options).expect("a sound policy");
        let found = trainer.step(&kernels, &samples, &indices).expect("runs");
        (found.mean_loss(), network.export(trainer.gradients()))
    };
    let (_, gradients) = first_step(network);
    for (place, gradient) in gradients.iter().enumerate() {
        let norm = gradient.values.iter().map(|&d| f64::from(d).powi(2)).sum::<f64>().sqrt();
        let along = |by: f64| {
            let mut tensors = network.tensors();
            for (value, &d) in tensors[place].values.iter_mut().zip(&gradient.values) {
                *value += (by * f64::from(d) / norm) as f32;
            }
            let (cell, task) = (network.architecture().clone(), *network.task());
            first_step(&Network::from_tensors(cell, task, &tensors).expect("the same shapes")).0
        };
        let differences: Vec<f64> = widths.iter().map(|&by| (along(by) - along(-by)) / (2.0 * by)).collect();
        let what = format!("{} {} {dropout:?}", network.architecture().name(), gradient.name);
        let agrees = |want: &f64| (norm - want).abs() <= 0.01 * norm + 2e-4;
        assert!(differences.iter().any(agrees), "{what}: {norm}, {differences:?}");
    }
}

#[test]
fn gradients_under_dropout_are_those_of_the_remaining_network() {
    for (name, seq_len) in Architecture::PRESETS.into_iter().flat_map(|name| [(name, 1), (name, 4)]) {
        let network = narrow(name, seq_len, PoolKind::Max);
        let architecture = network.architecture();
        for dropout in [
            DropoutPolicy::draft(architecture),
            DropoutPolicy::draft_code(architecture),
            DropoutPolicy::finished(),
            DropoutPolicy { encoder: false, ..DropoutPolicy::draft_code(architecture) },
        ] {
            check_under_dropout(&network, dropout, &[5e-4]);
        }
    }
}

#[test]
fn gradients_under_every_policy_are_those_of_the_network_that_is_left() {
    let narrow = ["shallow", "deep"].map(|name| narrow(name, 4, PoolKind::Max));
    for network in gated_and_lateral(4).into_iter().chain(narrow) {
        for stationary in [false, true] {
            let dropout = DropoutPolicy { stationary, ..DropoutPolicy::finished() };
            check_under_dropout(&network, dropout, &[5e-4, 1e-4, 3e-5]);
        }
    }
}

#[test]
fn a_stationary_mask_drops_the_same_inputs_at_every_step() {
    let task = Task { rows: 7, cols: 8, seq_len: 4, classes: 5, ..Task::default() };
    for (core, name) in [
        (Core::Rnn { combine: 96, recurrent: 64 }, "combine.weight"),
        (Core::RLstm { cells: 17 }, "gates.weight"),
    ] {
        let encoder = vec![EncoderLayer::conv(3, 4)];
        let network = lively(Architecture { encoder, core, head: vec![] }, task);
        // All strips are the same, so that a unit of the encoder has one value at all steps.
        let image = (0..56).map(|i| ((i / 8 * 2 + i % 2) as f32 * 0.7).sin()).collect();
        let samples = Arrays { images: image, size: 56, labels: vec![2] };
        let live = |dropout: DropoutPolicy| -> Vec<bool> {
            let options = TrainOptions { optimiser: SGD, batch: 1, seed: 3, dropout };
            let mut trainer = Trainer::new(network.clone(), options).expect("a sound policy");
            trainer.step(&Kernels::default(), &samples, &[0]).expect("runs");
            let gradients = network.export(trainer.gradients());
            let weight = gradients.iter().find(|tensor| tensor.name == name).expect("the core's weights");
            let row = |row: &[f32]| row.iter().any(|&d| d != 0.0);
            weight.values.chunks_exact(weight.shape[1]).take(56).map(row).collect()
        };
        let whole = live(DropoutPolicy::NONE);
        let dropped = |stationary| {
            let policy = DropoutPolicy { rate: 0.5, combine: true, stationary, ..DropoutPolicy::NONE };
            let dropped = whole.iter().zip(live(policy)).filter(|(whole, live)| **whole && !live).count();
            dropped as f64 / whole.iter().filter(|live| **live).count() as f64
        };
        // Half of them; other masks at every step leave 1/16 that are dropped at all four.
        let (same, others) = (dropped(true), dropped(false));
        assert!((0.3..0.7).contains(&same) && others < 0.25, "{name}: {same}, {others}");
    }
}

#[test]
fn both_optimisers_lower_the_loss() {
    let kernels = Kernels::default();
    for name in Architecture::PRESETS {
        for optimiser in [ADAM, SGD] {
            let network = narrow(name, 2, PoolKind::Max);
            let samples = samples_for(&network, 12, 5);
            let all: Vec<usize> = (0..12).collect();
            let mut evaluator = Evaluator::new(&network, 12);
            let mut loss = |network: &Network| {
                evaluator.evaluate(&kernels, network, &samples, &all).expect("runs").mean_loss()
            };
            let mut trainer = new_trainer(&network, optimiser, 6, 3);
            train(&kernels, &mut trainer, 300);
            let (before, after) = (loss(&network), loss(trainer.network()));
            assert!(after < 0.8 * before, "{name} {optimiser:?}: {before} → {after}");
        }
    }
}

#[test]
fn a_restored_run_has_the_bits_of_an_uninterrupted_one() {
    let kernels = Kernels::default();
    for name in Architecture::PRESETS {
        for optimiser in [ADAM, SGD] {
            let network = narrow(name, 4, PoolKind::Max);
            let mut whole = new_trainer(&network, optimiser, 6, 9);
            train(&kernels, &mut whole, 3);
            let (state, values) = (whole.state().clone(), whole.network().values().to_vec());
            let mut other = narrow(name, 4, PoolKind::Max);
            other.set_values(&vec![0.5; values.len()]).expect("as many");
            other.set_values(&values).expect("as many");
            let mut resumed = new_trainer(&other, optimiser, 6, 9);
            resumed.restore(state).expect("its own state");
            train(&kernels, &mut whole, 7);
            train(&kernels, &mut resumed, 7);
            assert!(
                bits(whole.network().values()) == bits(resumed.network().values()),
                "{name} {optimiser:?}"
            );
            assert_eq!(whole.state(), resumed.state(), "{name} {optimiser:?}");
            let mut wrong = resumed.state().clone();
            wrong.m.pop();
            let error = resumed.restore(wrong).expect_err("a moment is missing").to_string();
            assert!(error.contains("`m`"), "{error}");
        }
    }
}

#[test]
fn training_has_the_same_bits_on_every_backend_and_any_number_of_threads() {
    for name in Architecture::PRESETS {
        // The widths of the thesis are split between threads, but they are slow on the scalar backend.
        for (network, slow) in [(narrow(name, 4, PoolKind::Max), true), (thesis(name, 4), false)] {
            let mut first: Option<Vec<u32>> = None;
            for backend in backends().iter().map(Kernels::backend).filter(|b| b.promises_bits()) {
                if backend.name() == "reference" && !slow {
                    continue;
                }
                for count in [1, 2, 3] {
                    let kernels = Kernels::new(backend, Threads::new(count).expect("threads"));
                    let found = trained(&kernels, &network, ADAM, 4);
                    let first = first.get_or_insert_with(|| found.clone());
                    assert!(first == &found, "{name}: {backend:?} on {count} threads");
                }
            }
        }
    }
}

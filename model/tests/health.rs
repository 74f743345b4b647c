//! Health checks: non-finite values are named, dead layers are counted.
#![allow(clippy::unwrap_used, missing_docs)]

use kernels::Kernels;
use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer};
use model::{Architecture, Core, Evaluator, ModelError, NamedTensor, Network, Samples, Task};

struct Ramp;

impl Samples for Ramp {
    fn len(&self) -> usize {
        6
    }
    fn pixels(&self, i: usize, x: &mut [f32]) {
        for (j, x) in x.iter_mut().enumerate() {
            *x = ((i * 7 + j * 3) % 11) as f32 / 11.0;
        }
    }
    fn label(&self, i: usize) -> u8 {
        (i % 3) as u8
    }
}

/// A convolutional network with positive weights, but for what `change` does to them.
fn network(change: impl Fn(&mut NamedTensor)) -> Network {
    let core = Core::Rnn { combine: 6, recurrent: 5 };
    let architecture = Architecture { core, ..Architecture::preset("convdeep").unwrap() };
    let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
    let mut tensors = Network::new(architecture.clone(), task, 1).unwrap().tensors();
    for tensor in &mut tensors {
        let value = if tensor.shape.len() > 1 { 0.05 } else { -6.0 };
        tensor.values.fill(value);
        change(tensor);
    }
    Network::from_tensors(architecture, task, &tensors).unwrap()
}

fn trainer(network: Network) -> Trainer {
    let dropout = DropoutPolicy::NONE;
    Trainer::new(
        network,
        TrainOptions { optimiser: Optimiser::Adam { lr: 1e-3 }, batch: 6, seed: 1, dropout },
    )
    .unwrap()
}

fn dead(network: &Network) -> usize {
    let mut evaluator = Evaluator::new(network, 6);
    evaluator.evaluate(&Kernels::default(), network, &Ramp, &[0, 1, 2, 3, 4, 5]).unwrap().dead
}

#[test]
fn a_dead_layer_is_counted_whichever_it_is() {
    assert_eq!(dead(&network(|_| {})), 0);
    for layer in ["encoder.0", "encoder.1", "combine", "recurrent", "head.0"] {
        let dead_layer = network(|tensor| {
            if tensor.name == format!("{layer}.bias") {
                tensor.values.fill(1e4);
            }
        });
        assert_eq!(dead(&dead_layer), 6, "{layer}");
    }
    let one_unit = network(|tensor| {
        if tensor.name == "combine.bias" {
            tensor.values[0] = 1e4;
        }
    });
    assert_eq!(dead(&one_unit), 0, "a dead unit is no dead layer");
}

#[test]
fn a_step_with_a_non_finite_value_names_the_layer_and_changes_nothing() {
    for (layer, place) in [
        ("encoder.1", "the output of encoder.1"),
        ("combine", "the output of combine at step 1"),
        ("recurrent", "the output of recurrent at step 1"),
        ("head.1", "the output of head.1"),
    ] {
        let network = network(|tensor| {
            if tensor.name == format!("{layer}.weight") {
                tensor.values.fill(f32::MAX);
            }
        });
        let before = network.values().to_vec();
        let mut trainer = trainer(network);
        let error = trainer.step(&Kernels::default(), &Ramp, &[0, 1, 2, 3, 4, 5]).unwrap_err();
        assert!(matches!(&error, ModelError::NotFinite { place: p } if p == place), "{layer}: {error}");
        assert_eq!(trainer.network().values(), before);
        assert_eq!(trainer.state().steps, 0);
    }
}

#[test]
fn a_non_finite_parameter_is_named() {
    let sound = network(|_| {});
    let mut values = sound.values().to_vec();
    let place = sound.layers()[3].bias.start;
    values[place] = f32::NAN;
    let mut broken = sound.clone();
    broken.set_values(&values).unwrap();
    let in_training = trainer(broken);
    let error = in_training.check_parameters().unwrap_err().to_string();
    assert!(error.contains("recurrent.bias"), "{error}");
    assert!(trainer(sound).check_parameters().is_ok());
}

#[test]
fn a_drop_probability_outside_its_range_is_refused() {
    for rate in [-0.1, 1.0, f32::NAN] {
        let dropout = DropoutPolicy { rate, ..DropoutPolicy::NONE };
        let options = TrainOptions { optimiser: Optimiser::Adam { lr: 1e-3 }, batch: 6, seed: 1, dropout };
        let error = Trainer::new(network(|_| {}), options).unwrap_err().to_string();
        assert!(error.contains("dropout") && error.contains("below 1"), "{error}");
    }
}

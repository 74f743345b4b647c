//! What can go wrong in a forward pass without an error: numbers that are none, and layers that say nothing.

use super::forward::Trace;
use crate::Network;
use crate::layer::Op;
use crate::params::Spec;
use crate::plan::Plan;

/// The first parameter that is not finite, in the order of the layers.
pub(crate) fn bad_parameter(specs: &[Spec], values: &[f32]) -> Option<String> {
    let bad = |part: &std::ops::Range<usize>| values[part.clone()].iter().any(|v| !v.is_finite());
    specs.iter().find_map(|spec| {
        let part = if bad(&spec.weight) { "weight" } else { "bias" };
        (bad(&spec.weight) || bad(&spec.bias)).then(|| format!("{}.{part}", spec.name))
    })
}

impl Trace {
    /// The place of the first number that is not finite: parameters, then outputs in the order of computing.
    pub fn bad_place(&self, network: &Network, n: usize) -> Option<String> {
        let plan = &network.plan;
        let (steps, images) = (plan.task.seq_len, n * plan.task.seq_len);
        let bad = |values: &[f32]| values.iter().any(|v| !v.is_finite());
        let output = |layer: &str| Some(format!("the output of {layer}"));
        if let Some(name) = bad_parameter(&plan.specs, &network.values) {
            return Some(format!("the parameter {name}"));
        }
        for (op, (plane, act)) in plan.encoder.iter().zip(plan.planes.iter().zip(&self.acts).skip(1)) {
            if let Op::Dense { spec } | Op::Conv { spec, .. } | Op::ConvMaxPool { spec, .. } = op
                && bad(&act[..images * plane.len()])
            {
                return output(&plan.specs[*spec].name);
            }
        }
        for t in 0..steps {
            let (c, r) = (n * plan.c, n * plan.r);
            if bad(&self.a4[t * c..][..c]) {
                return output(&format!("combine at step {}", t + 1));
            }
            if t + 1 < steps && bad(&self.r[(t + 1) * r..][..r]) {
                return output(&format!("recurrent at step {}", t + 1));
            }
        }
        let mut head = plan.head.iter().zip(&self.head);
        let layer = head.find(|(spec, out)| bad(&out[..n * plan.specs[**spec].n]));
        layer.and_then(|(spec, _)| output(&plan.specs[*spec].name))
    }

    /// Samples that leave a whole hidden layer at zero in all its steps; layer 4 counts by the last, which alone
    /// the head sees. What such a layer was to tell is lost.
    pub fn dead(&self, plan: &Plan, n: usize) -> usize {
        let steps = plan.task.seq_len;
        let silent = |values: &[f32], width: usize, from: usize, i: usize| {
            (from..steps).all(|t| values[(t * n + i) * width..][..width].iter().all(|&a| a == 0.0))
        };
        let hidden = plan.head.len().saturating_sub(1);
        let is_dead = |i: &usize| {
            let mut encoder = plan.planes.iter().zip(&self.acts).skip(1);
            encoder.any(|(plane, act)| silent(act, plane.len(), 0, *i))
                || silent(&self.a4, plan.c, steps - 1, *i)
                || (plan.r > 0 && silent(&self.r, plan.r, 1, *i))
                || plan.head.iter().zip(&self.head).take(hidden).any(|(&spec, out)| {
                    let width = plan.specs[spec].n;
                    out[i * width..][..width].iter().all(|&a| a == 0.0)
                })
        };
        (0..n).filter(is_dead).count()
    }
}

#[cfg(test)]
mod tests {
    use crate::train::{Optimiser, Trainer};
    use crate::{Cell, Evaluator, ModelError, NamedTensor, Network, Samples, Task};
    use kernels::Kernels;

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
        let cell = Cell { combine: 6, recurrent: 5, dropout: 0.0, ..Cell::preset("convdeep").unwrap() };
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        let mut tensors = Network::new(cell.clone(), task, 1).unwrap().tensors();
        for tensor in &mut tensors {
            let value = if tensor.shape.len() > 1 { 0.05 } else { -6.0 };
            tensor.values.fill(value);
            change(tensor);
        }
        Network::from_tensors(cell, task, &tensors).unwrap()
    }

    fn dead(network: &Network) -> usize {
        let mut evaluator = Evaluator::new(network, 6);
        evaluator.evaluate(&Kernels::default(), network, &Ramp, &[0, 1, 2, 3, 4, 5]).unwrap().dead
    }

    #[test]
    fn a_layer_that_is_silent_is_counted_whichever_it_is() {
        assert_eq!(dead(&network(|_| {})), 0);
        for layer in ["encoder.0", "encoder.1", "combine", "recurrent", "head.0"] {
            let silenced = network(|tensor| {
                if tensor.name == format!("{layer}.bias") {
                    tensor.values.fill(1e4);
                }
            });
            assert_eq!(dead(&silenced), 6, "{layer}");
        }
        let one_unit = network(|tensor| {
            if tensor.name == "combine.bias" {
                tensor.values[0] = 1e4;
            }
        });
        assert_eq!(dead(&one_unit), 0, "a unit is no layer");
    }

    #[test]
    fn a_step_that_leaves_the_numbers_names_the_layer_and_changes_nothing() {
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
            let mut trainer = Trainer::new(network, Optimiser::Adam { lr: 1e-3 }, 6, 1);
            let error = trainer.step(&Kernels::default(), &Ramp, &[0, 1, 2, 3, 4, 5]).unwrap_err();
            assert!(matches!(&error, ModelError::NotFinite { place: p } if p == place), "{layer}: {error}");
            assert_eq!(trainer.network().values(), before);
            assert_eq!(trainer.state().steps, 0);
        }
    }

    #[test]
    fn a_parameter_that_is_no_number_is_named() {
        let sound = network(|_| {});
        let mut values = sound.values().to_vec();
        let place = sound.layers()[3].bias.start;
        values[place] = f32::NAN;
        let mut broken = sound.clone();
        broken.set_values(&values).unwrap();
        let trainer = Trainer::new(broken, Optimiser::Adam { lr: 1e-3 }, 6, 1);
        let error = trainer.check_parameters().unwrap_err().to_string();
        assert!(error.contains("recurrent.bias"), "{error}");
        assert!(Trainer::new(sound, Optimiser::Adam { lr: 1e-3 }, 6, 1).check_parameters().is_ok());
    }
}

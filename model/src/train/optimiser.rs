//! How parameters follow the gradient.

use crate::error::ModelError;
use kernels::Kernels;
use kernels::elementwise::optimiser::{AdamStep, adam, sgd};

/// How the parameters follow the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// Adam with β₁ 0.9, β₂ 0.999, ε 1e-8.
    Adam {
        /// Learning rate.
        lr: f32,
    },
    /// SGD with momentum.
    Sgd {
        /// Learning rate.
        lr: f32,
        /// Share of the last step that is kept.
        momentum: f32,
    },
}

/// What has to be kept beside the parameters so that training goes on as if never stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Steps taken.
    pub steps: u64,
    /// First moments, or momentum, in the parameters' layout.
    pub m: Vec<f32>,
    /// Second moments; empty for SGD.
    pub v: Vec<f32>,
}

impl State {
    /// The state before the first step, for so many floats of parameters.
    pub(crate) fn new(optimiser: Optimiser, len: usize) -> State {
        let second = if matches!(optimiser, Optimiser::Adam { .. }) { len } else { 0 };
        State { steps: 0, m: vec![0.0; len], v: vec![0.0; second] }
    }

    /// Whether another state belongs to the same parameters and optimiser.
    pub(crate) fn check(&self, other: &State) -> Result<(), ModelError> {
        for (name, found, expected) in
            [("m", other.m.len(), self.m.len()), ("v", other.v.len(), self.v.len())]
        {
            if found != expected {
                let (found, expected) = (vec![found], vec![expected]);
                return Err(ModelError::TensorShape { name: name.to_owned(), found, expected });
            }
        }
        Ok(())
    }
}

impl Optimiser {
    /// Takes one step.
    pub(crate) fn update(
        self,
        kernels: &Kernels,
        state: &mut State,
        gradients: &[f32],
        values: &mut [f32],
    ) -> Result<(), ModelError> {
        state.steps += 1;
        let State { steps, m, v } = state;
        match self {
            Optimiser::Adam { lr } => adam(kernels, AdamStep::new(lr, *steps), gradients, m, v, values)?,
            Optimiser::Sgd { lr, momentum } => sgd(kernels, lr, momentum, gradients, m, values)?,
        }
        Ok(())
    }
}

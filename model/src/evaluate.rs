//! Logits, loss and accuracy of any number of samples, through bounded memory.

use crate::error::ModelError;
use crate::network::Network;
use crate::pass::{Pass, plain};
use crate::samples::Samples;
use crate::stage::layer::Purpose;
use crate::train::{Evaluation, Loss};
use kernels::Kernels;

/// Buffers for evaluating up to `capacity` samples at once, for a network that may change its parameters meanwhile.
#[derive(Debug)]
pub struct Evaluator {
    pass: Pass,
    loss: Loss,
    gradient: Vec<f32>,
}

impl Evaluator {
    /// Buffers for a network of this shape.
    pub fn new(network: &Network, capacity: usize) -> Evaluator {
        Evaluator {
            pass: Pass::new(&Kernels::default(), network, capacity, Purpose::Infer),
            loss: Loss::new(network.task(), capacity),
            gradient: vec![0.0; capacity * network.task().classes],
        }
    }

    /// The most samples at once.
    pub fn capacity(&self) -> usize {
        self.pass.capacity()
    }

    /// Logits `[N, C]` of the samples.
    ///
    /// # Errors
    /// [`ModelError::Batch`] if there are more than the capacity.
    pub fn logits(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        samples: &dyn Samples,
        indices: &[usize],
    ) -> Result<&[f32], ModelError> {
        self.pass.load(samples, indices)?;
        self.pass.forward(&plain(kernels, network), indices.len())?;
        Ok(self.pass.logits(indices.len()))
    }

    /// Logits `[N, C]` of the samples last evaluated.
    pub fn last_logits(&self) -> &[f32] {
        self.pass.logits(self.loss.samples())
    }

    /// Loss and accuracy of the samples; [`Evaluator::last_logits`] has what they come from.
    ///
    /// # Errors
    /// [`ModelError::Batch`] if there are more than the capacity, a shape error if a label is no
    /// class.
    pub fn evaluate(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        samples: &dyn Samples,
        indices: &[usize],
    ) -> Result<Evaluation, ModelError> {
        self.logits(kernels, network, samples, indices)?;
        self.loss.load(samples, indices);
        let n = indices.len();
        let found = self.loss.evaluate(kernels, self.pass.logits(n), &mut self.gradient)?;
        Ok(Evaluation { dead: self.pass.dead(n), ..found })
    }
}

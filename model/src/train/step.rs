//! One step of training: forward with dropout, backward, update.

use super::loss::{Evaluation, Loss};
use super::optimiser::{Optimiser, State};
use crate::dropout::DropoutPolicy;
use crate::error::ModelError;
use crate::network::Network;
use crate::pass::Pass;
use crate::samples::Samples;
use crate::stage::layer::{Context, Purpose};
use crate::stage::masks::Masks;
use kernels::{Buffer, Kernels};

/// Options of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOptions {
    /// The optimiser.
    pub optimiser: Optimiser,
    /// Maximum number of samples of a step.
    pub batch: usize,
    /// Seed of the dropout masks.
    pub seed: u64,
    /// The dropout policy.
    pub dropout: DropoutPolicy,
}

/// A network in training, with all buffers of a step.
///
/// ```
/// # use model::{Architecture, Network, Samples, Task};
/// # use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer};
/// # struct Blank;
/// # impl Samples for Blank {
/// #     fn len(&self) -> usize { 4 }
/// #     fn pixels(&self, i: usize, x: &mut [f32]) { x.fill(i as f32 * 0.2) }
/// #     fn label(&self, i: usize) -> u8 { (i % 2) as u8 }
/// # }
/// # let samples = Blank;
/// let kernels = kernels::Kernels::default();
/// let task = Task { rows: 4, cols: 4, seq_len: 2, classes: 2, ..Task::default() };
/// let network = Network::new(Architecture::preset("shallow")?, task, 1)?;
/// let dropout = DropoutPolicy::draft(network.architecture());
/// let options = TrainOptions { optimiser: Optimiser::Adam { lr: 1e-3 }, batch: 4, seed: 1, dropout };
/// let mut trainer = Trainer::new(network, options)?;
/// let first = trainer.step(&kernels, &samples, &[0, 1, 2, 3])?;
/// for _ in 0..20 {
///     trainer.step(&kernels, &samples, &[0, 1, 2, 3])?;
/// }
/// assert!(trainer.step(&kernels, &samples, &[0, 1, 2, 3])?.loss < first.loss);
/// # Ok::<(), model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    options: TrainOptions,
    state: State,
    gradients: Buffer,
    pass: Pass,
    loss: Loss,
    norms: Vec<f64>,
}

impl Trainer {
    /// A trainer of this network.
    ///
    /// # Errors
    /// [`ModelError::Range`] if the drop probability is not at least 0 and below 1.
    pub fn new(network: Network, options: TrainOptions) -> Result<Trainer, ModelError> {
        let TrainOptions { optimiser, batch, dropout, .. } = options;
        dropout.check()?;
        let len = network.values().len();
        Ok(Trainer {
            options,
            state: State::new(optimiser, len),
            gradients: Buffer::zeroed(len),
            pass: Pass::new(&Kernels::default(), &network, batch, Purpose::Train),
            loss: Loss::new(network.task(), batch),
            norms: vec![0.0; network.task().seq_len],
            network,
        })
    }

    /// The network in its present state.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The state that has to be saved with the network's parameters.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`ModelError::TensorShape`] if the moments are those of another network or optimiser.
    pub fn restore(&mut self, state: State) -> Result<(), ModelError> {
        self.state.check(&state)?;
        self.state = state;
        Ok(())
    }

    /// Gradients of the last step, in the parameters' layout; [`Network::export`] names them.
    pub fn gradients(&self) -> &[f32] {
        &self.gradients
    }

    /// For the last training step, the norm of the gradient of the loss with respect to the core's
    /// pre-activation at each step of the sequence.
    pub fn step_norms(&self) -> &[f64] {
        &self.norms
    }

    /// One step: forward with dropout, backward, update. Loss and accuracy are those before the
    /// update, under dropout.
    ///
    /// # Errors
    /// [`ModelError`] if the batch is larger than the buffers, a label is not a class, or loss or gradient
    /// are not finite: then nothing is updated.
    pub fn step(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
    ) -> Result<Evaluation, ModelError> {
        let seed = self.options.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ self.state.steps;
        let masks = Masks { policy: self.options.dropout, seed };
        let found = self.gradient(kernels, samples, indices, masks)?;
        if !found.loss.is_finite() || self.norms.iter().any(|norm| !norm.is_finite()) {
            return Err(ModelError::NotFinite { place: self.first_non_finite(indices.len()) });
        }
        self.update(kernels)?;
        Ok(found)
    }

    /// The place of the first non-finite value: parameters, then outputs in the order of computation.
    fn first_non_finite(&self, n: usize) -> String {
        let parameter = self.network.parameters().non_finite().map(|name| format!("the parameter {name}"));
        let output = || self.pass.non_finite(n).map(|name| format!("the output of {name}"));
        parameter.or_else(output).unwrap_or_else(|| "the gradient".to_owned())
    }

    /// Checks that every parameter is finite: a relu can hide a non-finite one from the loss.
    ///
    /// # Errors
    /// [`ModelError::NotFinite`] with the parameter's name.
    pub fn check_parameters(&self) -> Result<(), ModelError> {
        match self.network.parameters().non_finite() {
            Some(name) => Err(ModelError::NotFinite { place: format!("the parameter {name}") }),
            None => Ok(()),
        }
    }

    /// Loss and gradients without dropout and without an update, for comparison with finite differences and
    /// golden values.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn gradient_without_dropout(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
    ) -> Result<Evaluation, ModelError> {
        self.gradient(kernels, samples, indices, Masks::NONE)
    }

    fn gradient(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
        masks: Masks,
    ) -> Result<Evaluation, ModelError> {
        let n = indices.len();
        let Trainer { network, pass, loss, gradients, norms, .. } = self;
        pass.load(samples, indices)?;
        loss.load(samples, indices);
        let context = Context { kernels, parameters: network.parameters(), masks, guided: false };
        pass.forward(&context, n)?;
        let (logits, d_logits) = pass.logits_and_back(n);
        let found = loss.evaluate(kernels, logits, d_logits)?;
        pass.backward(&context, n, Some(gradients))?;
        pass.step_norms(kernels, n, norms);
        Ok(found)
    }

    /// Applies the gradients in the buffer.
    ///
    /// # Errors
    /// Only errors of kernels.
    pub fn update(&mut self, kernels: &Kernels) -> Result<(), ModelError> {
        let parameters = self.network.parameters_mut();
        self.options.optimiser.update(kernels, &mut self.state, &self.gradients, parameters.values_mut())?;
        parameters.refresh(kernels)?;
        self.pass.repack(kernels, &self.network);
        Ok(())
    }
}

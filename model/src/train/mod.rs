//! Training (Table 4.2): cross-entropy, back-propagation through all steps, Adam or SGD.

use crate::init::{generator, uniform};
use crate::walk::backward::{Back, Way};
use crate::walk::evaluate::{Evaluation, summary};
use crate::walk::forward::{Mode, Trace};
use crate::walk::health::bad_parameter;
use crate::{ModelError, Network, Samples};
use kernels::elementwise::optimiser::{AdamStep, adam, sgd};
use kernels::elementwise::softmax::cross_entropy;
use kernels::{Buffer, Dropout, Kernels, MatMut, MatRef};

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

/// A network in training, with every buffer a step needs.
///
/// ```
/// # use model::{Cell, Network, Samples, Task, train::{Optimiser, Trainer}};
/// # struct Blank;
/// # impl Samples for Blank {
/// #     fn len(&self) -> usize { 4 }
/// #     fn pixels(&self, i: usize, x: &mut [f32]) { x.fill(i as f32 * 0.2) }
/// #     fn label(&self, i: usize) -> u8 { (i % 2) as u8 }
/// # }
/// # let samples = Blank;
/// let kernels = kernels::Kernels::default();
/// let task = Task { rows: 4, cols: 4, seq_len: 2, classes: 2, ..Task::default() };
/// let network = Network::new(Cell::preset("shallow")?, task, 1)?;
/// let mut trainer = Trainer::new(network, Optimiser::Adam { lr: 1e-3 }, 4, 1);
/// let first = trainer.step(&kernels, &samples, &[0, 1, 2, 3])?;
/// for _ in 0..20 {
///     trainer.step(&kernels, &samples, &[0, 1, 2, 3])?;
/// }
/// assert!(trainer.step(&kernels, &samples, &[0, 1, 2, 3])?.loss < first.loss);
/// # Ok::<(), model::ModelError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Trainer {
    network: Network,
    optimiser: Optimiser,
    seed: u64,
    state: State,
    gradients: Buffer,
    trace: Trace,
    back: Back,
    labels: Vec<u8>,
    losses: Vec<f32>,
    norms: Vec<f64>,
}

impl Trainer {
    /// Takes a network into training with batches of up to `batch` samples.
    pub fn new(network: Network, optimiser: Optimiser, batch: usize, seed: u64) -> Trainer {
        let plan = &network.plan;
        let len = network.values.len();
        let second = if matches!(optimiser, Optimiser::Adam { .. }) { len } else { 0 };
        let mut back = Back::new(plan, batch, false);
        back.refresh(&Kernels::default(), &network);
        Trainer {
            optimiser,
            seed,
            state: State { steps: 0, m: vec![0.0; len], v: vec![0.0; second] },
            gradients: Buffer::zeroed(len),
            trace: Trace::new(plan, batch, false),
            back,
            labels: Vec::with_capacity(batch),
            losses: vec![0.0; batch],
            norms: vec![0.0; plan.task.seq_len],
            network,
        }
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What has to be kept beside the network's parameters.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Goes on from a kept state.
    ///
    /// # Errors
    /// [`ModelError::TensorShape`] if the moments are those of another network or optimiser.
    pub fn restore(&mut self, state: State) -> Result<(), ModelError> {
        for (name, found, expected) in
            [("m", state.m.len(), self.state.m.len()), ("v", state.v.len(), self.state.v.len())]
        {
            if found != expected {
                let (found, expected) = (vec![found], vec![expected]);
                return Err(ModelError::TensorShape { name: name.to_owned(), found, expected });
            }
        }
        self.state = state;
        Ok(())
    }

    /// Gradients of the last step, in the parameters' layout; [`Network::export`] names them.
    pub fn gradients(&self) -> &[f32] {
        &self.gradients
    }

    /// Of the last step, the norm of the loss's gradient by layer 4 at each step of the sequence.
    pub fn step_norms(&self) -> &[f64] {
        &self.norms
    }

    /// One step: forward with dropout, backward, update. Loss and accuracy are those before the
    /// update, under dropout.
    ///
    /// # Errors
    /// [`ModelError`] if the batch is larger than the buffers, a label is no class, or loss or gradient
    /// are not finite: then nothing is updated.
    pub fn step(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
    ) -> Result<Evaluation, ModelError> {
        let seed = self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ self.state.steps;
        let found = self.gradient(kernels, samples, indices, Mode::Train { seed })?;
        if !found.loss.is_finite() || self.norms.iter().any(|norm| !norm.is_finite()) {
            let place = self.trace.bad_place(&self.network, indices.len());
            let place = place.unwrap_or_else(|| "the gradient".to_owned());
            return Err(ModelError::NotFinite { place });
        }
        self.update(kernels)?;
        Ok(found)
    }

    /// Whether every parameter is still a finite number: a relu hides one that is not from the loss.
    ///
    /// # Errors
    /// [`ModelError::NotFinite`] with the parameter's name.
    pub fn check_parameters(&self) -> Result<(), ModelError> {
        let Network { plan, values, .. } = &self.network;
        match bad_parameter(&plan.specs, values) {
            Some(name) => Err(ModelError::NotFinite { place: format!("the parameter {name}") }),
            None => Ok(()),
        }
    }

    /// Loss and gradients without dropout and without an update: what finite differences and golden
    /// values are compared with.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn gradient_without_dropout(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
    ) -> Result<Evaluation, ModelError> {
        self.gradient(kernels, samples, indices, Mode::Infer)
    }

    fn gradient(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
        mode: Mode,
    ) -> Result<Evaluation, ModelError> {
        let plan = &self.network.plan;
        let (n, classes) = (indices.len(), plan.task.classes);
        self.trace.load(plan, samples, indices)?;
        self.labels.clear();
        self.labels.extend(indices.iter().map(|&i| samples.label(i)));
        self.trace.forward(kernels, &self.network, n, mode)?;
        let logits = self.trace.logits(plan, n);
        let losses = &mut self.losses[..n];
        if let Some(d_logits) = self.back.d_head.last_mut() {
            let out = MatMut::new(d_logits, n, classes);
            cross_entropy(kernels, MatRef::new(logits, n, classes), &self.labels, out, losses)?;
        }
        let scale = match mode {
            Mode::Train { .. } => Dropout::new(plan.cell.dropout, 0).scale(),
            _ => 1.0,
        };
        let way = Way { scale, guided: false };
        let gradients = Some(&mut self.gradients[..]);
        self.back.backward(kernels, &self.network, &self.trace, n, way, gradients)?;
        self.back.step_norms(kernels, plan, n, &mut self.norms);
        Ok(summary(logits, classes, &self.labels, losses))
    }

    /// Applies the gradients that stand in the buffer.
    ///
    /// # Errors
    /// None of this crate's own making.
    pub fn update(&mut self, kernels: &Kernels) -> Result<(), ModelError> {
        self.state.steps += 1;
        let State { steps, m, v } = &mut self.state;
        let values = &mut self.network.values;
        match self.optimiser {
            Optimiser::Adam { lr } => {
                adam(kernels, AdamStep::new(lr, *steps), &self.gradients, m, v, values)?;
            }
            Optimiser::Sgd { lr, momentum } => {
                sgd(kernels, lr, momentum, &self.gradients, m, values)?;
            }
        }
        self.network.refresh(kernels)?;
        self.back.refresh(kernels, &self.network);
        Ok(())
    }
}

/// The order of an epoch: the numbers `0..n` shuffled by seed and epoch alone, so that a resumed run
/// needs no generator state.
pub fn shuffled(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut rng = generator(seed, 2, epoch);
    for i in (1..n).rev() {
        order.swap(i, (uniform(&mut rng) * (i + 1) as f64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_that_never_changes() {
        let order = shuffled(10, 1, 0);
        assert_eq!(order, [5, 2, 3, 0, 6, 9, 7, 8, 1, 4]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..10));
        assert_ne!(shuffled(10, 1, 1), order);
        assert_ne!(shuffled(10, 2, 0), order);
    }
}

//! Logits, loss and accuracy of any number of samples, through bounded memory.

use super::forward::{Mode, Trace};
use crate::{ModelError, Network, Samples};
use kernels::elementwise::softmax::cross_entropy;
use kernels::{Kernels, MatMut, MatRef};

/// What a network makes of labelled samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Samples seen.
    pub samples: usize,
    /// Samples whose largest logit is their label's.
    pub correct: usize,
    /// Sum of the cross-entropies, nats.
    pub loss: f64,
    /// Samples that leave a whole hidden layer at zero.
    pub dead: usize,
}

impl Evaluation {
    /// Share of correct samples.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples.max(1) as f64
    }

    /// Mean cross-entropy, nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }

    /// Adds another part of the samples.
    pub fn add(&mut self, other: Evaluation) {
        self.samples += other.samples;
        self.correct += other.correct;
        self.loss += other.loss;
        self.dead += other.dead;
    }
}

/// Index of the largest logit, the first of equals.
pub(crate) fn arg_max(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, &h) in logits.iter().enumerate() {
        if h > logits[best] {
            best = i;
        }
    }
    best
}

/// Buffers for evaluating up to `capacity` samples at once.
#[derive(Clone, Debug)]
pub struct Evaluator {
    trace: Trace,
    labels: Vec<u8>,
    gradient: Vec<f32>,
    losses: Vec<f32>,
}

impl Evaluator {
    /// Buffers for a network of this shape.
    pub fn new(network: &Network, capacity: usize) -> Evaluator {
        Evaluator {
            trace: Trace::new(&network.plan, capacity, false),
            labels: Vec::with_capacity(capacity),
            gradient: vec![0.0; capacity * network.task().classes],
            losses: vec![0.0; capacity],
        }
    }

    /// The most samples at once.
    pub fn capacity(&self) -> usize {
        self.trace.capacity
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
        self.trace.load(&network.plan, samples, indices)?;
        self.trace.forward(kernels, network, indices.len(), Mode::Infer)?;
        Ok(self.trace.logits(&network.plan, indices.len()))
    }

    /// Logits `[N, C]` of the samples last evaluated.
    pub fn last_logits(&self, network: &Network) -> &[f32] {
        self.trace.logits(&network.plan, self.labels.len())
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
        self.labels.clear();
        self.labels.extend(indices.iter().map(|&i| samples.label(i)));
        let (n, classes) = (indices.len(), network.task().classes);
        let logits = self.trace.logits(&network.plan, n);
        let gradient = MatMut::new(&mut self.gradient, n, classes);
        let losses = &mut self.losses[..n];
        cross_entropy(kernels, MatRef::new(logits, n, classes), &self.labels, gradient, losses)?;
        let dead = self.trace.dead(&network.plan, n);
        Ok(Evaluation { dead, ..summary(logits, classes, &self.labels, losses) })
    }
}

pub(crate) fn summary(logits: &[f32], classes: usize, labels: &[u8], losses: &[f32]) -> Evaluation {
    let rows = logits.chunks_exact(classes).zip(labels);
    Evaluation {
        samples: labels.len(),
        correct: rows.filter(|&(h, &label)| arg_max(h) == usize::from(label)).count(),
        loss: losses.iter().map(|&loss| f64::from(loss)).sum(),
        dead: 0,
    }
}

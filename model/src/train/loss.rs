//! Softmax cross-entropy of a batch, and what it says of the samples.

use crate::error::ModelError;
use crate::pass::arg_max;
use crate::samples::Samples;
use crate::task::Task;
use kernels::elementwise::softmax::{CrossEntropy, cross_entropy};
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
    /// Samples for which a whole hidden layer is 0.
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

/// Labels and losses of a batch, in buffers that are made once.
#[derive(Debug)]
pub(crate) struct Loss {
    /// Whether the softmax sees a zero logit.
    zero_logit: bool,
    labels: Vec<u8>,
    losses: Vec<f32>,
}

impl Loss {
    /// The loss of a task, with room for up to `capacity` samples.
    pub fn new(task: &Task, capacity: usize) -> Loss {
        Loss {
            zero_logit: task.zero_logit,
            labels: Vec::with_capacity(capacity),
            losses: vec![0.0; capacity],
        }
    }

    /// Takes the labels of the given samples.
    pub fn load(&mut self, samples: &dyn Samples, indices: &[usize]) {
        self.labels.clear();
        self.labels.extend(indices.iter().map(|&i| samples.label(i)));
    }

    /// Samples of the batch.
    pub fn samples(&self) -> usize {
        self.labels.len()
    }

    /// The loss of the samples, and its gradient by the logits `[N, C]`: that of the mean over the batch.
    pub fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        d_logits: &mut [f32],
    ) -> Result<Evaluation, ModelError> {
        let n = self.samples();
        let classes = logits.len() / n.max(1);
        let losses = &mut self.losses[..n];
        let operands = CrossEntropy {
            logits: MatRef::new(logits, n, classes),
            labels: &self.labels,
            zero_logit: self.zero_logit,
            gradient: MatMut::new(d_logits, n, classes),
            losses,
        };
        cross_entropy(kernels, operands)?;
        let rows = logits.chunks_exact(classes.max(1)).zip(&self.labels);
        Ok(Evaluation {
            samples: n,
            correct: rows.filter(|&(h, &label)| arg_max(h) == usize::from(label)).count(),
            loss: self.losses[..n].iter().map(|&loss| f64::from(loss)).sum(),
            dead: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_is_the_mean_over_its_parts() {
        let mut all = Evaluation { samples: 3, correct: 2, loss: 1.5, dead: 1 };
        all.add(Evaluation { samples: 5, correct: 4, loss: 0.5, dead: 0 });
        assert_eq!(all, Evaluation { samples: 8, correct: 6, loss: 2.0, dead: 1 });
        assert_eq!((all.accuracy(), all.mean_loss()), (0.75, 0.25));
        assert_eq!((Evaluation::default().accuracy(), Evaluation::default().mean_loss()), (0.0, 0.0));
    }
}

//! One epoch of training: every sample once, in the order of seed and epoch.

use anyhow::Result;
use kernels::Kernels;
use model::train::{Trainer, shuffled};
use model::{Evaluation, Evaluator, ModelError, Network, Samples};

/// Samples evaluated at once.
pub const CHUNK: usize = 250;

/// What an epoch trains on, and in which order.
#[derive(Clone, Copy)]
pub struct Epoch<'a> {
    /// The samples, of which the first `count` are trained on.
    pub samples: &'a dyn Samples,
    /// Samples trained on.
    pub count: usize,
    /// Samples of a step; the last step may have fewer.
    pub batch: usize,
    /// Seed of the order.
    pub seed: u64,
    /// Number of the epoch, from 0.
    pub index: u64,
}

/// A step that failed; nothing was updated by it.
#[derive(Debug, thiserror::Error)]
#[error("epoch {}, step {step}: {error}", index + 1)]
pub struct StepError {
    /// Number of the epoch, from 0.
    pub index: u64,
    /// Number of the step, from 1.
    pub step: usize,
    /// What is wrong.
    pub error: ModelError,
}

impl Epoch<'_> {
    /// Steps of the epoch.
    pub fn steps(&self) -> usize {
        self.count.div_ceil(self.batch)
    }

    /// Trains the epoch; `before` is called before each step and can end it. Gives what the steps saw, before their updates and
    /// under dropout, and the mean norm of the gradient at each step of the sequence.
    ///
    /// # Errors
    /// [`StepError`] if loss, gradient or, at the end, a parameter is not finite or a label is no class; or an error of
    /// `before`.
    pub fn train(
        &self,
        kernels: &Kernels,
        trainer: &mut Trainer,
        mut before: impl FnMut() -> Result<()>,
    ) -> Result<(Evaluation, Vec<f64>)> {
        let (index, steps) = (self.index, self.steps());
        let failed = |step: usize| move |error| StepError { index, step, error };
        let mut seen = Evaluation::default();
        let mut norms = vec![0.0; trainer.network().task().seq_len];
        for (step, batch) in shuffled(self.count, self.seed, index).chunks(self.batch).enumerate() {
            before()?;
            seen.add(trainer.step(kernels, self.samples, batch).map_err(failed(step + 1))?);
            for (sum, norm) in norms.iter_mut().zip(trainer.step_norms()) {
                *sum += norm / steps as f64;
            }
        }
        trainer.check_parameters().map_err(failed(steps))?;
        Ok((seen, norms))
    }
}

/// Evaluates a range of samples in bounded memory.
///
/// # Errors
/// If a label is not a class of the network.
pub fn evaluate(
    kernels: &Kernels,
    network: &Network,
    evaluator: &mut Evaluator,
    samples: &dyn Samples,
    range: std::ops::Range<usize>,
) -> Result<Evaluation> {
    let mut sum = Evaluation::default();
    let indices: Vec<usize> = range.collect();
    for chunk in indices.chunks(evaluator.capacity()) {
        sum.add(evaluator.evaluate(kernels, network, samples, chunk)?);
    }
    Ok(sum)
}

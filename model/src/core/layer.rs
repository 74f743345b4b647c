//! What every core is and does: [`CoreLayer`] is the part of a network that does not change, [`CoreStage`] is its
//! state in one pass.
//!
//! A core maps `[T·N, e]` to `[N, c]`, rows time-major: row `t·N + n`. How it walks through time is its own affair.

use crate::error::ModelError;
use crate::ledger::Ledger;
use crate::params::Parameters;
use crate::stage::edge::Edge;
use crate::stage::layer::{Context, Setup};
use kernels::Kernels;
use std::fmt::Debug;
use std::ops::Range;

/// Floats of step `t` in rows of `width` floats, `samples` a step.
pub(crate) fn step(t: usize, samples: usize, width: usize) -> Range<usize> {
    t * samples * width..(t + 1) * samples * width
}

/// Operands of [`CoreStage::backward`].
pub(crate) struct CoreBackward<'a> {
    pub samples: usize,
    /// The encoded steps.
    pub e: &'a [f32],
    /// Their gradient, overwritten; none where nothing comes back to them.
    pub d_e: Option<&'a mut [f32]>,
    /// Gradients of all parameters, of which the core writes its own.
    pub gradients: Option<&'a mut [f32]>,
}

/// Operands of [`CoreStage::relevance`].
pub(crate) struct CoreRelevance<'a> {
    pub samples: usize,
    /// The encoded steps.
    pub e: &'a [f32],
    /// Their relevance, overwritten.
    pub r_e: &'a mut [f32],
    /// Its layers' absorbed and negative relevance is added, by step.
    pub ledger: &'a mut Ledger,
}

/// A core: its shape, the numbers of its parameters, and the edge behind it.
pub(crate) trait CoreLayer: Debug + Send + Sync {
    /// The edge between the last output and the head.
    fn output(&self) -> Edge;

    /// Its buffers and packed weights for one pass.
    fn stage(&self, setup: &Setup) -> Box<dyn CoreStage>;
}

/// A core in one pass.
pub(crate) trait CoreStage: Debug + Send + Sync {
    /// All steps, from the encoded steps `e`.
    fn forward(&mut self, context: &Context, samples: usize, e: &[f32]) -> Result<(), ModelError>;

    /// The last output `[N, c]`, and where the head puts its gradient or relevance.
    fn output(&mut self, samples: usize) -> (&[f32], &mut [f32]);

    /// The gradients of parameters and encoded steps from that of the last output, through all steps.
    fn backward(&mut self, context: &Context, operands: CoreBackward) -> Result<(), ModelError>;

    /// The relevance of the encoded steps from that of the last output, through all steps.
    fn relevance(&mut self, kernels: &Kernels, operands: CoreRelevance) -> Result<(), ModelError>;

    /// Packs the weights of the backward pass anew, after the parameters have changed.
    fn repack(&mut self, parameters: &Parameters);

    /// Floats that [`CoreStage::repack`] writes.
    fn packed(&self) -> usize;

    /// Health check: the output and step of the first non-finite value, such as `combine at step 3`.
    fn non_finite(&self, samples: usize) -> Option<String>;

    /// Health check: whether a whole layer is 0 for this sample wherever it is read.
    fn is_dead(&self, samples: usize, sample: usize) -> bool;

    /// The norm of the gradient by the core's pre-activation at each step, of the last backward pass.
    fn step_norms(&self, kernels: &Kernels, samples: usize, norms: &mut [f64]);
}

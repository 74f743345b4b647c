//! The traits of a layer and of its state in one pass: [`Layer`] is its immutable part in a network,
//! [`Stage`] is its state in one pass.

use super::bias::{BiasShare, BiasTerms};
use super::edge::{Domain, Edge, Place};
use super::masks::Masks;
use crate::error::ModelError;
use crate::params::Parameters;
use kernels::Kernels;
use kernels::relevance::Rule;
use std::fmt::Debug;

/// The purpose of a pass; it determines the buffers and packed weights.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// Values only.
    Infer,
    /// Gradients of the parameters.
    Train,
    /// Gradients of the pixels.
    Gradient,
    /// Relevance of the pixels.
    Relevance(Rules<'a>),
}

/// The rules of a pass for relevance.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// That of each layer's domain and place.
    pub rule: &'a dyn Fn(Domain, Place) -> Rule,
    /// What biases count for.
    pub bias: BiasShare,
}

/// The arguments for building a stage.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub kernels: &'a Kernels,
    pub parameters: &'a Parameters,
    pub purpose: Purpose<'a>,
    /// Maximum number of samples.
    pub samples: usize,
    /// Maximum number of rows: samples times steps in the encoder, samples in the head.
    pub rows: usize,
}

impl Setup<'_> {
    /// Whether a gradient or relevance of this edge is computed.
    pub fn needs_back(&self, edge: &Edge) -> bool {
        match self.purpose {
            Purpose::Infer => false,
            Purpose::Train => edge.domain == Domain::NonNegative,
            Purpose::Gradient | Purpose::Relevance(_) => true,
        }
    }

    /// Whether the pass is a training's.
    pub fn trains(&self) -> bool {
        matches!(self.purpose, Purpose::Train)
    }

    /// Whether a gradient comes back to this edge, so that its consumer needs weights for the backward pass.
    pub fn needs_gradient(&self, edge: &Edge) -> bool {
        self.needs_back(edge) && !matches!(self.purpose, Purpose::Relevance(_))
    }

    /// The rule of a layer, if the pass is for relevance.
    pub fn rule(&self, domain: Domain, place: Place) -> Option<Rule> {
        match self.purpose {
            Purpose::Relevance(Rules { rule, .. }) => Some(rule(domain, place)),
            Purpose::Infer | Purpose::Train | Purpose::Gradient => None,
        }
    }

    /// What biases count for in denominators.
    pub fn bias_share(&self) -> BiasShare {
        match self.purpose {
            Purpose::Relevance(Rules { bias, .. }) => bias,
            Purpose::Infer | Purpose::Train | Purpose::Gradient => BiasShare::Nothing,
        }
    }

    /// What the biases of a layer add to the denominators of its rule.
    pub fn bias_terms(&self, rule: &Rule, layer: usize) -> BiasTerms {
        // Biases are padded to whole registers.
        let outputs = self.parameters.spec(layer).n;
        self.bias_share().terms(rule, &self.parameters.bias(layer)[..outputs])
    }
}

/// The context of a pass.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub kernels: &'a Kernels,
    pub parameters: &'a Parameters,
    /// The dropout of this pass.
    pub masks: Masks,
    /// Guided backprop: gradients below 0 are set to 0 at each relu.
    pub guided: bool,
}

/// Operands of [`Stage::forward`].
pub(crate) struct Forward<'a> {
    pub rows: usize,
    pub x: &'a [f32],
    /// Overwritten.
    pub y: &'a mut [f32],
}

/// Operands of [`Stage::backward`].
pub(crate) struct Backward<'a> {
    pub rows: usize,
    pub x: &'a [f32],
    pub y: &'a [f32],
    /// Gradient of the output before its relu.
    pub d_y: &'a [f32],
    /// Gradient of the input, overwritten; none if it is not needed.
    pub d_x: Option<&'a mut [f32]>,
    /// Gradients of all parameters, of which the stage writes its own.
    pub gradients: Option<&'a mut [f32]>,
}

/// Operands of [`Stage::relevance`].
pub(crate) struct Relevance<'a> {
    pub rows: usize,
    pub x: &'a [f32],
    pub y: &'a [f32],
    /// Relevance of the output; of the logits, the rows `γ` of the explained values.
    pub r_y: &'a [f32],
    /// Overwritten.
    pub r_x: &'a mut [f32],
    /// The explained values, one a sample, which the layer of the logits redistributes.
    pub f: &'a [f32],
    /// For each row, what stabilisers absorb is added.
    pub absorbed: &'a mut [f64],
    /// For each row, the negative relevance of inputs other than `x` is added.
    pub negative: &'a mut [f64],
}

/// A layer of a network: its shape, the index of its parameters, and its output edge.
pub(crate) trait Layer: Debug + Send + Sync {
    /// The output edge of the layer.
    fn output(&self) -> Edge;

    /// The index of its parameters; none if it has no parameters.
    fn parameters(&self) -> Option<usize>;

    /// Its buffers and packed weights for one pass.
    fn stage(&self, setup: &Setup) -> Box<dyn Stage>;
}

/// A layer in one pass: its packed weights and its own buffers.
///
/// Slices hold the maximum number of rows of the pass, in the layout of the edges; only the first `rows` are
/// used.
pub(crate) trait Stage: Debug + Send + Sync {
    /// `y` from `x`.
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError>;

    /// The gradients of parameters and input from that of the output.
    fn backward(&mut self, context: &Context, operands: Backward) -> Result<(), ModelError>;

    /// The relevance of the input from that of the output.
    fn relevance(&mut self, kernels: &Kernels, operands: Relevance) -> Result<(), ModelError>;

    /// Repacks the weights of the backward pass after the parameters have changed.
    fn repack(&mut self, parameters: &Parameters);

    /// Floats that [`Stage::repack`] writes.
    fn packed(&self) -> usize;
}

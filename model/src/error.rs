//! Errors of this crate.

use kernels::ShapeError;

/// Why a network cannot be built, loaded or run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No preset has this name.
    #[error("no preset is named {found:?}; choose one of {known}")]
    UnknownPreset {
        /// The name.
        found: String,
        /// The names of the presets.
        known: String,
    },
    /// A part of an architecture has a syntax error.
    #[error("{what} {found:?} is not known; it must be {expected}")]
    Syntax {
        /// The part.
        what: &'static str,
        /// The invalid text.
        found: String,
        /// The allowed values.
        expected: &'static str,
    },
    /// The sequence length does not divide the image's columns.
    #[error(
        "a sequence of {seq_len} does not divide {cols} columns into equal strips; choose a divisor of {cols}"
    )]
    SequenceLength {
        /// Steps.
        seq_len: usize,
        /// Image columns.
        cols: usize,
    },
    /// A size that must be positive is zero.
    #[error("{what} is 0; it must be at least 1")]
    Zero {
        /// The size.
        what: &'static str,
    },
    /// A number is outside its range.
    #[error("{what} is {found}; it must be {expected}")]
    Range {
        /// The number.
        what: &'static str,
        /// Its value.
        found: f64,
        /// The allowed values.
        expected: &'static str,
    },
    /// A rule that the inputs of a place cannot have.
    #[error("{rule} is no rule for the {place} layers; it must be {expected}")]
    Rule {
        /// `first`, `convolution`, `middle` or `last`.
        place: &'static str,
        /// The rule.
        rule: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
    /// The program of a convention has no such rule.
    #[error("{place}: {convention} has no rule {rule}; it has {known}")]
    NoRule {
        /// `first`, `convolution`, `middle` or `last`.
        place: &'static str,
        /// The rule.
        rule: &'static str,
        /// The name of the convention.
        convention: &'static str,
        /// The rules that there are.
        known: String,
    },
    /// A layer of an encoder stands where it cannot.
    #[error("encoder layer {layer}: {problem}")]
    LayerOrder {
        /// Index of the layer in the encoder, counting pools.
        layer: usize,
        /// The mistake and the rule.
        problem: &'static str,
    },
    /// A tensor of the network is missing.
    #[error("tensor `{name}` is missing; the network needs it with shape {expected:?}")]
    MissingTensor {
        /// Its name.
        name: String,
        /// The expected shape.
        expected: Vec<usize>,
    },
    /// A tensor does not have the shape that the network requires.
    #[error("tensor `{name}` has shape {found:?}, {expected:?} expected")]
    TensorShape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The expected shape.
        expected: Vec<usize>,
    },
    /// A tensor belongs to no layer of the network.
    #[error("tensor `{name}` belongs to no layer of this network; it has {known}")]
    UnknownTensor {
        /// Its name.
        name: String,
        /// The layers of the network.
        known: String,
    },
    /// A class does not exist in the network.
    #[error("class {found} does not exist; the network has classes 0 to {}", classes - 1)]
    Class {
        /// The class.
        found: usize,
        /// The number of classes.
        classes: usize,
    },
    /// More samples than the capacity of the buffers.
    #[error("{found} samples at once, the buffers hold {capacity}")]
    Batch {
        /// Samples given.
        found: usize,
        /// Samples that fit.
        capacity: usize,
    },
    /// A size is above its limit.
    #[error("{what} is {found}; it must be at most {most}")]
    TooLarge {
        /// The size.
        what: &'static str,
        /// Its value.
        found: usize,
        /// The largest allowed value.
        most: usize,
    },
    /// A non-finite value occurred in training.
    #[error("non-finite value, first in {place}")]
    NotFinite {
        /// The first place where it was found.
        place: String,
    },
    /// Kernel operands have inconsistent shapes.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

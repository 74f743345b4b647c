//! Errors of this crate.

use kernels::ShapeError;

/// Why a network cannot be built, loaded or run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No preset has that name.
    #[error("no cell is named {found:?}; there are {known}")]
    UnknownPreset {
        /// The name.
        found: String,
        /// The names there are.
        known: String,
    },
    /// A part of an architecture is written in no form that is known.
    #[error("{what} {found:?} is not known; it must be {expected}")]
    Syntax {
        /// The part.
        what: &'static str,
        /// What was written.
        found: String,
        /// What is allowed.
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
        /// What is allowed.
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
    /// A layer of an encoder stands where it cannot.
    #[error("encoder layer {layer}: {problem}")]
    LayerOrder {
        /// Index of the layer in the encoder, pools counted.
        layer: usize,
        /// What is wrong, and what is right.
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
    /// A tensor has another shape than the network gives it.
    #[error("tensor `{name}` has shape {found:?}, {expected:?} expected")]
    TensorShape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The expected shape.
        expected: Vec<usize>,
    },
    /// A tensor that no layer of the network has.
    #[error("tensor `{name}` belongs to no layer of this network; it has {known}")]
    UnknownTensor {
        /// Its name.
        name: String,
        /// The layers there are.
        known: String,
    },
    /// A class that the network does not have.
    #[error("class {found} does not exist; the network has classes 0 to {}", classes - 1)]
    Class {
        /// The class.
        found: usize,
        /// How many there are.
        classes: usize,
    },
    /// More samples than the buffers were made for.
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
        /// The largest there may be.
        most: usize,
    },
    /// A non-finite value turned up in training.
    #[error("values stopped being finite, first in {place}")]
    NotFinite {
        /// Where it was found first.
        place: String,
    },
    /// Kernel operands that do not fit together.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

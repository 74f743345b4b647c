//! What a model refuses, and why.

use kernels::ShapeError;

/// Why a network cannot be built, loaded or run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No preset has that name.
    #[error("no cell is named {found:?}; there are {}", crate::Cell::PRESETS.join(", "))]
    UnknownCell {
        /// The name.
        found: String,
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
    /// A convolutional encoder layer stands behind a dense one.
    #[error("encoder.{layer} is a convolution behind a dense layer; convolutions come first")]
    ConvolutionBehindDense {
        /// Index of the layer.
        layer: usize,
    },
    /// A tensor of the cell is missing.
    #[error("tensor `{name}` is missing; this cell needs it with shape {expected:?}")]
    MissingTensor {
        /// Its name.
        name: String,
        /// The shape the cell gives it.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the cell and the task give it.
    #[error("tensor `{name}` has shape {found:?}, {expected:?} expected")]
    TensorShape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the cell gives it.
        expected: Vec<usize>,
    },
    /// A tensor that no layer of the cell has.
    #[error("tensor `{name}` belongs to no layer of this cell; it has {known}")]
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
    /// A layer, an image or a number of classes that no network here has.
    #[error("{what} is {found}; it must be at most {most}")]
    TooLarge {
        /// The size.
        what: &'static str,
        /// Its value.
        found: usize,
        /// The largest there may be.
        most: usize,
    },
    /// A number that is none turned up in training.
    #[error("numbers stopped being finite, first in {place}")]
    NotFinite {
        /// Where it was found first.
        place: String,
    },
    /// Kernel operands that do not fit together.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

//! What lies between two stages.

use super::masks::{Mask, Masks};
use kernels::{Epilogue, MatRef, Plane};

/// Which values an edge carries. Relevance rules are chosen by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Domain {
    /// Pixels between two bounds.
    Pixels {
        /// The smallest value.
        low: f32,
        /// The largest value.
        high: f32,
    },
    /// Outputs of a relu, or pools of them.
    NonNegative,
}

/// Where a layer stands on the path of relevance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It sees pixels.
    First,
    /// Any other convolution.
    Convolution,
    /// Any other layer.
    Middle,
    /// The layer of the logits.
    Last,
}

/// The relu that produced an edge's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relu {
    /// The mask of the dropout behind it, if it may have one.
    pub dropout: Option<Mask>,
}

/// What lies between two stages: values on the way forward, a gradient or relevance on the way back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge {
    /// Layout of the values; the border is what the consumer's filter needs.
    pub values: Plane,
    /// Layout of what comes back; the border is what the producer's filter needs.
    pub back: Plane,
    /// The relu whose gradient the consumer takes in the epilogue of its product. None where the values are no
    /// relu's: pixels, and the outputs of a pool, which takes the gradient of the relu in front of it itself.
    pub relu: Option<Relu>,
    pub domain: Domain,
}

impl Edge {
    /// Vectors that a relu has produced.
    pub fn relu_vector(features: usize, dropout: Option<Mask>) -> Edge {
        let plane = vector(features);
        Edge { values: plane, back: plane, relu: Some(Relu { dropout }), domain: Domain::NonNegative }
    }

    /// Floats of a row: all values of an image, without a border.
    pub fn features(&self) -> usize {
        self.values.pixels() * self.values.channels
    }

    /// Whether the values are pixels.
    pub fn is_pixels(&self) -> bool {
        matches!(self.domain, Domain::Pixels { .. })
    }

    /// The place of a convolution that reads this edge.
    pub fn place_of_conv(&self) -> Place {
        if self.is_pixels() { Place::First } else { Place::Convolution }
    }

    /// The values as rows of features.
    ///
    /// # Panics
    /// If they have a border, which only a convolution asks for.
    pub fn rows<'a>(&self, values: &'a [f32], rows: usize) -> MatRef<'a> {
        assert_eq!(self.values.pad, 0, "values with a border are no rows of features");
        MatRef::new(values, rows, self.features())
    }

    /// The epilogue of the product that gives this edge's gradient; `a` are its values.
    pub fn gradient<'a>(&self, a: MatRef<'a>, masks: Masks, guided: bool) -> Epilogue<'a> {
        match self.relu {
            Some(Relu { dropout }) => Epilogue::ReluGradient { a, scale: masks.scale(dropout), guided },
            None => Epilogue::Store,
        }
    }
}

/// A vector as an image of one pixel.
pub(crate) fn vector(features: usize) -> Plane {
    Plane { rows: 1, cols: 1, channels: features, pad: 0 }
}

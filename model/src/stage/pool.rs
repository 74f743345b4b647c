//! A 2×2 pool: forward, backward, relevance.

use super::edge::Edge;
use super::layer::{Backward, Context, Forward, Layer, Relevance, Setup, Stage};
use crate::error::ModelError;
use crate::params::Parameters;
use kernels::pool::{PoolBack, PoolBackward, PoolKind, PoolShape, pool, pool_backward, sum_pool_absorbed};
use kernels::relevance::EPS;
use kernels::{Kernels, Plane};

/// The largest value of each window or the sum of its values; windows at the edge are smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    shape: PoolShape,
    input: Edge,
    output: Edge,
}

/// Rows and columns of the window, and its stride.
const WINDOW: usize = 2;

impl Pool {
    /// A pool of `input`; `border` is the border that the next layer's filter needs.
    pub fn new(input: Edge, kind: PoolKind, border: usize) -> Pool {
        let Plane { rows, cols, channels, .. } = input.values;
        let shape = PoolShape { rows, cols, channels, size: WINDOW, kind };
        let back = Plane { rows: shape.out_rows(), cols: shape.out_cols(), channels, pad: 0 };
        // The pool applies the gradient of the relu before it itself.
        let output = Edge { values: Plane { pad: border, ..back }, back, relu: None, domain: input.domain };
        Pool { shape, input, output }
    }

    /// Adds what the stabiliser of a sum-pool absorbs: nearly nothing, but all of a window of zeros.
    fn add_absorbed(&self, images: usize, y: &[f32], back: &[f32], absorbed: &mut [f64]) {
        let (pooled, back) =
            (self.output.values.pixels_of(y, images), self.output.back.pixels_of(back, images));
        let windows = self.shape.out_rows() * self.shape.out_cols();
        for (image, absorbed) in absorbed[..images].iter_mut().enumerate() {
            for window in image * windows..(image + 1) * windows {
                *absorbed += sum_pool_absorbed(pooled.row(window), back.row(window), EPS);
            }
        }
    }

    /// Takes a gradient or relevance from the output to the input.
    fn back(&self, kernels: &Kernels, what: PoolBack, operands: Back) -> Result<(), ModelError> {
        let Back { images, x, y, back, out } = operands;
        let operands = PoolBackward {
            shape: self.shape,
            images,
            what,
            a: self.input.values.pixels_of(x, images),
            pooled: self.output.values.pixels_of(y, images),
            back: self.output.back.pixels_of(back, images),
            out: self.input.back.pixels_mut(out, images),
        };
        Ok(pool_backward(kernels, operands)?)
    }
}

/// Operands of [`Pool::back`].
struct Back<'a> {
    images: usize,
    x: &'a [f32],
    y: &'a [f32],
    back: &'a [f32],
    out: &'a mut [f32],
}

impl Layer for Pool {
    fn output(&self) -> Edge {
        self.output
    }

    fn parameters(&self) -> Option<usize> {
        None
    }

    /// A pool has neither weights nor buffers: the layer is its own stage.
    fn stage(&self, _: &Setup) -> Box<dyn Stage> {
        Box::new(*self)
    }
}

impl Stage for Pool {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        let Forward { rows: images, x, y } = operands;
        let x = self.input.values.pixels_of(x, images);
        let y = self.output.values.pixels_mut(y, images);
        Ok(pool(context.kernels, self.shape, images, x, y)?)
    }

    fn backward(&mut self, context: &Context, operands: Backward) -> Result<(), ModelError> {
        let Backward { rows: images, x, y, d_y: back, d_x, .. } = operands;
        match d_x {
            Some(out) => {
                // Where no relu is in front, its layer cuts when it has added all gradients of its output.
                let guided = context.guided && self.input.relu.is_some();
                let what = PoolBack::Gradient { guided };
                self.back(context.kernels, what, Back { images, x, y, back, out })
            }
            None => Ok(()),
        }
    }

    fn relevance(&mut self, kernels: &Kernels, operands: Relevance) -> Result<(), ModelError> {
        let Relevance { rows: images, x, y, r_y: back, r_x: out, absorbed, .. } = operands;
        if self.shape.kind == PoolKind::Sum {
            self.add_absorbed(images, y, back, absorbed);
        }
        self.back(kernels, PoolBack::Relevance { eps: EPS }, Back { images, x, y, back, out })
    }

    fn repack(&mut self, _: &Parameters) {}

    fn packed(&self) -> usize {
        0
    }
}

//! A convolution followed by a 2×2 pool, as one layer. What comes back visits no image of the convolution's size: of a
//! max-pool only the argmax pixels (`max.rs`), of a sum-pool a few images at a time (`sum.rs`).

mod max;
mod sum;

use super::bias::BiasShare;
use super::conv::{Consumer, Conv};
use super::edge::{Domain, Edge, Relu};
use super::layer::{Backward, Context, Forward, Layer, Relevance, Setup, Stage};
use super::pool::Pool;
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use kernels::conv::max_pool::ConvPoolShape;
use kernels::pool::PoolKind;
use kernels::{Buffer, ConvShape, Kernels, Plane};

/// `y = pool(relu(x ∗ W − softplus(b)))`, the convolution SAME, with stride 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvPool {
    parameters: usize,
    shape: ConvPoolShape,
    kind: PoolKind,
    input: Edge,
    output: Edge,
}

/// Rows and columns of the pool's window, and its stride.
const WINDOW: usize = 2;

impl ConvPool {
    /// A layer of `channels` filters of `size × size`; `border` is the border that the next layer's filter
    /// needs.
    pub fn new(
        specs: &mut Specs,
        name: &str,
        input: Edge,
        ([size, channels], kind): ([usize; 2], PoolKind),
        border: usize,
    ) -> ConvPool {
        let Plane { rows, cols, channels: inputs, .. } = input.values;
        let conv = ConvShape { rows, cols, size, inputs, outputs: channels };
        let shape = ConvPoolShape { conv, window: WINDOW };
        let back = Plane { rows: shape.out_rows(), cols: shape.out_cols(), channels, pad: 0 };
        let values = Plane { pad: border, ..back };
        // A window is 0 where no pixel of it is active, under either pool.
        let relu = Some(Relu { dropout: None });
        let output = Edge { values, back, relu, domain: Domain::NonNegative };
        let parameters = specs.add(name, [size, size, inputs, channels]);
        ConvPool { parameters, shape, kind, input, output }
    }

    /// Windows of `images` images.
    fn windows(&self, images: usize) -> usize {
        images * self.shape.windows()
    }
}

impl Layer for ConvPool {
    fn output(&self) -> Edge {
        self.output
    }

    fn parameters(&self) -> Option<usize> {
        Some(self.parameters)
    }

    fn stage(&self, setup: &Setup) -> Box<dyn Stage> {
        if setup.bias_share() != BiasShare::Nothing {
            let conv = Conv::of(self.parameters, self.shape.conv, self.input, Consumer::Pool);
            let pool = Pool::new(conv.output(), self.kind, self.output.values.pad);
            return Box::new(Apart::new(&conv, pool, setup));
        }
        match self.kind {
            PoolKind::Max => Box::new(max::MaxStage::new(self, setup)),
            PoolKind::Sum => Box::new(sum::SumStage::new(self, setup)),
        }
    }
}

/// The convolution and its pool one behind the other: a pass for relevance in which biases count.
#[derive(Debug)]
struct Apart {
    conv: Box<dyn Stage>,
    pool: Box<dyn Stage>,
    /// The output of the convolution, and its relevance.
    y: Buffer,
    r_y: Buffer,
}

impl Apart {
    fn new(conv: &Conv, pool: Pool, setup: &Setup) -> Apart {
        let Edge { values, back, .. } = conv.output();
        Apart {
            conv: conv.stage(setup),
            pool: pool.stage(setup),
            y: Buffer::zeroed(setup.rows * values.len()),
            r_y: Buffer::zeroed(setup.rows * back.len()),
        }
    }
}

impl Stage for Apart {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        let Forward { rows, x, y } = operands;
        self.conv.forward(context, Forward { rows, x, y: &mut self.y })?;
        self.pool.forward(context, Forward { rows, x: &self.y, y })
    }

    fn backward(&mut self, _: &Context, _: Backward) -> Result<(), ModelError> {
        unreachable!("a pass for relevance has no gradients")
    }

    fn relevance(&mut self, kernels: &Kernels, operands: Relevance) -> Result<(), ModelError> {
        let Relevance { rows, x, y, r_y, r_x, f, absorbed, negative } = operands;
        let (x_of_pool, r_of_pool) = (&self.y[..], &mut self.r_y[..]);
        let (more, none) = (&mut *absorbed, &mut *negative);
        let of_pool =
            Relevance { rows, x: x_of_pool, y, r_y, r_x: r_of_pool, f, absorbed: more, negative: none };
        self.pool.relevance(kernels, of_pool)?;
        let of_conv = Relevance { rows, x, y: &self.y, r_y: &self.r_y, r_x, f, absorbed, negative };
        self.conv.relevance(kernels, of_conv)
    }

    fn repack(&mut self, _: &Parameters) {}

    fn packed(&self) -> usize {
        0
    }
}

//! A convolution followed by a 2×2 max-pool, as one layer: forward, backward, relevance.
//!
//! Only the argmax pixels of the windows have a gradient or relevance, so only those are visited.

use super::bias::BiasShare;
use super::conv::{Consumer, Conv};
use super::edge::{Domain, Edge, Relu};
use super::layer::{Backward, Context, Forward, Layer, Relevance, Setup, Stage};
use super::pool::Pool;
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use kernels::conv::max_pool::{
    ConvMaxPool as Operands, ConvMaxPoolInputGradient, ConvPoolShape, ConvMaxPoolWeightGradient, Filters,
    MaxIndices, conv_max_pool, conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use kernels::pack::Part;
use kernels::pool::PoolKind;
use kernels::relevance::{PackedRule, RelevanceConvMaxPool, relevance_conv_max_pool};
use kernels::{Buffer, ConvShape, Kernels, MatRef, Plane};

/// `y = max-pool(relu(x ∗ W − softplus(b)))`, the convolution SAME, with stride 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvMaxPool {
    parameters: usize,
    shape: ConvPoolShape,
    input: Edge,
    output: Edge,
}

/// Rows and columns of the pool's window, and its stride.
const WINDOW: usize = 2;

impl ConvMaxPool {
    /// A layer of `channels` filters of `size × size`; `border` is the border that the next layer's filter
    /// needs.
    pub fn new(
        specs: &mut Specs,
        name: &str,
        input: Edge,
        [size, channels]: [usize; 2],
        border: usize,
    ) -> ConvMaxPool {
        let Plane { rows, cols, channels: inputs, .. } = input.values;
        let conv = ConvShape { rows, cols, size, inputs, outputs: channels };
        let shape = ConvPoolShape { conv, window: WINDOW };
        let back = Plane { rows: shape.out_rows(), cols: shape.out_cols(), channels, pad: 0 };
        let values = Plane { pad: border, ..back };
        let relu = Some(Relu { dropout: None });
        let output = Edge { values, back, relu, domain: Domain::NonNegative };
        ConvMaxPool { parameters: specs.add(name, [size, size, inputs, channels]), shape, input, output }
    }
}

impl Layer for ConvMaxPool {
    fn output(&self) -> Edge {
        self.output
    }

    fn parameters(&self) -> Option<usize> {
        Some(self.parameters)
    }

    fn stage(&self, setup: &Setup) -> Box<dyn Stage> {
        let ConvMaxPool { shape, input, .. } = self;
        let w = setup.parameters.weight(self.parameters);
        if setup.bias_share() != BiasShare::Nothing {
            let conv = Conv::of(self.parameters, shape.conv, *input, Consumer::Pool);
            let pool = Pool::new(conv.output(), PoolKind::Max, self.output.values.pad);
            return Box::new(Apart::new(&conv, pool, setup));
        }
        let rule = setup.rule(input.domain, input.place_of_conv()).map(|rule| {
            PackedRule::conv_max_pool(setup.kernels, &rule, shape, w)
                .unwrap_or_else(|error| unreachable!("the weights have the shape of this layer: {error}"))
        });
        let keeps_z = rule.as_ref().is_some_and(PackedRule::reads_forward);
        let filters = setup.needs_gradient(input);
        Box::new(ConvMaxPoolStage {
            layer: *self,
            max_indices: MaxIndices::new(shape, setup.rows),
            filters: filters.then(|| Filters::new(shape, w, Part::All, None)),
            rule,
            z: keeps_z.then(|| Buffer::zeroed(setup.rows * shape.windows() * shape.conv.outputs)),
        })
    }
}

/// A convolution + max-pool in one pass.
#[derive(Debug)]
struct ConvMaxPoolStage {
    layer: ConvMaxPool,
    /// The argmax positions of the last forward pass.
    max_indices: MaxIndices,
    /// The weights in the layout of the input gradient, if it is needed.
    filters: Option<Filters>,
    rule: Option<PackedRule>,
    /// `x ∗ W` at the argmax positions, if the rule reads it.
    z: Option<Buffer>,
}

impl ConvMaxPoolStage {
    /// Windows of `images` images.
    fn windows(&self, images: usize) -> usize {
        images * self.layer.shape.windows()
    }
}

impl Stage for ConvMaxPoolStage {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, .. } = context;
        let Forward { rows: images, x, y } = operands;
        let floats = self.windows(images) * self.layer.shape.conv.outputs;
        let ConvMaxPool { shape, output, .. } = &self.layer;
        let operands = Operands {
            shape,
            images,
            x: &x[..images * shape.conv.input().len()],
            w: parameters.weight(self.layer.parameters),
            bias: parameters.bias(self.layer.parameters),
            y: output.values.pixels_mut(y, images),
            max_indices: &mut self.max_indices,
            z: self.z.as_mut().map(|z| &mut z[..floats]),
        };
        Ok(conv_max_pool(kernels, operands)?)
    }

    fn backward(&mut self, context: &Context, operands: Backward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, guided } = context;
        let Backward { rows: images, x, d_y, d_x, gradients, .. } = operands;
        let ConvMaxPool { shape, input, parameters: layer, .. } = &self.layer;
        let (max_indices, d_h) =
            (&self.max_indices, MatRef::new(d_y, self.windows(images), shape.conv.outputs));
        if let Some(gradients) = gradients {
            let x = &x[..images * shape.conv.input().len()];
            let d_w = &mut gradients[parameters.spec(*layer).weight.clone()];
            let operands = ConvMaxPoolWeightGradient { shape, images, x, max_indices, d_h, d_w };
            conv_max_pool_weight_gradient(kernels, operands)?;
            parameters.bias_gradient(kernels, *layer, d_h, gradients)?;
        }
        if let Some(d_x) = d_x {
            let filters = self.filters.as_ref().expect("packed if the input gradient is needed");
            let epilogue = input.gradient(input.values.lines_of(x, images), masks, guided);
            let d_x = input.back.lines_mut(d_x, images);
            let epilogues = &[epilogue];
            let operands = ConvMaxPoolInputGradient { filters, images, max_indices, d_h, epilogues, d_x };
            conv_max_pool_input_gradient(kernels, operands)?;
        }
        Ok(())
    }

    fn relevance(&mut self, kernels: &Kernels, operands: Relevance) -> Result<(), ModelError> {
        let Relevance { rows: images, x, r_y, r_x, absorbed, .. } = operands;
        let ConvMaxPool { shape, input, .. } = &self.layer;
        let (windows, outputs) = (self.windows(images), shape.conv.outputs);
        let operands = RelevanceConvMaxPool {
            rule: self.rule.as_ref().expect("a pass for relevance has packed the rule"),
            x: &x[..images * shape.conv.input().len()],
            max_indices: &self.max_indices,
            z: self.z.as_ref().map(|z| &z[..windows * outputs]),
            r_out: MatRef::new(r_y, windows, outputs),
            r_in: input.back.lines_mut(r_x, images),
            absorbed: &mut absorbed[..images],
        };
        Ok(relevance_conv_max_pool(kernels, operands)?)
    }

    fn repack(&mut self, parameters: &Parameters) {
        if let Some(filters) = &mut self.filters {
            filters.refresh(parameters.weight(self.layer.parameters));
        }
    }

    fn packed(&self) -> usize {
        0
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

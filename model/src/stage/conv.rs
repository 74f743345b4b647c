//! A convolution: forward, backward, relevance.

use super::edge::{Domain, Edge, Relu};
use super::layer::{Backward, Context, Forward, Layer, Relevance, Setup, Stage};
use super::rule::{ConvRelevance, ConvRule};
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use kernels::elementwise::activation::bias_relu;
use kernels::pack::{self, Part};
use kernels::{
    Buffer, Conv as Product, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, PackedWeights, Plane, conv,
    conv_weight_gradient,
};

/// `y = relu(x ∗ W − softplus(b))`, SAME, stride 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    parameters: usize,
    shape: ConvShape,
    input: Edge,
    output: Edge,
}

/// The layer that reads the output of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consumer {
    /// A convolution whose filter needs a border of this width.
    Conv { border: usize },
    /// A pool.
    Pool,
    /// A layer that reads an image as one row.
    Rows,
}

impl Conv {
    /// A layer of `channels` filters of `size × size`.
    pub fn new(
        specs: &mut Specs,
        name: &str,
        input: Edge,
        [size, channels]: [usize; 2],
        consumer: Consumer,
    ) -> Conv {
        let Plane { rows, cols, channels: inputs, .. } = input.values;
        let shape = ConvShape { rows, cols, size, inputs, outputs: channels };
        Conv::of(specs.add(name, [size, size, inputs, channels]), shape, input, consumer)
    }

    /// The layer of the given parameters.
    pub fn of(parameters: usize, shape: ConvShape, input: Edge, consumer: Consumer) -> Conv {
        let ConvShape { rows, cols, outputs: channels, .. } = shape;
        let pad = match consumer {
            Consumer::Conv { border } => border,
            Consumer::Pool | Consumer::Rows => 0,
        };
        let values = Plane { rows, cols, channels, pad };
        // Row-wise consumers write their gradient without a border: the stage adds it.
        let back = if consumer == Consumer::Rows { values } else { shape.output() };
        let relu = Some(Relu { dropout: None });
        let output = Edge { values, back, relu, domain: Domain::NonNegative };
        Conv { parameters, shape, input, output }
    }
}

impl Layer for Conv {
    fn output(&self) -> Edge {
        self.output
    }

    fn parameters(&self) -> Option<usize> {
        Some(self.parameters)
    }

    fn stage(&self, setup: &Setup) -> Box<dyn Stage> {
        let Conv { shape, input, output, .. } = self;
        let rule = setup
            .rule(input.domain, input.place_of_conv())
            .map(|rule| ConvRule::new(&rule, shape, self.parameters, setup.rows, setup));
        let keeps_z = rule.as_ref().is_some_and(ConvRule::reads_forward);
        let back = shape.reversed();
        let reversed = setup.needs_gradient(input);
        let bordered = setup.needs_back(output) && output.back != shape.output();
        let mut stage = ConvStage {
            layer: *self,
            reversed: reversed.then(|| PackedWeights::zeroed(back.patch(), back.outputs)),
            rule,
            z: keeps_z.then(|| Buffer::zeroed(setup.rows * shape.output().pixels() * shape.outputs)),
            bordered: bordered.then(|| Buffer::zeroed(setup.rows * shape.output().len())),
        };
        stage.repack(setup.parameters);
        Box::new(stage)
    }
}

/// A convolution in one pass.
#[derive(Debug)]
struct ConvStage {
    layer: Conv,
    /// The weights of the reversed convolution, if the gradient of the input is needed.
    reversed: Option<PackedWeights>,
    rule: Option<ConvRule>,
    /// `x ∗ W`, `[rows·pixels, outputs]`, if the rule reads it.
    z: Option<Buffer>,
    /// The gradient of the output with a border, if the consumer writes it without one.
    bordered: Option<Buffer>,
}

impl Stage for ConvStage {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, .. } = context;
        let Forward { rows: images, x, y } = operands;
        let Conv { shape, output, .. } = &self.layer;
        let bias = parameters.bias(self.layer.parameters);
        let x = &x[..images * shape.input().len()];
        let y = output.values.pixels_mut(y, images);
        let w = parameters.weight(self.layer.parameters);
        let product = |epilogue, y| Product { shape, images, x, w, init: Init::Zero, epilogue, y };
        if let Some(z) = &mut self.z {
            let (pixels, outputs) = (images * shape.output().pixels(), shape.outputs);
            conv(kernels, product(Epilogue::Store, MatMut::new(z, pixels, outputs)))?;
            return Ok(bias_relu(kernels, MatRef::new(z, pixels, outputs), bias, y)?);
        }
        Ok(conv(kernels, product(Epilogue::BiasRelu(bias), y))?)
    }

    fn backward(&mut self, context: &Context, operands: Backward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, guided } = context;
        let Backward { rows: images, x, d_y, d_x, gradients, .. } = operands;
        let Conv { shape, input, output, parameters: layer } = &self.layer;
        let plane = shape.output();
        let d_y = match &mut self.bordered {
            Some(bordered) => {
                let mut inside = plane.pixels_mut(bordered, images);
                let bare = output.back.pixels_of(d_y, images);
                (0..bare.rows()).for_each(|i| inside.row_mut(i).copy_from_slice(bare.row(i)));
                &bordered[..]
            }
            None => d_y,
        };
        let d_y = &d_y[..images * plane.len()];
        if let Some(gradients) = gradients {
            let x = &x[..images * shape.input().len()];
            let d_w = &mut gradients[parameters.spec(*layer).weight.clone()];
            conv_weight_gradient(kernels, shape, x, d_y, images, d_w)?;
            parameters.bias_gradient(kernels, *layer, plane.pixels_of(d_y, images), gradients)?;
        }
        if let Some(d_x) = d_x {
            let back = shape.reversed();
            let w = self.reversed.as_ref().expect("packed if a gradient comes back").panels();
            let epilogue = input.gradient(input.values.pixels_of(x, images), masks, guided);
            let y = input.back.pixels_mut(d_x, images);
            conv(kernels, Product { shape: &back, images, x: d_y, w, init: Init::Zero, epilogue, y })?;
        }
        Ok(())
    }

    fn relevance(&mut self, kernels: &Kernels, operands: Relevance) -> Result<(), ModelError> {
        let Relevance { rows: images, x, r_y, r_x, absorbed, .. } = operands;
        let Conv { shape, input, output, .. } = &self.layer;
        let pixels = images * shape.output().pixels();
        let rule = self.rule.as_mut().expect("a pass for relevance has packed the rule");
        let operands = ConvRelevance {
            x: &x[..images * shape.input().len()],
            a: input.values.pixels_of(x, images),
            z: self.z.as_ref().map(|z| MatRef::new(z, pixels, shape.outputs)),
            r_out: output.back.pixels_of(r_y, images),
            r_in: input.back.pixels_mut(r_x, images),
            absorbed: &mut absorbed[..images],
        };
        rule.relevance(kernels, operands)
    }

    fn repack(&mut self, parameters: &Parameters) {
        if let Some(reversed) = &mut self.reversed {
            let w = parameters.weight(self.layer.parameters);
            reversed.update(|to| pack::reverse_conv(&self.layer.shape, w, Part::All, to));
        }
    }

    fn packed(&self) -> usize {
        self.reversed.as_ref().map_or(0, PackedWeights::len)
    }
}

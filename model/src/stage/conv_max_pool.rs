//! A convolution with a 2×2 max-pool behind it as one layer: forward, backward, relevance.
//!
//! Only the pixels that are their windows' maxima get a gradient or relevance, so only those are visited.

use super::edge::{Domain, Edge, Relu};
use super::layer::{Backward, Context, Forward, Layer, Relevance, Setup, Stage};
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use kernels::conv::max_pool::{
    ConvMaxPool as Operands, ConvMaxPoolInputGradient, ConvMaxPoolShape, ConvMaxPoolWeightGradient, Filters,
    MaxIndices, conv_max_pool, conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use kernels::pack::Part;
use kernels::relevance::{PackedRule, RelevanceConvMaxPool, relevance_conv_max_pool};
use kernels::{Buffer, ConvShape, Kernels, MatRef, Plane};

/// `y = max-pool(relu(x ∗ W − softplus(b)))`, the convolution SAME, with stride 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvMaxPool {
    parameters: usize,
    shape: ConvMaxPoolShape,
    input: Edge,
    output: Edge,
}

/// Rows and columns of the pool's window, and its stride.
const WINDOW: usize = 2;

impl ConvMaxPool {
    /// A layer of `channels` filters of `size × size`; `border` is what the next layer's filter needs.
    pub fn new(
        specs: &mut Specs,
        name: &str,
        input: Edge,
        [size, channels]: [usize; 2],
        border: usize,
    ) -> ConvMaxPool {
        let Plane { rows, cols, channels: inputs, .. } = input.values;
        let conv = ConvShape { rows, cols, size, inputs, outputs: channels };
        let shape = ConvMaxPoolShape { conv, window: WINDOW };
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
        let rule = setup.rule(input.domain, input.place_of_conv()).map(|rule| {
            PackedRule::conv_max_pool(setup.kernels, &rule, shape, w)
                .unwrap_or_else(|error| unreachable!("the weights are the layer's own: {error}"))
        });
        let keeps_z = rule.as_ref().is_some_and(PackedRule::reads_forward);
        let filters = setup.gradient_comes_back(input);
        Box::new(ConvMaxPoolStage {
            layer: *self,
            max_indices: MaxIndices::new(shape, setup.rows),
            filters: filters.then(|| Filters::new(shape, w, Part::All, None)),
            rule,
            z: keeps_z.then(|| Buffer::zeroed(setup.rows * shape.windows() * shape.conv.outputs)),
        })
    }
}

/// A max-pooled convolution in one pass.
#[derive(Debug)]
struct ConvMaxPoolStage {
    layer: ConvMaxPool,
    /// Where the maxima of the last forward pass are.
    max_indices: MaxIndices,
    /// The weights as the input's gradient meets them, if it comes back.
    filters: Option<Filters>,
    rule: Option<PackedRule>,
    /// The maxima's `x ∗ W`, if the rule reads it.
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
            let filters = self.filters.as_ref().expect("packed where a gradient comes back");
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

//! With a max-pool: only the argmax pixels of the windows have a gradient or relevance, so only those are visited.

use super::ConvPool;
use crate::error::ModelError;
use crate::params::Parameters;
use crate::stage::layer::{Backward, Context, Forward, Relevance, Setup, Stage};
use kernels::conv::max_pool::{
    ConvMaxPool, ConvMaxPoolInputGradient, ConvMaxPoolWeightGradient, Filters, MaxIndices, conv_max_pool,
    conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use kernels::pack::Part;
use kernels::relevance::{PackedRule, RelevanceConvMaxPool, relevance_conv_max_pool};
use kernels::{Buffer, Kernels, MatRef};

/// A convolution + max-pool in one pass.
#[derive(Debug)]
pub(super) struct MaxStage {
    layer: ConvPool,
    /// The argmax positions of the last forward pass.
    max_indices: MaxIndices,
    /// The weights in the layout of the input gradient, if it is needed.
    filters: Option<Filters>,
    rule: Option<PackedRule>,
    /// `x ∗ W` at the argmax positions, if the rule reads it.
    z: Option<Buffer>,
}

impl MaxStage {
    pub fn new(layer: &ConvPool, setup: &Setup) -> MaxStage {
        let ConvPool { shape, input, .. } = layer;
        let w = setup.parameters.weight(layer.parameters);
        let rule = setup.rule(input.domain, input.place_of_conv()).map(|rule| {
            PackedRule::conv_max_pool(setup.kernels, &rule, shape, w)
                .unwrap_or_else(|error| unreachable!("the weights have the shape of this layer: {error}"))
        });
        let keeps_z = rule.as_ref().is_some_and(PackedRule::reads_forward);
        MaxStage {
            layer: *layer,
            max_indices: MaxIndices::new(shape, setup.rows),
            filters: setup.needs_gradient(input).then(|| Filters::new(shape, w, Part::All, None)),
            rule,
            z: keeps_z.then(|| Buffer::zeroed(layer.windows(setup.rows) * shape.conv.outputs)),
        }
    }
}

impl Stage for MaxStage {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, .. } = context;
        let Forward { rows: images, x, y } = operands;
        let floats = self.layer.windows(images) * self.layer.shape.conv.outputs;
        let ConvPool { shape, output, .. } = &self.layer;
        let operands = ConvMaxPool {
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
        let ConvPool { shape, input, parameters: layer, .. } = &self.layer;
        let (max_indices, d_h) =
            (&self.max_indices, MatRef::new(d_y, self.layer.windows(images), shape.conv.outputs));
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
        let ConvPool { shape, input, .. } = &self.layer;
        let (windows, outputs) = (self.layer.windows(images), shape.conv.outputs);
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

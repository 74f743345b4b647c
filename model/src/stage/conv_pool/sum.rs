//! With a sum-pool: the gradient of a window belongs to each of its active pixels, its relevance to all in proportion to
//! their activations.

use super::ConvPool;
use crate::error::ModelError;
use crate::params::Parameters;
use crate::stage::layer::{Backward, Context, Forward, Relevance, Setup, Stage};
use kernels::conv::sum_pool::{
    ActivePixels, ConvSumPool, ConvSumPoolInputGradient, ConvSumPoolWeightGradient, conv_sum_pool,
    conv_sum_pool_input_gradient, conv_sum_pool_weight_gradient,
};
use kernels::pack::{self, Part};
use kernels::relevance::{PackedRule, RelevanceConvSumPool, relevance_conv_sum_pool};
use kernels::{Buffer, Kernels, MatRef, PackedWeights};

/// A convolution + sum-pool in one pass.
#[derive(Debug)]
pub(super) struct SumStage {
    layer: ConvPool,
    /// Which pixels were active in the last forward pass, if gradients follow.
    active: Option<ActivePixels>,
    /// The weights of the reversed convolution, if the gradient of the input is needed.
    reversed: Option<PackedWeights>,
    /// If relevance follows.
    kept: Option<Kept>,
}

/// What relevance needs.
#[derive(Debug)]
struct Kept {
    rule: PackedRule,
    /// That of the forward pass: the parameters of a pass for relevance do not change.
    bias: Vec<f32>,
    /// `x ∗ W`, `[rows·pixels, outputs]`
    z: Buffer,
}

impl SumStage {
    pub fn new(layer: &ConvPool, setup: &Setup) -> SumStage {
        let ConvPool { shape, input, output, .. } = layer;
        let conv = &shape.conv;
        let rule = setup.rule(input.domain, input.place_of_conv()).map(|rule| {
            PackedRule::conv(setup.kernels, &rule, conv, setup.parameters.weight(layer.parameters))
                .unwrap_or_else(|error| unreachable!("the weights have the shape of this layer: {error}"))
        });
        let kept = rule.map(|rule| Kept {
            rule,
            bias: setup.parameters.bias(layer.parameters).to_vec(),
            z: Buffer::zeroed(setup.rows * conv.output().pixels() * conv.outputs),
        });
        let back = conv.reversed();
        let reversed = setup.needs_gradient(input);
        let mut stage = SumStage {
            layer: *layer,
            active: setup.needs_gradient(output).then(|| ActivePixels::new(shape, setup.rows)),
            reversed: reversed.then(|| PackedWeights::zeroed(back.patch(), back.outputs)),
            kept,
        };
        stage.repack(setup.parameters);
        stage
    }
}

impl Stage for SumStage {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, .. } = context;
        let Forward { rows: images, x, y } = operands;
        let ConvPool { shape, output, parameters: layer, .. } = &self.layer;
        let floats = images * shape.conv.output().pixels() * shape.conv.outputs;
        let operands = ConvSumPool {
            shape,
            images,
            x: &x[..images * shape.conv.input().len()],
            w: parameters.weight(*layer),
            bias: parameters.bias(*layer),
            y: output.values.pixels_mut(y, images),
            active: self.active.as_mut(),
            z: self.kept.as_mut().map(|kept| &mut kept.z[..floats]),
        };
        Ok(conv_sum_pool(kernels, operands)?)
    }

    fn backward(&mut self, context: &Context, operands: Backward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, guided } = context;
        let Backward { rows: images, x, d_y, d_x, gradients, .. } = operands;
        let ConvPool { shape, input, parameters: layer, .. } = &self.layer;
        let active = self.active.as_ref().expect("kept for gradients");
        let d_h = MatRef::new(d_y, self.layer.windows(images), shape.conv.outputs);
        if let Some(gradients) = gradients {
            let x = &x[..images * shape.conv.input().len()];
            let (d_w, d_b) = parameters.gradients_of(*layer, gradients);
            let operands = ConvSumPoolWeightGradient { shape, images, x, active, d_h, d_w, d_b };
            conv_sum_pool_weight_gradient(kernels, operands)?;
            parameters.through_bias(kernels, *layer, gradients)?;
        }
        if let Some(d_x) = d_x {
            let w = self.reversed.as_ref().expect("packed if a gradient comes back").panels();
            let epilogue = input.gradient(input.values.pixels_of(x, images), masks, guided);
            let d_x = input.back.pixels_mut(d_x, images);
            let operands = ConvSumPoolInputGradient { shape, images, active, d_h, w, epilogue, d_x };
            conv_sum_pool_input_gradient(kernels, operands)?;
        }
        Ok(())
    }

    fn relevance(&mut self, kernels: &Kernels, operands: Relevance) -> Result<(), ModelError> {
        let Relevance { rows: images, x, y, r_y, r_x, absorbed, .. } = operands;
        let ConvPool { shape, input, output, .. } = &self.layer;
        let Kept { rule, bias, z } = self.kept.as_ref().expect("a pass for relevance has packed the rule");
        let operands = RelevanceConvSumPool {
            rule,
            window: shape.window,
            x: &x[..images * shape.conv.input().len()],
            bias,
            z: &z[..images * shape.conv.output().pixels() * shape.conv.outputs],
            y: output.values.pixels_of(y, images),
            r_out: output.back.pixels_of(r_y, images),
            r_in: input.back.pixels_mut(r_x, images),
            absorbed: &mut absorbed[..images],
        };
        Ok(relevance_conv_sum_pool(kernels, operands)?)
    }

    fn repack(&mut self, parameters: &Parameters) {
        if let Some(reversed) = &mut self.reversed {
            let w = parameters.weight(self.layer.parameters);
            reversed.update(|to| pack::reverse_conv(&self.layer.shape.conv, w, Part::All, to));
        }
    }

    fn packed(&self) -> usize {
        self.reversed.as_ref().map_or(0, PackedWeights::len)
    }
}

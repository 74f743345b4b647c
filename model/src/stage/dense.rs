//! A dense layer: forward, backward, relevance.

use super::edge::{Edge, Place};
use super::layer::{Backward, Context, Forward, Layer, Relevance, Setup, Stage};
use super::masks::Mask;
use super::rule::{DenseRelevance, DenseRule};
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use kernels::elementwise::activation::bias_relu;
use kernels::pack::{self, Part};
use kernels::relevance::Rule;
use kernels::{Buffer, Epilogue, Init, MatMut, MatRef, PackedWeights, WeightGradient, gemm, gemm_tn};

/// `y = relu(x·W − softplus(b))`, with dropout behind it where its mask says so; [`Logits`](super::logits::Logits) has
/// no relu.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dense {
    parameters: usize,
    input: Edge,
    output: Edge,
}

impl Dense {
    /// A hidden layer.
    pub fn hidden(specs: &mut Specs, name: &str, input: Edge, units: usize, dropout: Option<Mask>) -> Dense {
        Dense::new(specs, name, input, Edge::relu_vector(units, dropout))
    }

    /// A layer between two edges.
    pub fn new(specs: &mut Specs, name: &str, input: Edge, output: Edge) -> Dense {
        Dense { parameters: specs.add(name, [input.features(), output.features()]), input, output }
    }

    /// The edge in front of it.
    pub fn input(&self) -> Edge {
        self.input
    }

    /// The number of its parameters.
    pub fn index(&self) -> usize {
        self.parameters
    }

    /// Its buffers and packed weights for one pass, with the rule of its relevance.
    pub fn stage_with(&self, setup: &Setup, rule: Option<Rule>) -> DenseStage {
        let w = setup.parameters.weight(self.parameters);
        let rule = rule.map(|rule| DenseRule::new(&rule, w, self.parameters, setup.rows, setup));
        let keeps_z = rule.as_ref().is_some_and(DenseRule::reads_forward);
        let mut stage = DenseStage {
            layer: *self,
            steps: (setup.rows / setup.samples.max(1)).max(1),
            transposed: setup.needs_gradient(&self.input).then(|| PackedWeights::zeroed(w.n(), w.k())),
            rule,
            z: keeps_z.then(|| Buffer::zeroed(setup.rows * w.n())),
        };
        stage.repack(setup.parameters);
        stage
    }
}

impl Layer for Dense {
    fn output(&self) -> Edge {
        self.output
    }

    fn parameters(&self) -> Option<usize> {
        Some(self.parameters)
    }

    fn stage(&self, setup: &Setup) -> Box<dyn Stage> {
        let place = if self.input.is_pixels() { Place::First } else { Place::Middle };
        Box::new(self.stage_with(setup, setup.rule(self.input.domain, place)))
    }
}

/// A dense layer in one pass.
#[derive(Debug)]
pub(crate) struct DenseStage {
    layer: Dense,
    /// Steps whose rows it sees at once.
    steps: usize,
    /// `Wᵀ`, if a gradient comes back to the input.
    transposed: Option<PackedWeights>,
    rule: Option<DenseRule>,
    /// `x·W`, if the rule reads it.
    z: Option<Buffer>,
}

impl DenseStage {
    /// Features of the input.
    pub fn inputs(&self) -> usize {
        self.layer.input.features()
    }

    /// Features of the output.
    pub fn outputs(&self) -> usize {
        self.layer.output.features()
    }

    /// The input as rows of features.
    pub fn input_rows<'a>(&self, x: &'a [f32], rows: usize) -> MatRef<'a> {
        self.layer.input.rows(x, rows)
    }
}

impl Stage for DenseStage {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, .. } = context;
        let Forward { rows, x, y } = operands;
        let (weight, bias) =
            (parameters.weight(self.layer.parameters), parameters.bias(self.layer.parameters));
        let x = self.layer.input.rows(x, rows);
        let y = MatMut::new(y, rows, self.outputs());
        if let Some(z) = &mut self.z {
            gemm(kernels, x, weight, Init::Zero, Epilogue::Store, MatMut::new(z, rows, weight.n()))?;
            return Ok(bias_relu(kernels, MatRef::new(z, rows, weight.n()), bias, y)?);
        }
        let epilogue = match self.layer.output.relu {
            None => Epilogue::Bias(bias),
            Some(relu) => match masks.dropout_over_steps(relu.dropout, rows * self.outputs(), self.steps) {
                Some(dropout) => Epilogue::BiasReluDropout(bias, dropout),
                None => Epilogue::BiasRelu(bias),
            },
        };
        Ok(gemm(kernels, x, weight, Init::Zero, epilogue, y)?)
    }

    fn backward(&mut self, context: &Context, operands: Backward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, guided } = context;
        let Backward { rows, x, d_y, d_x, gradients, .. } = operands;
        let layer = self.layer.parameters;
        let x = self.layer.input.rows(x, rows);
        let d_y = MatRef::new(d_y, rows, self.outputs());
        if let Some(gradients) = gradients {
            let d_w = &mut gradients[parameters.spec(layer).weight.clone()];
            let (rows, first_row) = (self.inputs(), 0);
            gemm_tn(kernels, WeightGradient { a: x, d_y, accumulate: false, d_w, rows, first_row })?;
            parameters.bias_gradient(kernels, layer, d_y, gradients)?;
        }
        if let Some(d_x) = d_x {
            let transposed = self.transposed.as_ref().expect("packed if a gradient comes back").panels();
            let epilogue = self.layer.input.gradient(x, masks, guided);
            gemm(kernels, d_y, transposed, Init::Zero, epilogue, MatMut::new(d_x, rows, self.inputs()))?;
        }
        Ok(())
    }

    fn relevance(&mut self, kernels: &kernels::Kernels, operands: Relevance) -> Result<(), ModelError> {
        let Relevance { rows, x, r_y, r_x, absorbed, .. } = operands;
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let rule = self.rule.as_mut().expect("a pass for relevance has packed the rule");
        let operands = DenseRelevance {
            a: self.layer.input.rows(x, rows),
            z: self.z.as_ref().map(|z| MatRef::new(z, rows, outputs)),
            r_out: MatRef::new(r_y, rows, outputs),
            r_in: MatMut::new(r_x, rows, inputs),
            absorbed: &mut absorbed[..rows],
        };
        rule.relevance(kernels, operands)
    }

    fn repack(&mut self, parameters: &Parameters) {
        if let Some(transposed) = &mut self.transposed {
            let w = parameters.weight(self.layer.parameters);
            transposed.update(|to| pack::transpose(w, Part::All, to));
        }
    }

    fn packed(&self) -> usize {
        self.transposed.as_ref().map_or(0, PackedWeights::len)
    }
}

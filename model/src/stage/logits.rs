//! The layer of the logits: forward and backward of a dense layer without a relu, relevance of one neuron.
//!
//! What is explained is `f = Σ_c γ_c h_c`. So the layer is one neuron a sample, with the weights
//! `d_j = Σ_c γ_c w_jc`, and every rule is applied to that neuron.

use super::bias::{BiasShare, BiasTerms};
use super::dense::{Dense, DenseStage};
use super::edge::{Edge, Place, vector};
use super::layer::{Backward, Context, Forward, Layer, Relevance, Setup, Stage};
use super::rule::{DenseRelevance, DenseRule};
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use kernels::pack::{self, Part};
use kernels::relevance::{RelevanceNeuron, Rule, relevance_neuron};
use kernels::{Buffer, Epilogue, Init, Kernels, MatMut, MatRef, PackedWeights, Panels, gemm};

/// `h = x·W − softplus(b)`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logits(Dense);

impl Logits {
    /// The layer of `classes` logits.
    pub fn new(specs: &mut Specs, name: &str, input: Edge, classes: usize) -> Logits {
        let plane = vector(classes);
        let output = Edge { values: plane, back: plane, relu: None, domain: input.domain };
        Logits(Dense::new(specs, name, input, output))
    }
}

impl Layer for Logits {
    fn output(&self) -> Edge {
        self.0.output()
    }

    fn parameters(&self) -> Option<usize> {
        self.0.parameters()
    }

    fn stage(&self, setup: &Setup) -> Box<dyn Stage> {
        let input = self.0.input();
        let w = setup.parameters.weight(self.0.index());
        let biases = setup.parameters.bias(self.0.index())[..w.n()].to_vec();
        let neuron = setup.rule(input.domain, Place::Last).map(|rule| {
            let mut transposed = PackedWeights::zeroed(w.n(), w.k());
            transposed.update(|to| pack::transpose(w, Part::All, to));
            Neuron {
                rule,
                bias: setup.bias_share(),
                biases: biases.clone(),
                transposed,
                d: Buffer::zeroed(setup.rows * w.k()),
            }
        });
        Box::new(LogitsStage { dense: self.0.stage_with(setup, None), neuron })
    }
}

/// The layer of the logits in one pass.
#[derive(Debug)]
struct LogitsStage {
    dense: DenseStage,
    neuron: Option<Neuron>,
}

/// What the relevance of the neuron needs.
#[derive(Debug)]
struct Neuron {
    rule: Rule,
    /// What the bias of the neuron counts for in its denominators.
    bias: BiasShare,
    /// Those of the logits, `[C]`.
    biases: Vec<f32>,
    /// `Wᵀ`
    transposed: PackedWeights,
    /// The neuron's weights, `[N, J]`.
    d: Buffer,
}

impl Stage for LogitsStage {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        self.dense.forward(context, operands)
    }

    fn backward(&mut self, context: &Context, operands: Backward) -> Result<(), ModelError> {
        self.dense.backward(context, operands)
    }

    /// `r_y` are the rows `γ`.
    fn relevance(&mut self, kernels: &Kernels, operands: Relevance) -> Result<(), ModelError> {
        let Relevance { rows, x, r_y: gamma, r_x, f, absorbed, .. } = operands;
        let (inputs, classes) = (self.dense.inputs(), self.dense.outputs());
        let Neuron { rule, bias, biases, transposed, d } =
            self.neuron.as_mut().expect("a pass for relevance has the neuron's buffers");
        let weights = transposed.panels();
        let gamma = MatRef::new(gamma, rows, classes);
        gemm(kernels, gamma, weights, Init::Zero, Epilogue::Store, MatMut::new(d, rows, inputs))?;
        let operands = RelevanceNeuron {
            rule,
            a: self.dense.input_rows(x, rows),
            d: MatRef::new(d, rows, inputs),
            f: &f[..rows],
            r_in: MatMut::new(r_x, rows, inputs),
            absorbed: &mut absorbed[..rows],
        };
        if *bias == BiasShare::Nothing {
            return Ok(relevance_neuron(kernels, operands)?);
        }
        let of_neuron =
            |row: &[f32]| row.iter().zip(&*biases).map(|(&g, &b)| f64::from(g) * f64::from(b)).sum::<f64>();
        let terms: Vec<BiasTerms> =
            (0..rows).map(|i| bias.terms(rule, &[of_neuron(gamma.row(i)) as f32])).collect();
        relevance_with_bias(kernels, operands, &terms)
    }

    fn repack(&mut self, parameters: &Parameters) {
        self.dense.repack(parameters);
    }

    fn packed(&self) -> usize {
        self.dense.packed()
    }
}

/// [`relevance_neuron`] with a bias in the denominators of each sample's neuron, which is then a dense layer of one output.
fn relevance_with_bias(
    kernels: &Kernels,
    operands: RelevanceNeuron,
    terms: &[BiasTerms],
) -> Result<(), ModelError> {
    let RelevanceNeuron { rule, a, d, f, mut r_in, absorbed } = operands;
    for (i, terms) in terms.iter().enumerate() {
        let packed = pack::pack(d.row(i), d.cols(), 1);
        let mut neuron = DenseRule::with_bias(rule, Panels::new(&packed, d.cols(), 1), 1, terms.clone());
        let operands = DenseRelevance {
            a: MatRef::new(a.row(i), 1, a.cols()),
            z: None,
            r_out: MatRef::new(&f[i..=i], 1, 1),
            r_in: MatMut::new(r_in.row_mut(i), 1, a.cols()),
            absorbed: &mut absorbed[i..=i],
        };
        neuron.relevance(kernels, operands)?;
    }
    Ok(())
}

//! One flat parameter buffer in panel order, with named views. Files are row-major.

use crate::error::ModelError;
use kernels::elementwise::activation::{softplus_bias, softplus_gradient};
use kernels::elementwise::reduce::column_sums;
use kernels::{Buffer, Kernels, MatRef, Panels, STRIP, panel_index, panels_len};
use std::ops::Range;

/// A layer's parameters: name, shape, and place in the flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `encoder.0`, `combine`, …
    pub name: String,
    /// Shape of the weight in files: `[in, out]`, or HWIO for a convolution.
    pub shape: Vec<usize>,
    /// Rows of the packed weight: what an output sums over.
    pub k: usize,
    /// Outputs.
    pub n: usize,
    /// Place of the packed weight.
    pub weight: Range<usize>,
    /// Place of the bias, `n` floats.
    pub bias: Range<usize>,
}

/// A tensor as files hold it: row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// `encoder.0.weight`, `encoder.0.bias`, …
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

impl Spec {
    /// The packed weight in a flat buffer.
    pub fn panels<'a>(&self, values: &'a [f32]) -> Panels<'a> {
        Panels::new(&values[self.weight.clone()], self.k, self.n)
    }

    /// Number of variables, padding not counted.
    pub fn variables(&self) -> usize {
        self.k * self.n + self.n
    }

    /// Names and shapes of weight and bias in files.
    pub fn tensors(&self) -> [(String, Vec<usize>); 2] {
        [(format!("{}.weight", self.name), self.shape.clone()), (format!("{}.bias", self.name), vec![self.n])]
    }

    /// Weight and bias of a flat buffer, row-major.
    pub fn export(&self, values: &[f32]) -> [NamedTensor; 2] {
        let [(weight, shape), (bias, n)] = self.tensors();
        let values_of_weight = kernels::pack::unpack(self.panels(values));
        [
            NamedTensor { name: weight, shape, values: values_of_weight },
            NamedTensor { name: bias, shape: n, values: values[self.bias.clone()].to_vec() },
        ]
    }

    /// Writes a row-major weight to its place; `row_major` has `k·n` values.
    pub(crate) fn import_weight(&self, row_major: &[f32], values: &mut [f32]) {
        let panel = &mut values[self.weight.clone()];
        for (i, row) in row_major.chunks_exact(self.n).enumerate() {
            for (j, &w) in row.iter().enumerate() {
                panel[panel_index(self.k, i, j)] = w;
            }
        }
    }
}

/// The layers with parameters while a network is put together, in the order of the flat buffer.
#[derive(Debug, Default)]
pub(crate) struct Specs {
    /// What has been added.
    pub specs: Vec<Spec>,
    /// Floats of all their parameters in panel order.
    pub len: usize,
}

impl Specs {
    /// Adds a layer with weights of the shape `[inputs…, outputs]` and gives its number.
    pub fn add<const N: usize>(&mut self, name: impl Into<String>, shape: [usize; N]) -> usize {
        let n = shape[N - 1];
        let k = shape[..N - 1].iter().product();
        let weight = self.len..self.len + panels_len(k, n);
        let bias = weight.end..weight.end + n;
        self.len = bias.end;
        self.specs.push(Spec { name: name.into(), shape: shape.to_vec(), k, n, weight, bias });
        self.specs.len() - 1
    }
}

/// The values of all parameters, and what is made of them once per version.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    specs: Vec<Spec>,
    values: Buffer,
    /// `−softplus(b)` of each layer, padded to whole strips.
    biases: Vec<Buffer>,
}

impl Parameters {
    /// All values 0; [`Parameters::refresh`] has to follow the first change.
    pub fn zeroed(specs: Specs) -> Parameters {
        let Specs { specs, len } = specs;
        let biases = specs.iter().map(|spec| Buffer::zeroed(spec.n.next_multiple_of(STRIP))).collect();
        Parameters { specs, values: Buffer::zeroed(len), biases }
    }

    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// The values in panel order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values, to be changed; [`Parameters::refresh`] has to follow.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Writes layer `layer` from row-major tensors of its shape.
    pub fn import(&mut self, layer: usize, weight: &[f32], bias: &[f32]) {
        let spec = &self.specs[layer];
        spec.import_weight(weight, &mut self.values);
        self.values[spec.bias.clone()].copy_from_slice(bias);
    }

    /// Makes what depends on the version of the values.
    pub fn refresh(&mut self, kernels: &Kernels) -> Result<(), ModelError> {
        for (spec, bias) in self.specs.iter().zip(&mut self.biases) {
            softplus_bias(kernels, &self.values[spec.bias.clone()], bias)?;
        }
        Ok(())
    }

    pub fn spec(&self, layer: usize) -> &Spec {
        &self.specs[layer]
    }

    /// The packed weights of a layer.
    pub fn weight(&self, layer: usize) -> Panels<'_> {
        self.specs[layer].panels(&self.values)
    }

    /// `−softplus(b)` of a layer, as the epilogues of products take it.
    pub fn bias(&self, layer: usize) -> &[f32] {
        &self.biases[layer]
    }

    /// The gradient of a layer's bias, `d_b = −σ(b)·Σ d_h`, into a buffer of the parameters' layout.
    pub fn bias_gradient(
        &self,
        kernels: &Kernels,
        layer: usize,
        d_h: MatRef,
        gradients: &mut [f32],
    ) -> Result<(), ModelError> {
        let place = self.specs[layer].bias.clone();
        let d_b = &mut gradients[place.clone()];
        column_sums(kernels, d_h, d_b)?;
        Ok(softplus_gradient(kernels, &self.values[place], d_b)?)
    }

    /// The name of the first tensor with a non-finite value, in the order of the layers.
    pub fn non_finite(&self) -> Option<String> {
        let bad = |place: &Range<usize>| self.values[place.clone()].iter().any(|value| !value.is_finite());
        self.specs.iter().find_map(|spec| {
            let part = if bad(&spec.weight) { "weight" } else { "bias" };
            (bad(&spec.weight) || bad(&spec.bias)).then(|| format!("{}.{part}", spec.name))
        })
    }
}

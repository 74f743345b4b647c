//! One flat parameter buffer in panel order, with named views; row-major is a matter of files.

use kernels::{Panels, panel_index, panels_len};
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
    /// Takes the next places behind `len`.
    pub(crate) fn new(name: String, shape: Vec<usize>, len: &mut usize) -> Spec {
        let (n, k) = match shape.split_last() {
            Some((&n, rest)) => (n, rest.iter().product()),
            None => (0, 0),
        };
        let weight = *len..*len + panels_len(k, n);
        let bias = weight.end..weight.end + n;
        *len = bias.end;
        Spec { name, shape, k, n, weight, bias }
    }

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

//! One flat parameter buffer in panel order, with named views. Files are row-major.

use crate::error::ModelError;
use kernels::elementwise::activation::{softplus_bias, softplus_gradient};
use kernels::elementwise::reduce::column_sums;
use kernels::{Buffer, Kernels, MatRef, Panels, PrepackCache, STRIP, panel_index, panels_len};
use std::ops::Range;

/// A layer's parameters: name, shape, and range in the flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `encoder.0`, `combine`, …
    pub name: String,
    /// Shape of the weight in files: `[in, out]`, or HWIO for a convolution.
    pub shape: Vec<usize>,
    /// Rows of the packed weight: the number of terms of an output's sum.
    pub k: usize,
    /// Outputs.
    pub n: usize,
    /// Range of the packed weight.
    pub weight: Range<usize>,
    /// Start of the bias, `n` floats.
    pub bias: Range<usize>,
    /// What the layer adds to its products for a bias `b`.
    pub bias_kind: BiasKind,
    /// The weights by which it reads its own output of the step before.
    pub lateral: Option<LateralSpec>,
}

/// What a layer adds to its products for a bias `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiasKind {
    /// `−softplus(b)`, so that no input makes a layer positive by itself.
    Softplus,
    /// `b`
    Plain,
}

/// Weights of a convolution on its own output of the step before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateralSpec {
    /// HWIO, channels to channels.
    pub shape: Vec<usize>,
    /// Rows of the packed weight.
    pub k: usize,
    /// Place of the packed weight.
    pub weight: Range<usize>,
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

    /// Inputs of a unit, the lateral ones counted in.
    pub fn inputs(&self) -> usize {
        self.k + self.lateral.as_ref().map_or(0, |lateral| lateral.k)
    }

    /// Number of variables, padding not counted.
    pub fn variables(&self) -> usize {
        self.inputs() * self.n + self.n
    }

    /// Names and shapes of weight, bias and, where there are any, lateral weights in files.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let name = |part: &str| format!("{}.{part}", self.name);
        let lateral = self.lateral.iter().map(|lateral| (name("lateral"), lateral.shape.clone()));
        let own = [(name("weight"), self.shape.clone()), (name("bias"), vec![self.n])];
        own.into_iter().chain(lateral).collect()
    }

    /// The tensors of a flat buffer, row-major.
    pub fn export(&self, values: &[f32]) -> Vec<NamedTensor> {
        let lateral = self.lateral.iter().map(|lateral| {
            kernels::pack::unpack(Panels::new(&values[lateral.weight.clone()], lateral.k, self.n))
        });
        let own = [kernels::pack::unpack(self.panels(values)), values[self.bias.clone()].to_vec()];
        let named = self.tensors().into_iter().zip(own.into_iter().chain(lateral));
        named.map(|((name, shape), values)| NamedTensor { name, shape, values }).collect()
    }

    /// Writes a row-major weight to its range; `row_major` has `k·n` values.
    pub(crate) fn import_weight(&self, row_major: &[f32], values: &mut [f32]) {
        import(row_major, [self.k, self.n], &mut values[self.weight.clone()]);
    }
}

/// Packs a row-major weight `[k, n]`.
fn import(row_major: &[f32], [k, n]: [usize; 2], panels: &mut [f32]) {
    for (i, row) in row_major.chunks_exact(n).enumerate() {
        for (j, &w) in row.iter().enumerate() {
            panels[panel_index(k, i, j)] = w;
        }
    }
}

/// The layers with parameters while a network is built, in the order of the flat buffer.
#[derive(Debug, Default)]
pub(crate) struct Specs {
    /// The added layers.
    pub specs: Vec<Spec>,
    /// Floats of all their parameters in panel order.
    pub len: usize,
}

impl Specs {
    /// Adds a layer with weights of the shape `[inputs…, outputs]` and returns its index.
    pub fn add<const N: usize>(&mut self, name: impl Into<String>, shape: [usize; N]) -> usize {
        let n = shape[N - 1];
        let k = shape[..N - 1].iter().product();
        let weight = self.len..self.len + panels_len(k, n);
        let bias = weight.end..weight.end + n;
        self.len = bias.end;
        let (shape, bias_kind) = (shape.to_vec(), BiasKind::Softplus);
        self.specs.push(Spec { name: name.into(), shape, k, n, weight, bias, bias_kind, lateral: None });
        self.specs.len() - 1
    }

    /// Adds a layer whose bias is added as it is.
    pub fn add_plain<const N: usize>(&mut self, name: impl Into<String>, shape: [usize; N]) -> usize {
        let layer = self.add(name, shape);
        self.specs[layer].bias_kind = BiasKind::Plain;
        layer
    }

    /// Adds a convolution `[size, size, inputs, channels]` that also reads its own output by a filter of its size.
    pub fn add_lateral(&mut self, name: impl Into<String>, shape: [usize; 4]) -> usize {
        let layer = self.add(name, shape);
        let [height, width, _, channels] = shape;
        let k = height * width * channels;
        let weight = self.len..self.len + panels_len(k, channels);
        self.len = weight.end;
        let shape = vec![height, width, channels, channels];
        self.specs[layer].lateral = Some(LateralSpec { shape, k, weight });
        layer
    }
}

/// The values of all parameters, and the forms that are computed once per version.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    specs: Vec<Spec>,
    values: Buffer,
    /// What each layer adds to its products, padded to whole strips.
    biases: Vec<Buffer>,
    /// What external GEMM backends make of each layer's weights, and of its lateral ones.
    caches: Vec<[PrepackCache; 2]>,
}

impl Parameters {
    /// All values are 0; call [`Parameters::refresh`] after the first change.
    pub fn zeroed(specs: Specs) -> Parameters {
        let Specs { specs, len } = specs;
        let biases = specs.iter().map(|spec| Buffer::zeroed(spec.n.next_multiple_of(STRIP))).collect();
        let caches = specs.iter().map(|_| Default::default()).collect();
        Parameters { specs, values: Buffer::zeroed(len), biases, caches }
    }

    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// The values in panel order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values, mutable; call [`Parameters::refresh`] afterwards.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.caches.iter_mut().flatten().for_each(PrepackCache::renew);
        &mut self.values
    }

    /// Writes layer `layer` from row-major tensors in the order of [`Spec::tensors`].
    pub fn import(&mut self, layer: usize, tensors: &[&[f32]]) {
        self.caches[layer].iter_mut().for_each(PrepackCache::renew);
        let spec = &self.specs[layer];
        spec.import_weight(tensors[0], &mut self.values);
        self.values[spec.bias.clone()].copy_from_slice(tensors[1]);
        if let Some(lateral) = &spec.lateral {
            import(tensors[2], [lateral.k, spec.n], &mut self.values[lateral.weight.clone()]);
        }
    }

    /// Recomputes the forms that depend on the values.
    pub fn refresh(&mut self, kernels: &Kernels) -> Result<(), ModelError> {
        for (spec, bias) in self.specs.iter().zip(&mut self.biases) {
            let b = &self.values[spec.bias.clone()];
            match spec.bias_kind {
                BiasKind::Softplus => softplus_bias(kernels, b, bias)?,
                BiasKind::Plain => bias[..spec.n].copy_from_slice(b),
            }
        }
        Ok(())
    }

    pub fn spec(&self, layer: usize) -> &Spec {
        &self.specs[layer]
    }

    /// The packed weights of a layer.
    pub fn weight(&self, layer: usize) -> Panels<'_> {
        self.specs[layer].panels(&self.values).cached(&self.caches[layer][0])
    }

    /// The packed lateral weights of a layer.
    ///
    /// # Panics
    /// If it has none.
    pub fn lateral(&self, layer: usize) -> Panels<'_> {
        let spec = &self.specs[layer];
        let lateral = spec.lateral.as_ref().expect("a layer with lateral weights");
        let lateral = Panels::new(&self.values[lateral.weight.clone()], lateral.k, spec.n);
        lateral.cached(&self.caches[layer][1])
    }

    /// `−softplus(b)` of a layer, or its plain bias, as the epilogues of products take it.
    pub fn bias(&self, layer: usize) -> &[f32] {
        &self.biases[layer]
    }

    /// The gradient of a layer's bias, `d_b = −σ(b)·Σ d_h` or of a plain one `Σ d_h`, into a buffer of the parameters' layout.
    pub fn bias_gradient(
        &self,
        kernels: &Kernels,
        layer: usize,
        d_h: MatRef,
        gradients: &mut [f32],
    ) -> Result<(), ModelError> {
        column_sums(kernels, d_h, &mut gradients[self.specs[layer].bias.clone()])?;
        self.through_bias(kernels, layer, gradients)
    }

    /// The gradients of a layer's weights and bias in a buffer of the parameters' layout.
    pub fn gradients_of<'a>(&self, layer: usize, gradients: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        let Spec { weight, bias, .. } = &self.specs[layer];
        let places = gradients.get_disjoint_mut([weight.clone(), bias.clone()]);
        let [d_w, d_b] = places.expect("weights and bias are different places of the buffer");
        (d_w, d_b)
    }

    /// The second half of [`Parameters::bias_gradient`]: `Σ d_h` is in the buffer.
    pub fn through_bias(
        &self,
        kernels: &Kernels,
        layer: usize,
        gradients: &mut [f32],
    ) -> Result<(), ModelError> {
        let place = self.specs[layer].bias.clone();
        let d_b = &mut gradients[place.clone()];
        match self.specs[layer].bias_kind {
            BiasKind::Softplus => Ok(softplus_gradient(kernels, &self.values[place], d_b)?),
            BiasKind::Plain => Ok(()),
        }
    }

    /// The name of the first tensor with a non-finite value, in the order of the layers.
    pub fn non_finite(&self) -> Option<String> {
        let bad = |place: &Range<usize>| self.values[place.clone()].iter().any(|value| !value.is_finite());
        self.specs.iter().find_map(|spec| {
            let lateral = spec.lateral.iter().map(|lateral| ("lateral", &lateral.weight));
            let mut parts = [("weight", &spec.weight), ("bias", &spec.bias)].into_iter().chain(lateral);
            let (part, _) = parts.find(|(_, place)| bad(place))?;
            Some(format!("{}.{part}", spec.name))
        })
    }
}

//! The rule of one layer with its weights packed, and its biases in the denominators where they count.

use super::bias::BiasTerms;
use super::layer::Setup;
use crate::error::ModelError;
use kernels::relevance::{
    self, MessagesConv, PackedRule, Ratios, RatiosConv, Rule, SharedGroup, messages, messages_conv, ratios,
    ratios_conv,
};
use kernels::{Buffer, ConvShape, Kernels, MatMut, MatRef, Panels};

/// What a layer whose biases count needs besides its packed rule.
#[derive(Debug)]
struct Biased {
    terms: BiasTerms,
    shared: Vec<SharedGroup>,
    /// For each group, the biases' terms in every row, and the ratios.
    bases: Vec<Buffer>,
    ratios: Vec<Buffer>,
}

impl Biased {
    /// For so many rows of denominators; `floats` of ratios.
    fn new(rule: &Rule, terms: BiasTerms, floats_of_base: usize, floats: usize) -> Option<Biased> {
        if terms.is_empty() {
            return None;
        }
        let shared = Rule::shared(&[rule]);
        let base = |group| {
            let mut base = Buffer::zeroed(floats_of_base);
            terms.add_to(group, &mut base);
            base
        };
        let bases = (0..shared.len()).map(base).collect();
        let ratios = vec![Buffer::zeroed(floats); shared.len()];
        Some(Biased { bases, ratios, terms, shared })
    }
}

/// The rule of a dense layer.
#[derive(Debug)]
pub(crate) struct DenseRule {
    packed: PackedRule,
    biased: Option<Biased>,
}

/// Operands of [`DenseRule::relevance`], as those of [`relevance::Relevance`].
pub(crate) struct DenseRelevance<'a> {
    pub a: MatRef<'a>,
    pub z: Option<MatRef<'a>>,
    pub r_out: MatRef<'a>,
    pub r_in: MatMut<'a>,
    pub absorbed: &'a mut [f64],
}

impl DenseRule {
    /// For the weights `w` of a layer's parameters and up to `rows` rows.
    pub fn new(rule: &Rule, w: Panels, layer: usize, rows: usize, setup: &Setup) -> DenseRule {
        DenseRule::with_bias(rule, w, rows, setup.bias_terms(rule, layer))
    }

    /// For weights `w` and up to `rows` rows, with these terms of biases.
    pub fn with_bias(rule: &Rule, w: Panels, rows: usize, terms: BiasTerms) -> DenseRule {
        let floats = rows * w.n();
        DenseRule { packed: PackedRule::dense(rule, w), biased: Biased::new(rule, terms, floats, floats) }
    }

    /// Whether it reads the forward product.
    pub fn reads_forward(&self) -> bool {
        self.packed.reads_forward()
    }

    /// The relevance of the inputs.
    pub fn relevance(&mut self, kernels: &Kernels, operands: DenseRelevance) -> Result<(), ModelError> {
        let DenseRelevance { a, z, r_out, r_in, absorbed } = operands;
        let rule = &self.packed;
        let Some(Biased { terms, shared, bases, ratios: c_of }) = &mut self.biased else {
            let operands = relevance::Relevance { rule, a, z, r_out, r_in, absorbed };
            return Ok(relevance::relevance(kernels, operands)?);
        };
        let (rows, outputs) = (r_out.rows(), r_out.cols());
        for (group, (&shared, of_group)) in shared.iter().zip(c_of.iter_mut()).enumerate() {
            let base = MatRef::new(&bases[group], rows, outputs);
            let c = MatMut::new(of_group, rows, outputs);
            ratios(kernels, Ratios { shared, rule, group, base, a, z, r_out, c, absorbed: &mut *absorbed })?;
            terms.absorb(group, MatRef::new(of_group, rows, outputs), absorbed);
        }
        let c: Vec<MatRef> = c_of.iter().map(|c| MatRef::new(c, rows, outputs)).collect();
        Ok(messages(kernels, relevance::Messages { rule, c: &c, a, r_in })?)
    }
}

/// The rule of a convolution.
#[derive(Debug)]
pub(crate) struct ConvRule {
    packed: PackedRule,
    shape: ConvShape,
    biased: Option<Biased>,
}

/// Operands of [`ConvRule::relevance`].
pub(crate) struct ConvRelevance<'a> {
    /// The input with the border of the filter, and its pixels.
    pub x: &'a [f32],
    pub a: MatRef<'a>,
    pub z: Option<MatRef<'a>>,
    pub r_out: MatRef<'a>,
    pub r_in: MatMut<'a>,
    /// One an image.
    pub absorbed: &'a mut [f64],
}

impl ConvRule {
    /// For the weights `w` of a layer's parameters and up to `images` images.
    pub fn new(rule: &Rule, shape: &ConvShape, layer: usize, images: usize, setup: &Setup) -> ConvRule {
        let w = setup.parameters.weight(layer);
        let packed = PackedRule::conv(setup.kernels, rule, shape, w)
            .unwrap_or_else(|error| unreachable!("the weights have the shape of this layer: {error}"));
        let plane = shape.output();
        let (base, ratios) = (images * plane.pixels() * shape.outputs, images * plane.len());
        let biased = Biased::new(rule, setup.bias_terms(rule, layer), base, ratios);
        ConvRule { packed, shape: *shape, biased }
    }

    /// Whether it reads the forward product.
    pub fn reads_forward(&self) -> bool {
        self.packed.reads_forward()
    }

    /// The relevance of the inputs.
    pub fn relevance(&mut self, kernels: &Kernels, operands: ConvRelevance) -> Result<(), ModelError> {
        let ConvRelevance { x, a, z, r_out, r_in, absorbed } = operands;
        let (rule, images) = (&self.packed, absorbed.len());
        let Some(Biased { terms, shared, bases, ratios: c_of }) = &mut self.biased else {
            let operands = relevance::RelevanceConv { rule, a: x, z, r_out, r_in, absorbed };
            return Ok(relevance::relevance_conv(kernels, operands)?);
        };
        let plane = self.shape.output();
        for (group, (&shared, of_group)) in shared.iter().zip(c_of.iter_mut()).enumerate() {
            let base = MatRef::new(&bases[group], r_out.rows(), r_out.cols());
            let c = plane.pixels_mut(of_group, images);
            let a = Some(x);
            ratios_conv(
                kernels,
                RatiosConv { shared, rule, group, base, a, z, r_out, c, absorbed: &mut *absorbed },
            )?;
            terms.absorb(group, plane.pixels_of(of_group, images), absorbed);
        }
        let c: Vec<&[f32]> = c_of.iter().map(|c| &c[..images * plane.len()]).collect();
        Ok(messages_conv(kernels, MessagesConv { rule, images, c: &c, a, r_in })?)
    }
}

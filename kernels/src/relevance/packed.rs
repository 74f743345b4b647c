//! A rule with the weights of one layer prepared.
//!
//! The terms of a group determine the computation. There are three kinds of denominators:
//! - a product `a·ψ(W)`: one term of the inputs themselves (z⁺, αβ, ε, γ),
//! - the forward product without a constant, `x·W − v`: terms of `a − bound` whose weights add up to `w` (z^β),
//! - a constant: one term that does not read the inputs (w², flat).

use super::terms::{Group, InputMap, Rule, SharedGroup, Term};
use crate::conv::max_pool::filters::Lines;
use crate::conv::max_pool::{ConvPoolShape, Filters};
use crate::conv::{Conv, conv};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::pack::{self, PackedWeights, Part};
use crate::gemm::problem::{Epilogue, Init};
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef, Rows, volume};
use crate::panels::Panels;

/// Names of the kernels that take the packed rules of convolutions, in errors and profiles.
pub(super) const CONV_NAME: &str = "relevance_conv";
pub(super) const CONV_MAX_POOL_NAME: &str = "relevance_conv_max_pool";

/// How the denominators of a group are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `a·ψ(W)`
    Product(Part),
    /// `x·W − v`; `v` is a sum over all weights, each times its bound: one bound for weights above 0, one for
    /// all others.
    Forward { positive: f32, other: f32 },
    /// `Σ_j ψ(w)`
    Constant(Part),
}

impl Group {
    /// # Panics
    /// If the denominator is of no such kind.
    fn kind(&self) -> Kind {
        let bound = |input| match input {
            InputMap::Value => Some(0.0),
            InputMap::Minus(bound) => Some(bound),
            InputMap::One => None,
        };
        let forward = |one: &Term, two: &Term| {
            let (positive, other) = (bound(one.input)?, bound(two.input)?);
            Some(Kind::Forward { positive, other })
        };
        let kind = match self.terms.as_slice() {
            [Term { input: InputMap::Value, weight }] => Some(Kind::Product(*weight)),
            [Term { input: InputMap::One, weight }] => Some(Kind::Constant(*weight)),
            [all] if all.weight == Part::All => forward(all, all),
            [one, two] => match (one.weight, two.weight) {
                (Part::Positive, Part::Negative) => forward(one, two),
                (Part::Negative, Part::Positive) => forward(two, one),
                _ => None,
            },
            _ => None,
        };
        kind.unwrap_or_else(|| {
            panic!("the terms {:?} have no product, forward product or constant as denominator", self.terms)
        })
    }
}

/// How the denominators of a group are computed, with its operand: for a product the weights as `W` holds
/// them, otherwise the constant of each output, `[P, K]`: one row for a dense layer, one row per pixel for a
/// convolution.
#[derive(Clone, Debug)]
pub(super) enum Denominator<W> {
    Product(W),
    Forward(Vec<f32>),
    Constant(Vec<f32>),
}

/// Separately packed weights.
#[derive(Clone, Debug)]
pub(super) struct Weights(PackedWeights);

impl Weights {
    fn new(k: usize, n: usize, pack: impl FnOnce(&mut [f32])) -> Self {
        let mut weights = PackedWeights::zeroed(k, n);
        weights.update(pack);
        Weights(weights)
    }

    fn forward(w: Panels, part: Part) -> Self {
        Weights::new(w.k, w.n, |to| pack::part(w, part, to))
    }

    fn transposed(w: Panels, part: Part) -> Self {
        Weights::new(w.n, w.k, |to| pack::transpose(w, part, to))
    }

    fn reversed(shape: &ConvShape, w: Panels, part: Part) -> Self {
        let patch = shape.reversed().patch();
        Weights::new(patch, shape.inputs, |to| pack::reverse_conv(shape, w, part, to))
    }

    pub fn panels(&self) -> Panels<'_> {
        self.0.panels()
    }
}

/// The second product `c·ψ(W)ᵀ` of a term, and its epilogue.
#[derive(Clone, Debug)]
pub(super) struct PackedTerm {
    /// Transposed weights, or reversed ones.
    pub weights: Weights,
    /// Whether the product is added to the sums of the previous terms, before they are multiplied.
    accumulate: bool,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Store,
    /// Multiplies by `a − shift`, and adds the result to the output if that already holds relevance.
    Times {
        shift: f32,
        add: bool,
    },
}

impl PackedTerm {
    pub fn init(&self) -> Init<'static> {
        if self.accumulate { Init::Accumulate } else { Init::Zero }
    }

    pub fn epilogue<'a>(&self, a: MatRef<'a>) -> Epilogue<'a> {
        match self.then {
            Then::Store => Epilogue::Store,
            Then::Times { shift, add } => Epilogue::Times { a, shift, add },
        }
    }
}

/// All terms of a rule, in their order. The first ones that have the same input map add up their products and
/// are multiplied once; each later one is multiplied and added.
fn packed_terms(rule: &Rule, weights: impl Fn(Part) -> Weights) -> Vec<PackedTerm> {
    let terms: Vec<&Term> = rule.groups.iter().flat_map(|group| &group.terms).collect();
    let alike = terms.iter().take_while(|term| term.input == terms[0].input).count();
    let packed = |(i, term): (usize, &&Term)| {
        let times = |shift| match i + 1 < alike {
            true => Then::Store,
            false => Then::Times { shift, add: i >= alike },
        };
        let then = match term.input {
            InputMap::Value => times(0.0),
            InputMap::Minus(bound) => times(bound),
            InputMap::One => Then::Store,
        };
        PackedTerm { weights: weights(term.weight), accumulate: i > 0 && i < alike, then }
    };
    terms.iter().enumerate().map(packed).collect()
}

/// One group with its weights: `W` are the weights of the first product, `B` those of the second products.
#[derive(Clone, Debug)]
pub(super) struct PackedGroup<W, B> {
    pub shared: SharedGroup,
    pub denominator: Denominator<W>,
    pub back: B,
}

impl<W, B> PackedGroup<W, B> {
    /// The constant of each of `rows` outputs: those of the pixels, repeated for each image.
    pub fn constants(&self, rows: usize, outputs: usize) -> Option<MatRef<'_>> {
        let (Denominator::Forward(v) | Denominator::Constant(v)) = &self.denominator else { return None };
        let pixels = (v.len() / outputs.max(1)).max(1);
        let again = Rows { width: pixels, height: 1, step: outputs, line: 0, image: 0 };
        Some(MatRef::mapped(v, rows, outputs, again))
    }
}

pub(super) type PanelGroup = PackedGroup<Weights, Vec<PackedTerm>>;
pub(super) type FilterGroup = PackedGroup<Lines, Back>;

/// The second products with a max-pool: one part of the filters per term.
#[derive(Clone, Debug)]
pub(super) struct Back {
    pub filters: Filters,
    /// For each part, `shift` of the factor `a − shift`; none if the factor is 1.
    pub shifts: Vec<Option<f32>>,
}

/// A group of a dense layer's rule.
#[derive(Clone, Debug)]
pub struct DenseGroup<'a> {
    /// Coefficient and stabiliser.
    pub shared: SharedGroup,
    /// `[J, K]` weights of the denominator, if it is a product `a·ψ(W)`.
    pub product: Option<Panels<'a>>,
    /// `[K, J]` weights of the second product of each term.
    pub back: Vec<Panels<'a>>,
}

#[derive(Clone, Debug)]
enum Layer {
    Dense { inputs: usize, outputs: usize, groups: Vec<PanelGroup> },
    Conv { shape: ConvShape, groups: Vec<PanelGroup> },
    ConvMaxPool { shape: ConvPoolShape, groups: Vec<FilterGroup> },
}

/// A rule with the weights of one layer prepared; made once per version of the weights.
///
/// There are three kinds of groups: one term of the values, `a·ψ(w)`; terms of `a − bound` whose weights are
/// all of `w`, or `w⁺` and `w⁻`; one term without the inputs, `ψ(w)`, alone in its rule.
#[derive(Clone, Debug)]
pub struct PackedRule(Layer);

impl PackedRule {
    /// For a dense layer with `[J, K]` weights.
    ///
    /// # Panics
    /// If the rule has a group of another kind, or none.
    pub fn dense(rule: &Rule, w: Panels) -> PackedRule {
        let constant = |of: &dyn Fn(f32, f32) -> f32| {
            (0..w.n()).map(|k| (0..w.k()).fold(0.0f32, |sum, j| of(w.at(j, k), sum))).collect()
        };
        let denominator = |kind| match kind {
            Kind::Product(part) => Denominator::Product(Weights::forward(w, part)),
            // One accumulator in the order of the forward product: if every pixel is at its root point, `z −
            // v` is exactly 0.
            Kind::Forward { positive, other } => {
                let bound = |w: f32| if w > 0.0 { positive } else { other };
                Denominator::Forward(constant(&|w, sum| bound(w).mul_add(w, sum)))
            }
            Kind::Constant(part) => Denominator::Constant(constant(&|w, sum| sum + part.of(w))),
        };
        let terms = packed_terms(rule, |part| Weights::transposed(w, part));
        let groups = groups(rule, terms, |kind| Ok(denominator(kind))).expect("weights of any shape");
        PackedRule(Layer::Dense { inputs: w.k(), outputs: w.n(), groups })
    }

    /// For a convolution with packed `[size·size·inputs, outputs]` weights. Pixels of the border do not count
    /// as inputs: their relevance is 0 and they contribute nothing to a denominator.
    ///
    /// # Errors
    /// [`ShapeError`] if the weights are not the convolution's.
    ///
    /// # Panics
    /// As [`PackedRule::dense`].
    pub fn conv(
        kernels: &Kernels,
        rule: &Rule,
        shape: &ConvShape,
        w: Panels,
    ) -> Result<PackedRule, ShapeError> {
        check_weights(CONV_NAME, shape, w)?;
        let terms = packed_terms(rule, |part| Weights::reversed(shape, w, part));
        let groups = groups(rule, terms, |kind| {
            conv_denominator(kernels, shape, w, kind, |part| Weights::forward(w, part))
        })?;
        Ok(PackedRule(Layer::Conv { shape: *shape, groups }))
    }

    /// For a convolution followed by relu and max-pool.
    ///
    /// # Errors
    /// [`ShapeError`] if the weights are not the layer's, or the window is empty.
    ///
    /// # Panics
    /// As [`PackedRule::dense`].
    pub fn conv_max_pool(
        kernels: &Kernels,
        rule: &Rule,
        shape: &ConvPoolShape,
        w: Panels,
    ) -> Result<PackedRule, ShapeError> {
        check_weights(CONV_MAX_POOL_NAME, &shape.conv, w)?;
        shape.check(CONV_MAX_POOL_NAME)?;
        check_rule(rule);
        let packed = |group: &Group| {
            let denominator =
                conv_denominator(kernels, &shape.conv, w, group.kind(), |part| Lines::of(shape, w, part))?;
            let [one, two] = [0, 1].map(|i| group.terms.get(i).map(|term| term.weight));
            let filters = Filters::new(shape, w, one.expect("a kind has a term"), two);
            let shift = |term: &Term| match term.input {
                InputMap::Value => Some(0.0),
                InputMap::Minus(bound) => Some(bound),
                InputMap::One => None,
            };
            let back = Back { filters, shifts: group.terms.iter().map(shift).collect() };
            Ok(PackedGroup { shared: group.shared(), denominator, back })
        };
        let groups = rule.groups.iter().map(packed).collect::<Result<_, ShapeError>>()?;
        Ok(PackedRule(Layer::ConvMaxPool { shape: *shape, groups }))
    }

    /// The groups of a dense layer's rule with their packed weights; none for another layer.
    pub fn dense_groups(&self) -> Vec<DenseGroup<'_>> {
        let Layer::Dense { groups, .. } = &self.0 else { return Vec::new() };
        fn of(group: &PanelGroup) -> DenseGroup<'_> {
            DenseGroup {
                shared: group.shared,
                product: match &group.denominator {
                    Denominator::Product(weights) => Some(weights.panels()),
                    Denominator::Forward(_) | Denominator::Constant(_) => None,
                },
                back: group.back.iter().map(|term| term.weights.panels()).collect(),
            }
        }
        groups.iter().map(of).collect()
    }

    /// Groups of the rule.
    pub fn groups(&self) -> usize {
        match &self.0 {
            Layer::Dense { groups, .. } | Layer::Conv { groups, .. } => groups.len(),
            Layer::ConvMaxPool { groups, .. } => groups.len(),
        }
    }

    /// Whether a denominator is computed from the forward product; it is then a required operand of the
    /// kernels.
    pub fn reads_forward(&self) -> bool {
        match &self.0 {
            Layer::Dense { groups, .. } | Layer::Conv { groups, .. } => reads_forward(groups),
            Layer::ConvMaxPool { groups, .. } => reads_forward(groups),
        }
    }

    pub(super) fn of_dense(&self, kernel: &'static str) -> Result<(usize, usize, &[PanelGroup]), ShapeError> {
        match &self.0 {
            Layer::Dense { inputs, outputs, groups } => Ok((*inputs, *outputs, groups)),
            _ => Err(self.of_other_layer(kernel, "a dense layer")),
        }
    }

    pub(super) fn of_conv(&self, kernel: &'static str) -> Result<(&ConvShape, &[PanelGroup]), ShapeError> {
        match &self.0 {
            Layer::Conv { shape, groups } => Ok((shape, groups)),
            _ => Err(self.of_other_layer(kernel, "a convolution")),
        }
    }

    pub(super) fn of_conv_max_pool(
        &self,
        kernel: &'static str,
    ) -> Result<(&ConvPoolShape, &[FilterGroup]), ShapeError> {
        match &self.0 {
            Layer::ConvMaxPool { shape, groups } => Ok((shape, groups)),
            _ => Err(self.of_other_layer(kernel, "a convolution with a max-pool")),
        }
    }

    fn of_other_layer(&self, kernel: &'static str, expected: &'static str) -> ShapeError {
        let found = match &self.0 {
            Layer::Dense { .. } => "a dense layer",
            Layer::Conv { .. } => "a convolution",
            Layer::ConvMaxPool { .. } => "a convolution with a max-pool",
        };
        ShapeError::Layer { kernel, found, expected }
    }
}

pub(super) fn reads_forward<W, B>(groups: &[PackedGroup<W, B>]) -> bool {
    groups.iter().any(|group| matches!(group.denominator, Denominator::Forward(_)))
}

/// The number of products that the kernels compute, in multiples of the layer's multiply-adds.
pub(super) fn products<'a, W: 'a, B: 'a>(
    groups: impl IntoIterator<Item = &'a PackedGroup<W, B>>,
    terms: impl Fn(&B) -> usize,
) -> usize {
    let of = |group: &PackedGroup<W, B>| {
        terms(&group.back) + usize::from(matches!(group.denominator, Denominator::Product(_)))
    };
    groups.into_iter().map(of).sum()
}

/// # Panics
/// If a rule has no groups, or has several and one of them has a term that does not read the inputs.
fn check_rule(rule: &Rule) {
    assert!(!rule.groups.is_empty(), "a rule has a group");
    let ones = rule.groups.iter().flat_map(|group| &group.terms).filter(|term| term.input == InputMap::One);
    assert!(ones.count() == 0 || rule.groups.len() == 1, "a term without the inputs is alone in its rule");
}

fn groups(
    rule: &Rule,
    terms: Vec<PackedTerm>,
    denominator: impl Fn(Kind) -> Result<Denominator<Weights>, ShapeError>,
) -> Result<Vec<PanelGroup>, ShapeError> {
    check_rule(rule);
    let mut terms = terms.into_iter();
    let packed = |group: &Group| {
        let denominator = denominator(group.kind())?;
        let back = terms.by_ref().take(group.terms.len()).collect();
        Ok(PackedGroup { shared: group.shared(), denominator, back })
    };
    rule.groups.iter().map(packed).collect()
}

fn check_weights(kernel: &'static str, shape: &ConvShape, w: Panels) -> Result<(), ShapeError> {
    shape.check(kernel)?;
    axis(kernel, "patch", "w", w.k(), shape.patch())?;
    axis(kernel, "outputs", "w", w.n(), shape.outputs)
}

/// The denominators of a convolution; its constants are those of images with a single pixel value and the
/// usual border of 0.
fn conv_denominator<W>(
    kernels: &Kernels,
    shape: &ConvShape,
    w: Panels,
    kind: Kind,
    product: impl FnOnce(Part) -> W,
) -> Result<Denominator<W>, ShapeError> {
    let constants = |parts: &[(f32, Part)]| {
        let plane = shape.input();
        let mut v = vec![0.0; volume([plane.pixels(), shape.outputs])];
        for (i, &(value, part)) in parts.iter().enumerate() {
            let mut x = vec![0.0; plane.len()];
            let mut inside = plane.pixels_mut(&mut x, 1);
            (0..plane.pixels()).for_each(|i| inside.row_mut(i).fill(value));
            let init = if i == 0 { Init::Zero } else { Init::Accumulate };
            let weights = Weights::forward(w, part);
            let y = MatMut::new(&mut v, plane.pixels(), shape.outputs);
            let (w, epilogue) = (weights.panels(), Epilogue::Store);
            conv(kernels, Conv { shape, images: 1, x: &x, w, init, epilogue, y })?;
        }
        Ok(v)
    };
    Ok(match kind {
        Kind::Product(part) => Denominator::Product(product(part)),
        Kind::Forward { positive, other } => {
            Denominator::Forward(constants(&[(positive, Part::Positive), (other, Part::Negative)])?)
        }
        Kind::Constant(part) => Denominator::Constant(constants(&[(1.0, part)])?),
    })
}

//! A relevance rule as data, and a rule with the weights of one layer prepared.
//!
//! `R_j = Σ_groups coefficient · Σ_k (Σ_terms φ(a_j)·ψ(w_jk)) / (z_k + s) · R_k`, where `z_k` is the sum of
//! the numerator over `j` and `s` the stabiliser.
//!
//! What a kernel does follows from the terms of a group. Their denominators are of three kinds:
//! - a product `a·ψ(W)`: one term of the inputs themselves (z⁺, αβ, ε, γ),
//! - the forward product without a constant, `x·W − v`: terms of `a − bound` whose weights add up to `w` (z^β),
//! - a constant: one term that does not read the inputs (w², flat).

use super::EPS;
use crate::Kernels;
use crate::buffer::Buffer;
use crate::conv::max_pool::filters::Lines;
use crate::conv::max_pool::{ConvMaxPoolShape, Filters};
use crate::conv::{Conv, conv};
use crate::error::{ShapeError, axis};
use crate::gemm::Init;
use crate::gemm::epilogue::Epilogue;
use crate::gemm::pack::{self, Part};
use crate::shape::{ConvShape, MatMut, MatRef, Panels, Rows, panels_len, volume};

pub use crate::gemm::epilogue::Stabiliser;

/// What an input `a` contributes to a term: `φ(a)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputMap {
    /// `a`
    Value,
    /// `a − bound`
    Minus(f32),
    /// `1`; an input that does not exist, such as a padded place of a convolution, contributes nothing.
    One,
}

/// One product `φ(a)·ψ(w)` of a numerator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// `φ`
    pub input: InputMap,
    /// `ψ`
    pub weight: Part,
}

/// Terms that share a denominator.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// `1`, `α` or `−β`: the share of the relevance that the group redistributes.
    pub coefficient: f32,
    /// Their sum is the numerator.
    pub terms: Vec<Term>,
    /// What the denominator gets.
    pub stabiliser: Stabiliser,
}

/// A relevance rule (thesis, Table 3.1): one group of terms, or several.
///
/// ```
/// use kernels::pack::Part;
/// use kernels::relevance::{EPS, Group, InputMap, Rule, Stabiliser, Term};
/// let z_plus = Group {
///     coefficient: 1.0,
///     terms: vec![Term { input: InputMap::Value, weight: Part::Positive }],
///     stabiliser: Stabiliser::Constant(EPS),
/// };
/// assert_eq!(Rule::z_plus(), Rule { groups: vec![z_plus] });
/// assert_eq!(Rule::z_plus(), Rule::alpha_beta(1.0, 0.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Each has a denominator of its own.
    pub groups: Vec<Group>,
}

/// A rule with one group and the coefficient 1.
fn one_group(terms: &[(InputMap, Part)], stabiliser: Stabiliser) -> Rule {
    Rule { groups: vec![group(1.0, terms, stabiliser)] }
}

fn group(coefficient: f32, terms: &[(InputMap, Part)], stabiliser: Stabiliser) -> Group {
    let terms = terms.iter().map(|&(input, weight)| Term { input, weight }).collect();
    Group { coefficient, terms, stabiliser }
}

impl Rule {
    /// z⁺: `a·w⁺`, for inputs `a ≥ 0`.
    pub fn z_plus() -> Rule {
        Rule::alpha_beta(1.0, 0.0)
    }

    /// LRP-αβ (thesis, Eq. 3.2, 3.3): `α` times `a·w⁺`, `−β` times `a·w⁻`, for inputs `a ≥ 0`; it conserves
    /// relevance where `α − β = 1`. Without `β` there is one group.
    pub fn alpha_beta(alpha: f32, beta: f32) -> Rule {
        use InputMap::Value;
        let mut groups = vec![group(alpha, &[(Value, Part::Positive)], Stabiliser::Constant(EPS))];
        if beta != 0.0 {
            groups.push(group(-beta, &[(Value, Part::Negative)], Stabiliser::Constant(-EPS)));
        }
        Rule { groups }
    }

    /// z^β: `(x − low)·w⁺ + (x − high)·w⁻`, for pixels `low ≤ x ≤ high` (Table 3.1 with the signs that the
    /// root point of section 3.3 demands).
    pub fn z_beta(low: f32, high: f32) -> Rule {
        use InputMap::Minus;
        let terms = [(Minus(low), Part::Positive), (Minus(high), Part::Negative)];
        one_group(&terms, Stabiliser::Constant(EPS))
    }

    /// w²: `w²`, for unbounded inputs.
    pub fn w_square() -> Rule {
        one_group(&[(InputMap::One, Part::Square)], Stabiliser::Constant(EPS))
    }

    /// Flat: the same share for every input.
    pub fn flat() -> Rule {
        one_group(&[(InputMap::One, Part::One)], Stabiliser::Constant(EPS))
    }

    /// LRP-ε: `a·w`, stabilised with `ε·sign(z)`.
    pub fn epsilon(epsilon: f32) -> Rule {
        one_group(&[(InputMap::Value, Part::All)], Stabiliser::Signed(epsilon))
    }

    /// LRP-γ: `a·(w + γ·w⁺)`, stabilised with `ε·sign(z)`, for inputs `a ≥ 0`.
    pub fn gamma(gamma: f32, epsilon: f32) -> Rule {
        one_group(&[(InputMap::Value, Part::Gamma(gamma))], Stabiliser::Signed(epsilon))
    }

    /// The groups of a layer whose inputs have these rules and share the denominator of each group.
    ///
    /// Group `i` of every rule is part of group `i`; a rule with fewer groups has no part in the others. The
    /// coefficients are those of the rule with the most groups, the first of equals. The stabiliser is signed
    /// where that of any rule is, otherwise that of the same rule as the coefficient.
    ///
    /// ```
    /// use kernels::relevance::{EPS, Rule, Stabiliser};
    /// let (pixels, others) = (Rule::z_beta(-1.0, 1.0), Rule::alpha_beta(2.0, 1.0));
    /// let shared = Rule::shared(&[&pixels, &others]);
    /// assert_eq!(shared.iter().map(|group| group.coefficient).collect::<Vec<_>>(), [2.0, -1.0]);
    /// assert_eq!(shared[1].stabiliser, Stabiliser::Constant(-EPS));
    /// ```
    pub fn shared(rules: &[&Rule]) -> Vec<SharedGroup> {
        let most = rules.iter().map(|rule| rule.groups.len()).max().unwrap_or(0);
        let Some(longest) = rules.iter().find(|rule| rule.groups.len() == most) else { return Vec::new() };
        let shared = |(i, group): (usize, &Group)| {
            let stabilisers = rules.iter().filter_map(|rule| Some(rule.groups.get(i)?.stabiliser));
            let mut signed = stabilisers.filter(|s| matches!(s, Stabiliser::Signed(_)));
            let stabiliser = signed.next().unwrap_or(group.stabiliser);
            SharedGroup { coefficient: group.coefficient, stabiliser }
        };
        longest.groups.iter().enumerate().map(shared).collect()
    }
}

/// What a group's inputs have in common: see [`Rule::shared`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedGroup {
    /// As in [`Group`].
    pub coefficient: f32,
    /// As in [`Group`].
    pub stabiliser: Stabiliser,
}

/// How the denominators of a group are found.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `a·ψ(W)`
    Product(Part),
    /// `x·W − v`; `v` is a sum over all weights, each times its bound: a weight above 0, and any other.
    Forward { positive: f32, other: f32 },
    /// `Σ_j ψ(w)`
    Constant(Part),
}

impl Group {
    /// # Panics
    /// If there is no such kind.
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

/// How the denominators of a group are found, with what that needs: for a product the weights as `W` holds
/// them, otherwise the constant of each output, `[P, K]`: one row for a dense layer, one a pixel for a
/// convolution.
#[derive(Clone, Debug)]
pub(super) enum Denominator<W> {
    Product(W),
    Forward(Vec<f32>),
    Constant(Vec<f32>),
}

/// Packed weights of their own.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    k: usize,
    n: usize,
    floats: Buffer,
}

impl Weights {
    fn new(k: usize, n: usize, pack: impl FnOnce(&mut [f32])) -> Self {
        let mut floats = Buffer::zeroed(panels_len(k, n));
        pack(&mut floats);
        Weights { k, n, floats }
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
        Panels::new(&self.floats, self.k, self.n)
    }
}

/// A term's second product `c·ψ(W)ᵀ` on its way into the relevance of the inputs.
#[derive(Clone, Debug)]
pub(super) struct PackedTerm {
    /// Transposed weights, or reversed ones.
    pub weights: Weights,
    /// Adds to the sums that stand there, before they are multiplied.
    accumulate: bool,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    Store,
    /// Multiplies by `a − shift`, and adds to what stands there if it is a finished relevance.
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

/// One group with its weights: `W` is what a product is made with, `B` what the second products are.
#[derive(Clone, Debug)]
pub(super) struct PackedGroup<W, B> {
    pub shared: SharedGroup,
    pub denominator: Denominator<W>,
    pub back: B,
}

impl<W, B> PackedGroup<W, B> {
    /// The constant of each of `rows` outputs: that of each pixel again for each image.
    pub fn constants(&self, rows: usize, outputs: usize) -> Option<MatRef<'_>> {
        let (Denominator::Forward(v) | Denominator::Constant(v)) = &self.denominator else { return None };
        let pixels = (v.len() / outputs.max(1)).max(1);
        let again = Rows { width: pixels, height: 1, step: outputs, line: 0, image: 0 };
        Some(MatRef::mapped(v, rows, outputs, again))
    }
}

pub(super) type PanelGroup = PackedGroup<Weights, Vec<PackedTerm>>;
pub(super) type FilterGroup = PackedGroup<Lines, Back>;

/// The second products behind a max-pool: a part of the filters a term.
#[derive(Clone, Debug)]
pub(super) struct Back {
    pub filters: Filters,
    /// For each part, `shift` of the factor `a − shift`; none where the factor is 1.
    pub shifts: Vec<Option<f32>>,
}

#[derive(Clone, Debug)]
enum Layer {
    Dense { inputs: usize, outputs: usize, groups: Vec<PanelGroup> },
    Conv { shape: ConvShape, groups: Vec<PanelGroup> },
    ConvMaxPool { shape: ConvMaxPoolShape, groups: Vec<FilterGroup> },
}

/// A rule with the weights of one layer prepared; made once per version of the weights.
///
/// It takes groups of three kinds: one term of the values, `a·ψ(w)`; terms of `a − bound` whose weights are
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
            // One chain in the order of the forward product: where every pixel stands at its root point,
            // `z − v` is 0 to the bit.
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

    /// For a convolution with packed `[size·size·inputs, outputs]` weights. The border of an image is no
    /// input: a padded place has the relevance 0 and contributes nothing to a denominator.
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
        check_weights(super::conv::NAME, shape, w)?;
        let terms = packed_terms(rule, |part| Weights::reversed(shape, w, part));
        let groups = groups(rule, terms, |kind| {
            conv_denominator(kernels, shape, w, kind, |part| Weights::forward(w, part))
        })?;
        Ok(PackedRule(Layer::Conv { shape: *shape, groups }))
    }

    /// For a convolution with a max-pool behind it.
    ///
    /// # Errors
    /// [`ShapeError`] if the weights are not the layer's, or the window is none.
    ///
    /// # Panics
    /// As [`PackedRule::dense`].
    pub fn conv_max_pool(
        kernels: &Kernels,
        rule: &Rule,
        shape: &ConvMaxPoolShape,
        w: Panels,
    ) -> Result<PackedRule, ShapeError> {
        check_weights(super::conv_pool::NAME, &shape.conv, w)?;
        shape.check(super::conv_pool::NAME)?;
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

    /// Groups of the rule.
    pub fn groups(&self) -> usize {
        match &self.0 {
            Layer::Dense { groups, .. } | Layer::Conv { groups, .. } => groups.len(),
            Layer::ConvMaxPool { groups, .. } => groups.len(),
        }
    }

    /// Whether a denominator is made of the forward product, which the kernels then ask for.
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
    ) -> Result<(&ConvMaxPoolShape, &[FilterGroup]), ShapeError> {
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

impl Group {
    fn shared(&self) -> SharedGroup {
        SharedGroup { coefficient: self.coefficient, stabiliser: self.stabiliser }
    }
}

pub(super) fn reads_forward<W, B>(groups: &[PackedGroup<W, B>]) -> bool {
    groups.iter().any(|group| matches!(group.denominator, Denominator::Forward(_)))
}

/// Products that the kernels make: the multiply-adds of a layer, so many times.
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
/// If a rule has no group, or shares one with a term that does not read the inputs.
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

/// The denominators of a convolution; its constants are those of images of one value, around which the border
/// is 0 as around any other.
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

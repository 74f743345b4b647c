//! A relevance rule as data.
//!
//! `R_j = Σ_groups coefficient · Σ_k (Σ_terms φ(a_j)·ψ(w_jk)) / (z_k + s) · R_k`, where `z_k` is the sum of the
//! numerators over `j` and `s` the stabiliser.

use super::EPS;
use crate::gemm::pack::Part;

pub use crate::gemm::problem::Stabiliser;

/// The factor `φ(a)` of an input `a` in a term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputMap {
    /// `a`
    Value,
    /// `a − bound`
    Minus(f32),
    /// `1`; pixels of the border of a convolution contribute nothing.
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
    /// Added to the denominator.
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

    /// z^β: `(x − low)·w⁺ + (x − high)·w⁻`, for pixels `low ≤ x ≤ high` (Table 3.1 with the signs that follow
    /// from the root point of section 3.3).
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
    /// Group `i` of every rule is part of group `i`; a rule with fewer groups does not contribute to the
    /// others. The coefficients are those of the rule with the most groups, the first of equals. The
    /// stabiliser is signed if that of any rule is; otherwise it is that of the rule with the coefficients.
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

/// The values that the inputs of a group share: see [`Rule::shared`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedGroup {
    /// As in [`Group`].
    pub coefficient: f32,
    /// As in [`Group`].
    pub stabiliser: Stabiliser,
}

impl Group {
    pub(super) fn shared(&self) -> SharedGroup {
        SharedGroup { coefficient: self.coefficient, stabiliser: self.stabiliser }
    }
}

//! Tests of every rule against its definition, and of special cases, for every layer and on every backend.

mod conv;
mod conv_pool;
mod conv_shared;
mod dense;
mod neuron;
mod shared;

use super::{EPS, PackedRule, Rule, Stabiliser};
use crate::gemm::pack;
use crate::panels::Panels;
use crate::testing::{activations, floats};

/// The domain of the inputs of a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Domain {
    /// Not negative.
    Activations,
    Any,
    /// In a range; some are a bound, like the background of images.
    Pixels(f32, f32),
    /// Not negative, multiples of 1/8; weights multiples of 1/16. The sums are then exact, so that
    /// denominators near 0 have the same sign in every precision.
    Exact,
}

/// A rule to compare with its definition.
#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    rule: Rule,
    domain: Domain,
}

/// Every constructor of [`Rule`].
fn rules() -> Vec<Case> {
    use Domain::{Activations, Any, Exact, Pixels};
    let case = |name, rule, domain| Case { name, rule, domain };
    vec![
        case("z⁺", Rule::z_plus(), Activations),
        case("αβ, 2 and 1", Rule::alpha_beta(2.0, 1.0), Activations),
        case("αβ, 1.5 and 0.5", Rule::alpha_beta(1.5, 0.5), Activations),
        case("z^β, −1 to 1", Rule::z_beta(-1.0, 1.0), Pixels(-1.0, 1.0)),
        case("z^β, 0 to 1", Rule::z_beta(0.0, 1.0), Pixels(0.0, 1.0)),
        case("z^β, −0.5 to 2", Rule::z_beta(-0.5, 2.0), Pixels(-0.5, 2.0)),
        case("w²", Rule::w_square(), Any),
        case("flat", Rule::flat(), Any),
        case("ε", Rule::epsilon(0.01), Exact),
        case("γ", Rule::gamma(0.25, 0.01), Exact),
    ]
}

/// The number of [`rules`].
const RULES: usize = 10;

impl Case {
    /// `len` inputs.
    fn inputs(&self, len: usize, seed: u64) -> Vec<f32> {
        match self.domain {
            Domain::Activations => activations(len, seed),
            Domain::Any => floats(len, seed),
            Domain::Pixels(low, high) => pixels(len, low, high, seed),
            Domain::Exact => activations(len, seed).into_iter().map(|a| (a * 8.0).round() / 8.0).collect(),
        }
    }

    /// Weights `[j, k]`; unit `dead` has none that contributes to a positive denominator.
    fn weights(&self, j: usize, k: usize, dead: usize, seed: u64) -> Vec<f32> {
        let mut w = floats(j * k, seed);
        for row in w.chunks_exact_mut(k.max(1)) {
            row[dead] = if self.domain == Domain::Activations { -row[dead].abs() } else { 0.0 };
        }
        if self.domain == Domain::Exact {
            w.iter_mut().for_each(|w| *w = (*w * 16.0).round() / 16.0);
        }
        w
    }

    /// Inputs that a unit of random weights needs, so that its denominator is not near 0 by chance.
    fn fewest_inputs(&self) -> usize {
        match self.domain {
            Domain::Pixels(..) => 14,
            Domain::Activations if self.rule.groups.len() > 1 => 8,
            _ => 1,
        }
    }
}

fn pixels(len: usize, low: f32, high: f32, seed: u64) -> Vec<f32> {
    let place = |x: f32| low + (high - low) * (0.5 * x + 0.5);
    let bounded = |(i, x): (usize, f32)| match i % 5 {
        0 => low,
        1 => high,
        _ => place(x).clamp(low, high),
    };
    floats(len, seed).into_iter().enumerate().map(bounded).collect()
}

/// Relevance and absorbed relevance of each sample by its definition, `r` row by row.
fn reference(
    r: &[f32],
    samples: usize,
    one: impl Fn(usize, &[f64]) -> (Vec<f64>, f64),
) -> (Vec<f64>, Vec<f64>) {
    let (mut r_in, mut absorbed) = (Vec::new(), Vec::new());
    for i in 0..samples {
        let k = r.len() / samples;
        let r: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
        let (found, by_stabilisers) = one(i, &r);
        r_in.extend(found);
        absorbed.push(by_stabilisers);
    }
    (r_in, absorbed)
}

/// Compares the absorbed relevance, relative to the total relevance.
fn assert_absorbed(what: &str, found: &[f64], want: &[f64], r: &[f32]) {
    assert_eq!(found.len(), want.len(), "{what}");
    let scale = r.iter().fold(1e-30f64, |max, &r| max.max(f64::from(r).abs()));
    for (i, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= 1e-5 * scale, "{what}: absorbed[{i}] is {found}, {want} expected");
    }
}

/// A rule with row-major weights `[j, k]`.
fn packed(rule: &Rule, w: &[f32], j: usize, k: usize) -> PackedRule {
    PackedRule::dense(rule, Panels::new(&pack::pack(w, j, k), j, k))
}

#[test]
fn every_rule_is_tried() {
    assert_eq!(rules().len(), RULES);
}

#[test]
fn a_rule_of_one_group_takes_the_coefficients_of_the_other_rule() {
    let (pixels, others) = (Rule::z_beta(0.0, 1.0), Rule::alpha_beta(2.0, 1.0));
    for rules in [[&pixels, &others], [&others, &pixels]] {
        let shared = Rule::shared(&rules);
        assert_eq!(shared.iter().map(|group| group.coefficient).collect::<Vec<_>>(), [2.0, -1.0]);
        assert_eq!(shared[0].stabiliser, Stabiliser::Constant(EPS));
        assert_eq!(shared[1].stabiliser, Stabiliser::Constant(-EPS));
    }
    assert!(Rule::shared(&[]).is_empty());
}

#[test]
fn a_group_that_an_epsilon_rule_is_part_of_has_its_stabiliser() {
    let (epsilon, others) = (Rule::epsilon(1e-6), Rule::alpha_beta(2.0, 1.0));
    let shared = Rule::shared(&[&epsilon, &others]);
    assert_eq!(shared[0].stabiliser, Stabiliser::Signed(1e-6));
    assert_eq!(shared[1].stabiliser, Stabiliser::Constant(-EPS));
    assert_eq!(shared[0].coefficient, 2.0);
}

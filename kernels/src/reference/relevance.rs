//! Relevance rules from their definition.

use crate::gemm::pack::Part;
use crate::relevance::{InputMap, Rule, Stabiliser};

/// `φ(a)`
fn input(map: InputMap, a: f32) -> f64 {
    match map {
        InputMap::Value => f64::from(a),
        InputMap::Minus(bound) => f64::from(a) - f64::from(bound),
        InputMap::One => 1.0,
    }
}

/// `ψ(w)`
fn weight(part: Part, w: f32) -> f64 {
    let w = f64::from(w);
    match part {
        Part::All => w,
        Part::Positive => w.max(0.0),
        Part::Negative => w.min(0.0),
        Part::Square => w * w,
        Part::One => 1.0,
        Part::Gamma(gamma) => w + f64::from(gamma) * w.max(0.0),
    }
}

/// One input of a layer, in one sample.
pub struct Input<'a> {
    /// Its rule.
    pub rule: &'a Rule,
    /// Its activations `[J]`.
    pub a: &'a [f32],
    /// The weight from input `j` to output `k`; none if they are not connected.
    pub w: &'a dyn Fn(usize, usize) -> Option<f32>,
}

impl Input<'_> {
    /// `q_jk = Σ_terms φ(a_j)·ψ(w_jk)` of a group, none if the rule does not have it.
    fn numerator(&self, group: usize, j: usize, k: usize) -> f64 {
        let (Some(group), Some(w)) = (self.rule.groups.get(group), (self.w)(j, k)) else { return 0.0 };
        group.terms.iter().map(|term| input(term.input, self.a[j]) * weight(term.weight, w)).sum()
    }
}

/// The relevance of each input of a layer whose inputs share the denominators, and what the stabilisers absorb:
/// `R_j = Σ_groups coefficient · Σ_k q_jk / (Σ_inputs Σ_j q_jk + s) · R_k`.
pub fn shared_relevance(inputs: &[Input], r: &[f64]) -> (Vec<Vec<f64>>, f64) {
    let mut r_in: Vec<Vec<f64>> = inputs.iter().map(|input| vec![0.0; input.a.len()]).collect();
    let mut absorbed = 0.0;
    let rules: Vec<&Rule> = inputs.iter().map(|input| input.rule).collect();
    for (g, group) in Rule::shared(&rules).iter().enumerate() {
        for (k, r) in r.iter().enumerate() {
            let of_input = |input: &Input| (0..input.a.len()).map(|j| input.numerator(g, j, k)).sum::<f64>();
            let z: f64 = inputs.iter().map(of_input).sum();
            let s = match group.stabiliser {
                Stabiliser::Constant(s) => f64::from(s),
                Stabiliser::Signed(s) => f64::from(if z < 0.0 { -s } else { s }),
            };
            let ratio = f64::from(group.coefficient) * r / (z + s);
            for (input, r_in) in inputs.iter().zip(&mut r_in) {
                for (j, r_in) in r_in.iter_mut().enumerate() {
                    *r_in += input.numerator(g, j, k) * ratio;
                }
            }
            absorbed += s * ratio;
        }
    }
    (r_in, absorbed)
}

/// The relevance of the inputs of a dense layer with row-major weights `[J, K]`, and what the stabilisers absorb.
pub fn relevance(rule: &Rule, a: &[f32], w: &[f32], r: &[f64]) -> (Vec<f64>, f64) {
    let (mut r_in, absorbed) = shared_relevance(&[Input { rule, a, w: &|j, k| Some(w[j * r.len() + k]) }], r);
    (r_in.remove(0), absorbed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_s_relevance_is_redistributed_or_absorbed() {
        let (a, w, r) = ([0.5, 0.0, 2.0], [1.0, -1.0, 3.0, 2.0, -1.0, -4.0], [3.0, 5.0]);
        for rule in [
            Rule::z_plus(),
            Rule::alpha_beta(2.0, 1.0),
            Rule::w_square(),
            Rule::z_beta(-1.0, 2.0),
            Rule::flat(),
            Rule::epsilon(0.5),
            Rule::gamma(0.25, 0.5),
        ] {
            let (r_in, absorbed) = relevance(&rule, &a, &w, &r);
            let sum: f64 = r_in.iter().sum();
            assert!((sum + absorbed - 8.0).abs() < 1e-12, "{r_in:?} and {absorbed}");
        }
    }
}

//! Biases in the denominators of relevance rules, where a convention counts them.
//!
//! A bias is then one more input, which is always 1: it shares the denominator of each group with the inputs of the layer,
//! and the relevance that it gets goes no further.

use kernels::MatRef;
use kernels::pack::Part;
use kernels::relevance::{Group, InputMap, Rule, Term};

/// What a bias `b` counts for in the denominators of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BiasShare {
    /// Nothing.
    #[default]
    Nothing,
    /// As a weight of an input that is 1 does: `b⁺` where the rule reads `w⁺`, `b²` where it reads `w²`. Under z^β it
    /// cancels: `b − b⁺ − b⁻`; under flat it counts for nothing.
    Weight,
    /// All of it wherever the rule reads the inputs.
    Whole,
}

impl BiasShare {
    /// What the bias `b` adds to the denominators of a group.
    pub(crate) fn of(self, group: &Group, b: f32) -> f32 {
        let &[Term { input, weight }] = group.terms.as_slice() else { return 0.0 };
        match (self, weight) {
            (BiasShare::Nothing, _) | (BiasShare::Weight, Part::One) => 0.0,
            (BiasShare::Whole, _) => {
                if input == InputMap::Value {
                    b
                } else {
                    0.0
                }
            }
            (BiasShare::Weight, Part::All) => b,
            (BiasShare::Weight, Part::Positive) => b.max(0.0),
            (BiasShare::Weight, Part::Negative) => b.min(0.0),
            (BiasShare::Weight, Part::Square) => b * b,
            (BiasShare::Weight, Part::Gamma(gamma)) => b + gamma * b.max(0.0),
        }
    }

    /// What the biases of a layer add to the denominators of its rule.
    pub(crate) fn terms(self, rule: &Rule, bias: &[f32]) -> BiasTerms {
        if self == BiasShare::Nothing {
            return BiasTerms::default();
        }
        let of = |group: &Group| bias.iter().map(|&b| self.of(group, b)).collect();
        BiasTerms(rule.groups.iter().map(of).collect())
    }
}

/// What the biases of a layer add to its denominators, `[groups, outputs]`; empty if biases count for nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct BiasTerms(Vec<Vec<f32>>);

impl BiasTerms {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of a group to every row of its denominators.
    pub fn add_to(&self, group: usize, denominators: &mut [f32]) {
        let Some(terms) = self.0.get(group) else { return };
        for row in denominators.chunks_exact_mut(terms.len()) {
            row.iter_mut().zip(terms).for_each(|(z, term)| *z += term);
        }
    }

    /// Adds the relevance that goes to the biases, `Σ_k c_k·b_k` of a group's ratios `c`; each of `absorbed` is that of as
    /// many rows.
    pub fn absorb(&self, group: usize, c: MatRef, absorbed: &mut [f64]) {
        let Some(terms) = self.0.get(group) else { return };
        let rows = c.rows() / absorbed.len().max(1);
        for (i, absorbed) in absorbed.iter_mut().enumerate() {
            for row in i * rows..(i + 1) * rows {
                let shares = c.row(row).iter().zip(terms).map(|(&c, &term)| f64::from(c) * f64::from(term));
                *absorbed += shares.sum::<f64>();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_counts_as_the_weight_of_an_input_that_is_one() {
        let of = |share: BiasShare, rule: Rule| -> Vec<f32> {
            rule.groups.iter().map(|group| share.of(group, -0.5)).collect()
        };
        let weight = |rule| of(BiasShare::Weight, rule);
        assert_eq!(weight(Rule::z_plus()), [0.0]);
        assert_eq!(weight(Rule::alpha_beta(2.0, 1.0)), [0.0, -0.5]);
        assert_eq!(weight(Rule::epsilon(0.1)), [-0.5]);
        assert_eq!(weight(Rule::gamma(2.0, 0.1)), [-0.5]);
        assert_eq!(weight(Rule::w_square()), [0.25]);
        assert_eq!((weight(Rule::flat()), weight(Rule::z_beta(-1.0, 1.0))), (vec![0.0], vec![0.0]));
        assert_eq!(of(BiasShare::Whole, Rule::z_plus()), [-0.5]);
        assert_eq!(of(BiasShare::Whole, Rule::w_square()), [0.0]);
        assert!(BiasShare::Nothing.terms(&Rule::z_plus(), &[-0.5]).is_empty());
    }

    #[test]
    fn what_goes_to_biases_is_counted_by_sample() {
        let terms = BiasShare::Weight.terms(&Rule::epsilon(0.1), &[1.0, -2.0]);
        let mut z = [10.0, 20.0, 30.0, 40.0];
        terms.add_to(0, &mut z);
        assert_eq!(z, [11.0, 18.0, 31.0, 38.0]);
        let mut absorbed = [0.5, 0.0];
        terms.absorb(0, MatRef::new(&[1.0, 1.0, 3.0, 0.5], 2, 2), &mut absorbed);
        assert_eq!(absorbed, [-0.5, 2.0]);
    }
}

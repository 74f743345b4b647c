//! Conventions of other programs for the same rules, as data.

use super::rules::LayerRule;
use crate::error::ModelError;
use crate::stage::bias::BiasShare;
use kernels::relevance::{EPS, Rule, Stabiliser};

/// How a program computes the rules that all of them know.
///
/// Pools need no entry: every program gives the relevance of a max-pool to the first of equals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convention {
    /// Its name.
    pub name: &'static str,
    /// Added to every denominator but those of ε and γ: with the sign of the group, or of the denominator.
    pub stabiliser: f32,
    /// Whether it has the sign of the denominator.
    pub signed: bool,
    /// The stabiliser of ε and γ unless `--epsilon` says so, which has the sign of the denominator.
    pub epsilon: f32,
    /// What biases count for in denominators.
    pub bias: BiasShare,
    /// The names of the rules that it has.
    pub rules: &'static [&'static str],
    /// The [`Value`](super::Value) that it explains unless told otherwise.
    pub value: &'static str,
}

impl Default for Convention {
    fn default() -> Convention {
        Convention::THESIS
    }
}

impl Convention {
    /// The thesis, and this program by default: no bias in any denominator, 1e-9 with the sign of the group.
    pub const THESIS: Convention = Convention {
        name: "thesis",
        stabiliser: EPS,
        signed: false,
        epsilon: 1e-6,
        bias: BiasShare::Nothing,
        rules: &LayerRule::NAMES,
        value: "logit",
    };
    /// zennit 0.5.1: 1e-6 with the sign of the denominator, and biases as weights of an input that is 1.
    pub const ZENNIT: Convention = Convention {
        name: "zennit",
        stabiliser: 1e-6,
        signed: true,
        bias: BiasShare::Weight,
        ..Self::THESIS
    };
    /// captum 0.9.0: 1e-9 with the sign of the denominator in every rule, and the whole bias, also beside `w⁺`.
    pub const CAPTUM: Convention = Convention {
        name: "captum",
        stabiliser: 1e-9,
        signed: true,
        epsilon: 1e-9,
        bias: BiasShare::Whole,
        rules: &["z-plus", "epsilon", "gamma"],
        ..Self::THESIS
    };
    /// The later code of the thesis's author: as the thesis, but a negative value is cut at 0.
    pub const AUTHOR_CODE: Convention = Convention { name: "author-code", value: "relu", ..Self::THESIS };

    /// All of them.
    pub const ALL: [Convention; 4] = [Self::THESIS, Self::ZENNIT, Self::CAPTUM, Self::AUTHOR_CODE];

    /// The convention of that name.
    pub fn by_name(name: &str) -> Option<Convention> {
        Self::ALL.into_iter().find(|convention| convention.name == name)
    }

    /// Checks that the program has a rule of a place.
    pub(crate) fn check(&self, place: &'static str, rule: LayerRule) -> Result<(), ModelError> {
        if self.rules.contains(&rule.name()) {
            return Ok(());
        }
        Err(ModelError::NoRule {
            place,
            rule: rule.name(),
            convention: self.name,
            known: self.rules.join(", "),
        })
    }

    /// The rule with its stabilisers.
    pub(crate) fn stabilise(&self, mut rule: Rule) -> Rule {
        for group in &mut rule.groups {
            if let Stabiliser::Constant(s) = group.stabiliser {
                group.stabiliser = match self.signed {
                    true => Stabiliser::Signed(self.stabiliser),
                    false => Stabiliser::Constant(self.stabiliser.copysign(s)),
                };
            }
        }
        rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thesis_changes_no_rule_and_others_stabilise_by_the_sign_of_the_denominator() {
        for rule in [Rule::z_plus(), Rule::alpha_beta(2.0, 1.0), Rule::z_beta(-1.0, 1.0), Rule::epsilon(0.5)]
        {
            assert_eq!(Convention::THESIS.stabilise(rule.clone()), rule);
        }
        let found = Convention::ZENNIT.stabilise(Rule::alpha_beta(2.0, 1.0));
        assert!(found.groups.iter().all(|group| group.stabiliser == Stabiliser::Signed(1e-6)));
        assert_eq!(Convention::CAPTUM.stabilise(Rule::epsilon(0.5)), Rule::epsilon(0.5));
        for convention in Convention::ALL {
            assert_eq!(Convention::by_name(convention.name), Some(convention));
        }
        assert_eq!(Convention::by_name("innvestigate"), None);
    }
}

//! The rules that composites put on layers, each as a row of data: groups of terms (Table 3.1).

use crate::error::ModelError;
use crate::stage::edge::Domain;
use kernels::relevance::Rule;

/// A rule of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerRule {
    /// z⁺: `(a, w⁺)`
    ZPlus,
    /// αβ: `α (a, w⁺) − β (a, w⁻)`, `α − β = 1`
    AlphaBeta {
        /// Weight of what excites.
        alpha: f32,
        /// Weight of what inhibits.
        beta: f32,
    },
    /// z^β: `(a − l, w⁺) + (a − h, w⁻)`, for pixels between `l` and `h`
    ZBeta,
    /// w²: `(1, w²)`
    WSquare,
    /// flat: `(1, 1)`
    Flat,
    /// ε: `(a, w)`, stabilised by `ε·sign(z)`
    Epsilon {
        /// The stabiliser.
        epsilon: f32,
    },
    /// γ: `(a, w + γ·w⁺)`, stabilised by `ε·sign(z)`
    Gamma {
        /// How much more positive weights count.
        gamma: f32,
        /// The stabiliser.
        epsilon: f32,
    },
}

/// The numbers that rules are made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    /// α of `alpha-beta`: weight of positive contributions.
    pub alpha: f32,
    /// β of `alpha-beta`: weight of negative contributions.
    pub beta: f32,
    /// The stabiliser of `epsilon` and `gamma`.
    pub epsilon: f32,
    /// γ of `gamma`.
    pub gamma: f32,
    /// Points of the path of integrated gradients, and noisy inputs of SmoothGrad.
    pub points: usize,
    /// The value of every pixel where the path of integrated gradients begins.
    pub baseline: f32,
    /// Standard deviation of SmoothGrad's noise, as a share of the range of the pixels.
    pub noise: f32,
    /// Seed of SmoothGrad's noise.
    pub noise_seed: u64,
}

impl Default for Numbers {
    fn default() -> Numbers {
        let (points, baseline, noise, noise_seed) = (32, 0.0, 0.1, 0);
        Numbers { alpha: 2.0, beta: 1.0, epsilon: 1e-6, gamma: 0.25, points, baseline, noise, noise_seed }
    }
}

impl LayerRule {
    /// The names that [`LayerRule::by_name`] knows.
    pub const NAMES: [&'static str; 7] =
        ["z-plus", "alpha-beta", "z-beta", "w-square", "flat", "epsilon", "gamma"];

    /// The rule of that name.
    pub fn by_name(name: &str, numbers: &Numbers) -> Option<LayerRule> {
        let Numbers { alpha, beta, epsilon, gamma, .. } = *numbers;
        Some(match name {
            "z-plus" => LayerRule::ZPlus,
            "alpha-beta" => LayerRule::AlphaBeta { alpha, beta },
            "z-beta" => LayerRule::ZBeta,
            "w-square" => LayerRule::WSquare,
            "flat" => LayerRule::Flat,
            "epsilon" => LayerRule::Epsilon { epsilon },
            "gamma" => LayerRule::Gamma { gamma, epsilon },
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            LayerRule::ZPlus => "z-plus",
            LayerRule::AlphaBeta { .. } => "alpha-beta",
            LayerRule::ZBeta => "z-beta",
            LayerRule::WSquare => "w-square",
            LayerRule::Flat => "flat",
            LayerRule::Epsilon { .. } => "epsilon",
            LayerRule::Gamma { .. } => "gamma",
        }
    }

    /// Whether pixels may have the rule: z⁺, αβ and γ ask for inputs that are not negative.
    fn fits_pixels(self) -> bool {
        match self {
            LayerRule::ZBeta | LayerRule::WSquare | LayerRule::Flat | LayerRule::Epsilon { .. } => true,
            LayerRule::ZPlus | LayerRule::AlphaBeta { .. } | LayerRule::Gamma { .. } => false,
        }
    }

    /// Checks the rule's numbers, and that the inputs of a place may have it.
    pub(crate) fn check(self, place: &'static str, sees_pixels: bool) -> Result<(), ModelError> {
        let wrong = match sees_pixels {
            true => (!self.fits_pixels()).then_some("z-beta, w-square, flat or epsilon"),
            false => (self == LayerRule::ZBeta).then_some("any rule but z-beta, which is for pixels"),
        };
        if let Some(expected) = wrong {
            return Err(ModelError::Rule { place, rule: self.name(), expected });
        }
        let range =
            |what, found: f32, expected| Err(ModelError::Range { what, found: f64::from(found), expected });
        match self {
            LayerRule::AlphaBeta { alpha, beta } => check_weights(alpha, beta),
            LayerRule::Epsilon { epsilon } | LayerRule::Gamma { epsilon, .. }
                if !(epsilon.is_finite() && epsilon > 0.0) =>
            {
                range("epsilon", epsilon, "finite and above 0")
            }
            LayerRule::Gamma { gamma, .. } if !(gamma.is_finite() && gamma >= 0.0) => {
                range("gamma", gamma, "finite and at least 0")
            }
            _ => Ok(()),
        }
    }

    /// The row of data of the rule on inputs of a domain.
    pub(crate) fn row(self, domain: Domain) -> Rule {
        match (self, domain) {
            (LayerRule::ZPlus, _) => Rule::z_plus(),
            (LayerRule::AlphaBeta { alpha, beta }, _) => Rule::alpha_beta(alpha, beta),
            (LayerRule::ZBeta, Domain::Pixels { low, high }) => Rule::z_beta(low, high),
            (LayerRule::ZBeta, Domain::NonNegative) => unreachable!("composites give z^β to pixels only"),
            (LayerRule::WSquare, _) => Rule::w_square(),
            (LayerRule::Flat, _) => Rule::flat(),
            (LayerRule::Epsilon { epsilon }, _) => Rule::epsilon(epsilon),
            (LayerRule::Gamma { gamma, epsilon }, _) => Rule::gamma(gamma, epsilon),
        }
    }
}

fn check_weights(alpha: f32, beta: f32) -> Result<(), ModelError> {
    let difference = f64::from(alpha) - f64::from(beta);
    if difference.is_nan() || (difference - 1.0).abs() >= 1e-6 {
        return Err(ModelError::Range { what: "alpha − beta", found: difference, expected: "1" });
    }
    if beta < 0.0 {
        return Err(ModelError::Range { what: "beta", found: f64::from(beta), expected: "at least 0" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_name_and_a_row_for_the_inputs_that_may_have_it() {
        let numbers = Numbers::default();
        let pixels = Domain::Pixels { low: -1.0, high: 1.0 };
        for name in LayerRule::NAMES {
            let rule = LayerRule::by_name(name, &numbers).expect("a name of the list");
            assert_eq!(rule.name(), name);
            let [first, other] = [true, false].map(|sees_pixels| rule.check("first", sees_pixels).is_ok());
            assert!(first || other, "{name} fits no inputs");
            if first {
                assert!(!rule.row(pixels).groups.is_empty());
            }
            if other {
                assert!(!rule.row(Domain::NonNegative).groups.is_empty());
            }
        }
        assert_eq!(LayerRule::by_name("z-minus", &numbers), None);
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        let refused = |name: &str, numbers: Numbers| {
            let rule = LayerRule::by_name(name, &numbers).expect("a name");
            rule.check("middle", false).expect_err(name).to_string()
        };
        let numbers = Numbers::default();
        assert!(refused("alpha-beta", Numbers { alpha: 2.5, ..numbers }).contains("alpha − beta"));
        assert!(refused("alpha-beta", Numbers { alpha: 0.5, beta: -0.5, ..numbers }).contains("beta"));
        for epsilon in [-1e-6, 0.0, f32::NAN, f32::INFINITY] {
            assert!(refused("epsilon", Numbers { epsilon, ..numbers }).contains("epsilon"));
            assert!(refused("gamma", Numbers { epsilon, ..numbers }).contains("epsilon"));
        }
        assert!(refused("gamma", Numbers { gamma: -0.1, ..numbers }).contains("gamma"));
        assert!(refused("z-beta", numbers).contains("pixels"));
    }
}

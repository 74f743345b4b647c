//! Methods as data: which rule which layer gets.

use super::gradient::GradientMethod;
use super::rules::LayerRule;
use crate::error::ModelError;
use crate::stage::edge::{Domain, Place};
use kernels::relevance::Rule;

/// How relevance is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// `(∂f/∂x)²`
    Sensitivity,
    /// `x·∂f/∂x`
    SimpleTaylor,
    /// The gradient with negative values cut at each relu.
    GuidedBackprop,
    /// LRP-αβ with `α − β = 1` (Eq. 3.3) above, z^β on the pixels.
    Lrp {
        /// Weight of what excites.
        alpha: f32,
        /// Weight of what inhibits.
        beta: f32,
    },
    /// z⁺ above, z^β on the pixels: LRP-αβ with α = 1, β = 0.
    DeepTaylor,
    /// z⁺ above, w² on the pixels.
    WSquare,
}

/// A table from a layer's place to its rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Composite {
    /// Of inputs that are pixels.
    pub first: LayerRule,
    /// Of other inputs of every layer but the last.
    pub middle: LayerRule,
    /// Of the layer of the logits.
    pub last: LayerRule,
}

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Gradient(GradientMethod),
    Relevance(Composite),
}

impl Composite {
    /// The rule of inputs of a domain, at a layer of a place. Pixels are those of a first layer.
    pub fn rule(&self, domain: Domain, place: Place) -> Rule {
        let rule = match (domain, place) {
            (Domain::Pixels { .. }, _) => self.first,
            (Domain::NonNegative, Place::Last) => self.last,
            (Domain::NonNegative, Place::First | Place::Middle) => self.middle,
        };
        rule.row(domain)
    }
}

impl Method {
    /// The names that [`Method::by_name`] knows.
    pub const NAMES: [&'static str; 7] =
        ["deep-taylor", "lrp", "z-plus", "w-square", "sensitivity", "simple-taylor", "guided-backprop"];

    /// The method of that name; α and β count for `lrp` only. `z-plus` is `lrp` with α = 1, β = 0.
    pub fn by_name(name: &str, alpha: f32, beta: f32) -> Option<Method> {
        Some(match name {
            "deep-taylor" => Method::DeepTaylor,
            "lrp" => Method::Lrp { alpha, beta },
            "z-plus" => Method::Lrp { alpha: 1.0, beta: 0.0 },
            "w-square" => Method::WSquare,
            "sensitivity" => Method::Sensitivity,
            "simple-taylor" => Method::SimpleTaylor,
            "guided-backprop" => Method::GuidedBackprop,
            _ => return None,
        })
    }

    /// What the method does: the table of all methods.
    ///
    /// # Errors
    /// [`ModelError::Range`] unless `α − β = 1` and `β ≥ 0`.
    pub(crate) fn kind(self) -> Result<Kind, ModelError> {
        use LayerRule::{AlphaBeta, WSquare, ZBeta, ZPlus};
        let relevance = |first, middle, last| Ok(Kind::Relevance(Composite { first, middle, last }));
        match self {
            Method::Sensitivity => Ok(Kind::Gradient(GradientMethod::Sensitivity)),
            Method::SimpleTaylor => Ok(Kind::Gradient(GradientMethod::SimpleTaylor)),
            Method::GuidedBackprop => Ok(Kind::Gradient(GradientMethod::GuidedBackprop)),
            Method::DeepTaylor => relevance(ZBeta, ZPlus, ZPlus),
            Method::WSquare => relevance(WSquare, ZPlus, ZPlus),
            Method::Lrp { alpha, beta } => {
                check_weights(alpha, beta)?;
                relevance(ZBeta, AlphaBeta { alpha, beta }, AlphaBeta { alpha, beta })
            }
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
    fn every_method_has_a_rule_for_every_input() {
        let pixels = Domain::Pixels { low: -1.0, high: 1.0 };
        for name in Method::NAMES {
            let method = Method::by_name(name, 2.0, 1.0).expect("a name of the list");
            let Kind::Relevance(composite) = method.kind().expect("α − β = 1") else { continue };
            let first = if method == Method::WSquare { Rule::w_square() } else { Rule::z_beta(-1.0, 1.0) };
            assert_eq!(composite.rule(pixels, Place::First), first, "{name}");
            let lrp = name == "lrp";
            let above = if lrp { Rule::alpha_beta(2.0, 1.0) } else { Rule::z_plus() };
            for place in [Place::First, Place::Middle, Place::Last] {
                let found = composite.rule(Domain::NonNegative, place);
                assert_eq!(found.groups.len(), above.groups.len(), "{name} {place:?}");
            }
        }
    }
}

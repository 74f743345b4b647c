//! Methods as data: a composite is a table from a layer's inputs and place to its rule.

use super::averaged::{Averaged, Noise, Path};
use super::convention::Convention;
use super::gradient::GradientMethod;
use super::rules::{LayerRule, Numbers};
use crate::error::ModelError;
use crate::stage::edge::{Domain, Place};
use kernels::relevance::Rule;

/// How an explanation is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// `(∂f/∂x)²`
    Sensitivity,
    /// `x·∂f/∂x`
    SimpleTaylor,
    /// The gradient with negative values cut at each relu.
    GuidedBackprop,
    /// `(x − b)·mean ∂f/∂x` over the path from an image `b` of one value to `x` (Sundararajan et al., 2017).
    IntegratedGradients(Path),
    /// `mean ∂f/∂x` over noisy inputs (Smilkov et al., 2017).
    SmoothGrad(Noise),
    /// Layer-wise relevance propagation by a table of rules.
    Relevance(Composite),
}

/// A table from the inputs and the place of a layer to its rule.
///
/// A layer whose inputs are pixels and something else (a core without an encoder) has both rules, over one denominator
/// a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Composite {
    /// Of inputs that are pixels.
    pub first: LayerRule,
    /// Of the other convolutions.
    pub convolution: LayerRule,
    /// Of the other inputs of every dense layer but the last.
    pub middle: LayerRule,
    /// Of the layer of the logits, which is one neuron: the row that is explained.
    pub last: LayerRule,
    /// Stabilisers and biases.
    pub convention: Convention,
}

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Gradient(GradientMethod),
    Averaged(Averaged),
    Relevance(Composite),
}

impl Kind {
    fn averaged(averaged: Averaged) -> Result<Kind, ModelError> {
        averaged.check()?;
        Ok(Kind::Averaged(averaged))
    }
}

impl Composite {
    /// The names that [`Composite::by_name`] knows.
    pub const NAMES: [&'static str; 9] = [
        "deep-taylor",
        "lrp",
        "epsilon-plus",
        "epsilon-gamma-box",
        "epsilon-plus-flat",
        "epsilon-alpha2-beta1",
        "z-plus",
        "w-square",
        "flat",
    ];

    /// The composite of that name.
    ///
    /// Those with `epsilon` are zennit's: one rule for convolutions, ε for dense layers. Where zennit gives pixels the
    /// rule of a convolution, which asks for inputs that are not negative, they have ε here.
    pub fn by_name(name: &str, numbers: &Numbers) -> Option<Composite> {
        use LayerRule::{AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBeta, ZPlus};
        let Numbers { alpha, beta, epsilon, gamma, .. } = *numbers;
        let convention = Convention::THESIS;
        let same =
            |first, above| Composite { first, convolution: above, middle: above, last: above, convention };
        let epsilon_rule = Epsilon { epsilon };
        let with_epsilon = |first, convolution| {
            let (middle, last) = (epsilon_rule, epsilon_rule);
            Composite { first, convolution, middle, last, convention }
        };
        Some(match name {
            // The pixels of `z-plus` have z^β, as z⁺ asks for inputs that are not negative.
            "deep-taylor" | "z-plus" => same(ZBeta, ZPlus),
            "lrp" => same(ZBeta, AlphaBeta { alpha, beta }),
            "w-square" => same(WSquare, ZPlus),
            "flat" => same(Flat, ZPlus),
            "epsilon-plus" => with_epsilon(epsilon_rule, ZPlus),
            "epsilon-plus-flat" => with_epsilon(Flat, ZPlus),
            "epsilon-gamma-box" => with_epsilon(ZBeta, Gamma { gamma, epsilon }),
            "epsilon-alpha2-beta1" => with_epsilon(epsilon_rule, AlphaBeta { alpha: 2.0, beta: 1.0 }),
            _ => return None,
        })
    }

    /// The rule of inputs of a domain, at a layer of a place. Pixels are those of a first layer.
    pub(crate) fn rule(&self, domain: Domain, place: Place) -> Rule {
        let rule = match (domain, place) {
            (Domain::Pixels { .. }, _) => self.first,
            (Domain::NonNegative, Place::Last) => self.last,
            (Domain::NonNegative, Place::Convolution) => self.convolution,
            (Domain::NonNegative, Place::First | Place::Middle) => self.middle,
        };
        self.convention.stabilise(rule.row(domain))
    }

    /// Checks that every rule has sound numbers and inputs that it is for.
    ///
    /// # Errors
    /// [`ModelError::Rule`], or [`ModelError::Range`] such as `α − β ≠ 1`.
    pub fn check(&self) -> Result<(), ModelError> {
        let Composite { first, convolution, middle, last, convention } = *self;
        for (place, rule) in
            [("first", first), ("convolution", convolution), ("middle", middle), ("last", last)]
        {
            rule.check(place, place == "first")?;
            convention.check(place, rule)?;
        }
        Ok(())
    }
}

impl Method {
    /// z⁺ above, z^β on the pixels.
    pub const DEEP_TAYLOR: Method = Method::with_pixels(LayerRule::ZBeta);
    /// z⁺ above, w² on the pixels.
    pub const W_SQUARE: Method = Method::with_pixels(LayerRule::WSquare);

    const fn with_pixels(first: LayerRule) -> Method {
        Method::of(first, LayerRule::ZPlus)
    }

    /// One rule on the pixels and one above.
    const fn of(first: LayerRule, above: LayerRule) -> Method {
        let convention = Convention::THESIS;
        Method::Relevance(Composite { first, convolution: above, middle: above, last: above, convention })
    }

    /// LRP-αβ with `α − β = 1` (Eq. 3.3) above, z^β on the pixels.
    pub const fn lrp(alpha: f32, beta: f32) -> Method {
        Method::of(LayerRule::ZBeta, LayerRule::AlphaBeta { alpha, beta })
    }

    /// The names of the methods that read one gradient.
    pub const GRADIENTS: [&'static str; 3] = ["sensitivity", "simple-taylor", "guided-backprop"];

    /// The names of the methods that average gradients: they take as many passes as they have points.
    pub const AVERAGED: [&'static str; 2] = ["integrated-gradients", "smooth-grad"];

    /// The names that [`Method::by_name`] knows: composites, then gradient methods. `gradient-input` and `smoothgrad` are
    /// other names of `simple-taylor` and `smooth-grad`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::names_of_one_pass().chain(Self::AVERAGED)
    }

    /// The names of the methods that need one pass forwards and one back.
    pub fn names_of_one_pass() -> impl Iterator<Item = &'static str> {
        Composite::NAMES.into_iter().chain(Self::GRADIENTS)
    }

    /// The method of that name.
    pub fn by_name(name: &str, numbers: &Numbers) -> Option<Method> {
        Some(match name {
            "sensitivity" => Method::Sensitivity,
            "simple-taylor" | "gradient-input" => Method::SimpleTaylor,
            "guided-backprop" => Method::GuidedBackprop,
            "integrated-gradients" => {
                Method::IntegratedGradients(Path { points: numbers.points, baseline: numbers.baseline })
            }
            "smooth-grad" | "smoothgrad" => {
                let Numbers { points, noise: share, noise_seed: seed, .. } = *numbers;
                Method::SmoothGrad(Noise { points, share, seed })
            }
            name => Method::Relevance(Composite::by_name(name, numbers)?),
        })
    }

    /// What the method does.
    ///
    /// # Errors
    /// As [`Composite::check`].
    pub(crate) fn kind(self) -> Result<Kind, ModelError> {
        Ok(match self {
            Method::Sensitivity => Kind::Gradient(GradientMethod::Sensitivity),
            Method::SimpleTaylor => Kind::Gradient(GradientMethod::SimpleTaylor),
            Method::GuidedBackprop => Kind::Gradient(GradientMethod::GuidedBackprop),
            Method::IntegratedGradients(path) => Kind::averaged(Averaged::Path(path))?,
            Method::SmoothGrad(noise) => Kind::averaged(Averaged::Noise(noise))?,
            Method::Relevance(composite) => {
                composite.check()?;
                Kind::Relevance(composite)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_sound_method() {
        let numbers = Numbers::default();
        for name in Method::names() {
            let method = Method::by_name(name, &numbers).expect("a name of the list");
            let kind = method.kind().expect("sound");
            let is_gradient = Method::GRADIENTS.contains(&name);
            assert_eq!(matches!(kind, Kind::Gradient(_)), is_gradient, "{name}");
        }
        assert_eq!(Method::by_name("deep-taylor", &numbers), Some(Method::DEEP_TAYLOR));
        assert_eq!(Method::by_name("w-square", &numbers), Some(Method::W_SQUARE));
        assert_eq!(Method::by_name("lrp", &numbers), Some(Method::lrp(2.0, 1.0)));
        assert_eq!(Method::by_name("layer-wise", &numbers), None);
    }

    #[test]
    fn the_rule_of_a_layer_follows_from_its_inputs_and_place() {
        let numbers = Numbers { epsilon: 0.5, ..Numbers::default() };
        let composite = Composite::by_name("epsilon-gamma-box", &numbers).expect("a composite");
        let pixels = Domain::Pixels { low: 0.0, high: 1.0 };
        assert_eq!(composite.rule(pixels, Place::First), Rule::z_beta(0.0, 1.0));
        let above = |place| composite.rule(Domain::NonNegative, place);
        assert_eq!(above(Place::Convolution), Rule::gamma(0.25, 0.5));
        for place in [Place::First, Place::Middle, Place::Last] {
            assert_eq!(above(place), Rule::epsilon(0.5));
        }
    }

    #[test]
    fn rules_that_ask_for_other_inputs_are_refused() {
        let Method::Relevance(sound) = Method::DEEP_TAYLOR else { unreachable!("a composite") };
        for (composite, word) in [
            (Composite { first: LayerRule::ZPlus, ..sound }, "first"),
            (Composite { convolution: LayerRule::ZBeta, ..sound }, "convolution"),
            (Composite { middle: LayerRule::ZBeta, ..sound }, "middle"),
            (Composite { last: LayerRule::ZBeta, ..sound }, "last"),
        ] {
            let error = composite.check().expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}

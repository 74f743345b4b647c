//! The rules that methods put on layers, each as a row of data: groups of terms (Table 3.1).

use crate::stage::edge::Domain;
use kernels::relevance::Rule;

/// A rule of a layer, by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LayerRule {
    /// `(a, w⁺)`
    ZPlus,
    /// `α (a, w⁺) − β (a, w⁻)`, `α − β = 1`
    AlphaBeta { alpha: f32, beta: f32 },
    /// `(a − l, w⁺) + (a − h, w⁻)`, for pixels between `l` and `h`
    ZBeta,
    /// `(1, w²)`
    WSquare,
}

impl LayerRule {
    /// The row of data of the rule on inputs of a domain.
    pub fn row(self, domain: Domain) -> Rule {
        match (self, domain) {
            (LayerRule::ZPlus, _) => Rule::z_plus(),
            (LayerRule::AlphaBeta { alpha, beta }, _) => Rule::alpha_beta(alpha, beta),
            (LayerRule::ZBeta, Domain::Pixels { low, high }) => Rule::z_beta(low, high),
            (LayerRule::ZBeta, Domain::NonNegative) => unreachable!("methods give z^β to pixels only"),
            (LayerRule::WSquare, _) => Rule::w_square(),
        }
    }
}

//! Initial values (section 4.4) and the generators behind them.

use crate::params::{BiasKind, Parameters};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// How the weights are drawn: from a normal that is cut at twice its standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialValues {
    /// σ = 0.1, the draft's.
    #[default]
    Draft,
    /// σ² = 1/N, with `N` the inputs of a unit, the finished thesis's.
    Final,
}

impl InitialValues {
    /// The standard deviation for units of so many inputs.
    fn sigma(self, inputs: usize) -> f64 {
        match self {
            InitialValues::Draft => 0.1,
            InitialValues::Final => (1.0 / inputs as f64).sqrt(),
        }
    }
}

/// Where the normal of the weights is cut, in standard deviations.
const CUT: f64 = 2.0;
/// Every softplus bias: `ln(e^0.01 − 1)`, so that softplus gives 0.01.
const BIAS: f32 = -4.600_166;

/// An independent generator for each purpose and index of a seed.
pub(crate) fn generator(seed: u64, purpose: u64, index: u64) -> Xoshiro256PlusPlus {
    let mixed =
        seed ^ purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03);
    Xoshiro256PlusPlus::seed_from_u64(mixed)
}

/// Uniform in 0…1, 53 bits.
pub(crate) fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Normal, truncated at ±`cut`: rejection sampling from the rectangle around the density. Only the acceptance
/// test needs `e^x`; its last bit matters once in 2⁵² draws.
pub(crate) fn truncated_normal(rng: &mut impl Rng, cut: f64) -> f64 {
    loop {
        let x = 2.0 * cut * uniform(rng) - cut;
        if uniform(rng) < (-0.5 * x * x).exp() {
            return x;
        }
    }
}

/// Fills all parameters: weights from the truncated normal, biases so that softplus gives 0.01, plain ones 0.
pub(crate) fn initialise(parameters: &mut Parameters, values: InitialValues, seed: u64) {
    for layer in 0..parameters.specs().len() {
        let spec = parameters.spec(layer);
        let (mut rng, sigma) = (generator(seed, 1, layer as u64), values.sigma(spec.inputs()));
        let mut weights = |count: usize| -> Vec<f32> {
            (0..count).map(|_| (sigma * truncated_normal(&mut rng, CUT)) as f32).collect()
        };
        let weight = weights(spec.k * spec.n);
        let lateral = weights(spec.lateral.as_ref().map_or(0, |lateral| lateral.k * spec.n));
        let bias = match spec.bias_kind {
            BiasKind::Softplus => vec![BIAS; spec.n],
            BiasKind::Plain => vec![0.0; spec.n],
        };
        parameters.import(layer, &[&weight, &bias, &lateral]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_normal_has_its_moments_and_ends() {
        let mut rng = generator(3, 1, 0);
        let xs: Vec<f64> = (0..200_000).map(|_| truncated_normal(&mut rng, CUT)).collect();
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        let variance = xs.iter().map(|x| x * x).sum::<f64>() / xs.len() as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        // 1 − 2·2φ(2)/(2Φ(2) − 1)
        assert!((variance - 0.7737).abs() < 0.01, "{variance}");
        assert!(xs.iter().all(|x| x.abs() <= 2.0));
    }

    #[test]
    fn the_final_values_have_a_deviation_by_the_inputs_of_a_unit() {
        assert_eq!(InitialValues::Draft.sigma(784), 0.1);
        assert_eq!(InitialValues::Final.sigma(16), 0.25);
    }

    #[test]
    fn the_first_values_of_a_seed_never_change() {
        let mut rng = generator(0, 1, 0);
        let found: Vec<f32> = (0..4)
            .map(|_| (InitialValues::Draft.sigma(1) * truncated_normal(&mut rng, CUT)) as f32)
            .collect();
        assert_eq!(found, GOLDEN, "initial values of a seed are part of what a run means");
    }

    #[test]
    fn every_seed_purpose_and_index_has_draws_of_its_own_that_never_change() {
        let first = |seed, purpose, index| generator(seed, purpose, index).next_u64();
        assert_eq!(
            [first(7, 2, 3), first(6, 2, 3), first(7, 1, 3), first(7, 2, 2)],
            [0x3048a06cf9e45fa8, 0x0149acbc3d67e341, 0x59fb6b209ab82b62, 0xc542db6efcfc6783],
            "draws of a seed are part of what a run means"
        );
    }

    const GOLDEN: [f32; 4] = [-0.061_021_056, -0.041_864_44, -0.032_311_074, 0.111_947_99];
}

//! Initial values (section 4.4) and the generators behind them.

use crate::params::Parameters;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Standard deviation of the weights, which are truncated at twice this value.
const SIGMA: f64 = 0.1;
/// Every bias: `ln(e^0.01 − 1)`, so that softplus gives 0.01.
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

/// Normal, truncated at ±2: rejection sampling from the rectangle around the density. Only the acceptance
/// test needs `e^x`; its last bit matters once in 2⁵² draws.
fn truncated_normal(rng: &mut impl Rng) -> f64 {
    loop {
        let x = 4.0 * uniform(rng) - 2.0;
        if uniform(rng) < (-0.5 * x * x).exp() {
            return x;
        }
    }
}

/// Fills all parameters: weights from the truncated normal, biases so that softplus gives 0.01.
pub(crate) fn initialise(parameters: &mut Parameters, seed: u64) {
    for layer in 0..parameters.specs().len() {
        let (k, n) = (parameters.spec(layer).k, parameters.spec(layer).n);
        let mut rng = generator(seed, 1, layer as u64);
        let weight: Vec<f32> = (0..k * n).map(|_| (SIGMA * truncated_normal(&mut rng)) as f32).collect();
        parameters.import(layer, &weight, &vec![BIAS; n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_normal_has_its_moments_and_ends() {
        let mut rng = generator(3, 1, 0);
        let xs: Vec<f64> = (0..200_000).map(|_| truncated_normal(&mut rng)).collect();
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        let variance = xs.iter().map(|x| x * x).sum::<f64>() / xs.len() as f64;
        assert!(mean.abs() < 0.01, "{mean}");
        // 1 − 2·2φ(2)/(2Φ(2) − 1)
        assert!((variance - 0.7737).abs() < 0.01, "{variance}");
        assert!(xs.iter().all(|x| x.abs() <= 2.0));
    }

    #[test]
    fn the_first_values_of_a_seed_never_change() {
        let mut rng = generator(0, 1, 0);
        let found: Vec<f32> = (0..4).map(|_| (SIGMA * truncated_normal(&mut rng)) as f32).collect();
        assert_eq!(found, GOLDEN, "the initial values of a seed must never change");
    }

    const GOLDEN: [f32; 4] = [-0.061_021_056, -0.041_864_44, -0.032_311_074, 0.111_947_99];
}

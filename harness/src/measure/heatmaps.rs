//! The sources of heatmaps: the methods of the model, and random relevance as a control.

use super::explanations::{CHUNK, ExplanationRequest, Summary, explain_all};
use super::numbers::unit;
use crate::signal::check_stop;
use anyhow::Result;
use kernels::Kernels;
use model::explain::{Explanation, Method, Numbers};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The methods that are compared.
pub const NAMES: [&str; 7] =
    ["deep-taylor", "lrp", "w-square", "sensitivity", "simple-taylor", "guided-backprop", "random"];
/// Further methods that can be named.
pub const FURTHER: [&str; 2] = Method::AVERAGED;
/// The method of the thesis's figures.
pub const MAIN: &str = "deep-taylor";

/// A source of relevance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relevance {
    /// A method of explanation.
    Method(Method),
    /// Uniform random values scaled to the logit; they depend on sample and class, not on the network.
    Random,
}

impl Relevance {
    /// The source with that name; `lrp-alpha1.5-beta0.5` is LRP with other weights than `lrp`.
    pub fn by_name(name: &str) -> Option<Relevance> {
        match name {
            "random" => Some(Relevance::Random),
            name => {
                let method = weighted(name).or_else(|| Method::by_name(name, &Numbers::default()));
                method.map(Relevance::Method)
            }
        }
    }

    /// Explains the samples chunk by chunk; `visit` gets each chunk's indices and its explanation.
    ///
    /// # Errors
    /// An error of the explainer or of `visit`, or an interruption.
    pub fn explain(
        self,
        kernels: &Kernels,
        request: ExplanationRequest,
        mut visit: impl FnMut(&[usize], Explanation) -> Result<()>,
    ) -> Result<Summary> {
        let mut drawn = Summary::default();
        let method = match self {
            Relevance::Method(method) => method,
            // Any method finds the logits; its relevance is replaced.
            Relevance::Random => Method::Sensitivity,
        };
        let summary = explain_all(kernels, method, request, |chunk, found| {
            for mut batch in found {
                if self == Relevance::Random {
                    draw(chunk, &mut batch);
                }
                drawn.add(&batch);
                visit(chunk, batch)?;
            }
            Ok(())
        })?;
        Ok(if self == Relevance::Random { drawn } else { summary })
    }

    /// All heatmaps, `[N, rows, cols]`.
    ///
    /// # Errors
    /// As [`Relevance::explain`].
    pub fn collect(self, kernels: &Kernels, request: ExplanationRequest) -> Result<(Vec<f32>, Summary)> {
        check_stop()?;
        let mut maps = Vec::new();
        let summary = self.explain(kernels, request, |_, found| {
            maps.extend(found.relevance);
            Ok(())
        })?;
        Ok((maps, summary))
    }
}

/// LRP with the weights of its name, which differ by 1 and are not negative.
fn weighted(name: &str) -> Option<Method> {
    let (alpha, beta) = name.strip_prefix("lrp-alpha")?.split_once("-beta")?;
    let (alpha, beta): (f32, f32) = (alpha.parse().ok()?, beta.parse().ok()?);
    let sound = alpha.is_finite() && beta >= 0.0 && (alpha - beta - 1.0).abs() < 1e-6;
    sound.then(|| Method::lrp(alpha, beta))
}

/// Replaces the relevance by random values.
fn draw(indices: &[usize], batch: &mut Explanation) {
    debug_assert!(indices.len() <= CHUNK);
    let n = indices.len().max(1);
    let size = batch.relevance.len() / n;
    for (i, map) in batch.relevance.chunks_exact_mut(size.max(1)).enumerate() {
        let seed = (indices[i] as u64) << 16 | batch.target[i] as u64;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let values: Vec<f64> = map.iter().map(|_| unit(&mut rng)).collect();
        let scale = f64::from(batch.explained[i]) / values.iter().sum::<f64>();
        map.iter_mut().zip(&values).for_each(|(r, value)| *r = (value * scale) as f32);
        let sum: f64 = map.iter().map(|&r| f64::from(r)).sum();
        let f = f64::from(batch.explained[i]);
        batch.conservation_error[i] = (f - sum).abs() / f.abs().max(f64::MIN_POSITIVE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_the_weights_of_lrp() {
        let lrp = |alpha, beta| Some(Relevance::Method(Method::lrp(alpha, beta)));
        assert_eq!(Relevance::by_name("lrp-alpha1.5-beta0.5"), lrp(1.5, 0.5));
        assert_eq!(Relevance::by_name("lrp"), lrp(2.0, 1.0));
        for name in ["lrp-alpha2-beta2", "lrp-alpha0.5-beta-0.5", "lrp-alphaNaN-beta1", "lrp-alpha2"] {
            assert_eq!(Relevance::by_name(name), None, "{name}");
        }
    }
}

//! Baselines that average gradients over changed inputs: integrated gradients and SmoothGrad.
//!
//! Both read the gradient of one value, the row over the logits of the unchanged input, through
//! [`Method::SimpleTaylor`]: `x·∂f/∂x` divided by `x`.

use super::explanations::ExplanationRequest;
use super::numbers::unit;
use crate::dataset::samples::Arrays;
use anyhow::{Context, Result, ensure};
use kernels::Kernels;
use model::explain::{Explained, Explainer, Explanation, Method, Target, Value};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// A mean over changed inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// `x · mean_k ∂f/∂x (a_k·x)`, `a_k` the midpoints of 0…1: the path from the image that is 0 everywhere (Sundararajan et
    /// al., 2017).
    IntegratedGradients,
    /// `mean_k ∂f/∂x (x + n_k)`, `n_k` normal with a tenth of the pixel range (Smilkov et al., 2017).
    SmoothGrad,
}

/// Points of the path, and noisy inputs.
const POINTS: usize = 32;
/// Standard deviation of the noise, as a share of the pixel range.
const NOISE: f64 = 0.1;

impl Baseline {
    /// The names of both.
    pub const NAMES: [&'static str; 2] = ["integrated-gradients", "smoothgrad"];

    /// The baseline with that name.
    pub fn by_name(name: &str) -> Option<Baseline> {
        match name {
            "integrated-gradients" => Some(Baseline::IntegratedGradients),
            "smoothgrad" => Some(Baseline::SmoothGrad),
            _ => None,
        }
    }

    /// Replaces the relevance of a batch, which another method has explained: targets, values and logits stay.
    ///
    /// # Errors
    /// An error of the explainer.
    pub fn replace(
        self,
        kernels: &Kernels,
        request: ExplanationRequest,
        batch: &mut Explanation,
    ) -> Result<()> {
        let ExplanationRequest { network, samples, indices, value, .. } = request;
        ensure!(!matches!(value, Value::Rows(_)), "baselines explain values that have a name, no rows");
        let task = network.task();
        let (size, n) = (task.rows * task.cols, indices.len());
        let rows = gamma(value, batch, task.classes);
        let mut explainer = Explainer::new(kernels, network, Method::SimpleTaylor, n)?;
        let mut originals = vec![0.0f32; n * size];
        for (&i, image) in indices.iter().zip(originals.chunks_exact_mut(size)) {
            samples.pixels(i, image);
        }
        let all: Vec<usize> = (0..n).collect();
        let mut sums = vec![0.0f64; n * size];
        for k in 0..POINTS {
            let images =
                self.changed(&originals, indices, [k, size], f64::from(task.high) - f64::from(task.low));
            let arrays = Arrays { images: images.clone(), size, labels: None };
            let what = [Explained { target: Target::Predicted, value: Value::Rows(rows.clone()) }];
            let found = explainer.explain_values(kernels, &arrays, &all, &what)?;
            let taylor = &found.first().context("one explanation for one value")?.relevance;
            for ((sum, r), x) in sums.iter_mut().zip(taylor).zip(&images) {
                // A 0 on the path is a 0 of the image, which has no share of integrated gradients; noise leaves none.
                *sum += if *x == 0.0 { 0.0 } else { f64::from(*r) / f64::from(*x) };
            }
        }
        for ((r, sum), x) in batch.relevance.iter_mut().zip(&sums).zip(&originals) {
            let mean = sum / POINTS as f64;
            *r = match self {
                Baseline::IntegratedGradients => (f64::from(*x) * mean) as f32,
                Baseline::SmoothGrad => mean as f32,
            };
        }
        for (i, map) in batch.relevance.chunks_exact(size).enumerate() {
            let sum: f64 = map.iter().map(|&r| f64::from(r)).sum();
            let f = f64::from(batch.explained[i]);
            batch.conservation_error[i] = (f - sum).abs() / f.abs().max(f64::MIN_POSITIVE);
        }
        Ok(())
    }

    /// The `k`th changed inputs.
    fn changed(self, originals: &[f32], indices: &[usize], [k, size]: [usize; 2], range: f64) -> Vec<f32> {
        match self {
            Baseline::IntegratedGradients => {
                let a = (k as f64 + 0.5) / POINTS as f64;
                originals.iter().map(|&x| (a * f64::from(x)) as f32).collect()
            }
            Baseline::SmoothGrad => {
                let noisy = |(i, image): (usize, &[f32])| {
                    let mut rng = Xoshiro256PlusPlus::seed_from_u64((indices[i] as u64) << 16 | k as u64);
                    let add = |&x: &f32| (f64::from(x) + NOISE * range * normal(&mut rng)) as f32;
                    image.iter().map(add).collect::<Vec<f32>>()
                };
                originals.chunks_exact(size).enumerate().flat_map(noisy).collect()
            }
        }
    }
}

/// Box–Muller.
fn normal(rng: &mut Xoshiro256PlusPlus) -> f64 {
    let (u, v) = (1.0 - unit(rng), unit(rng));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// The row over the logits of each sample's value.
fn gamma(value: &Value, batch: &Explanation, classes: usize) -> Vec<f32> {
    let mut rows = vec![0.0f32; batch.target.len() * classes];
    let samples = batch.target.iter().zip(batch.logits.chunks_exact(classes));
    for (row, (&target, logits)) in rows.chunks_exact_mut(classes).zip(samples) {
        match value {
            Value::Logit | Value::Rows(_) => row[target] = 1.0,
            Value::Relu => row[target] = f32::from(u8::from(logits[target] > 0.0)),
            Value::Centred => {
                row.fill(-1.0 / classes as f32);
                row[target] += 1.0;
            }
            Value::RunnerUp => {
                let others = (0..classes).filter(|&class| class != target);
                let best =
                    others.reduce(|best, class| if logits[class] > logits[best] { class } else { best });
                row[target] = 1.0;
                best.into_iter().for_each(|class| row[class] -= 1.0);
            }
            Value::Contrast => {
                let others = || (0..classes).filter(|&class| class != target);
                let most = others().map(|class| logits[class]).fold(f32::NEG_INFINITY, f32::max);
                let power = |class: usize| f64::from(logits[class] - most).exp();
                let sum: f64 = others().map(power).sum();
                others().for_each(|class| row[class] = -(power(class) / sum) as f32);
                row[target] = 1.0;
            }
        }
    }
    rows
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::measure::heatmaps::Relevance;
    use model::{Architecture, Network, Samples, Task};

    fn network() -> Network {
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        Network::new(Architecture::preset("deep").unwrap(), task, 3).unwrap()
    }

    fn samples() -> Arrays {
        let images = (0..2 * 64).map(|i| ((i * 37) % 61) as f32 / 30.5 - 1.0).collect();
        Arrays { images, size: 64, labels: Some(vec![0; 2]) }
    }

    /// Completeness: integrated gradients add up to f(x) − f(0), here up to the rule of 32 midpoints.
    #[test]
    fn integrated_gradients_add_up_to_the_difference_from_the_zero_image() {
        let (network, samples, kernels) = (network(), samples(), Kernels::default());
        let logits = |samples: &dyn Samples, indices: &[usize]| {
            let mut evaluator = model::Evaluator::new(&network, 2);
            evaluator.logits(&kernels, &network, samples, indices).unwrap().to_vec()
        };
        let zero = logits(&Arrays { images: vec![0.0; 64], size: 64, labels: None }, &[0]);
        let all = logits(&samples, &[0, 1]);
        let target = Target::Class(1);
        let request = ExplanationRequest {
            network: &network,
            samples: &samples,
            indices: &[0, 1],
            target,
            value: &Value::Logit,
        };
        let relevance = Relevance::by_name("integrated-gradients").unwrap();
        let (maps, _) = relevance.collect(&kernels, request).unwrap();
        for (i, map) in maps.chunks_exact(64).enumerate() {
            let sum: f64 = map.iter().map(|&r| f64::from(r)).sum();
            let difference = f64::from(all[3 * i + 1] - zero[1]);
            assert!((sum - difference).abs() < 0.05 * difference.abs().max(0.1), "{sum} {difference}");
        }
    }

    #[test]
    fn smoothgrad_is_near_the_gradient_and_the_same_again() {
        let (network, samples, kernels) = (network(), samples(), Kernels::default());
        let of = |name: &str| {
            let request = ExplanationRequest {
                network: &network,
                samples: &samples,
                indices: &[0, 1],
                target: Target::Class(1),
                value: &Value::Centred,
            };
            Relevance::by_name(name).unwrap().collect(&kernels, request).unwrap().0
        };
        let smooth = of("smoothgrad");
        assert_eq!(smooth, of("smoothgrad"));
        let size = |map: &[f32]| map.iter().map(|r| r * r).collect::<Vec<f32>>();
        let cosine = crate::measure::numbers::cosine(&size(&smooth[..64]), &of("sensitivity")[..64]).unwrap();
        assert!(cosine > 0.7, "{cosine}");
    }
}

//! Methods that average gradients over changed inputs: integrated gradients and SmoothGrad.
//!
//! The row over the logits is that of the unchanged input, so that every gradient is of one function.

use super::gradient::{GradientMethod, gradient_of_value};
use crate::error::ModelError;
use crate::init::{generator, truncated_normal};
use crate::network::Network;
use crate::pass::{Pass, Sample, plain};
use crate::samples::Samples;
use kernels::Kernels;

/// The straight path of integrated gradients, from an image of one value to the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Midpoints at which the gradient is read.
    pub points: usize,
    /// The value of every pixel at the path's begin, in units of the pixels.
    pub baseline: f32,
}

/// The noise of SmoothGrad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Noisy inputs.
    pub points: usize,
    /// Standard deviation, as a share of the range of the pixels.
    pub share: f32,
    /// Seed; the noise of a sample depends on this and on its index only.
    pub seed: u64,
}

/// A mean of gradients over changed inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Averaged {
    Path(Path),
    Noise(Noise),
}

/// The purpose of the generator of the noise; initial values and the order of an epoch have others.
const PURPOSE: u64 = 0x51;
/// Where the normal is cut, in standard deviations: once in 5·10⁸ values.
const CUT: f64 = 6.0;

/// Changed images.
struct Changed {
    images: Vec<f32>,
    size: usize,
}

impl Samples for Changed {
    fn len(&self) -> usize {
        self.images.len() / self.size
    }

    fn pixels(&self, i: usize, x: &mut [f32]) {
        x.copy_from_slice(&self.images[i * self.size..][..self.size]);
    }

    fn label(&self, _: usize) -> u8 {
        0
    }
}

/// The images of a batch and their indices in the data set.
pub(crate) struct Inputs<'a> {
    pub samples: &'a dyn Samples,
    pub indices: &'a [usize],
}

/// What a method finds of one row over the logits a sample.
pub(crate) struct Found {
    /// `[N, rows, cols]`
    pub relevance: Vec<f32>,
    /// The value of the path's first image, `[N]`; 0 without a path.
    pub start: Vec<f64>,
}

impl Averaged {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`ModelError::Range`].
    pub fn check(self) -> Result<(), ModelError> {
        let (points, number) = match self {
            Averaged::Path(Path { points, baseline }) => (points, baseline),
            Averaged::Noise(Noise { points, share, .. }) => (points, share),
        };
        let refuse = |what, found, expected| Err(ModelError::Range { what, found, expected });
        match self {
            _ if points == 0 => refuse("points", 0.0, "at least 1"),
            Averaged::Path(_) if !number.is_finite() => refuse("baseline", number.into(), "a finite number"),
            Averaged::Noise(_) if !(number.is_finite() && number >= 0.0) => {
                refuse("noise", number.into(), "a finite number of at least 0")
            }
            _ => Ok(()),
        }
    }

    /// Explains the rows `[N, C]` of each entry of `gammas`; all share the forward passes.
    ///
    /// # Errors
    /// An error of a pass.
    pub fn explain(
        self,
        kernels: &Kernels,
        network: &Network,
        pass: &mut Pass,
        inputs: Inputs,
        gammas: &[Vec<f32>],
    ) -> Result<Vec<Found>, ModelError> {
        let (task, n) = (network.task(), inputs.indices.len());
        let size = task.rows * task.cols;
        let mut originals = vec![0.0f32; n * size];
        let images = inputs.indices.iter().zip(originals.chunks_exact_mut(size));
        images.for_each(|(&index, image)| inputs.samples.pixels(index, image));
        let range = f64::from(task.high) - f64::from(task.low);
        let all: Vec<usize> = (0..n).collect();
        let points = match self {
            Averaged::Path(Path { points, .. }) | Averaged::Noise(Noise { points, .. }) => points,
        };
        let mut sums = vec![vec![0.0f64; n * size]; gammas.len()];
        let mut image = vec![0.0f32; size];
        for k in 0..points {
            let images = self.changed(&originals, inputs.indices, k, range);
            pass.load(&Changed { images, size }, &all)?;
            pass.forward(&plain(kernels, network), n)?;
            for (sums, gamma) in sums.iter_mut().zip(gammas) {
                gradient_of_value(kernels, network, pass, GradientMethod::Sensitivity, gamma)?;
                for (i, sums) in sums.chunks_exact_mut(size).enumerate() {
                    pass.pixels(Sample { i, of: n }, &mut image, |_, d| d);
                    sums.iter_mut().zip(&image).for_each(|(sum, &d)| *sum += f64::from(d));
                }
            }
        }
        let start = self.start(kernels, network, pass)?;
        let found = sums.into_iter().zip(gammas).map(|(sums, gamma)| Found {
            relevance: self.relevance(&sums, &originals, points),
            start: match &start {
                Some(logits) => gamma.chunks_exact(logits.len()).map(|row| dot(row, logits)).collect(),
                None => vec![0.0; n],
            },
        });
        Ok(found.collect())
    }

    /// The `k`th changed inputs.
    fn changed(self, originals: &[f32], indices: &[usize], k: usize, range: f64) -> Vec<f32> {
        match self {
            Averaged::Path(Path { points, baseline }) => {
                let (a, b) = ((k as f64 + 0.5) / points as f64, f64::from(baseline));
                originals.iter().map(|&x| (b + a * (f64::from(x) - b)) as f32).collect()
            }
            Averaged::Noise(Noise { share, seed, .. }) => {
                let deviation = f64::from(share) * range;
                let size = originals.len() / indices.len().max(1);
                let noisy = |(&index, image): (&usize, &[f32])| {
                    let mut rng = generator(seed ^ (k as u64) << 32, PURPOSE, index as u64);
                    let add = |&x: &f32| (f64::from(x) + deviation * truncated_normal(&mut rng, CUT)) as f32;
                    image.iter().map(add).collect::<Vec<f32>>()
                };
                indices.iter().zip(originals.chunks_exact(size.max(1))).flat_map(noisy).collect()
            }
        }
    }

    /// The relevance, from sums of gradients.
    fn relevance(self, sums: &[f64], originals: &[f32], points: usize) -> Vec<f32> {
        let means = sums.iter().map(|sum| sum / points as f64);
        match self {
            Averaged::Path(Path { baseline, .. }) => {
                let steps = originals.iter().map(|&x| f64::from(x) - f64::from(baseline));
                steps.zip(means).map(|(step, mean)| (step * mean) as f32).collect()
            }
            Averaged::Noise(_) => means.map(|mean| mean as f32).collect(),
        }
    }

    /// The logits of the path's first image; none without a path.
    fn start(
        self,
        kernels: &Kernels,
        network: &Network,
        pass: &mut Pass,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let Averaged::Path(Path { baseline, .. }) = self else { return Ok(None) };
        let size = network.task().rows * network.task().cols;
        pass.load(&Changed { images: vec![baseline; size], size }, &[0])?;
        pass.forward(&plain(kernels, network), 1)?;
        Ok(Some(pass.logits(1).to_vec()))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::architecture::Architecture;
    use crate::explain::{Explained, Explainer, Explanation, Method, Numbers, Target, Value};
    use crate::task::Task;

    const SIZE: usize = 64;
    const TARGET: Explained = Explained { target: Target::Class(1), value: Value::Centred };

    fn network() -> Network {
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        Network::new(Architecture::preset("deep").unwrap(), task, 3).unwrap()
    }

    fn images() -> Changed {
        let images = (0..2 * SIZE).map(|i| ((i * 37) % 61) as f32 / 30.5 - 1.0).collect();
        Changed { images, size: SIZE }
    }

    fn explain(
        method: Method,
        samples: &dyn Samples,
        indices: &[usize],
        what: &[Explained],
    ) -> Vec<Explanation> {
        let (network, kernels) = (network(), Kernels::default());
        let mut explainer = Explainer::new(&kernels, &network, method, indices.len()).unwrap();
        explainer.explain_values(&kernels, samples, indices, what).unwrap()
    }

    /// The gradient by one pixel as a difference of two forward passes in f32, which the value of three logits allows to
    /// about 1e-3.
    fn naive_gradient(network: &Network, image: &[f32], pixel: usize) -> f64 {
        const STEP: f32 = 2e-3;
        let kernels = Kernels::default();
        let value = |sign: f32| {
            let mut images = image.to_vec();
            images[pixel] += sign * STEP;
            let mut evaluator = crate::Evaluator::new(network, 1);
            let logits = evaluator.logits(&kernels, network, &Changed { images, size: SIZE }, &[0]).unwrap();
            let mean = logits.iter().map(|&h| f64::from(h)).sum::<f64>() / 3.0;
            f64::from(logits[1]) - mean
        };
        (value(1.0) - value(-1.0)) / (2.0 * f64::from(STEP))
    }

    #[test]
    fn both_are_the_means_of_gradients_of_changed_images() {
        let (network, samples) = (network(), images());
        let path = Path { points: 4, baseline: -1.0 };
        let noise = Noise { points: 4, share: 0.1, seed: 7 };
        for (method, averaged) in [
            (Method::IntegratedGradients(path), Averaged::Path(path)),
            (Method::SmoothGrad(noise), Averaged::Noise(noise)),
        ] {
            let found = explain(method, &samples, &[0, 1], &[TARGET]).remove(0);
            let scale = found.relevance.iter().fold(0.0f64, |most, &r| most.max(f64::from(r).abs()));
            for (image, pixel) in [(0, 3), (0, 40), (1, 21), (1, 63)] {
                let original = &samples.images[image * SIZE..][..SIZE];
                let gradient = |k: usize| {
                    let changed = averaged.changed(original, &[image], k, 2.0);
                    naive_gradient(&network, &changed, pixel)
                };
                let mean = (0..4).map(gradient).sum::<f64>() / 4.0;
                let step = f64::from(original[pixel]) + 1.0;
                let expected = if matches!(method, Method::SmoothGrad(_)) { mean } else { step * mean };
                let found = f64::from(found.relevance[image * SIZE + pixel]);
                assert!(
                    (found - expected).abs() < 0.02 * scale,
                    "{method:?}: {found} {expected}, of {scale}"
                );
            }
        }
    }

    /// Completeness: f(x) − f(baseline), which is found as absorbed relevance, up to the rule of midpoints.
    #[test]
    fn integrated_gradients_add_up_to_the_difference_from_the_baseline() {
        for baseline in [0.0, -1.0] {
            let method = |points| Method::IntegratedGradients(Path { points, baseline });
            let of = |points| explain(method(points), &images(), &[0, 1], &[TARGET]).remove(0);
            let (few, many) = (of(1), of(256));
            for i in 0..2 {
                let f = f64::from(many.explained[i]);
                let sum: f64 = many.relevance[i * SIZE..][..SIZE].iter().map(|&r| f64::from(r)).sum();
                let scale = f.abs().max(many.absorbed[i].abs());
                assert!((f - sum - many.absorbed[i]).abs() < 5e-3 * scale, "{f} {sum} {}", many.absorbed[i]);
                assert!(many.conservation_error[i] <= few.conservation_error[i] + 1e-3);
            }
        }
    }

    #[test]
    fn noise_depends_on_seed_and_index_and_not_on_the_batch() {
        let of = |seed, indices: &[usize]| {
            let noise = Noise { points: 3, share: 0.1, seed };
            explain(Method::SmoothGrad(noise), &images(), indices, &[TARGET, Target::Predicted.into()])
                .remove(0)
                .relevance
        };
        let both = of(0, &[0, 1]);
        assert_eq!(both[SIZE..], of(0, &[1]));
        assert_eq!(both[..SIZE], of(0, &[0]));
        assert_ne!(both, of(1, &[0, 1]));
        // Without noise it is the gradient itself.
        let still = Noise { points: 2, share: 0.0, seed: 0 };
        let still = explain(Method::SmoothGrad(still), &images(), &[0], &[TARGET]).remove(0).relevance;
        let squares = explain(Method::Sensitivity, &images(), &[0], &[TARGET]).remove(0).relevance;
        assert!(still.iter().zip(&squares).all(|(d, square)| d * d == *square));
    }

    #[test]
    fn names_carry_their_numbers_and_bad_numbers_are_refused() {
        let numbers = Numbers { points: 8, baseline: -1.0, noise: 0.2, noise_seed: 5, ..Numbers::default() };
        let path = Path { points: 8, baseline: -1.0 };
        assert_eq!(
            Method::by_name("integrated-gradients", &numbers),
            Some(Method::IntegratedGradients(path))
        );
        let noise = Noise { points: 8, share: 0.2, seed: 5 };
        assert_eq!(Method::by_name("smooth-grad", &numbers), Some(Method::SmoothGrad(noise)));
        for bad in [
            Averaged::Path(Path { points: 0, baseline: 0.0 }),
            Averaged::Path(Path { points: 1, baseline: f32::NAN }),
            Averaged::Noise(Noise { points: 1, share: -0.1, seed: 0 }),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}

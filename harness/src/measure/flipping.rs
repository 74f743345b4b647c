//! Pixel flipping: regions of the image are replaced one after the other, and the probability of the class is measured.
//!
//! For a good heatmap, `P(class)` falls fast if the most relevant regions are removed first, and slowly if
//! the least relevant ones are. `AOPC = 1/(L+1)·Σ_k (P(x⁰) − P(xᵏ))` over the `L` regions is the area over
//! the curve.

use super::numbers::unit;
use crate::dataset::samples::Arrays;
use crate::signal::check_stop;
use anyhow::Result;
use kernels::Kernels;
use model::train::shuffled;
use model::{Evaluator, Network, Samples, arg_max};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// The fill of a removed region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// The lowest pixel value, the background of the images.
    Background,
    /// Uniform noise over the pixel range.
    Noise,
}

impl Fill {
    /// Both.
    pub const ALL: [Fill; 2] = [Fill::Background, Fill::Noise];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Fill::Background => "background",
            Fill::Noise => "noise",
        }
    }
}

/// The order in which regions are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The most relevant first.
    MostFirst,
    /// The least relevant first.
    LeastFirst,
    /// Random.
    Random,
}

/// A curve of pixel flipping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flipped {
    /// The fill of removed regions.
    pub fill: Fill,
    /// The order of removal.
    pub order: Order,
    /// Area over the perturbation curve, in units of probability.
    pub aopc: f64,
    /// Mean `P(class)` after 0, 1, … removed regions; the class is the one predicted for the original image.
    pub curve: Vec<f64>,
    /// Area over the curve of each sample; not stored.
    #[serde(skip)]
    pub samples: Vec<f64>,
}

/// Samples evaluated at once.
const CHUNK: usize = 250;

/// The samples and the fills.
#[derive(Debug)]
pub struct Flipping {
    images: Vec<f32>,
    classes: Vec<usize>,
    fills: Vec<(Fill, Vec<f32>)>,
    /// Pixels of each region.
    regions: Vec<Vec<usize>>,
    /// How many of them are removed.
    removed: usize,
    evaluator: Evaluator,
}

impl Flipping {
    /// Prepares the samples `indices` with regions of `side`×`side` pixels, smaller at the edge.
    ///
    /// # Errors
    /// If the samples do not fit the network.
    pub fn new(
        kernels: &Kernels,
        network: &Network,
        samples: &dyn Samples,
        indices: &[usize],
        side: usize,
    ) -> Result<Flipping> {
        let task = network.task();
        let size = task.rows * task.cols;
        let mut images = vec![0.0; indices.len() * size];
        for (&i, image) in indices.iter().zip(images.chunks_exact_mut(size)) {
            samples.pixels(i, image);
        }
        let across = task.cols.div_ceil(side);
        let mut regions = vec![Vec::new(); across * task.rows.div_ceil(side)];
        for pixel in 0..size {
            regions[pixel / task.cols / side * across + pixel % task.cols / side].push(pixel);
        }
        let filled = |fill: Fill| match fill {
            Fill::Background => vec![task.low; images.len()],
            Fill::Noise => {
                let noise = |&i: &usize| {
                    let mut rng = Xoshiro256PlusPlus::seed_from_u64(i as u64);
                    let span = f64::from(task.high) - f64::from(task.low);
                    (0..size)
                        .map(|_| (f64::from(task.low) + span * unit(&mut rng)) as f32)
                        .collect::<Vec<f32>>()
                };
                indices.iter().flat_map(noise).collect()
            }
        };
        let fills = Fill::ALL.map(|fill| (fill, filled(fill))).to_vec();
        let evaluator = Evaluator::new(network, CHUNK.min(indices.len().max(1)));
        let removed = regions.len();
        let mut flipping = Flipping { images, classes: Vec::new(), fills, regions, removed, evaluator };
        let images = flipping.images.clone();
        flipping.classes =
            flipping.probabilities(kernels, network, images)?.iter().map(|p| arg_max(p)).collect();
        Ok(flipping)
    }

    /// With one fill only, and no more than so many regions removed.
    #[must_use]
    pub fn limited(mut self, fill: Fill, regions: usize) -> Flipping {
        self.fills.retain(|(of, _)| *of == fill);
        self.removed = regions.min(self.regions.len());
        self
    }

    /// The curves of one order with each fill; `relevance` `[N, rows, cols]` gives the order; ties are broken
    /// at random.
    ///
    /// # Errors
    /// If a signal stops the run.
    pub fn run(
        &mut self,
        network: &Network,
        kernels: &Kernels,
        order: Order,
        relevance: Option<&[f32]>,
    ) -> Result<Vec<Flipped>> {
        let n = self.classes.len();
        let size = self.images.len() / n.max(1);
        let order_of = |i: usize| {
            let mut regions = shuffled(self.regions.len(), i as u64, 0);
            if let Some(relevance) = relevance {
                let map = &relevance[i * size..][..size];
                let sum = |region: &Vec<usize>| region.iter().map(|&at| f64::from(map[at])).sum();
                let sums: Vec<f64> = self.regions.iter().map(sum).collect();
                let sign = if order == Order::LeastFirst { 1.0 } else { -1.0 };
                regions.sort_by(|&a, &b| (sign * sums[a]).total_cmp(&(sign * sums[b])));
            }
            regions
        };
        let orders: Vec<Vec<usize>> = (0..n).map(order_of).collect();
        let mut found = Vec::new();
        for which in 0..self.fills.len() {
            let mut images = self.images.clone();
            let mut curve = Vec::with_capacity(self.removed + 1);
            let (mut first, mut samples) = (vec![0.0; n], vec![0.0; n]);
            for step in 0..=self.removed {
                check_stop()?;
                if step > 0 {
                    for (i, order) in orders.iter().enumerate() {
                        for &pixel in &self.regions[order[step - 1]] {
                            images[i * size + pixel] = self.fills[which].1[i * size + pixel];
                        }
                    }
                }
                let probabilities = self.probabilities(kernels, network, images.clone())?;
                let of_class = || probabilities.iter().zip(&self.classes).map(|(p, &class)| p[class]);
                curve.push(of_class().sum::<f64>() / n.max(1) as f64);
                if step == 0 {
                    first = of_class().collect();
                }
                for ((area, p), first) in samples.iter_mut().zip(of_class()).zip(&first) {
                    *area += (first - p) / (self.removed + 1) as f64;
                }
            }
            let aopc = curve.iter().map(|p| curve[0] - p).sum::<f64>() / curve.len() as f64;
            found.push(Flipped { fill: self.fills[which].0, order, aopc, curve, samples });
        }
        Ok(found)
    }

    /// Softmax of each image's logits.
    fn probabilities(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        images: Vec<f32>,
    ) -> Result<Vec<Vec<f64>>> {
        let task = network.task();
        let arrays = Arrays { images, size: task.rows * task.cols, labels: None };
        let indices: Vec<usize> = (0..arrays.len()).collect();
        let mut found = Vec::with_capacity(indices.len());
        for chunk in indices.chunks(self.evaluator.capacity()) {
            let evaluator = &mut self.evaluator;
            let logits = evaluator.logits(kernels, network, &arrays, chunk)?;
            found.extend(logits.chunks_exact(task.classes).map(|h| softmax(h, task.zero_logit)));
        }
        Ok(found)
    }
}

/// Probabilities; with a zero logit the rest to 1 is that of no class.
fn softmax(logits: &[f32], zero_logit: bool) -> Vec<f64> {
    let least = if zero_logit { 0.0 } else { f32::NEG_INFINITY };
    let most = logits.iter().fold(least, |most, &h| most.max(h));
    let powers: Vec<f64> = logits.iter().map(|&h| (f64::from(h) - f64::from(most)).exp()).collect();
    let zero = if zero_logit { (-f64::from(most)).exp() } else { 0.0 };
    let sum: f64 = zero + powers.iter().sum::<f64>();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Architecture, Task};

    /// An untrained network, and the relevance of a simple function of its input.
    #[test]
    fn the_curve_starts_at_the_original_ends_filled_and_its_area_is_the_mean_drop() {
        let task = Task { rows: 6, cols: 6, seq_len: 2, classes: 3, ..Task::default() };
        let network = Network::new(Architecture::preset("shallow").unwrap(), task, 3).unwrap();
        let images: Vec<f32> = (0..72).map(|i| ((i * 7) % 11) as f32 / 5.5 - 1.0).collect();
        let samples = Arrays { images: images.clone(), size: 36, labels: None };
        let kernels = Kernels::default();
        let mut flipping = Flipping::new(&kernels, &network, &samples, &[0, 1], 4).unwrap();
        assert_eq!(flipping.regions.iter().map(Vec::len).collect::<Vec<_>>(), [16, 8, 8, 4]);
        let most = flipping.run(&network, &kernels, Order::MostFirst, Some(&images)).unwrap();
        let least = flipping.run(&network, &kernels, Order::LeastFirst, Some(&images)).unwrap();
        let any = flipping.run(&network, &kernels, Order::Random, None).unwrap();
        for curves in [&most, &least, &any] {
            for (curve, reference) in curves.iter().zip(&most) {
                let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
                assert_eq!(curve.curve.len(), 5);
                assert!(near(curve.curve[0], reference.curve[0]) && near(curve.curve[4], reference.curve[4]));
                let fall = curve.curve.iter().map(|p| curve.curve[0] - p).sum::<f64>() / 5.0;
                assert!(near(fall, curve.aopc));
                assert!(near(curve.samples.iter().sum::<f64>() / 2.0, curve.aopc));
            }
        }
        // Opposite orders remove different regions first.
        assert_ne!(most[0].curve[1], least[0].curve[1]);
        assert_eq!((most[0].fill, most[1].fill), (Fill::Background, Fill::Noise));
        assert_eq!(flipping.run(&network, &kernels, Order::Random, None).unwrap(), any);
    }
}

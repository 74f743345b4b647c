//! Cascading randomisation: layer by layer from the logits down, weights are replaced by random ones.
//! Heatmaps that depend on the learnt weights change; those that stay the same depend only on the input or
//! the method.

use super::numbers::mean;
use anyhow::Result;
use model::Network;
use model::measure::heatmap::{cosine, rank_correlation};
use serde::{Deserialize, Serialize};

/// Similarity of the heatmaps to the original ones after a layer and all above it have been randomised.
/// Absolute values are compared, because a random network may have a negative logit, which inverts all signs
/// of a heatmap that conserves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Similarity {
    /// The lowest randomised layer.
    pub layer: String,
    /// Mean cosine of the absolute values.
    pub cosine: Option<f64>,
    /// Mean rank correlation of the absolute values.
    pub rank_correlation: Option<f64>,
    /// The rank correlation of each sample; not stored.
    #[serde(skip)]
    pub samples: Vec<Option<f64>>,
}

/// The seed of the random weights, unlikely to be that of a training.
const SEED: u64 = 0x5EED_0FF0_12A3_D017;

/// Randomises layer upon layer and compares `explain`'s heatmaps with `original`, `[N, rows, cols]`.
///
/// # Errors
/// An error of `explain`.
pub fn cascade(
    original: &[f32],
    network: &Network,
    mut explain: impl FnMut(&Network) -> Result<Vec<f32>>,
) -> Result<Vec<Similarity>> {
    let size = network.task().rows * network.task().cols;
    let random = Network::new(network.architecture().clone(), *network.task(), SEED)?;
    let mut changed = network.clone();
    let mut values = network.values().to_vec();
    let mut found = Vec::new();
    for layer in network.layers().iter().rev() {
        let lateral = layer.lateral.as_ref().map(|lateral| lateral.weight.clone());
        for part in [layer.weight.clone(), layer.bias.clone()].into_iter().chain(lateral) {
            values[part.clone()].copy_from_slice(&random.values()[part]);
        }
        changed.set_values(&values)?;
        let maps = explain(&changed)?;
        let pairs = || original.chunks_exact(size).zip(maps.chunks_exact(size));
        let samples: Vec<Option<f64>> =
            pairs().map(|(a, b)| rank_correlation(&sizes(a), &sizes(b))).collect();
        found.push(Similarity {
            layer: layer.name.clone(),
            cosine: mean(pairs().map(|(a, b)| cosine(&sizes(a), &sizes(b)))),
            rank_correlation: mean(samples.iter().copied()),
            samples,
        });
    }
    Ok(found)
}

fn sizes(map: &[f32]) -> Vec<f32> {
    map.iter().map(|r| r.abs()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Architecture, Task};

    #[test]
    fn layers_become_random_from_the_logits_down() {
        let task = Task { rows: 4, cols: 4, seq_len: 2, classes: 3, ..Task::default() };
        let network = Network::new(Architecture::preset("deep").unwrap(), task, 3).unwrap();
        let mut seen: Vec<usize> = Vec::new();
        let original: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let found = cascade(&original, &network, |changed| {
            let layers = network.layers().iter();
            let same = |range: &std::ops::Range<usize>| {
                changed.values()[range.clone()] == network.values()[range.clone()]
            };
            seen.push(layers.filter(|layer| same(&layer.weight)).count());
            Ok(original.iter().map(|r| -r).collect())
        })
        .unwrap();
        let layers: Vec<&str> = found.iter().map(|of| &of.layer[..]).collect();
        assert_eq!(layers, ["head.1", "head.0", "recurrent", "combine", "encoder.0"]);
        assert_eq!(seen, [4, 3, 2, 1, 0]);
        assert!(found.iter().all(|of| of.cosine == Some(1.0) && of.rank_correlation == Some(1.0)));
    }
}

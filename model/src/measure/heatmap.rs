//! How alike two heatmaps are, and how noisy one is.

use super::shares::{cosine_of, dot};

/// Cosine of two heatmaps; none if either is all zero.
///
/// # Panics
/// If they differ in size.
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "cosine of heatmaps of {} and {} pixels", a.len(), b.len());
    Some(cosine_of(a, b)).filter(|cosine| cosine.is_finite())
}

/// Spearman's rank correlation of two heatmaps: the correlation of their ranks, ties share the mean of their ranks.
/// None if either is constant.
pub fn rank_correlation(a: &[f32], b: &[f32]) -> Option<f64> {
    let (a, b) = (centred_ranks(a), centred_ranks(b));
    let size = (dot(&a, &a) * dot(&b, &b)).sqrt();
    (size > 0.0).then(|| (dot(&a, &b) / size).clamp(-1.0, 1.0))
}

fn centred_ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let mut from = 0;
    for equals in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let rank = from as f64 + (equals.len() as f64 - 1.0) / 2.0;
        equals.iter().for_each(|&i| ranks[i] = rank - middle);
        from += equals.len();
    }
    ranks
}

/// How noisy a heatmap is: `Σ |R_i − R_j| / Σ |R_i|` over all pairs of horizontally and vertically adjacent
/// pixels. A smooth heatmap is near 0; independent signs at every pixel give about 5. None if it is all zero.
pub fn noise(map: &[f32], cols: usize) -> Option<f64> {
    let absolute: f64 = map.iter().map(|&r| f64::from(r.abs())).sum();
    let step = |a: f32, b: f32| (f64::from(a) - f64::from(b)).abs();
    let across: f64 = map.chunks_exact(cols).flat_map(|row| row.windows(2)).map(|w| step(w[0], w[1])).sum();
    let down: f64 = map.iter().zip(map.iter().skip(cols)).map(|(&a, &b)| step(a, b)).sum();
    (absolute > 0.0).then(|| (across + down) / absolute)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_equals_are_shared() {
        assert_eq!(centred_ranks(&[3.0, 1.0, 3.0, 2.0]), [1.0, -1.5, 1.0, -0.5]);
        let up = [1.0, 2.0, 3.0, 10.0];
        assert_eq!(rank_correlation(&up, &[0.1, 0.2, 0.5, 0.6]), Some(1.0));
        assert_eq!(rank_correlation(&up, &[4.0, 3.0, 2.0, 1.0]), Some(-1.0));
        // scipy.stats.spearmanr([1, 2, 3, 10], [1, 3, 3, 2])
        let tied = rank_correlation(&up, &[1.0, 3.0, 3.0, 2.0]).unwrap();
        assert!((tied - 0.316_227_766_016_837_9).abs() < 1e-12, "{tied}");
        assert_eq!(rank_correlation(&up, &[1.0; 4]), None);
    }

    #[test]
    fn noise_counts_each_adjacent_pair_once() {
        assert_eq!(noise(&[1.0, 1.0, 1.0, 1.0], 2), Some(0.0));
        assert_eq!(noise(&[1.0, -1.0, -1.0, 1.0], 2), Some(2.0));
        assert_eq!(noise(&[0.0, 0.0, 3.0, 0.0], 2), Some(2.0));
        assert_eq!(noise(&[0.0; 4], 2), None);
    }

    #[test]
    fn a_heatmap_of_zeros_has_no_cosine() {
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[0.0, 2.0], &[0.0, -1.0]), Some(-1.0));
    }
}

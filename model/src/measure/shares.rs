//! Relevance by time step: its share per step, and the distance from the share of the pixels.

/// Sum of each step's strip of columns, `[T]`.
///
/// - `values` `[N, rows, cols]`: one picture or several, all added to the same sums
/// - `seq_len` T, which divides `cols`
///
/// # Panics
/// If `seq_len` does not divide `cols`, or `values` is not a number of complete pictures.
pub fn per_step(values: &[f32], rows: usize, cols: usize, seq_len: usize) -> Vec<f64> {
    assert!(seq_len > 0 && cols.is_multiple_of(seq_len), "{cols} columns cannot be read in {seq_len} steps");
    assert!(
        values.len().is_multiple_of(rows * cols),
        "{} values are not pictures of {rows}x{cols}",
        values.len()
    );
    let width = cols / seq_len;
    let mut sums = vec![0.0; seq_len];
    for (i, &v) in values.iter().enumerate() {
        sums[i % cols / width] += f64::from(v);
    }
    sums
}

/// Sum of the rows `which`, which may name a row more than once; empty if there are no rows.
///
/// # Panics
/// If a row is not there.
pub fn sum_of_rows(rows: &[Vec<f64>], which: &[usize]) -> Vec<f64> {
    let mut sums = vec![0.0; rows.first().map_or(0, Vec::len)];
    for &i in which {
        sums.iter_mut().zip(&rows[i]).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// `v_i / Σ v`. All zeros if the sum is 0; negative values keep their sign relative to the sum.
pub fn normalised(values: &[f64]) -> Vec<f64> {
    let sum: f64 = values.iter().sum();
    values.iter().map(|v| if sum == 0.0 { 0.0 } else { v / sum }).collect()
}

/// Cosine similarity `a·b / (‖a‖·‖b‖)`, in `[-1, 1]`; NaN if either is all zero.
///
/// # Panics
/// If the lengths differ.
pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "cosine of {} against {} steps", a.len(), b.len());
    cosine_of(a, b)
}

/// [`cosine`] of either precision, summed in f64.
pub(super) fn cosine_of<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    (dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())).clamp(-1.0, 1.0)
}

/// `Σ a·b` in f64.
pub(super) fn dot<T: Copy + Into<f64>>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a.into() * b.into()).sum()
}

/// Jensen–Shannon distance between two distributions, in `[0, 1]`: the square root of the divergence in base 2.
///
/// `JSD(p, q) = √(½ Σ p·log₂(p/m) + ½ Σ q·log₂(q/m))`, `m = (p + q) / 2`
///
/// Relevance may be negative, but shares may not: **negative values are clipped to 0**, then each side is
/// divided by its sum. NaN if nothing remains of either side.
///
/// # Panics
/// If the lengths differ.
pub fn jensen_shannon_distance(p: &[f64], q: &[f64]) -> f64 {
    assert_eq!(p.len(), q.len(), "distance of {} from {} steps", p.len(), q.len());
    let distribution = |values: &[f64]| {
        let clipped: Vec<f64> = values.iter().map(|v| if *v < 0.0 { 0.0 } else { *v }).collect();
        let sum: f64 = clipped.iter().sum();
        clipped.into_iter().map(|v| v / sum).collect::<Vec<f64>>()
    };
    let (p, q) = (distribution(p), distribution(q));
    let term = |p: f64, m: f64| if p == 0.0 { 0.0 } else { p * (p / m).log2() };
    let divergence: f64 =
        p.iter().zip(&q).map(|(&p, &q)| (term(p, (p + q) / 2.0) + term(q, (p + q) / 2.0)) / 2.0).sum();
    // Rounding may exceed the range slightly; `clamp` keeps a NaN.
    divergence.clamp(0.0, 1.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn a_step_is_the_sum_of_its_strip_of_columns() {
        let picture: Vec<f32> = (0..8).map(|v| v as f32).collect();
        assert_eq!(per_step(&picture, 2, 4, 2), [10.0, 18.0]);
        assert_eq!(per_step(&picture, 2, 4, 4), [4.0, 6.0, 8.0, 10.0]);
        assert_eq!(per_step(&picture, 1, 4, 1), [28.0]);
        assert_eq!(per_step(&[], 2, 4, 2), [0.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "28 columns cannot be read in 5 steps")]
    fn a_width_that_does_not_divide_is_refused() {
        per_step(&[0.0; 28], 1, 28, 5);
    }

    #[test]
    fn a_row_counts_as_often_as_it_is_named() {
        let rows = [vec![1.0, 2.0], vec![10.0, 20.0]];
        assert_eq!(sum_of_rows(&rows, &[0, 1, 1]), [21.0, 42.0]);
        assert_eq!(sum_of_rows(&rows, &[]), [0.0, 0.0]);
        assert!(sum_of_rows(&[], &[]).is_empty());
    }

    #[test]
    fn shares_sum_to_one() {
        assert_eq!(normalised(&[1.0, 3.0]), [0.25, 0.75]);
        assert_eq!(normalised(&[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn cosine_of_simple_angles() {
        assert!(close(cosine(&[1.0, 2.0], &[2.0, 4.0]), 1.0));
        assert!(close(cosine(&[1.0, 0.0], &[0.0, 1.0]), 0.0));
        assert!(close(cosine(&[1.0, 0.0], &[-1.0, 0.0]), -1.0));
        assert!(cosine(&[0.0, 0.0], &[1.0, 0.0]).is_nan());
    }

    #[test]
    fn the_distance_is_zero_for_equal_and_one_for_disjoint_shares() {
        assert_eq!(jensen_shannon_distance(&[1.0, 3.0], &[0.25, 0.75]), 0.0);
        assert!(close(jensen_shannon_distance(&[1.0, 0.0], &[0.0, 1.0]), 1.0));
        // scipy.spatial.distance.jensenshannon(p, q, base=2)
        assert!(close(jensen_shannon_distance(&[0.5, 0.5], &[0.9, 0.1]), 0.383_135_879_859_942_3));
        assert!(close(jensen_shannon_distance(&[0.2, 0.3, 0.5], &[0.6, 0.4, 0.0]), 0.575_029_479_769_827_9));
        assert!(jensen_shannon_distance(&[0.0, -1.0], &[1.0, 0.0]).is_nan());
    }

    #[test]
    fn negative_shares_count_as_none() {
        let (p, q) = ([0.5, 0.5, -0.3], [0.2, 0.8, 0.0]);
        assert_eq!(jensen_shannon_distance(&p, &q), jensen_shannon_distance(&p.map(|v| v.max(0.0)), &q));
    }
}

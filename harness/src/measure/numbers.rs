//! Means of values that may be missing, and random numbers.

use rand::Rng;

/// Uniform in 0…1, 53 bits.
pub fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Mean of the values that are present.
pub fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values.flatten().fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Mean and standard deviation of a sample, `n − 1` in the denominator; the deviation is none for fewer than
/// 2 values.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let mean = mean(values.iter().map(|&value| Some(value)))?;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt());
    Some((mean, deviation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_values_are_not_counted() {
        assert_eq!(mean([Some(1.0), None, Some(3.0)].into_iter()), Some(2.0));
        assert_eq!(mean([None].into_iter()), None);
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), Some((2.0, Some(2f64.sqrt()))));
        assert_eq!(mean_and_deviation(&[1.0]), Some((1.0, None)));
        assert_eq!(mean_and_deviation(&[]), None);
    }
}

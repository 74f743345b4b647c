//! The distribution of the studentised range `q = (max − min) / s` of `k` normal means, `s` from `df` degrees of freedom.
//!
//! `P(q) = ∫ f(s) · W(q·s) ds`, where `s² · df` is chi-squared with `df` degrees of freedom and
//! `W(w) = k ∫ φ(z) · [Φ(z) − Φ(z − w)]^(k − 1) dz` is the distribution of the range of `k` standard normal values.
//!
//! Both integrals run over the whole line (the outer one over `t = ln s`), their integrands are analytic and
//! vanish at both ends, so the trapezoidal rule converges exponentially. The remaining error is that of Φ,
//! about 1e-11.

use statrs::distribution::{ContinuousCDF, Normal};

/// Step and end of the inner sum: φ is below 1e-16 beyond.
const Z_STEP: f64 = 0.125;
const Z_MAX: f64 = 8.5;
/// Values of ln of the outer weight that are left out.
const NEGLIGIBLE: f64 = -40.0;

/// The range of `k` standard normal values.
struct NormalRange {
    normal: Normal,
    k: usize,
    /// z, k·φ(z)·step and Φ(z) at each point of the sum.
    points: Vec<[f64; 3]>,
}

impl NormalRange {
    fn new(k: usize) -> NormalRange {
        let normal = Normal::standard();
        let scale = k as f64 * Z_STEP / (2.0 * std::f64::consts::PI).sqrt();
        let end = (Z_MAX / Z_STEP) as i32;
        let point = |i: i32| {
            let z = f64::from(i) * Z_STEP;
            [z, scale * (-0.5 * z * z).exp(), normal.cdf(z)]
        };
        NormalRange { normal, k, points: (-end..=end).map(point).collect() }
    }

    /// P(range ≤ w)
    fn cdf(&self, w: f64) -> f64 {
        if w <= 0.0 {
            return 0.0;
        }
        if w >= 2.0 * Z_MAX {
            return 1.0;
        }
        let power = self.k as i32 - 1;
        let term =
            |&[z, weight, phi]: &[f64; 3]| weight * (phi - self.normal.cdf(z - w)).max(0.0).powi(power);
        self.points.iter().map(term).sum::<f64>().min(1.0)
    }
}

/// P(Q ≤ q) for the range of `k` means over a standard deviation of `df` degrees of freedom, which may be infinite.
///
/// # Panics
/// If there are fewer than 2 means, or `df` is not positive.
pub fn cdf(q: f64, k: usize, df: f64) -> f64 {
    assert!(k >= 2 && df > 0.0, "studentised range of {k} means with {df} degrees of freedom");
    studentised(&NormalRange::new(k), q, df)
}

fn studentised(range: &NormalRange, q: f64, df: f64) -> f64 {
    if q.is_nan() || q <= 0.0 {
        return if q.is_nan() { q } else { 0.0 };
    }
    if df.is_infinite() {
        return range.cdf(q);
    }
    // ln of the density of t = ln s, up to a constant that the division by the sum of all weights removes; 0 at its peak.
    let log_weight = |t: f64| df * (t + 0.5 - 0.5 * (2.0 * t).exp());
    let step = (0.25 / df.sqrt()).min(1.0 / 16.0);
    let (mut sum, mut total) = (0.0, 0.0);
    for direction in [-1.0, 1.0] {
        // The point t = 0 belongs to the upward sum.
        let mut i = if direction < 0.0 { 1.0 } else { 0.0 };
        loop {
            let t: f64 = direction * i * step;
            let log = log_weight(t);
            if log < NEGLIGIBLE {
                break;
            }
            let weight = log.exp();
            total += weight;
            sum += weight * range.cdf(q * t.exp());
            i += 1.0;
        }
    }
    (sum / total).clamp(0.0, 1.0)
}

/// The `q` with `P(Q ≤ q) = p`: the critical value at α is `quantile(1 − α, k, df)`. To about 1e-9.
///
/// # Panics
/// As [`cdf`]; and if `p` is not between 0 and 1.
pub fn quantile(p: f64, k: usize, df: f64) -> f64 {
    assert!(k >= 2 && df > 0.0, "studentised range of {k} means with {df} degrees of freedom");
    assert!(p > 0.0 && p < 1.0, "quantile at probability {p}");
    let range = NormalRange::new(k);
    let below = |q: f64| studentised(&range, q, df) < p;
    let (mut low, mut high) = (0.0, 8.0);
    while below(high) {
        (low, high) = (high, 2.0 * high);
    }
    while high - low > 1e-10 * high {
        let middle = 0.5 * (low + high);
        if below(middle) { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed tables (Harter 1960 and the textbooks after it), three decimals: k, df, q at α = .05, q at α = .01.
    const TABLE: [(usize, f64, f64, f64); 18] = [
        (2, 5.0, 3.635, 5.702),
        (2, 10.0, 3.151, 4.482),
        (2, 20.0, 2.950, 4.024),
        (2, 60.0, 2.829, 3.762),
        (2, f64::INFINITY, 2.772, 3.643),
        (3, 5.0, 4.602, 6.976),
        (3, 10.0, 3.877, 5.270),
        (3, 20.0, 3.578, 4.639),
        (3, 60.0, 3.399, 4.282),
        (3, f64::INFINITY, 3.314, 4.120),
        (4, 10.0, 4.327, 5.769),
        (4, 15.0, 4.076, 5.252),
        (4, 18.0, 3.997, 5.094),
        (4, 20.0, 3.958, 5.018),
        (4, f64::INFINITY, 3.633, 4.403),
        (5, 10.0, 4.654, 6.136),
        (5, 24.0, 4.166, 5.168),
        (10, f64::INFINITY, 4.474, 5.157),
    ];
    /// The same with two decimals.
    const COARSE: [(usize, f64, f64, f64); 4] =
        [(3, 2.0, 8.33, 19.02), (10, 10.0, 5.60, 7.21), (10, 20.0, 5.01, 6.09), (10, 60.0, 4.65, 5.45)];

    #[test]
    fn quantiles_are_those_of_the_printed_tables() {
        let all = TABLE.iter().map(|row| (row, 5.1e-4)).chain(COARSE.iter().map(|row| (row, 5.1e-3)));
        for (&(k, df, at_5, at_1), half_a_unit) in all {
            for (alpha, expected) in [(0.05, at_5), (0.01, at_1)] {
                let found = quantile(1.0 - alpha, k, df);
                assert!(
                    (found - expected).abs() < half_a_unit,
                    "k {k}, df {df}, α {alpha}: {found}, {expected}"
                );
                assert!((cdf(found, k, df) - (1.0 - alpha)).abs() < 1e-9);
            }
        }
    }

    /// `ptukey(1:9, nmeans = 7, df = 5)` as R prints it.
    #[test]
    fn probabilities_are_those_that_r_prints() {
        let printed = [
            0.014_160_51,
            0.220_994_29,
            0.546_763_95,
            0.768_230_06,
            0.882_849_88,
            0.938_716_76,
            0.966_375_87,
            0.980_635_47,
            0.988_335_93,
        ];
        for (q, expected) in (1..).zip(printed) {
            let found = cdf(f64::from(q), 7, 5.0);
            assert!((found - expected).abs() < 3e-8, "{q}: {found}, {expected}");
        }
    }

    /// For two means the studentised range is √2 · |t|; with df = 1 that is a Cauchy value, with df = 2 a closed form.
    #[test]
    fn two_means_are_students_t() {
        for q in [0.01f64, 0.5, 1.0, 3.0, 17.97, 90.0, 1e4] {
            let t = q / std::f64::consts::SQRT_2;
            let cauchy = std::f64::consts::FRAC_2_PI * t.atan();
            assert!((cdf(q, 2, 1.0) - cauchy).abs() < 1e-10, "{q}: {} {cauchy}", cdf(q, 2, 1.0));
            let df_2 = t / (2.0 + t * t).sqrt();
            assert!((cdf(q, 2, 2.0) - df_2).abs() < 1e-10, "{q}: {} {df_2}", cdf(q, 2, 2.0));
        }
    }

    /// Three normal values: the density of the range is `6/√(4π) · e^{−w²/4} · (2Φ(w/√6) − 1)`; integrated here by Simpson.
    #[test]
    fn the_range_of_three_normal_values_has_its_closed_density() {
        let normal = Normal::standard();
        let density = |w: f64| {
            let bell = (-0.25 * w * w).exp() / (4.0 * std::f64::consts::PI).sqrt();
            6.0 * bell * (2.0 * normal.cdf(w / 6f64.sqrt()) - 1.0)
        };
        for q in [0.3, 1.7, 3.314, 6.0] {
            let n = 2000;
            let h = q / f64::from(n);
            let weight = |i: i32| if i == 0 || i == n { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
            let simpson: f64 = (0..=n).map(|i| weight(i) * density(f64::from(i) * h)).sum::<f64>() * h / 3.0;
            assert!((cdf(q, 3, f64::INFINITY) - simpson).abs() < 1e-10, "{q}: {simpson}");
        }
    }

    #[test]
    fn the_distribution_rises_from_0_to_1() {
        for (k, df) in [(2, 1.0), (3, 7.0), (10, 54.0), (100, 1000.0), (4, 1e6)] {
            assert_eq!((cdf(0.0, k, df), cdf(-1.0, k, df)), (0.0, 0.0));
            let values: Vec<f64> = (0..60).map(|i| cdf(0.25 * f64::from(i), k, df)).collect();
            assert!(values.windows(2).all(|pair| pair[0] <= pair[1] + 1e-15), "k {k}, df {df}");
            assert!(cdf(1e9, k, df) > 1.0 - 1e-8);
            assert!(cdf(f64::NAN, k, df).is_nan());
        }
        let near = (cdf(3.7, 4, 1e7) - cdf(3.7, 4, f64::INFINITY)).abs();
        assert!(near < 1e-6, "{near}");
    }
}

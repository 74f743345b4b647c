//! Relevance rules.

fn positive(w: f32) -> f64 {
    f64::from(w.max(0.0))
}

fn negative(w: f32) -> f64 {
    f64::from(w.min(0.0))
}

/// `r_in[j] = Σ_k q(j,k) / (Σ_j q(j,k) + ε) · r[k]` for one sample: every rule is a choice of `q`.
pub fn share(j: usize, k: usize, q: impl Fn(usize, usize) -> f64, eps: f64, r: &[f64]) -> (Vec<f64>, f64) {
    let mut r_in = vec![0.0; j];
    let mut lost = 0.0;
    for (out, r) in r.iter().enumerate().take(k) {
        let z: f64 = (0..j).map(|i| q(i, out)).sum();
        for (i, r_in) in r_in.iter_mut().enumerate() {
            *r_in += q(i, out) / (z + eps) * r;
        }
        lost += eps / (z + eps) * r;
    }
    (r_in, lost)
}

/// z⁺ of one sample: relevance of the inputs, and what was lost.
pub fn z_plus(a: &[f32], w: &[f32], r: &[f64], eps: f64) -> (Vec<f64>, f64) {
    let k = r.len();
    share(a.len(), k, |i, o| f64::from(a[i]) * positive(w[i * k + o]), eps, r)
}

/// αβ of one sample.
pub fn alpha_beta((alpha, beta): (f64, f64), a: &[f32], w: &[f32], r: &[f64], eps: f64) -> (Vec<f64>, f64) {
    let k = r.len();
    let (plus, lost_plus) = z_plus(a, w, r, eps);
    let q = |i: usize, o: usize| f64::from(a[i]) * negative(w[i * k + o]);
    let (minus, lost_minus) = share(a.len(), k, q, -eps, r);
    let r_in = plus.iter().zip(&minus).map(|(p, m)| alpha * p - beta * m).collect();
    (r_in, alpha * lost_plus - beta * lost_minus)
}

/// w² of one sample with `j` inputs.
pub fn w_square(j: usize, w: &[f32], r: &[f64], eps: f64) -> (Vec<f64>, f64) {
    let k = r.len();
    share(j, k, |i, o| f64::from(w[i * k + o]) * f64::from(w[i * k + o]), eps, r)
}

/// z^β of one sample with pixels in `low..=high`.
pub fn z_beta(x: &[f32], w: &[f32], (low, high): (f32, f32), r: &[f64], eps: f64) -> (Vec<f64>, f64) {
    let k = r.len();
    let q = |i: usize, o: usize| {
        let w = w[i * k + o];
        f64::from(x[i]) * f64::from(w) - f64::from(low) * positive(w) - f64::from(high) * negative(w)
    };
    share(x.len(), k, q, eps, r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_s_relevance_is_shared_or_lost() {
        let (a, w, r) = ([0.5, 0.0, 2.0], [1.0, -1.0, 3.0, 2.0, -1.0, -4.0], [3.0, 5.0]);
        for (r_in, lost) in [
            z_plus(&a, &w, &r, 1e-9),
            alpha_beta((2.0, 1.0), &a, &w, &r, 1e-9),
            w_square(3, &w, &r, 1e-9),
            z_beta(&a, &w, (-1.0, 2.0), &r, 1e-9),
        ] {
            let sum: f64 = r_in.iter().sum();
            assert!((sum + lost - 8.0).abs() < 1e-12, "{r_in:?} and {lost}");
        }
    }
}

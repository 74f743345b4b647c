//! Naive reference implementations: each rule as its equation reads, indices and all, summed in f64.
//!
//! They are the meaning of the fast kernels, and what the tests compare those with. Matrices are
//! row-major slices; weights are `[in, out]` and HWIO, not packed.

use crate::shape::ConvShape;

/// `c[m,n] = Σ_k a[m,k]·b[k,n]`
pub fn gemm(a: &[f32], b: &[f32], m: usize, n: usize, k: usize) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            for p in 0..k {
                c[i * n + j] += f64::from(a[i * k + p]) * f64::from(b[p * n + j]);
            }
        }
    }
    c
}

/// The same sum as one chain of `f32::mul_add` from `start`: the bits that the fast kernels promise.
pub fn gemm_mul_add(a: &[f32], b: &[f32], start: &[f32], m: usize, n: usize, k: usize) -> Vec<f32> {
    let mut c = start.to_vec();
    for i in 0..m {
        for j in 0..n {
            for p in 0..k {
                c[i * n + j] = a[i * k + p].mul_add(b[p * n + j], c[i * n + j]);
            }
        }
    }
    c
}

/// `aᵀ`, `[k, m]` from `[m, k]`.
pub fn transposed<T: Copy>(a: &[T], m: usize, k: usize) -> Vec<T> {
    (0..k * m).map(|i| a[i % m * k + i / m]).collect()
}

/// A convolution as a dense layer: the matrix `[rows·cols·inputs, rows·cols·outputs]` that has
/// weight `w[y'−y+p, x'−x+p, i, o]` from input pixel `(y', x')` to output pixel `(y, x)`.
pub fn conv_as_dense(shape: &ConvShape, w: &[f32]) -> Vec<f32> {
    let ConvShape { rows, cols, size, inputs, outputs } = *shape;
    let n = rows * cols * outputs;
    let mut dense = vec![0.0; rows * cols * inputs * n];
    for y in 0..rows {
        for x in 0..cols {
            for dy in 0..size {
                for dx in 0..size {
                    let (from_y, from_x) = (y + dy, x + dx);
                    let p = size / 2;
                    if from_y < p || from_x < p || from_y - p >= rows || from_x - p >= cols {
                        continue;
                    }
                    for i in 0..inputs {
                        for o in 0..outputs {
                            let from = ((from_y - p) * cols + from_x - p) * inputs + i;
                            let to = (y * cols + x) * outputs + o;
                            dense[from * n + to] = w[((dy * size + dx) * inputs + i) * outputs + o];
                        }
                    }
                }
            }
        }
    }
    dense
}

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

/// The pixels of pooled pixel `(y, x)`'s window, row-major; at the edge it is smaller.
fn window((rows, cols): (usize, usize), size: usize, (y, x): (usize, usize)) -> impl Iterator<Item = usize> {
    let lines = y * size..rows.min((y + 1) * size);
    lines.flat_map(move |row| (x * size..cols.min((x + 1) * size)).map(move |col| row * cols + col))
}

/// Max-pool of one image `[rows·cols, channels]` with stride `size`: the values, and the place in `x`
/// that each came from, the first in row-major order of the largest ones.
pub fn max_pool(
    (rows, cols, channels): (usize, usize, usize),
    size: usize,
    x: &[f32],
) -> (Vec<f32>, Vec<usize>) {
    let (mut values, mut from) = (Vec::new(), Vec::new());
    for y in 0..rows.div_ceil(size) {
        for column in 0..cols.div_ceil(size) {
            for channel in 0..channels {
                let mut places = window((rows, cols), size, (y, column)).map(|p| p * channels + channel);
                let Some(mut best) = places.next() else { continue };
                for place in places {
                    if x[place] > x[best] {
                        best = place;
                    }
                }
                values.push(x[best]);
                from.push(best);
            }
        }
    }
    (values, from)
}

/// Sum-pool of one image, and for each pixel's value the pooled one it went into.
pub fn sum_pool(
    (rows, cols, channels): (usize, usize, usize),
    size: usize,
    x: &[f32],
) -> (Vec<f64>, Vec<usize>) {
    let (mut values, mut into) = (Vec::new(), vec![0; x.len()]);
    for y in 0..rows.div_ceil(size) {
        for column in 0..cols.div_ceil(size) {
            for channel in 0..channels {
                let mut sum = 0.0;
                for place in window((rows, cols), size, (y, column)) {
                    sum += f64::from(x[place * channels + channel]);
                    into[place * channels + channel] = values.len();
                }
                values.push(sum);
            }
        }
    }
    (values, into)
}

/// `softplus(b) = ln(1 + e^b)`, without overflow.
pub fn softplus(b: f64) -> f64 {
    b.max(0.0) + (-b.abs()).exp().ln_1p()
}

/// `σ(b) = 1 / (1 + e^−b)`, the derivative of softplus.
pub fn sigmoid(b: f64) -> f64 {
    1.0 / (1.0 + (-b).exp())
}

/// Cross-entropy of one sample in a batch of `n`: the loss `−ln softmax(h)[label]`, and the gradient
/// `(softmax(h) − 1{label}) / n`.
pub fn cross_entropy(logits: &[f32], label: usize, n: usize) -> (f64, Vec<f64>) {
    let sum: f64 = logits.iter().map(|&h| f64::from(h).exp()).sum();
    let p = |class: usize| f64::from(logits[class]).exp() / sum;
    let one = |class: usize| if class == label { 1.0 } else { 0.0 };
    let gradient = (0..logits.len()).map(|class| (p(class) - one(class)) / n as f64).collect();
    (sum.ln() - f64::from(logits[label]), gradient)
}

/// Inverted dropout with probability `p`: how often a unit is kept, and its factor then. What is
/// expected of a unit is their product, 1.
pub fn dropout(p: f64) -> (f64, f64) {
    (1.0 - p, 1.0 / (1.0 - p))
}

/// One parameter after Adam steps with these gradients (Kingma & Ba, algorithm 1).
pub fn adam(lr: f64, gradients: &[f64], mut param: f64) -> f64 {
    let (beta1, beta2, eps) = (0.9f64, 0.999f64, 1e-8);
    let (mut m, mut v) = (0.0, 0.0);
    for (t, g) in (1..).zip(gradients) {
        m = beta1 * m + (1.0 - beta1) * g;
        v = beta2 * v + (1.0 - beta2) * g * g;
        let (m_hat, v_hat) = (m / (1.0 - beta1.powi(t)), v / (1.0 - beta2.powi(t)));
        param -= lr * m_hat / (v_hat.sqrt() + eps);
    }
    param
}

/// One parameter after steps of SGD with momentum: `m ← μm + g`, `p ← p − lr·m`.
pub fn sgd(lr: f64, momentum: f64, gradients: &[f64], mut param: f64) -> f64 {
    let mut m = 0.0;
    for g in gradients {
        m = momentum * m + g;
        param -= lr * m;
    }
    param
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Backend;
    use crate::testing::kernel_sets;
    use std::io::Write;

    #[test]
    fn the_properties_run_on_every_backend_of_this_machine() {
        let sets = kernel_sets();
        for name in Backend::NAMES {
            let threads: Vec<usize> = sets
                .iter()
                .filter(|kernels| kernels.name() == name)
                .map(|kernels| kernels.threads().count())
                .collect();
            let found = Backend::by_name(name).is_some();
            assert_eq!(threads, if found { vec![1, 2, 3, 7] } else { vec![] }, "{name}");
            // Written past the test runner, which swallows what passing tests print.
            let what = if found { "compared with the reference" } else { "not on this CPU" };
            let _ = writeln!(std::io::stderr(), "kernels {name}: {what}");
        }
    }

    #[test]
    fn a_tie_belongs_to_the_first_pixel_and_an_edge_window_is_smaller() {
        let x = [1.0, 3.0, 3.0, 3.0, 2.0, 5.0]; // [2, 3], one channel
        assert_eq!(max_pool((2, 3, 1), 2, &x), (vec![3.0, 5.0], vec![1, 5]));
        assert_eq!(sum_pool((2, 3, 1), 2, &x), (vec![9.0, 8.0], vec![0, 0, 1, 0, 0, 1]));
    }

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

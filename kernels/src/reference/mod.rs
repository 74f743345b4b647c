//! Naive twins: each rule as its equation reads, indices and all, summed in f64.
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
pub fn share(
    j: usize,
    k: usize,
    q: impl Fn(usize, usize) -> f64,
    eps: f64,
    r: &[f64],
) -> (Vec<f64>, f64) {
    let mut r_in = vec![0.0; j];
    let mut lost = 0.0;
    for out in 0..k {
        let z: f64 = (0..j).map(|i| q(i, out)).sum();
        for (i, r_in) in r_in.iter_mut().enumerate() {
            *r_in += q(i, out) / (z + eps) * r[out];
        }
        lost += eps / (z + eps) * r[out];
    }
    (r_in, lost)
}

/// z⁺ of one sample: relevance of the inputs, and what was lost.
pub fn z_plus(a: &[f32], w: &[f32], r: &[f64], eps: f64) -> (Vec<f64>, f64) {
    let k = r.len();
    share(a.len(), k, |i, o| f64::from(a[i]) * positive(w[i * k + o]), eps, r)
}

/// αβ of one sample.
pub fn alpha_beta(
    (alpha, beta): (f64, f64),
    a: &[f32],
    w: &[f32],
    r: &[f64],
    eps: f64,
) -> (Vec<f64>, f64) {
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
pub fn z_beta(
    x: &[f32],
    w: &[f32],
    (low, high): (f32, f32),
    r: &[f64],
    eps: f64,
) -> (Vec<f64>, f64) {
    let k = r.len();
    let q = |i: usize, o: usize| {
        let w = w[i * k + o];
        f64::from(x[i]) * f64::from(w) - f64::from(low) * positive(w) - f64::from(high) * negative(w)
    };
    share(x.len(), k, q, eps, r)
}

//! Matrix products.

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

/// The same sum as one chain of `f32::mul_add` from `init`: the exact bits that the fast kernels guarantee.
pub fn gemm_mul_add(a: &[f32], b: &[f32], init: &[f32], m: usize, n: usize, k: usize) -> Vec<f32> {
    let mut c = init.to_vec();
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

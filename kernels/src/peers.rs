//! The same product by other libraries, to measure against: both pack their operands at every call.

/// Another library's `c = a·b`, row-major.
pub type Peer = fn(a: &[f32], b: &[f32], c: &mut [f32], m: usize, n: usize, k: usize);

/// The peers by name.
pub const PEERS: [(&str, Peer); 2] = [("gemm", gemm_crate), ("matrixmultiply", matrixmultiply_crate)];

fn check(a: &[f32], b: &[f32], c: &[f32], m: usize, n: usize, k: usize) {
    assert_eq!((a.len(), b.len(), c.len()), (m * k, k * n, m * n), "row-major [{m}, {k}]·[{k}, {n}]");
}

/// The product of the crate `gemm`, on one thread.
///
/// # Panics
/// If a slice is not as long as its matrix.
pub fn gemm_crate(a: &[f32], b: &[f32], c: &mut [f32], m: usize, n: usize, k: usize) {
    check(a, b, c, m, n, k);
    let stride = |n: usize| n as isize;
    // SAFETY: the lengths were checked, and `c` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(n),
            false,
            a.as_ptr(),
            1,
            stride(k),
            b.as_ptr(),
            1,
            stride(n),
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The product of the crate `matrixmultiply`, on one thread.
///
/// # Panics
/// If a slice is not as long as its matrix.
pub fn matrixmultiply_crate(a: &[f32], b: &[f32], c: &mut [f32], m: usize, n: usize, k: usize) {
    check(a, b, c, m, n, k);
    let stride = |n: usize| n as isize;
    // SAFETY: the lengths were checked, and `c` is borrowed mutably, so it overlaps neither operand.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            stride(k),
            1,
            b.as_ptr(),
            stride(n),
            1,
            0.0,
            c.as_mut_ptr(),
            stride(n),
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, floats};

    #[test]
    fn peers_compute_the_same_product() {
        let (m, n, k) = (7, 33, 20);
        let (a, b) = (floats(m * k, 1), floats(k * n, 2));
        for (name, peer) in PEERS {
            let mut c = vec![f32::NAN; m * n];
            peer(&a, &b, &mut c, m, n, k);
            assert_close(name, &c, &reference::gemm(&a, &b, m, n, k), 1e-5);
        }
    }
}

//! The softplus bias and its derivative, relu after a bias, and the gradient of relu.

use super::rows::{Map, each};
use super::{Loop, exp, ln_1p, run};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::layout::{MatMut, MatRef};
use crate::profile::Work;
use crate::simd::Simd;
use crate::simd::lanes::load;

/// `softplus(b) = ln(1 + e^b)`
#[inline(always)]
fn softplus(b: f32) -> f32 {
    let u = exp(if b > 0.0 { -b } else { b });
    (if b > 0.0 { b } else { 0.0 }) + ln_1p(u)
}

/// `σ(b) = 1 / (1 + e^−b)`, the derivative of softplus.
#[inline(always)]
pub(super) fn sigmoid(b: f32) -> f32 {
    1.0 / (1.0 + exp(-b))
}

struct NegativeSoftplus<'a>(&'a [f32], &'a mut [f32]);

impl Loop for NegativeSoftplus<'_> {
    #[inline(always)]
    fn run(self) {
        for (out, &b) in self.1.iter_mut().zip(self.0) {
            *out = -softplus(b);
        }
    }
}

/// `bias[k] = −softplus(b[k])`, the bias that a layer adds to its products (section 4.4); the rest of `bias`
/// becomes zero.
///
/// # Errors
/// [`ShapeError`] if `bias` is shorter than `b`.
pub fn softplus_bias(kernels: &Kernels, b: &[f32], bias: &mut [f32]) -> Result<(), ShapeError> {
    let _span = kernels.span("softplus_bias", || Work::elements([1, b.len()], 4, 2));
    axis("softplus_bias", "K", "bias", bias.len().min(b.len()), b.len())?;
    bias[b.len()..].fill(0.0);
    run(kernels.backend(), NegativeSoftplus(b, bias));
    Ok(())
}

struct SoftplusGradient<'a>(&'a [f32], &'a mut [f32]);

impl Loop for SoftplusGradient<'_> {
    #[inline(always)]
    fn run(self) {
        for (d, &b) in self.1.iter_mut().zip(self.0) {
            *d *= -sigmoid(b);
        }
    }
}

/// `d_b[k] ← −σ(b[k])·d_b[k]`: from the gradient of the pre-activation to that of the parameter.
///
/// # Errors
/// [`ShapeError`] if the lengths differ.
pub fn softplus_gradient(kernels: &Kernels, b: &[f32], d_b: &mut [f32]) -> Result<(), ShapeError> {
    let _span = kernels.span("softplus_gradient", || Work::elements([1, b.len()], 4, 3));
    axis("softplus_gradient", "K", "d_b", d_b.len(), b.len())?;
    run(kernels.backend(), SoftplusGradient(b, d_b));
    Ok(())
}

struct BiasRelu<'a>(&'a [f32]);

impl Map<1> for BiasRelu<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, n: usize, lanes: usize, [z]: [S::F; 1], _: S::F) -> S::F {
        // SAFETY: there is a bias for each column.
        let h = simd.add(z, unsafe { load(simd, self.0.as_ptr().add(n), lanes) });
        simd.where_positive(h, h)
    }
}

/// `a[m,k] = relu(z[m,k] + bias[k])`, for layers whose relevance rule reads the product `z`.
///
/// # Errors
/// [`ShapeError`] if `M` or `K` differ.
pub fn bias_relu(kernels: &Kernels, z: MatRef, bias: &[f32], a: MatMut) -> Result<(), ShapeError> {
    let _span = kernels.span("bias_relu", || Work::elements([z.rows, z.cols], 1, 2));
    axis("bias_relu", "M", "a", a.rows, z.rows)?;
    axis("bias_relu", "K", "a", a.cols, z.cols)?;
    axis("bias_relu", "K", "bias", bias.len().min(z.cols), z.cols)?;
    each(kernels, &BiasRelu(bias), [z], a);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::simd::dispatch::Backend;

    #[test]
    fn every_backend_gives_softplus_and_its_derivative() {
        let b: Vec<f32> = (-400..400).map(|i| i as f32 * 0.1).collect();
        for backend in Backend::available() {
            let kernels = Kernels::new(backend, crate::Threads::one());
            let mut bias = vec![f32::NAN; 816];
            softplus_bias(&kernels, &b, &mut bias).expect("shapes fit");
            let mut d = vec![1.0; 800];
            softplus_gradient(&kernels, &b, &mut d).expect("shapes fit");
            for (i, &b) in b.iter().enumerate() {
                let b = f64::from(b);
                let want = -reference::softplus(b);
                assert!((f64::from(bias[i]) - want).abs() <= 5e-7 * want.abs(), "{b}: {want}");
                let want = -reference::sigmoid(b);
                assert!((f64::from(d[i]) - want).abs() <= 5e-7 * want.abs(), "{b}: {want}");
            }
            assert!(bias[800..].iter().all(|&x| x == 0.0));
        }
    }
}

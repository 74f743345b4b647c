//! Adam and SGD with momentum, element by element: the layout of the parameters does not matter.

use super::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::profile::Work;
use crate::threads::Shared;
use std::ops::Range;

/// Adam's constants at one step (Kingma & Ba, algorithm 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the denominator.
    pub eps: f32,
    /// `1 − β₁^t`
    pub correction1: f32,
    /// `√(1 − β₂^t)`
    pub correction2: f32,
}

impl AdamStep {
    /// The constants of step `t = 1, 2, …` with β₁ 0.9, β₂ 0.999, ε 1e-8.
    pub fn new(lr: f32, t: u64) -> Self {
        let power = |beta: f64| 1.0 - power(beta, t);
        AdamStep {
            lr,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            correction1: power(0.9) as f32,
            correction2: power(0.999).sqrt() as f32,
        }
    }
}

/// `base^n` by squaring: IEEE multiplications only, so the same bits with every maths library.
fn power(mut base: f64, mut n: u64) -> f64 {
    let mut result = 1.0;
    while n > 0 {
        if n & 1 == 1 {
            result *= base;
        }
        base *= base;
        n >>= 1;
    }
    result
}

/// A kernel in the place of [`adam`], see [`Kernels::swap`].
#[derive(Clone, Copy, Debug)]
pub struct OwnAdam(pub fn(&Kernels, AdamOperands) -> Result<(), ShapeError>);

/// The operands of [`adam`], slices of one length.
#[derive(Debug)]
pub struct AdamOperands<'a> {
    /// The constants of the step.
    pub step: AdamStep,
    /// Gradient.
    pub grad: &'a [f32],
    /// First moment, updated.
    pub m: &'a mut [f32],
    /// Second moment, updated.
    pub v: &'a mut [f32],
    /// Parameters, updated.
    pub param: &'a mut [f32],
}

struct Adam<'a> {
    step: AdamStep,
    grad: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    param: &'a mut [f32],
}

impl Loop for Adam<'_> {
    #[inline(always)]
    fn run(self) {
        let AdamStep { lr, beta1, beta2, eps, correction1, correction2 } = self.step;
        // Reciprocals: the loop is bound by the latency of divisions and square roots. Moments stay in
        // registers, because reading them back would add latency, too.
        let (rate, correct) = (lr / correction1, 1.0 / correction2);
        let moments = self.m.iter_mut().zip(self.v.iter_mut());
        for ((param, &g), (m, v)) in self.param.iter_mut().zip(self.grad).zip(moments) {
            let (first, second) = (beta1 * *m + (1.0 - beta1) * g, beta2 * *v + (1.0 - beta2) * (g * g));
            *param -= rate * first / (second.sqrt() * correct + eps);
            (*m, *v) = (first, second);
        }
    }
}

/// One Adam step: moments `m`, `v` and parameters are updated in place.
///
/// # Errors
/// [`ShapeError`] if the lengths differ.
pub fn adam(
    kernels: &Kernels,
    step: AdamStep,
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    param: &mut [f32],
) -> Result<(), ShapeError> {
    let _span = kernels.span("adam", || Work::elements([1, param.len()], 13, 7));
    axis("adam", "P", "grad", grad.len(), param.len())?;
    axis("adam", "P", "m", m.len(), param.len())?;
    axis("adam", "P", "v", v.len(), param.len())?;
    if let Some(OwnAdam(own)) = kernels.swapped() {
        return own(&kernels.unswapped(), AdamOperands { step, grad, m, v, param });
    }
    let [m, v, param] = [m, v, param].map(Shared::new);
    split(kernels, grad.len(), &|range| {
        // SAFETY: each part has its own range, of slices of one length.
        let [m, v, param] = [&m, &v, &param].map(|shared| unsafe { shared.slice(range.clone()) });
        run(kernels.backend(), Adam { step, grad: &grad[range], m, v, param });
    });
    Ok(())
}

/// Splits the parameters between threads; one parameter costs about as much as sixteen multiply-adds.
fn split(kernels: &Kernels, len: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    kernels.threads().split(len, 16 * len, work);
}

struct Sgd<'a> {
    lr: f32,
    momentum: f32,
    grad: &'a [f32],
    m: &'a mut [f32],
    param: &'a mut [f32],
}

impl Loop for Sgd<'_> {
    #[inline(always)]
    fn run(self) {
        for ((param, &g), m) in self.param.iter_mut().zip(self.grad).zip(self.m.iter_mut()) {
            let first = self.momentum * *m + g;
            *param -= self.lr * first;
            *m = first;
        }
    }
}

/// One step of SGD with momentum: `m ← μm + g`, `p ← p − lr·m`.
///
/// # Errors
/// [`ShapeError`] if the lengths differ.
pub fn sgd(
    kernels: &Kernels,
    lr: f32,
    momentum: f32,
    grad: &[f32],
    m: &mut [f32],
    param: &mut [f32],
) -> Result<(), ShapeError> {
    let _span = kernels.span("sgd", || Work::elements([1, param.len()], 4, 5));
    axis("sgd", "P", "grad", grad.len(), param.len())?;
    axis("sgd", "P", "m", m.len(), param.len())?;
    let [m, param] = [m, param].map(Shared::new);
    split(kernels, grad.len(), &|range| {
        // SAFETY: each part has a range of its own, of slices of one length.
        let [m, param] = [&m, &param].map(|shared| unsafe { shared.slice(range.clone()) });
        run(kernels.backend(), Sgd { lr, momentum, grad: &grad[range], m, param });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::simd::dispatch::Backend;
    use crate::testing::{SameBits, assert_close, floats, kernel_sets};
    use crate::threads::Threads;
    use proptest::prelude::*;

    #[test]
    fn every_backend_gives_the_same_bits_and_agrees_with_f64() {
        let grads: Vec<Vec<f32>> =
            (0..3).map(|t| (0..37).map(|i| ((i * 7 + t * 13) % 23) as f32 * 0.1 - 1.0).collect()).collect();
        let mut first: Option<Vec<f32>> = None;
        for backend in Backend::available() {
            let kernels = Kernels::new(backend, Threads::one());
            let (mut m, mut v, mut p) = (vec![0.0; 37], vec![0.0; 37], vec![0.5; 37]);
            for (t, g) in grads.iter().enumerate() {
                let step = AdamStep::new(1e-3, t as u64 + 1);
                adam(&kernels, step, g, &mut m, &mut v, &mut p).expect("shapes fit");
            }
            for i in 0..37 {
                let grads: Vec<f64> = grads.iter().map(|g| f64::from(g[i])).collect();
                let want = reference::adam(1e-3, &grads, 0.5);
                assert!((f64::from(p[i]) - want).abs() < 1e-6, "{backend:?} {i}");
            }
            match &first {
                None => first = Some(p),
                Some(first) => assert_eq!(first, &p, "{backend:?}"),
            }
        }
    }
    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn steps_of_sgd_and_adam_are_those_of_their_equations(
            len in 0usize..70, steps in 1usize..6, momentum in 0.0f32..0.99, seed in 1u64..1000,
        ) {
            let grads: Vec<Vec<f32>> = (1..).map(|t| floats(len, seed + t)).take(steps).collect();
            // Parameters far from 0: a step that ends close to 0 would exceed any relative tolerance.
            let start: Vec<f32> = floats(len, seed).iter().map(|x| 5.0 + x).collect();
            let expected = |step: &dyn Fn(&[f64], f64) -> f64| -> Vec<f64> {
                let one = |i: usize| grads.iter().map(|g| f64::from(g[i])).collect::<Vec<f64>>();
                (0..len).map(|i| step(&one(i), f64::from(start[i]))).collect()
            };
            let want = [
                expected(&|grads, p| reference::sgd(f64::from(0.1f32), f64::from(momentum), grads, p)),
                expected(&|grads, p| reference::adam(f64::from(0.1f32), grads, p)),
            ];
            let mut bits = [SameBits::default(), SameBits::default()];
            for kernels in kernel_sets() {
                let (mut m, mut p) = (vec![0.0; len], start.clone());
                for g in &grads {
                    sgd(&kernels, 0.1, momentum, g, &mut m, &mut p).expect("fits");
                }
                assert_close("sgd", &p, &want[0], 1e-6);
                bits[0].check(&kernels, "sgd", &p);
                let (mut m, mut v, mut p) = (vec![0.0; len], vec![0.0; len], start.clone());
                for (t, g) in (1..).zip(&grads) {
                    adam(&kernels, AdamStep::new(0.1, t), g, &mut m, &mut v, &mut p).expect("fits");
                }
                assert_close("adam", &p, &want[1], 1e-6);
                bits[1].check(&kernels, "adam", &p);
            }
        }
    }

    #[test]
    fn moments_of_another_length_are_refused_and_nothing_is_written() {
        let (mut m, mut v, mut p) = ([0.0; 3], [0.0; 2], [1.0; 3]);
        let kernels = Kernels::default();
        let step = AdamStep::new(1.0, 1);
        let error = adam(&kernels, step, &[1.0; 3], &mut m, &mut v, &mut p).expect_err("v is short");
        assert_eq!(error.to_string(), "adam: axis P is 2 in `v`, 3 expected");
        let error = sgd(&kernels, 1.0, 0.0, &[1.0; 3], &mut v, &mut p).expect_err("m is short");
        assert_eq!(error.to_string(), "sgd: axis P is 2 in `m`, 3 expected");
        assert_eq!((m, p), ([0.0; 3], [1.0; 3]));
    }
}

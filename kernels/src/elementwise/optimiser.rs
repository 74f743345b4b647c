//! Adam and SGD with momentum, element by element: the layout of the parameters does not matter.

use super::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::Kernels;

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

/// `base^n` by squaring: IEEE multiplications only, so the same bits with every mathematical library.
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
        let rate = lr / correction1;
        let moments = self.m.iter_mut().zip(self.v.iter_mut());
        for ((param, &g), (m, v)) in self.param.iter_mut().zip(self.grad).zip(moments) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * (g * g);
            *param -= rate * *m / (v.sqrt() / correction2 + eps);
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
    axis("adam", "P", "grad", grad.len(), param.len())?;
    axis("adam", "P", "m", m.len(), param.len())?;
    axis("adam", "P", "v", v.len(), param.len())?;
    run(kernels.backend(), Adam { step, grad, m, v, param });
    Ok(())
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
            *m = self.momentum * *m + g;
            *param -= self.lr * *m;
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
    axis("sgd", "P", "grad", grad.len(), param.len())?;
    axis("sgd", "P", "m", m.len(), param.len())?;
    run(kernels.backend(), Sgd { lr, momentum, grad, m, param });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Threads};

    #[test]
    fn every_backend_gives_the_same_bits_and_agrees_with_f64() {
        let grads: Vec<Vec<f32>> = (0..3)
            .map(|t| (0..37).map(|i| ((i * 7 + t * 13) % 23) as f32 * 0.1 - 1.0).collect())
            .collect();
        let mut first: Option<Vec<f32>> = None;
        for backend in Backend::available() {
            let kernels = Kernels::new(backend, Threads::one());
            let (mut m, mut v, mut p) = (vec![0.0; 37], vec![0.0; 37], vec![0.5; 37]);
            for (t, g) in grads.iter().enumerate() {
                let step = AdamStep::new(1e-3, t as u64 + 1);
                adam(&kernels, step, g, &mut m, &mut v, &mut p).expect("shapes fit");
            }
            for i in 0..37 {
                let (mut m, mut v, mut want) = (0.0, 0.0, 0.5);
                for (t, g) in grads.iter().enumerate() {
                    let g = f64::from(g[i]);
                    m = 0.9 * m + 0.1 * g;
                    v = 0.999 * v + 0.001 * g * g;
                    let t = t as i32 + 1;
                    let (mh, vh) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                    want -= 1e-3 * mh / (vh.sqrt() + 1e-8);
                }
                assert!((f64::from(p[i]) - want).abs() < 1e-6, "{backend:?} {i}");
            }
            match &first {
                None => first = Some(p),
                Some(first) => assert_eq!(first, &p, "{backend:?}"),
            }
        }
    }
}

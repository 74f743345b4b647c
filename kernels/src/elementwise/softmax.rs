//! Softmax cross-entropy.

use super::{Loop, exp, run};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::layout::{MatMut, MatRef};
use crate::profile::Work;

/// Operands of [`cross_entropy`].
#[derive(Debug)]
pub struct CrossEntropy<'a> {
    /// `[N, C]`
    pub logits: MatRef<'a>,
    /// `[N]` below `C`
    pub labels: &'a [u8],
    /// Whether the softmax sees one more logit, which is constantly 0 and never a label's
    pub zero_logit: bool,
    /// `[N, C]` overwritten: `(softmax(h) − 1{label}) / N`
    pub gradient: MatMut<'a>,
    /// `[N]` overwritten: `−ln softmax(h)[label]`, nats, not divided by `N`
    pub losses: &'a mut [f32],
}

impl Loop for CrossEntropy<'_> {
    #[inline(always)]
    fn run(mut self) {
        let n = self.logits.rows as f32;
        for i in 0..self.logits.rows {
            let logits = self.logits.row(i);
            let least = if self.zero_logit { 0.0 } else { f32::NEG_INFINITY };
            let max = logits.iter().fold(least, |max, &h| if h > max { h } else { max });
            let p = self.gradient.row_mut(i);
            let mut sum = 0.0;
            if self.zero_logit {
                sum += exp(-max);
            }
            for (p, &h) in p.iter_mut().zip(logits) {
                *p = exp(h - max);
                sum += *p;
            }
            let label = usize::from(self.labels[i]);
            self.losses[i] = ln(sum) + (max - logits[label]);
            for p in p.iter_mut() {
                *p /= sum;
            }
            p[label] -= 1.0;
            for p in p.iter_mut() {
                *p /= n;
            }
        }
    }
}

/// `ln(x)` for `x ≥ 1`: exponent and the series of artanh.
#[inline(always)]
fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let (exponent, mantissa) = ((bits >> 23) as i32 - 127, f32::from_bits(bits & 0x7F_FFFF | 127 << 23));
    super::ln_1p(mantissa - 1.0) + exponent as f32 * std::f32::consts::LN_2
}

/// Mean softmax cross-entropy over the batch.
///
/// With a zero logit the loss of a sample is `−h_y + ln(1 + Σ_c e^{h_c})`, so that a common shift of the logits
/// changes it.
///
/// # Errors
/// [`ShapeError`] if `N` or `C` differ, or a label is no class.
pub fn cross_entropy(kernels: &Kernels, operands: CrossEntropy) -> Result<(), ShapeError> {
    const NAME: &str = "cross_entropy";
    let CrossEntropy { logits, labels, gradient, losses, .. } = &operands;
    let _span = kernels.span(NAME, || Work::elements([logits.rows, logits.cols], 5, 2));
    axis(NAME, "N", "labels", labels.len(), logits.rows)?;
    axis(NAME, "N", "losses", losses.len(), logits.rows)?;
    axis(NAME, "N", "gradient", gradient.rows, logits.rows)?;
    axis(NAME, "C", "gradient", gradient.cols, logits.cols)?;
    let classes = labels.iter().map(|&l| usize::from(l) + 1).max().unwrap_or(0);
    axis(NAME, "C", "labels", classes.max(logits.cols), logits.cols)?;
    run(kernels.backend(), operands);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::simd::dispatch::Backend;
    use crate::threads::Threads;

    #[test]
    fn every_backend_gives_the_same_bits_and_agrees_with_f64() {
        let logits: Vec<f32> = (0..70).map(|i| ((i * 37) % 41) as f32 * 0.7 - 12.0).collect();
        let labels = [0, 3, 9, 9, 5, 1, 2];
        for zero_logit in [false, true] {
            agrees(&logits, &labels, zero_logit);
        }
    }

    fn agrees(logits: &[f32], labels: &[u8], zero_logit: bool) {
        let mut first: Option<(Vec<f32>, Vec<f32>)> = None;
        for backend in Backend::available() {
            let kernels = Kernels::new(backend, Threads::one());
            let (mut gradient, mut losses) = (vec![0.0; 70], vec![0.0; 7]);
            let operands = CrossEntropy {
                logits: MatRef::new(logits, 7, 10),
                labels,
                zero_logit,
                gradient: MatMut::new(&mut gradient, 7, 10),
                losses: &mut losses,
            };
            cross_entropy(&kernels, operands).expect("shapes fit");
            for (i, row) in logits.chunks_exact(10).enumerate() {
                let (loss, d) = reference::cross_entropy(row, usize::from(labels[i]), 7, zero_logit);
                assert!((f64::from(losses[i]) - loss).abs() < 1e-5, "{} {loss}", losses[i]);
                for (&found, want) in gradient[i * 10..].iter().zip(d) {
                    assert!((f64::from(found) - want).abs() < 1e-7, "{found} {want}");
                }
            }
            match &first {
                None => first = Some((gradient, losses)),
                Some(first) => assert_eq!(first, &(gradient, losses), "{backend:?}"),
            }
        }
    }

    #[test]
    fn a_label_beyond_the_classes_is_refused() {
        let (mut g, mut l) = ([0.0; 2], [0.0; 1]);
        let out = MatMut::new(&mut g, 1, 2);
        let logits = MatRef::new(&[0.0; 2], 1, 2);
        let operands =
            CrossEntropy { logits, labels: &[2], zero_logit: false, gradient: out, losses: &mut l };
        assert!(cross_entropy(&Kernels::default(), operands).is_err());
    }
}

//! Softmax cross-entropy.

use super::{Loop, exp, run};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::layout::{MatMut, MatRef};
use crate::profile::Work;

struct CrossEntropy<'a> {
    logits: MatRef<'a>,
    labels: &'a [u8],
    gradient: MatMut<'a>,
    losses: &'a mut [f32],
}

impl Loop for CrossEntropy<'_> {
    #[inline(always)]
    fn run(mut self) {
        let n = self.logits.rows as f32;
        for i in 0..self.logits.rows {
            let logits = self.logits.row(i);
            let max = logits.iter().fold(f32::NEG_INFINITY, |max, &h| if h > max { h } else { max });
            let p = self.gradient.row_mut(i);
            let mut sum = 0.0;
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
/// - `logits` `[N, C]`, `labels` `[N]` below `C`
/// - `gradient` `[N, C]` overwritten: `(softmax(h) − 1{label}) / N`
/// - `losses` `[N]` overwritten: `−ln softmax(h)[label]`, nats, not divided by `N`
///
/// # Errors
/// [`ShapeError`] if `N` or `C` differ, or a label is not below `C`.
pub fn cross_entropy(
    kernels: &Kernels,
    logits: MatRef,
    labels: &[u8],
    gradient: MatMut,
    losses: &mut [f32],
) -> Result<(), ShapeError> {
    const NAME: &str = "cross_entropy";
    let _span = kernels.span(NAME, || Work::elements([logits.rows, logits.cols], 5, 2));
    axis(NAME, "N", "labels", labels.len(), logits.rows)?;
    axis(NAME, "N", "losses", losses.len(), logits.rows)?;
    axis(NAME, "N", "gradient", gradient.rows, logits.rows)?;
    axis(NAME, "C", "gradient", gradient.cols, logits.cols)?;
    let classes = labels.iter().map(|&l| usize::from(l) + 1).max().unwrap_or(0);
    axis(NAME, "C", "labels", classes.max(logits.cols), logits.cols)?;
    run(kernels.backend(), CrossEntropy { logits, labels, gradient, losses });
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
        let mut first: Option<(Vec<f32>, Vec<f32>)> = None;
        for backend in Backend::available() {
            let kernels = Kernels::new(backend, Threads::one());
            let (mut gradient, mut losses) = (vec![0.0; 70], vec![0.0; 7]);
            let out = MatMut::new(&mut gradient, 7, 10);
            cross_entropy(&kernels, MatRef::new(&logits, 7, 10), &labels, out, &mut losses)
                .expect("shapes fit");
            for (i, row) in logits.chunks_exact(10).enumerate() {
                let (loss, d) = reference::cross_entropy(row, usize::from(labels[i]), 7);
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
        let found = cross_entropy(&Kernels::default(), MatRef::new(&[0.0; 2], 1, 2), &[2], out, &mut l);
        assert!(found.is_err());
    }
}

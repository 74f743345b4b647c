//! Sums in a fixed order, which is part of the bit-identity guarantee.

use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::layout::{MatRef, STRIP};
use crate::profile::Work;
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use crate::threads::Shared;

/// Sums of some columns, a strip in four registers at a time.
struct ColumnSums<'a> {
    x: MatRef<'a>,
    sums: &'a mut [f32],
    /// The column that `sums` starts with.
    first: usize,
    /// Whether the rows are added to `sums`.
    accumulate: bool,
}

impl Kernel for ColumnSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (i, sums) in self.sums.chunks_mut(4 * STRIP).enumerate() {
            let n = self.first + i * 4 * STRIP;
            let lanes = |v: usize| sums.len().saturating_sub(v * STRIP).min(STRIP);
            let mut acc = [simd.splat(0.0); 4];
            if self.accumulate {
                for (sums, acc) in sums.chunks(STRIP).zip(&mut acc) {
                    // SAFETY: as many lanes as the chunk has floats.
                    *acc = unsafe { load(simd, sums.as_ptr(), sums.len()) };
                }
            }
            self.x.map.each_offset(0, self.x.rows, |_, offset| {
                for (v, acc) in acc.iter_mut().enumerate() {
                    // SAFETY: columns of a row of `x`, none if the chunk has fewer.
                    *acc = simd.add(*acc, unsafe {
                        load(simd, self.x.data.as_ptr().wrapping_add(offset + n + v * STRIP), lanes(v))
                    });
                }
            });
            for (sums, acc) in sums.chunks_mut(STRIP).zip(acc) {
                // SAFETY: as many lanes as the chunk has floats.
                unsafe { store(simd, sums.as_mut_ptr(), sums.len(), acc) };
            }
        }
    }
}

/// `sums[n] = Σ_m x[m,n]` in the order of `m`: the gradient of a bias.
///
/// # Errors
/// [`ShapeError`] if `N` differs.
pub fn column_sums(kernels: &Kernels, x: MatRef, sums: &mut [f32]) -> Result<(), ShapeError> {
    let _span = kernels.span("column_sums", || Work::elements([x.rows, x.cols], 1, 1));
    axis("column_sums", "N", "sums", sums.len(), x.cols)?;
    let all = Shared::new(sums);
    let strips = x.cols.div_ceil(STRIP);
    kernels.threads().split(strips, 8 * x.rows * x.cols, &|strips| {
        let columns = strips.start * STRIP..(strips.end * STRIP).min(x.cols);
        // SAFETY: each part has its own columns.
        let (first, sums) = (columns.start, unsafe { all.slice(columns) });
        kernels.backend().run(ColumnSums { x, sums, first, accumulate: false });
    });
    Ok(())
}

/// The same on the calling thread, of operands that fit; with `accumulate` the rows are added to `sums`.
pub(crate) fn add_column_sums(kernels: &Kernels, x: MatRef, accumulate: bool, sums: &mut [f32]) {
    assert_eq!(sums.len(), x.cols, "a sum of each column");
    kernels.backend().run(ColumnSums { x, sums, first: 0, accumulate });
}

/// A sum in f64 in a fixed order: eight accumulators, each over every eighth term of each slice, then the
/// accumulators in order.
///
/// ```
/// use kernels::elementwise::reduce::Chains;
/// let mut sum = Chains::default();
/// sum.add(&[1.0, 2.0], |x| x);
/// sum.add(&[3.0], |x| x * x);
/// assert_eq!(sum.total(), 12.0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Chains([f64; 8]);

impl Chains {
    /// Adds `of(x)` for each term.
    #[inline(always)]
    pub fn add(&mut self, x: &[f32], of: impl Fn(f64) -> f64) {
        let (eights, rest) = x.as_chunks::<8>();
        for eight in eights {
            for (chain, &x) in self.0.iter_mut().zip(eight) {
                *chain += of(f64::from(x));
            }
        }
        for (chain, &x) in self.0.iter_mut().zip(rest) {
            *chain += of(f64::from(x));
        }
    }

    /// The sum.
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }
}

/// Sum in f64, in the order of [`Chains`].
pub fn sum(x: &[f32]) -> f64 {
    let mut chains = Chains::default();
    chains.add(x, |x| x);
    chains.total()
}

/// Sum of squares in f64, in the order of [`Chains`].
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let mut chains = Chains::default();
    chains.add(x, |x| x * x);
    chains.total()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Rows;
    use crate::reference;
    use crate::testing::{SameBits, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn column_sums_are_a_product_with_ones(
            m in 0usize..60, n in 1usize..70, gap in 0usize..3, seed in 1u64..1000,
        ) {
            let data = floats(m * (n + gap), seed);
            let x = MatRef::mapped(&data, m, n, Rows::linear(n + gap));
            let dense: Vec<f32> = (0..m).flat_map(|i| x.row(i).to_vec()).collect();
            let want = reference::gemm(&vec![1.0; m], &dense, 1, n, m);
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let mut sums = vec![f32::NAN; n];
                column_sums(&kernels, x, &mut sums).expect("fits");
                assert_close("column sums", &sums, &want, 1e-4);
                bits.check(&kernels, "column sums", &sums);
            }
            let square = reference::gemm(&dense, &dense, 1, 1, m * n)[0];
            prop_assert!((sum_of_squares(&dense) - square).abs() <= 1e-12 * square);
        }
    }

    #[test]
    fn sums_of_another_length_are_refused() {
        let x = MatRef::new(&[0.0; 6], 2, 3);
        let error = column_sums(&Kernels::default(), x, &mut [0.0; 4]).expect_err("N differs");
        assert_eq!(error.to_string(), "column_sums: axis N is 4 in `sums`, 3 expected");
    }
}

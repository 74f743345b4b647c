//! Sums whose order is part of the promise.

use super::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::shape::MatRef;
use crate::Kernels;

struct ColumnSums<'a>(MatRef<'a>, &'a mut [f32]);

impl Loop for ColumnSums<'_> {
    #[inline(always)]
    fn run(self) {
        self.1.fill(0.0);
        for i in 0..self.0.rows {
            for (sum, &x) in self.1.iter_mut().zip(self.0.row(i)) {
                *sum += x;
            }
        }
    }
}

/// `sums[n] = Σ_m x[m,n]` in the order of `m`: the gradient of a bias.
///
/// # Errors
/// [`ShapeError`] if `N` differs.
pub fn column_sums(kernels: &Kernels, x: MatRef, sums: &mut [f32]) -> Result<(), ShapeError> {
    axis("column_sums", "N", "sums", sums.len(), x.cols)?;
    run(kernels.backend(), ColumnSums(x, sums));
    Ok(())
}

/// Sum of squares in f64, in order.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    x.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

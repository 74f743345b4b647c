//! The crate `matrixmultiply`, which packs its operands at every call.

use super::{Abilities, MatmulBackend, MatmulBlock, MatmulTask};
use crate::layout::Strided;

/// The crate `matrixmultiply`, on the threads of the kernel set and on those that [`THREADS`] allows.
#[derive(Clone, Copy, Debug)]
pub struct Matrixmultiply;

impl MatmulBackend for Matrixmultiply {
    fn name(&self) -> &str {
        "matrixmultiply"
    }

    fn run(&self, task: MatmulTask) {
        let abilities = Abilities { accumulate: true, ..Abilities::default() };
        task.each_block_with(abilities, |block, ends| product(block, ends.accumulate));
    }
}

/// The environment variable with which `matrixmultiply` bounds its threads (4 at most, and by default
/// the machine's cores). It reads it once, at its first product.
pub const THREADS: &str = "MATMUL_NUM_THREADS";

/// A slice is never longer than `isize::MAX` bytes, so its strides fit.
fn strides(matrix: &Strided) -> [isize; 2] {
    [matrix.row_stride() as isize, matrix.col_stride() as isize]
}

/// The product of a block, on threads as [`THREADS`] says.
///
/// # Panics
/// If the operands differ in `M`, `N` or `K`.
pub fn multiply(block: MatmulBlock) {
    product(block, false);
}

fn product(block: MatmulBlock, accumulate: bool) {
    let [m, n, k] = block.sizes();
    let MatmulBlock { a, b, c, c_stride } = block;
    let ([a_rows, a_cols], [b_rows, b_cols]) = (strides(&a), strides(&b));
    // SAFETY: `Strided` holds every element of its matrix, the sizes were checked, and `c` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            a_rows,
            a_cols,
            b.as_ptr(),
            b_rows,
            b_cols,
            if accumulate { 1.0 } else { 0.0 },
            c.as_mut_ptr(),
            c_stride as isize,
            1,
        );
    }
}

//! The crate `gemm`, which packs its operands at every call.

use super::{Abilities, MatmulBackend, MatmulBlock, MatmulTask};
use crate::layout::Strided;

/// The crate `gemm`, on the threads of the kernel set.
#[derive(Clone, Copy, Debug)]
pub struct GemmCrate;

impl MatmulBackend for GemmCrate {
    fn name(&self) -> &str {
        "gemm"
    }

    fn run(&self, task: MatmulTask) {
        let abilities = Abilities { accumulate: true, ..Abilities::default() };
        task.each_block_with(abilities, |block, ends| product(block, ends.accumulate, 1));
    }
}

/// A slice is never longer than `isize::MAX` bytes, so its strides fit.
fn strides(matrix: &Strided) -> [isize; 2] {
    [matrix.row_stride() as isize, matrix.col_stride() as isize]
}

/// The product of a block. If there are several threads, they are those of the current rayon pool.
///
/// # Panics
/// If the operands differ in `M`, `N` or `K`.
pub fn multiply(block: MatmulBlock, threads: usize) {
    product(block, false, threads);
}

fn product(block: MatmulBlock, accumulate: bool, threads: usize) {
    let [m, n, k] = block.sizes();
    let MatmulBlock { a, b, c, c_stride } = block;
    let ([a_rows, a_cols], [b_rows, b_cols]) = (strides(&a), strides(&b));
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: `Strided` holds every element of its matrix, the sizes were checked, and `c` is borrowed
    // mutably, so it overlaps neither operand.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_stride as isize,
            accumulate,
            a.as_ptr(),
            a_cols,
            a_rows,
            b.as_ptr(),
            b_cols,
            b_rows,
            if accumulate { 1.0f32 } else { 0.0 },
            1.0f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

//! What an external library gets of a product: plain strided matrices, and memory for its sums.
//!
//! Operands that have one row stride and one column stride are passed on where they are. Packed weights and
//! the patches of a convolution are copied, a block of rows at a time, to memory that the thread keeps.

use super::{MatmulBlock, MatmulTask};
use crate::gemm::epilogue::finish_block;
use crate::gemm::problem::{BLOCK, Block, Problem, ReductionLoops};
use crate::layout::{STRIP, Strided};
use crate::threads::with_scratch;
use std::ops::Range;

impl MatmulTask<'_> {
    /// Calls `multiply` with the task's rows, some at a time, then adds the initial values to the sums,
    /// applies the epilogue and writes the output. No axis of a block is 0.
    pub fn each_block(self, mut multiply: impl FnMut(MatmulBlock)) {
        let ([_, n, k], problem) = (self.sizes(), self.problem);
        if n == 0 {
            return;
        }
        let c_stride = n.next_multiple_of(STRIP);
        let most = self.rows.len().min(BLOCK);
        // SAFETY: whoever makes a task promises that its operands are readable.
        let b_in_place = unsafe { b_in_place(problem) };
        let a_is_strided = has_one_loop(problem) && problem.a_rows.width >= self.rows.end;
        let lens = [
            if b_in_place.is_some() { 0 } else { k * n },
            if a_is_strided { 0 } else { most * k },
            most * c_stride,
        ];
        with_scratch(lens.iter().sum(), |scratch| {
            let (b, scratch) = scratch.split_at_mut(lens[0]);
            let (a, sums) = scratch.split_at_mut(lens[1]);
            let b = match b_in_place {
                Some(b) => b,
                None => {
                    // SAFETY: as above.
                    unsafe { copy_b(problem, b) };
                    Strided::row_major(b, k, n)
                }
            };
            for from in self.rows.clone().step_by(BLOCK) {
                let rows = from..self.rows.end.min(from + BLOCK);
                let (m, block) = (rows.len(), Block::new(problem, rows.clone()));
                let sums = &mut sums[..m * c_stride];
                sums.fill(0.0);
                if k > 0 {
                    let a = if a_is_strided {
                        // SAFETY: as above; the rows are one step apart.
                        unsafe { a_in_place(problem, rows) }
                    } else {
                        let a = &mut a[..m * k];
                        // SAFETY: as above.
                        unsafe { copy_a(problem, &block, a) };
                        Strided::row_major(a, m, k)
                    };
                    multiply(MatmulBlock { a, b, c: &mut *sums, c_stride });
                }
                // SAFETY: whoever makes a task promises that these rows of the output are the thread's own.
                unsafe { finish_block(self.simd, problem, &block, m, sums) };
            }
        });
    }
}

fn has_one_loop(problem: &Problem) -> bool {
    problem.loops.count[0] * problem.loops.count[1] == 1
}

/// Some rows of `a`, at least one, where they are.
///
/// # Safety
/// These rows are readable, one step apart, and the sums have one loop with a term at least.
unsafe fn a_in_place<'a>(problem: &'a Problem, rows: Range<usize>) -> Strided<'a> {
    let (row_stride, col_stride, k) = (problem.a_rows.step, problem.loops.a[2], problem.loops.len());
    let len = (rows.len() - 1) * row_stride + (k - 1) * col_stride + 1;
    let first = problem.a.wrapping_add(rows.start * row_stride);
    // SAFETY: from the first to the last element of these rows; all are in the slice that `a` points into.
    let data = unsafe { std::slice::from_raw_parts(first, len) };
    Strided::new(data, [rows.len(), k], [row_stride, col_stride])
}

/// `b` where it is, if its columns are adjacent.
///
/// # Safety
/// Every term is readable.
unsafe fn b_in_place<'a>(problem: &'a Problem) -> Option<Strided<'a>> {
    let (k, n, row_stride) = (problem.loops.len(), problem.n, problem.loops.b[2]);
    if k == 0 || !has_one_loop(problem) || (n > STRIP && problem.b_strip != STRIP) {
        return None;
    }
    // SAFETY: from the first to the last element; all are in the slice that `b` points into.
    let data = unsafe { std::slice::from_raw_parts(problem.b, (k - 1) * row_stride + n) };
    Some(Strided::new(data, [k, n], [row_stride, 1]))
}

/// Calls `visit` with the number of each term of a sum, and where it is in `a` and in `b`.
fn each_term(loops: &ReductionLoops, mut visit: impl FnMut(usize, usize, usize)) {
    let mut q = 0;
    for i in 0..loops.count[0] {
        for j in 0..loops.count[1] {
            let [mut a, mut b] = [loops.a, loops.b].map(|steps| i * steps[0] + j * steps[1]);
            for _ in 0..loops.count[2] {
                visit(q, a, b);
                (q, a, b) = (q + 1, a + loops.a[2], b + loops.b[2]);
            }
        }
    }
}

/// Copies `b` to a row-major matrix.
///
/// # Safety
/// Every term is readable.
unsafe fn copy_b(problem: &Problem, to: &mut [f32]) {
    each_term(&problem.loops, |q, _, at| {
        for (strip, to) in to[q * problem.n..][..problem.n].chunks_mut(STRIP).enumerate() {
            let from = problem.b.wrapping_add(at + strip * problem.b_strip);
            // SAFETY: each term's strips are readable, the last one for its own columns.
            unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from, to.len()) };
        }
    });
}

/// Copies a block of rows of `a` to a row-major matrix.
///
/// # Safety
/// Every term of these rows is readable.
unsafe fn copy_a(problem: &Problem, block: &Block, to: &mut [f32]) {
    for (i, row) in to.chunks_exact_mut(problem.loops.len()).enumerate() {
        // SAFETY: the block has this row. `problem.a` itself may point in front of a block of rows, outside of
        // its slice.
        let from = unsafe { problem.a.wrapping_add(block.a.get(i)) };
        // SAFETY: the caller's promise.
        each_term(&problem.loops, |q, at, _| row[q] = unsafe { *from.wrapping_add(at) });
    }
}

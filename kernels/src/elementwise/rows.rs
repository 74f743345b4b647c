//! Functions of the elements of matrices whose rows may be the pixels of bordered images: row offsets
//! are computed incrementally, without a division per row, and short rows still fill registers.

use crate::exec::Kernels;
use crate::layout::{MatMut, MatRef, STRIP};
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use crate::threads::Shared;
use std::ops::Range;

/// A function of up to sixteen adjacent elements.
pub(crate) trait Map<const N: usize>: Sync {
    /// `x` are the lanes of the inputs, `out` those of the output; `n` is the first column.
    ///
    /// # Safety
    /// `n + lanes` is at most the columns.
    unsafe fn lanes<S: Simd>(&self, simd: S, n: usize, lanes: usize, x: [S::F; N], out: S::F) -> S::F;
}

struct Rows<'a, M, const N: usize> {
    map: &'a M,
    x: [MatRef<'a>; N],
    out: &'a Shared<f32>,
    out_rows: crate::layout::Rows,
    rows: Range<usize>,
}

/// Rows whose offsets are computed together.
const BLOCK: usize = 64;

impl<M: Map<N>, const N: usize> Kernel for Rows<'_, M, N> {
    type Output = ();
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // `k` indexes several arrays at once
    fn run<S: Simd>(self, simd: S) {
        let Some(cols) = self.x.first().map(|x| x.cols) else { return };
        let mut at = [[0; BLOCK]; N];
        let mut out_at = [0; BLOCK];
        for first in self.rows.clone().step_by(BLOCK) {
            let rows = BLOCK.min(self.rows.end - first);
            for (at, x) in at.iter_mut().zip(&self.x) {
                x.map.each_offset(first, rows, |i, offset| at[i] = offset);
            }
            self.out_rows.each_offset(first, rows, |i, offset| out_at[i] = offset);
            for i in 0..rows {
                for n in (0..cols).step_by(STRIP) {
                    let lanes = STRIP.min(cols - n);
                    // SAFETY: row and columns of all operands, which have one shape; their rows lie in
                    // their slices, and no other part writes those of this part.
                    unsafe {
                        // A loop: compilers call the closure of `array::from_fn` instead of inlining it, and
                        // a closure has no instruction set.
                        let mut x = [simd.splat(0.0); N];
                        for k in 0..N {
                            x[k] = load(simd, self.x[k].data.as_ptr().add(at[k][i] + n), lanes);
                        }
                        let out = self.out.as_ptr().add(out_at[i] + n);
                        let y = self.map.lanes(simd, n, lanes, x, load(simd, out, lanes));
                        store(simd, out, lanes, y);
                    }
                }
            }
        }
    }
}

/// `out ← map(x, out)`, element by element; the caller has compared the shapes.
pub(crate) fn each<M: Map<N>, const N: usize>(kernels: &Kernels, map: &M, x: [MatRef; N], out: MatMut) {
    let (rows, cols, out_rows) = (out.rows, out.cols, out.map);
    assert!(x.iter().all(|x| (x.rows, x.cols) == (rows, cols)), "matrices of one shape");
    let out = &Shared::new(out.data);
    // An element costs about as much as eight multiply-adds: it is read and written.
    kernels.threads().split(rows, 8 * rows * cols, &|rows| {
        kernels.backend().run(Rows { map, x, out, out_rows, rows });
    });
}

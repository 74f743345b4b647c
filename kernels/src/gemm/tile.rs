//! The register tile: `R` rows by `V` strips of accumulators, one fused multiply-add chain an output.
//!
//! Every output of every kernel that multiplies is summed here, in the order of the walk. That is
//! why tile shape, instruction set and thread count cannot change a bit.

use crate::shape::STRIP;
use crate::simd::{Kernel, Simd};

/// The order of a sum: three nested loops, outermost first, with the strides of both operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    pub count: [usize; 3],
    /// Floats to the next term in `a`.
    pub a: [usize; 3],
    /// Floats to the next term in `b`.
    pub b: [usize; 3],
}

impl Walk {
    pub fn len(&self) -> usize {
        self.count.iter().product()
    }
}

/// What a tile reads besides its rows.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    pub walk: Walk,
    pub b: *const f32,
    /// Floats from a strip of `b` to the next.
    pub strip: usize,
    /// Lanes of the last strip that may be read, where `b` is not packed.
    pub lanes: usize,
}

/// Where a tile's rows go, and whether the sums start from what stands there.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    /// Row 0, strip 0.
    pub at: *mut f32,
    /// Floats from a row to the next.
    pub row: usize,
    /// Floats from a strip to the next.
    pub strip: usize,
    pub from_c: bool,
}

/// How a tile finds the terms of its rows.
pub(crate) trait Source<const R: usize> {
    /// # Safety
    /// The term of row `r` at `at` floats into the walk is readable.
    unsafe fn term(&self, r: usize, at: usize) -> f32;

    /// The strides of the innermost loop, as constants where they are known: the compiler folds
    /// those into addresses.
    fn last_strides(&self, a: usize, b: usize) -> (usize, usize);
}

/// Rows anywhere, adjacent terms: activations times packed weights.
pub(crate) struct Pointers<const R: usize>(pub [*const f32; R]);

impl<const R: usize> Source<R> for Pointers<R> {
    #[inline(always)]
    unsafe fn term(&self, r: usize, at: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *self.0[r].add(at) }
    }

    #[inline(always)]
    fn last_strides(&self, a: usize, b: usize) -> (usize, usize) {
        debug_assert_eq!((a, b), (1, STRIP));
        (1, STRIP)
    }
}

/// Rows of equal spacing, adjacent terms: the ordinary case, which needs no table of addresses.
pub(crate) struct Spaced {
    pub first: *const f32,
    pub step: usize,
}

impl<const R: usize> Source<R> for Spaced {
    #[inline(always)]
    unsafe fn term(&self, r: usize, at: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *self.first.add(r * self.step).add(at) }
    }

    #[inline(always)]
    fn last_strides(&self, a: usize, b: usize) -> (usize, usize) {
        debug_assert_eq!((a, b), (1, STRIP));
        (1, STRIP)
    }
}

/// Adjacent rows: the transposed activations of a weight gradient.
pub(crate) struct Adjacent(pub *const f32);

impl<const R: usize> Source<R> for Adjacent {
    #[inline(always)]
    unsafe fn term(&self, r: usize, at: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { *self.0.add(at + r) }
    }

    #[inline(always)]
    fn last_strides(&self, a: usize, b: usize) -> (usize, usize) {
        (a, b)
    }
}

/// Sums a tile of `R` rows and `V` strips and stores it.
///
/// Who runs it promises that each term of the walk is readable through `rows` and `operand` (16
/// lanes a strip, `operand.lanes` of the last one where `MASKED`), and the target's rows writable (readable if
/// `target.from_c`) for `V` strips.
pub(crate) struct Tile<'a, A, const R: usize, const V: usize, const MASKED: bool> {
    pub rows: A,
    pub operand: &'a Operand,
    pub target: Target,
}

impl<A: Source<R>, const R: usize, const V: usize, const MASKED: bool> Kernel for Tile<'_, A, R, V, MASKED> {
    type Output = ();
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // rows and strips index several arrays at once
    fn run<S: Simd>(self, simd: S) {
        let Tile { rows, operand, target } = self;
        let mut acc = [[simd.splat(0.0); V]; R];
        if target.from_c {
            for r in 0..R {
                for v in 0..V {
                    // SAFETY: the target is readable for `R` rows of `V` strips.
                    acc[r][v] = unsafe { simd.load(target.at.add(r * target.row + v * target.strip)) };
                }
            }
        }
        let Walk { count, a, b } = operand.walk;
        let (a2, b2) = rows.last_strides(a[2], b[2]);
        for i in 0..count[0] {
            for j in 0..count[1] {
                let mut at = i * a[0] + j * a[1];
                // SAFETY: inside the walk.
                let mut p = unsafe { operand.b.add(i * b[0] + j * b[1]) };
                macro_rules! step {
                    () => {{
                        let mut strips = [simd.splat(0.0); V];
                        for v in 0..V {
                            // SAFETY: this term's strips are readable, by the caller's promise.
                            strips[v] = unsafe {
                                if MASKED && v == V - 1 {
                                    simd.load_first(p.add(v * operand.strip), operand.lanes)
                                } else {
                                    simd.load(p.add(v * operand.strip))
                                }
                            };
                        }
                        for r in 0..R {
                            // SAFETY: this term is readable, by the caller's promise.
                            let x = simd.splat(unsafe { rows.term(r, at) });
                            for v in 0..V {
                                acc[r][v] = simd.mul_add(x, strips[v], acc[r][v]);
                            }
                        }
                        at += a2;
                        p = p.wrapping_add(b2);
                    }};
                }
                for _ in 0..count[2] / 4 {
                    step!();
                    step!();
                    step!();
                    step!();
                }
                for _ in 0..count[2] % 4 {
                    step!();
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                // SAFETY: the target is writable for `R` rows of `V` strips.
                unsafe { simd.store(target.at.add(r * target.row + v * target.strip), acc[r][v]) };
            }
        }
    }
}

/// Calls `$f::<S, R, V>` with the constants `R = rows`, `V = strips`; shapes that the instruction
/// set `S` has no registers for are not compiled.
macro_rules! call_with_shape {
    ($simd:ident, $rows:expr, $strips:expr, $f:ident, $args:tt) => {
        $crate::gemm::tile::call_with_shape!(@all $simd, $rows, $strips, $f, $args,
            1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16;
            2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
            3: 1 2 3 4 5 6 7 8 9;
            4: 1 2 3 4 5 6;)
    };
    (@all $simd:ident, $rows:expr, $strips:expr, $f:ident, $args:tt, $($v:literal: $($r:literal)+;)+) => {
        match $strips {
            $($v => $crate::gemm::tile::call_with_shape!(@row $simd, $rows, $v, $f, $args, $($r)+),)+
            _ => unreachable!("a tile has 1 to 4 strips"),
        }
    };
    (@row $simd:ident, $rows:expr, $v:literal, $f:ident, $args:tt, $($r:literal)+) => {
        match $rows {
            $($r => if const { $r <= $simd::TILE_ROWS[$v - 1] } {
                $crate::gemm::tile::call_with_shape!(@call $simd, $r, $v, $f, $args)
            } else {
                unreachable!("no register tile of this shape")
            },)+
            _ => unreachable!("no register tile of this shape"),
        }
    };
    (@call $simd:ident, $r:literal, $v:literal, $f:ident, ($($arg:expr),*)) => {
        $f::<$simd, $r, $v>($($arg),*)
    };
}
pub(crate) use call_with_shape;

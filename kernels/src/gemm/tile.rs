//! The register tile: `R` rows by `V` strips of accumulators, one chain of fused multiply-adds per output.
//!
//! Every output of every kernel that multiplies is summed here, in the order of [`ReductionLoops`]. Therefore
//! tile shape, instruction set and thread count cannot change a bit.

use super::epilogue::{Finish, relu};
use super::problem::{Block, Epilogue, Init, Problem, ReductionLoops};
use crate::layout::STRIP;
use crate::simd::{Kernel, Simd};
use std::mem::MaybeUninit;

/// All strips of the tile have 16 columns.
pub(crate) const WHOLE: u8 = 0;
/// The last strip has 8: two rows share a register there, or each row needs half of its registers.
pub(crate) const HALF: u8 = 1;
/// Only `b_lanes` of the last strip may be read.
pub(crate) const MASKED: u8 = 2;

/// `tall` tiles of `R` rows, then `short` ones of `L = R − 1`, all over the same `V` strips.
///
/// The caller guarantees what [`Problem::run`] requires, for the block's rows and these strips.
pub(crate) struct Tiles<'a, const R: usize, const L: usize, const V: usize, const EDGE: u8> {
    pub problem: &'a Problem<'a>,
    pub block: &'a Block,
    pub strip: usize,
    pub tall: usize,
    pub short: usize,
    /// Rows of `b` from the row that is multiplied to the row that is prefetched.
    pub prefetch: usize,
}

impl<const R: usize, const L: usize, const V: usize, const EDGE: u8> Kernel for Tiles<'_, R, L, V, EDGE> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Tiles { problem, block, strip, tall, short, prefetch } = self;
        // A copy that no store can alias: it is read once for all tiles.
        let ends_here = (strip + V) * STRIP > problem.n;
        let column = Column {
            a: problem.a,
            loops: problem.loops,
            b: problem.b.wrapping_add(strip * problem.b_strip),
            b_strip: problem.b_strip,
            b_lanes: problem.b_lanes,
            ahead: prefetch * problem.loops.b[2],
            c: problem.c.wrapping_add(strip * problem.c_strip),
            c_strip: problem.c_strip,
            last_lanes: if ends_here { problem.c_lanes } else { STRIP },
            with: problem
                .epilogue
                .matrix()
                .map_or(std::ptr::null(), |m| m.data.as_ptr().wrapping_add(strip * STRIP)),
            zero: matches!(problem.init, Init::Zero),
            store: matches!(problem.epilogue, Epilogue::Store),
            bias_relu: match problem.epilogue {
                Epilogue::BiasRelu(bias) => bias.as_ptr().wrapping_add(strip * STRIP),
                _ => std::ptr::null(),
            },
        };
        for i in 0..tall {
            // SAFETY: the caller's guarantee.
            unsafe { tile::<S, R, V, EDGE>(simd, problem, block, column, i * R, strip) };
        }
        for i in 0..short {
            // SAFETY: as above.
            unsafe { tile::<S, L, V, EDGE>(simd, problem, block, column, tall * R + i * L, strip) };
        }
    }
}

/// The values that all tiles over the same strips share.
#[derive(Clone, Copy)]
struct Column {
    a: *const f32,
    loops: ReductionLoops,
    b: *const f32,
    b_strip: usize,
    b_lanes: usize,
    /// Floats from a row of `b` to the row that is prefetched with it; 0: none is.
    ahead: usize,
    c: *mut f32,
    c_strip: usize,
    last_lanes: usize,
    /// The matrix of the epilogue; null if it has none.
    with: *const f32,
    zero: bool,
    store: bool,
    /// Null for other epilogues.
    bias_relu: *const f32,
}

/// # Safety
/// As [`Tiles`], for the block's rows `row..row + R`.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // rows and strips index several arrays at once
unsafe fn tile<S: Simd, const R: usize, const V: usize, const EDGE: u8>(
    simd: S,
    problem: &Problem,
    block: &Block,
    column: Column,
    row: usize,
    strip: usize,
) {
    let half = EDGE == HALF;
    let paired = half && S::PAIRED_HALVES;
    let Column { last_lanes, .. } = column;
    // SAFETY: the caller's promise: the offsets are filled for these rows.
    let c_row = |r: usize| unsafe { column.c.wrapping_add(block.c.get(row + r)) };
    // The cache lines of the output and of the epilogue's matrix are prefetched while the sums are computed.
    for r in 0..R {
        for v in 0..V {
            prefetch(c_row(r).wrapping_add(v * column.c_strip));
        }
    }
    if !column.with.is_null() {
        for r in 0..R {
            // SAFETY: filled if the epilogue has a matrix.
            let with = unsafe { column.with.wrapping_add(block.with.get(row + r)) };
            for v in 0..V {
                prefetch(with.wrapping_add(v * STRIP));
            }
        }
    }
    let mut acc = [[simd.splat(0.0); V]; R];
    if !column.zero {
        let from = |r: usize| match &problem.init {
            // SAFETY: as above.
            Init::Copy(matrix) => unsafe {
                (matrix.data.as_ptr().wrapping_add(block.init.get(row + r) + strip * STRIP), STRIP)
            },
            _ => (c_row(r).cast_const(), column.c_strip),
        };
        for r in 0..R {
            let (p, step) = from(r);
            for v in 0..V {
                let lanes = if v + 1 == V { last_lanes } else { STRIP };
                // SAFETY: the caller promises these rows and strips of the init.
                acc[r][v] = unsafe {
                    let p = p.wrapping_add(v * step);
                    if lanes == STRIP { simd.load(p) } else { simd.load_first(p, lanes) }
                };
            }
        }
        if paired {
            for r in (0..R).step_by(2) {
                acc[r][V - 1] = simd.join(acc[r][V - 1], acc[(r + 1).min(R - 1)][V - 1]);
            }
        }
    }
    // SAFETY: as above.
    let a: [*const f32; R] = std::array::from_fn(|r| unsafe { column.a.wrapping_add(block.a.get(row + r)) });
    let ReductionLoops { count, a: a_step, b: b_step } = column.loops;
    for i in 0..count[0] {
        for j in 0..count[1] {
            let mut at = i * a_step[0] + j * a_step[1];
            let mut p = column.b.wrapping_add(i * b_step[0] + j * b_step[1]);
            // Not unrolled: with this many sums there are no registers for the addresses that the compiler
            // would keep for each copy.
            for _ in 0..count[2] {
                let mut strips = [simd.splat(0.0); V];
                for v in 0..V {
                    let p = p.wrapping_add(v * column.b_strip);
                    if EDGE == WHOLE {
                        prefetch(p.wrapping_add(column.ahead));
                    }
                    // SAFETY: this term's strips are readable, by the caller's promise.
                    strips[v] = unsafe {
                        match v + 1 == V {
                            true if half => simd.load_twice(p),
                            true if EDGE == MASKED => simd.load_first(p, column.b_lanes),
                            _ => simd.load(p),
                        }
                    };
                }
                // SAFETY: this term is readable, by the caller's promise.
                let term = |r: usize| simd.splat(unsafe { *a[r].add(at) });
                if paired {
                    let last = strips[V - 1];
                    for r in (0..R / 2).map(|pair| 2 * pair) {
                        let (x, y) = (term(r), term(r + 1));
                        for v in 0..V - 1 {
                            acc[r][v] = simd.mul_add(x, strips[v], acc[r][v]);
                            acc[r + 1][v] = simd.mul_add(y, strips[v], acc[r + 1][v]);
                        }
                        acc[r][V - 1] = simd.mul_add(simd.blend(x, y), last, acc[r][V - 1]);
                    }
                }
                for r in if paired { R - R % 2 } else { 0 }..R {
                    let x = term(r);
                    for v in 0..V {
                        acc[r][v] = match half && v + 1 == V {
                            true => simd.mul_add_low(x, strips[v], acc[r][v]),
                            false => simd.mul_add(x, strips[v], acc[r][v]),
                        };
                    }
                }
                at += a_step[2];
                p = p.wrapping_add(b_step[2]);
            }
        }
    }
    let sum = |r: usize, v: usize| match paired && v + 1 == V {
        true if r.is_multiple_of(2) => simd.low(acc[r][v]),
        true => simd.high(acc[r - 1][v]),
        false => acc[r][v],
    };
    // Forward passes and weight gradients store directly from the registers, at every tile.
    macro_rules! store_each {
        ($f:expr) => {
            for r in 0..R {
                for v in 0..V {
                    let lanes = if v + 1 == V { last_lanes } else { STRIP };
                    let (x, c) = ($f(sum(r, v), v), c_row(r).wrapping_add(v * column.c_strip));
                    // SAFETY: the caller promises these rows and strips of `c`.
                    unsafe { store::<S, EDGE>(simd, c, lanes, x) };
                }
            }
        };
    }
    if column.store {
        store_each!(|s, _| s);
    } else if !column.bias_relu.is_null() {
        let mut bias = [simd.splat(0.0); V];
        for v in 0..V {
            // SAFETY: the vector is padded to whole strips.
            bias[v] = unsafe { simd.load(column.bias_relu.add(v * STRIP)) };
        }
        store_each!(|s, v: usize| relu(simd, simd.add(s, bias[v])));
    } else {
        // Other epilogues are not unrolled into every tile: they read the sums from a buffer.
        let mut sums = Sums([const { MaybeUninit::uninit() }; 32]);
        const { assert!(R * V <= 32, "a tile's sums fit the buffer") };
        for r in 0..R {
            for v in 0..V {
                // SAFETY: 16 writable floats.
                unsafe { simd.store(sums.0[r * V + v].as_mut_ptr().cast(), sum(r, v)) };
            }
        }
        let sums = sums.0.as_ptr().cast();
        let sums_row = V * STRIP;
        simd.enter(Finish::<V> { problem, block, sums, sums_row, row, rows: R, strip, last_lanes });
    }
}

/// The sums of one tile; a cache line each, because a load across two lines is slower.
#[repr(align(64))]
struct Sums([MaybeUninit<[f32; STRIP]>; 32]);

/// Stores the sums of a strip. There are only two cases, because with a third the compiler would not unroll
/// the largest tiles.
///
/// # Safety
/// `p` is writable for `lanes` floats.
#[inline(always)]
unsafe fn store<S: Simd, const EDGE: u8>(simd: S, p: *mut f32, lanes: usize, x: S::F) {
    // SAFETY: the caller's promise.
    unsafe {
        match lanes {
            STRIP => simd.store(p, x),
            8 if EDGE == HALF => simd.store_half(p, x),
            _ => simd.store_first(p, lanes, x),
        }
    }
}

/// Prefetches a cache line that is needed later.
#[inline(always)]
fn prefetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint: it reads nothing, and an address that is not mapped does no harm.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Calls `$f::<S, R, R − 1, V, EDGE>` with the constants `R = rows`, `V` and `EDGE` of the strips; shapes for
/// which the instruction set `S` has too few registers are not compiled.
macro_rules! call_with_shape {
    ($simd:ident, $rows:expr, $shape:expr, $f:ident, $args:tt) => {
        $crate::gemm::tile::call_with_shape!(@all $simd, $rows, $shape, $f, $args,
            (1, WHOLE, $simd::TILE_ROWS[0]): 1 2 3 4 5 6 7 8 9 10 11 12;
            (1, MASKED, $simd::TILE_ROWS[0]): 1 2 3 4 5 6 7 8 9 10 11 12;
            (2, WHOLE, $simd::TILE_ROWS[1]): 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
            (3, WHOLE, $simd::TILE_ROWS[2]): 1 2 3 4 5 6 7 8 9;
            (4, WHOLE, $simd::TILE_ROWS[3]): 1 2 3 4 5 6;
            (2, HALF, $simd::HALF_ROWS): 1 2 3 4 5 6 7 8 9 10 11 12;)
    };
    (@all $simd:ident, $rows:expr, $shape:expr, $f:ident, $args:tt,
        $(($v:literal, $edge:ident, $most:expr): $($r:literal)+;)+) => {
        match $shape {
            $(($v, $edge) => $crate::gemm::tile::call_with_shape!(
                @row $simd, $rows, $v, $edge, $most, $f, $args, $($r)+),)+
            _ => unreachable!("a tile has 1 to 4 strips"),
        }
    };
    (@row $simd:ident, $rows:expr, $v:literal, $edge:ident, $most:expr, $f:ident, $args:tt, $($r:literal)+) => {
        match $rows {
            $($r => if const { $r <= $most } {
                $crate::gemm::tile::call_with_shape!(@call $simd, $r, $v, $edge, $f, $args)
            } else {
                unreachable!("no register tile of this shape")
            },)+
            _ => unreachable!("no register tile of this shape"),
        }
    };
    (@call $simd:ident, $r:literal, $v:literal, $edge:ident, $f:ident, ($($arg:expr),*)) => {
        $f::<$simd, $r, { if $r > 1 { $r - 1 } else { 1 } }, $v, { $crate::gemm::tile::$edge }>($($arg),*)
    };
}
pub(crate) use call_with_shape;

//! The scalar backend: `f32::mul_add`, one lane at a time. Slow, and the same bits as AVX2 and AVX-512.

use super::{Kernel, Simd};

#[derive(Clone, Copy)]
pub(crate) struct Scalar;

type Lanes = [f32; 16];

#[inline(always)]
fn zip(a: Lanes, b: Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// [`Simd::where_equal`]
#[inline(always)]
pub(super) fn where_equal(x: Lanes, y: Lanes, v: Lanes) -> u32 {
    (0..16).fold(0, |bits, i| bits | u32::from(x[i] == y[i] && v[i] != 0.0) << i)
}

/// One of [`Simd::sums`].
#[inline(always)]
pub(super) fn sum(mut x: Lanes) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            x[i] += x[i + half];
        }
    }
    x[0]
}

impl Simd for Scalar {
    type F = Lanes;
    const TILE_ROWS: [usize; 4] = [2, 0, 0, 0];
    const HALF_ROWS: usize = 2;
    const SUMS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Lanes {
        [x; 16]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Lanes {
        // SAFETY: the caller promises 16 readable floats.
        unsafe { p.cast::<Lanes>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: Lanes) {
        // SAFETY: the caller promises 16 writable floats.
        unsafe { p.cast::<Lanes>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Lanes {
        let mut x = [0.0; 16];
        // SAFETY: the caller promises `n` readable floats and `n ≤ 16`.
        unsafe { p.copy_to_nonoverlapping(x.as_mut_ptr(), n) };
        x
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, x: Lanes) {
        // SAFETY: the caller promises `n` writable floats and `n ≤ 16`.
        unsafe { x.as_ptr().copy_to_nonoverlapping(p, n) }
    }
    #[inline(always)]
    unsafe fn load_half(self, p: *const f32) -> Lanes {
        // SAFETY: the caller promises 8 readable floats.
        unsafe { self.load_first(p, 8) }
    }
    #[inline(always)]
    unsafe fn store_half(self, p: *mut f32, x: Lanes) {
        // SAFETY: the caller promises 8 writable floats.
        unsafe { self.store_first(p, 8, x) }
    }
    #[inline(always)]
    unsafe fn load_twice(self, p: *const f32) -> Lanes {
        // SAFETY: the caller promises 8 readable floats.
        let x = unsafe { p.cast::<[f32; 8]>().read_unaligned() };
        std::array::from_fn(|i| x[i % 8])
    }
    #[inline(always)]
    fn join(self, a: Lanes, b: Lanes) -> Lanes {
        std::array::from_fn(|i| if i < 8 { a[i] } else { b[i - 8] })
    }
    #[inline(always)]
    fn blend(self, a: Lanes, b: Lanes) -> Lanes {
        std::array::from_fn(|i| if i < 8 { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn low(self, x: Lanes) -> Lanes {
        std::array::from_fn(|i| if i < 8 { x[i] } else { 0.0 })
    }
    #[inline(always)]
    fn high(self, x: Lanes) -> Lanes {
        std::array::from_fn(|i| if i < 8 { x[i + 8] } else { 0.0 })
    }
    #[inline(always)]
    fn add(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Lanes, b: Lanes) -> Lanes {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn mul_add(self, a: Lanes, b: Lanes, c: Lanes) -> Lanes {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn where_positive(self, x: Lanes, a: Lanes) -> Lanes {
        zip(x, a, |x, a| if x > 0.0 { a } else { 0.0 })
    }
    #[inline(always)]
    fn select(self, x: Lanes, a: Lanes, b: Lanes) -> Lanes {
        std::array::from_fn(|i| if x[i] > 0.0 { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn where_equal(self, x: Lanes, y: Lanes, v: Lanes) -> u32 {
        where_equal(x, y, v)
    }
    #[inline(always)]
    fn sums(self, x: [Lanes; 4]) -> [f32; 4] {
        x.map(sum)
    }
    #[inline(never)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

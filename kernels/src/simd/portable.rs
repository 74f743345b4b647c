//! Any CPU, through `wide`. Rounds `mul_add` twice unless the build itself has FMA, so its bits may
//! differ from the other backends' in the last place; its tests tolerate this difference and no other.

use super::{Kernel, Simd};
use wide::f32x16;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    type F = f32x16;
    const TILE_ROWS: [usize; 4] = [2, 0, 0, 0];
    const HALF_ROWS: usize = 2;
    const SUMS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> f32x16 {
        f32x16::splat(x)
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> f32x16 {
        // SAFETY: the caller promises 16 readable floats.
        f32x16::new(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: f32x16) {
        // SAFETY: the caller promises 16 writable floats.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(x.to_array()) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> f32x16 {
        let mut x = [0.0; 16];
        // SAFETY: the caller promises `n` readable floats and `n ≤ 16`.
        unsafe { p.copy_to_nonoverlapping(x.as_mut_ptr(), n) };
        f32x16::new(x)
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, x: f32x16) {
        let x = x.to_array();
        // SAFETY: the caller promises `n` writable floats and `n ≤ 16`.
        unsafe { x.as_ptr().copy_to_nonoverlapping(p, n) }
    }
    #[inline(always)]
    unsafe fn load_half(self, p: *const f32) -> f32x16 {
        // SAFETY: the caller promises 8 readable floats.
        unsafe { self.load_first(p, 8) }
    }
    #[inline(always)]
    unsafe fn store_half(self, p: *mut f32, x: f32x16) {
        // SAFETY: the caller promises 8 writable floats.
        unsafe { self.store_first(p, 8, x) }
    }
    #[inline(always)]
    unsafe fn load_twice(self, p: *const f32) -> f32x16 {
        // SAFETY: the caller promises 8 readable floats.
        let x = unsafe { p.cast::<[f32; 8]>().read_unaligned() };
        f32x16::new(std::array::from_fn(|i| x[i % 8]))
    }
    #[inline(always)]
    fn join(self, a: f32x16, b: f32x16) -> f32x16 {
        let (a, b) = (a.to_array(), b.to_array());
        f32x16::new(std::array::from_fn(|i| if i < 8 { a[i] } else { b[i - 8] }))
    }
    #[inline(always)]
    fn blend(self, a: f32x16, b: f32x16) -> f32x16 {
        let (a, b) = (a.to_array(), b.to_array());
        f32x16::new(std::array::from_fn(|i| if i < 8 { a[i] } else { b[i] }))
    }
    #[inline(always)]
    fn low(self, x: f32x16) -> f32x16 {
        self.join(x, f32x16::ZERO)
    }
    #[inline(always)]
    fn high(self, x: f32x16) -> f32x16 {
        let x = x.to_array();
        f32x16::new(std::array::from_fn(|i| if i < 8 { x[i + 8] } else { 0.0 }))
    }
    #[inline(always)]
    fn add(self, a: f32x16, b: f32x16) -> f32x16 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x16, b: f32x16) -> f32x16 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x16, b: f32x16) -> f32x16 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x16, b: f32x16) -> f32x16 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn where_positive(self, x: f32x16, a: f32x16) -> f32x16 {
        x.simd_gt(f32x16::ZERO) & a
    }
    #[inline(always)]
    fn select(self, x: f32x16, a: f32x16, b: f32x16) -> f32x16 {
        x.simd_gt(f32x16::ZERO).select(a, b)
    }
    #[inline(always)]
    fn where_equal(self, x: f32x16, y: f32x16, v: f32x16) -> u32 {
        super::scalar::where_equal(x.to_array(), y.to_array(), v.to_array())
    }
    #[inline(always)]
    fn sums(self, x: [f32x16; 4]) -> [f32; 4] {
        x.map(|x| super::scalar::sum(x.to_array()))
    }
    #[inline(never)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

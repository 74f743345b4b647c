//! AVX-512F: sixteen lanes are one register.

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Proof that this CPU has AVX-512F; only [`Avx512::detect`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Avx512 {
    /// The mask of the high half. It is a value, because with a constant the compiler generates a
    /// permutation, which uses the execution port of multiply-adds.
    high: __mmask16,
}

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(Avx512 { high: 0xff00 })
    }
}

#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

impl Simd for Avx512 {
    type F = __m512;
    const TILE_ROWS: [usize; 4] = [12, 14, 9, 6];
    const HALF_ROWS: usize = 12;
    const SUMS: usize = 24;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: `self` proves AVX-512F; the caller promises 16 readable floats.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: __m512) {
        // SAFETY: `self` proves AVX-512F; the caller promises 16 writable floats.
        unsafe { _mm512_storeu_ps(p, x) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: `self` proves AVX-512F; masked lanes are not read, the first `n` are readable.
        unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, x: __m512) {
        // SAFETY: `self` proves AVX-512F; masked lanes are not written, the first `n` are writable.
        unsafe { _mm512_mask_storeu_ps(p, mask(n), x) }
    }
    #[inline(always)]
    unsafe fn load_half(self, p: *const f32) -> __m512 {
        // SAFETY: `self` proves AVX-512F; the caller promises 8 readable floats.
        unsafe { _mm512_zextps256_ps512(_mm256_loadu_ps(p)) }
    }
    #[inline(always)]
    unsafe fn store_half(self, p: *mut f32, x: __m512) {
        // SAFETY: `self` proves AVX-512F; the caller promises 8 writable floats.
        unsafe { _mm256_storeu_ps(p, _mm512_castps512_ps256(x)) }
    }
    #[inline(always)]
    unsafe fn load_twice(self, p: *const f32) -> __m512 {
        // SAFETY: `self` proves AVX-512F; the caller promises 8 readable floats.
        unsafe { _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_loadu_pd(p.cast()))) }
    }
    #[inline(always)]
    fn join(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b) }
    }
    #[inline(always)]
    fn blend(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_mask_blend_ps(self.high, a, b) }
    }
    #[inline(always)]
    fn low(self, x: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_maskz_mov_ps(0xff, x) }
    }
    #[inline(always)]
    fn high(self, x: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_maskz_shuffle_f32x4::<0b11_10_11_10>(0xff, x, x) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn where_positive(self, x: __m512, a: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), a) }
    }
    #[inline(always)]
    fn select(self, x: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), b, a) }
    }
    #[inline(always)]
    fn where_equal(self, x: __m512, y: __m512, v: __m512) -> u32 {
        // SAFETY: `self` proves AVX-512F.
        unsafe {
            let live = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(v, _mm512_setzero_ps());
            u32::from(_mm512_mask_cmp_ps_mask::<_CMP_EQ_OQ>(live, x, y))
        }
    }
    #[inline(always)]
    fn sums(self, [x, y, z, w]: [__m512; 4]) -> [f32; 4] {
        // SAFETY: `self` proves AVX-512F and AVX2.
        unsafe { super::avx2::sums_of_eight(halved(x), halved(y), halved(z), halved(w)) }
    }
    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves the features.
        unsafe { enter(self, kernel) }
    }
}

/// The first halving of [`Simd::sums`].
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn halved(x: __m512) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        let high = _mm512_castps512_ps256(_mm512_shuffle_f32x4::<0b11_10_11_10>(x, x));
        _mm256_add_ps(_mm512_castps512_ps256(x), high)
    }
}

/// # Safety
/// The CPU has the features, as the token proves.
#[inline(never)]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn enter<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
    kernel.run(token)
}

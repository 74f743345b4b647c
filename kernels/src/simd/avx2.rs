//! AVX2 with FMA: sixteen lanes are two registers.

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Proof that this CPU has AVX2 and FMA; only [`Avx2::detect`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

type Pair = (__m256, __m256);

/// `MASKS[16 - n..][..16]` has `n` set lanes first.
static MASKS: [i32; 32] = {
    let mut masks = [0; 32];
    let mut i = 0;
    while i < 16 {
        masks[i] = -1;
        i += 1;
    }
    masks
};

#[inline(always)]
fn masks(n: usize) -> (__m256i, __m256i) {
    let at = MASKS[16 - n..][..16].as_ptr();
    // SAFETY: the slice has 16 integers; the caller holds an `Avx2`, which proves the instruction.
    unsafe { (_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(8).cast())) }
}

impl Simd for Avx2 {
    type F = Pair;
    const TILE_ROWS: [usize; 4] = [6, 0, 0, 0];
    /// Nine registers of sums, three of the strips, one of the term. A fourth row would take all sixteen, and compilers then
    /// keep moving the sums.
    const HALF_ROWS: usize = 3;
    /// Two terms at a time would take another register.
    const PAIRED_HALVES: bool = false;
    const SUMS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: `self` proves AVX2.
        let x = unsafe { _mm256_set1_ps(x) };
        (x, x)
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Pair {
        // SAFETY: `self` proves AVX2; the caller promises 16 readable floats.
        unsafe { (_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: Pair) {
        // SAFETY: `self` proves AVX2; the caller promises 16 writable floats.
        unsafe {
            _mm256_storeu_ps(p, x.0);
            _mm256_storeu_ps(p.add(8), x.1);
        }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> Pair {
        let (m, o) = masks(n);
        // SAFETY: `self` proves AVX2; masked lanes are not read, the first `n` are readable.
        unsafe { (_mm256_maskload_ps(p, m), _mm256_maskload_ps(p.wrapping_add(8), o)) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, x: Pair) {
        let (m, o) = masks(n);
        // SAFETY: `self` proves AVX2; masked lanes are not written, the first `n` are writable.
        unsafe {
            _mm256_maskstore_ps(p, m, x.0);
            _mm256_maskstore_ps(p.wrapping_add(8), o, x.1);
        }
    }
    #[inline(always)]
    unsafe fn load_half(self, p: *const f32) -> Pair {
        // SAFETY: `self` proves AVX2; the caller promises 8 readable floats.
        unsafe { (_mm256_loadu_ps(p), _mm256_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn store_half(self, p: *mut f32, x: Pair) {
        // SAFETY: `self` proves AVX2; the caller promises 8 writable floats.
        unsafe { _mm256_storeu_ps(p, x.0) }
    }
    #[inline(always)]
    unsafe fn load_twice(self, p: *const f32) -> Pair {
        // SAFETY: `self` proves AVX2; the caller promises 8 readable floats.
        let x = unsafe { _mm256_loadu_ps(p) };
        (x, x)
    }
    #[inline(always)]
    fn join(self, a: Pair, b: Pair) -> Pair {
        (a.0, b.0)
    }
    #[inline(always)]
    fn blend(self, a: Pair, b: Pair) -> Pair {
        (a.0, b.1)
    }
    #[inline(always)]
    fn low(self, x: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        (x.0, unsafe { _mm256_setzero_ps() })
    }
    #[inline(always)]
    fn high(self, x: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        (x.1, unsafe { _mm256_setzero_ps() })
    }
    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }
    #[inline(always)]
    fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        // SAFETY: `self` proves FMA.
        unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }
    #[inline(always)]
    fn mul_add_low(self, a: Pair, b: Pair, c: Pair) -> Pair {
        // SAFETY: `self` proves FMA.
        (unsafe { _mm256_fmadd_ps(a.0, b.0, c.0) }, c.1)
    }
    #[inline(always)]
    fn where_positive(self, x: Pair, a: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let zero = _mm256_setzero_ps();
            (
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x.0, zero), a.0),
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x.1, zero), a.1),
            )
        }
    }
    #[inline(always)]
    fn select(self, x: Pair, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let zero = _mm256_setzero_ps();
            (
                _mm256_blendv_ps(b.0, a.0, _mm256_cmp_ps::<_CMP_GT_OQ>(x.0, zero)),
                _mm256_blendv_ps(b.1, a.1, _mm256_cmp_ps::<_CMP_GT_OQ>(x.1, zero)),
            )
        }
    }
    #[inline(always)]
    fn where_equal(self, x: Pair, y: Pair, v: Pair) -> u32 {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let zero = _mm256_setzero_ps();
            let bits = |x, y, v| {
                let equal = _mm256_cmp_ps::<_CMP_EQ_OQ>(x, y);
                let live = _mm256_cmp_ps::<_CMP_NEQ_UQ>(v, zero);
                _mm256_movemask_ps(_mm256_and_ps(equal, live)) as u32
            };
            bits(x.0, y.0, v.0) | bits(x.1, y.1, v.1) << 8
        }
    }
    #[inline(always)]
    fn sums(self, [x, y, z, w]: [Pair; 4]) -> [f32; 4] {
        // SAFETY: `self` proves AVX2.
        unsafe {
            sums_of_eight(
                _mm256_add_ps(x.0, x.1),
                _mm256_add_ps(y.0, y.1),
                _mm256_add_ps(z.0, z.1),
                _mm256_add_ps(w.0, w.1),
            )
        }
    }
    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves the features.
        unsafe { enter(self, kernel) }
    }
}

/// The last three halvings of [`Simd::sums`], of four vectors at once.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn sums_of_eight(x: __m256, y: __m256, z: __m256, w: __m256) -> [f32; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        // Of `x` in the low half and of `y` in the high one, then of `z` and `w`.
        let xy = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(x, y), _mm256_permute2f128_ps::<0x31>(x, y));
        let zw = _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(z, w), _mm256_permute2f128_ps::<0x31>(z, w));
        // Of all four: `x` and `z` in the low half, `y` and `w` in the high one.
        let two = _mm256_add_ps(
            _mm256_shuffle_ps::<0b01_00_01_00>(xy, zw),
            _mm256_shuffle_ps::<0b11_10_11_10>(xy, zw),
        );
        let one = _mm256_add_ps(two, _mm256_movehdup_ps(two));
        let (xz, yw) = (_mm256_castps256_ps128(one), _mm256_extractf128_ps::<1>(one));
        let (z, w) = (_mm_movehl_ps(xz, xz), _mm_movehl_ps(yw, yw));
        [_mm_cvtss_f32(xz), _mm_cvtss_f32(yw), _mm_cvtss_f32(z), _mm_cvtss_f32(w)]
    }
}

/// # Safety
/// The CPU has the features, as the token proves.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn enter<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
    kernel.run(token)
}

//! The operations on registers, and the dispatch that compiles a kernel for every instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod dispatch;
pub(crate) mod lanes;
mod portable;
mod scalar;

/// Lanes of a [`Simd`].
pub(crate) const LANES: usize = 16;

/// Sixteen lanes of f32: one AVX-512 register, two of AVX2, `wide::f32x16`, or an array.
///
/// Every operation rounds according to IEEE 754, so all implementations give the same bits, except that
/// `portable` rounds `mul_add` twice if the build has no fused multiply-add.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Sixteen lanes.
    type F: Copy;

    /// Rows of the largest register tile with 1, 2, 3 and 4 strips of columns; 0 if none fits.
    const TILE_ROWS: [usize; 4];
    /// Rows of the largest tile with a strip and a half; 0 if none fits.
    const HALF_ROWS: usize;
    /// Whether two rows of such a tile share sixteen lanes; else each has eight, with [`Simd::mul_add_low`].
    const PAIRED_HALVES: bool = true;

    /// Sums that fit in the registers together with a few operands.
    const SUMS: usize;

    fn splat(self, x: f32) -> Self::F;
    /// # Safety
    /// `p` is readable for 16 floats.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// # Safety
    /// `p` is writable for 16 floats.
    unsafe fn store(self, p: *mut f32, x: Self::F);
    /// Lanes from `n` on are zero.
    /// # Safety
    /// `p` is readable for `n` floats, `n ≤ 16`.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::F;
    /// # Safety
    /// `p` is writable for `n` floats, `n ≤ 16`.
    unsafe fn store_first(self, p: *mut f32, n: usize, x: Self::F);
    /// Lanes from 8 on are zero.
    /// # Safety
    /// `p` is readable for 8 floats.
    unsafe fn load_half(self, p: *const f32) -> Self::F;
    /// Stores lanes 0…7; unlike a masked store it does not stall later loads of the other lanes.
    /// # Safety
    /// `p` is writable for 8 floats.
    unsafe fn store_half(self, p: *mut f32, x: Self::F);
    /// `p[0..8]` in both halves.
    /// # Safety
    /// `p` is readable for 8 floats.
    unsafe fn load_twice(self, p: *const f32) -> Self::F;
    /// The low half of `a`, then the low half of `b`.
    fn join(self, a: Self::F, b: Self::F) -> Self::F;
    /// The low half of `a`, then the high half of `b`.
    fn blend(self, a: Self::F, b: Self::F) -> Self::F;
    /// The low half, then zeros.
    fn low(self, x: Self::F) -> Self::F;
    /// The high half, moved to the low half, then zeros.
    fn high(self, x: Self::F) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a·b + c`
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// [`Simd::mul_add`] where only lanes 0…7 of the result are read.
    #[inline(always)]
    fn mul_add_low(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        self.mul_add(a, b, c)
    }
    /// `x > 0 ? a : 0`
    fn where_positive(self, x: Self::F, a: Self::F) -> Self::F;
    /// `x > 0 ? a : b`
    fn select(self, x: Self::F, a: Self::F, b: Self::F) -> Self::F;
    /// A bit for each lane where `x == y` and `v` is not 0.
    fn where_equal(self, x: Self::F, y: Self::F, v: Self::F) -> u32;
    /// The sum of the lanes of each vector: the two halves are added until one lane is left.
    fn sums(self, x: [Self::F; 4]) -> [f32; 4];

    /// Runs a kernel in a separate function, compiled for this instruction set.
    fn enter<K: Kernel>(self, kernel: K) -> K::Output;
}

/// A body written once for every instruction set.
pub(crate) trait Kernel {
    type Output;
    /// Implementations are `#[inline(always)]`, and so is everything that they call: only then is the body
    /// compiled with the features of the calling function.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

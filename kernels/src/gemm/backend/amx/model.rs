//! TDPBF16PS and the conversion to bf16 in plain Rust, to the bit: the reference implementation of the instructions.
//!
//! For each sum `c` of a tile:
//! ```text
//! even₀ = odd₀ = +0
//! evenₚ₊₁ = fma(a[2p],   b[2p],   evenₚ)     p = 0, 1, …, pairs−1
//! oddₚ₊₁  = fma(a[2p+1], b[2p+1], oddₚ)
//! c ← c + (even + odd)
//! ```
//! Each `fma` and `+` rounds once, to nearest even, reads denormals as zeros of their sign (DAZ) and gives ±0 where
//! the result, rounded as if exponents had no end, is below 2^-126 (FTZ, tiny after rounding). Overflow is ±∞.
//! NaN: the first NaN among (a, b, sum), (even, odd), (c, even + odd), made quiet; if there is none and the operation
//! is invalid (∞·0, ∞ − ∞), `0xffc00000`. MXCSR plays no part.

use super::line::{Line, WIDTH};

const SIGN: u32 = 1 << 31;

fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & SIGN) } else { x }
}

fn first_nan(candidates: &[f32]) -> f32 {
    let nan = candidates.iter().find(|x| x.is_nan());
    f32::from_bits(nan.map_or(0xffc0_0000, |x| x.to_bits() | 1 << 22))
}

fn fma(a: f32, b: f32, c: f32) -> f32 {
    let (a, b, c) = (flush(a), flush(b), flush(c));
    let r = a.mul_add(b, c);
    if r.is_nan() {
        first_nan(&[a, b, c])
    } else if r.abs() == f32::MIN_POSITIVE {
        smallest(a, b, c)
    } else {
        flush(r)
    }
}

fn add(a: f32, b: f32) -> f32 {
    let r = flush(a) + flush(b);
    if r.is_nan() { first_nan(&[a, b]) } else { flush(r) }
}

/// `fma` that came to ±2^-126: from below 2^-126·(1 − 2^-25) only as a denormal, whose last place is twice as coarse.
fn smallest(a: f32, b: f32, c: f32) -> f32 {
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c)); // exact
    let s = p + c;
    let t = s - p;
    let rest = (p - (s - t)) + (c - t); // s + rest is exact
    let (s, rest) = if s < 0.0 { (-s, -rest) } else { (s, rest) };
    let limit = f64::from(f32::MIN_POSITIVE) * (1.0 - 2f64.powi(-25)); // a tie, and rounds up to even
    let sign = a.mul_add(b, c as f32).to_bits() & SIGN;
    let tiny = s < limit || (s == limit && rest < 0.0);
    f32::from_bits(sign | if tiny { 0 } else { f32::MIN_POSITIVE.to_bits() })
}

/// The first and the second number of a pair.
#[inline(always)]
fn widen(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

/// `c` after one TDPBF16PS, given the pairs of a row of `a` and of a column of `b`.
pub fn dot(c: f32, pairs: impl IntoIterator<Item = (u32, u32)>) -> f32 {
    let (mut even, mut odd) = (0.0, 0.0);
    for (a, b) in pairs {
        let ([a0, a1], [b0, b1]) = (widen(a), widen(b));
        (even, odd) = (fma(a0, b0, even), fma(a1, b1, odd));
    }
    add(c, add(even, odd))
}

/// A row of 16 sums after one TDPBF16PS by a tile of `b`; none of the parts is denormal, as splitting guarantees.
///
/// Sums that are 0 or larger than 2^-126 follow the rules of IEEE 754, so 16 columns are summed side by side; where one
/// is not, [`dot`] does it again.
#[inline(always)]
pub fn row(c: &mut [f32; WIDTH], a: &Line, b: &[Line]) {
    let (mut even, mut odd) = ([0.0f32; WIDTH], [0.0f32; WIDTH]);
    let mut special = [0u32; WIDTH];
    let is_special = |x: f32| u32::from(x.abs() <= f32::MIN_POSITIVE || x.is_nan()) & u32::from(x != 0.0);
    for (&a, b) in a.0.iter().zip(b) {
        let [a0, a1] = widen(a);
        for j in 0..WIDTH {
            let [b0, b1] = widen(b.0[j]);
            even[j] = a0.mul_add(b0, even[j]);
            odd[j] = a1.mul_add(b1, odd[j]);
            special[j] |= is_special(even[j]) | is_special(odd[j]);
        }
    }
    let mut sums = [0.0; WIDTH];
    for j in 0..WIDTH {
        let both = even[j] + odd[j];
        sums[j] = c[j] + both;
        special[j] |= is_special(both) | is_special(sums[j]);
    }
    if special.iter().any(|&special| special != 0) {
        exact_row(c, a, b);
    } else {
        *c = sums;
    }
}

#[cold]
#[inline(never)]
fn exact_row(c: &mut [f32; WIDTH], a: &Line, b: &[Line]) {
    for (j, c) in c.iter_mut().enumerate() {
        *c = dot(*c, a.0.iter().zip(b).map(|(&a, b)| (a, b.0[j])));
    }
}

/// VCVTNE2PS2BF16: nearest even, denormals are zeros, NaN quiet.
#[inline(always)]
pub fn bf16(x: f32) -> u32 {
    let bits = flush(x).to_bits();
    if x.is_nan() { bits >> 16 | 1 << 6 } else { (bits + 0x7fff + (bits >> 16 & 1)) >> 16 }
}

/// The parts of a number, highest first.
#[inline(always)]
pub fn parts<const P: usize>(mut x: f32) -> [u32; P] {
    std::array::from_fn(|_| {
        let part = bf16(x);
        x -= f32::from_bits(part << 16);
        part
    })
}

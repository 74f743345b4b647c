//! Functions of one element, or of one row. They are plain loops of IEEE operations in a fixed order. The
//! compiler vectorises them for each instruction set; all give the same bits.

pub mod activation;
pub mod gates;
pub mod optimiser;
pub mod reduce;
pub(crate) mod rows;
pub mod softmax;

use crate::simd::dispatch::Backend;
use crate::simd::{Kernel, Simd};

/// A loop without intrinsics, compiled once for every instruction set.
pub(crate) trait Loop {
    fn run(self);
}

struct Compiled<L>(L);

impl<L: Loop> Kernel for Compiled<L> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.run();
    }
}

/// Runs a loop; implementations are `#[inline(always)]`.
pub(crate) fn run<L: Loop>(backend: Backend, work: L) {
    backend.run(Compiled(work));
}

const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// 1.5·2²³: adding and subtracting it rounds to an integer.
const ROUND: f32 = 12_582_912.0;

/// `e^x` to 2 units in the last place for `x` in −87…88, saturating outside. It is one polynomial without
/// fused operations, so all instruction sets give the same bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let n = (x * LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// `ln(1 + u)` for `u` in 0…1, by the series of `2·artanh(u / (2 + u))`.
#[inline(always)]
pub(crate) fn ln_1p(u: f32) -> f32 {
    let s = u / (2.0 + u);
    let q = s * s;
    let mut p = 1.0 / 15.0;
    p = p * q + 1.0 / 13.0;
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 0.2;
    p = p * q + 1.0 / 3.0;
    p = p * q + 1.0;
    2.0 * s * p
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_1p_agree_with_f64() {
        for i in -86_900..88_000 {
            let x = i as f32 * 1e-3;
            let (found, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found - want).abs() <= 3e-7 * want, "exp({x}) = {found}, {want}");
        }
        for i in 0..=100_000 {
            let u = i as f32 * 1e-5;
            let (found, want) = (f64::from(ln_1p(u)), f64::from(u).ln_1p());
            assert!((found - want).abs() <= 3e-7 * want, "ln_1p({u}) = {found}, {want}");
        }
    }
}

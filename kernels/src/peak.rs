//! The FMA peak, with which all other figures are compared: fused multiply-adds on registers, without memory
//! accesses.

use crate::exec::Kernels;
use crate::simd::dispatch::Backend;
use crate::simd::{Kernel, Simd};
use std::hint::black_box;
use std::time::Instant;

struct Chains {
    rounds: u64,
}

const CHAINS: usize = 12;

impl Kernel for Chains {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let (x, y) = (simd.splat(black_box(0.999)), simd.splat(black_box(1e-3)));
        // AVX2, with two registers per value, fills its registers with half as many chains.
        let mut acc = [simd.splat(black_box(1.0)); CHAINS];
        let chains = if S::TILE_ROWS[3] > 0 { CHAINS } else { CHAINS / 2 };
        if chains == CHAINS {
            for _ in 0..self.rounds {
                for acc in &mut acc {
                    *acc = simd.mul_add(*acc, x, y);
                }
            }
        } else {
            let mut half = [acc[0]; CHAINS / 2];
            for _ in 0..self.rounds * 2 {
                for acc in &mut half {
                    *acc = simd.mul_add(*acc, x, y);
                }
            }
            acc[..CHAINS / 2].copy_from_slice(&half);
        }
        let mut out = [0.0; 16];
        let sum = acc.into_iter().reduce(|a, b| simd.add(a, b)).unwrap_or(simd.splat(0.0));
        // SAFETY: `out` has 16 floats.
        unsafe { simd.store(out.as_mut_ptr(), sum) };
        out.iter().sum()
    }
}

/// FLOP of one [`measure`] with that many rounds.
fn flop(rounds: u64) -> f64 {
    rounds as f64 * (CHAINS * 16 * 2) as f64
}

/// Measures the fused multiply-add peak of a backend on one thread, in FLOP/s, over about `seconds`.
///
/// ```
/// let peak = kernels::peak::measure(kernels::Backend::best(), 0.002);
/// assert!(peak > 1e8);
/// ```
pub fn measure(backend: Backend, seconds: f64) -> f64 {
    let mut best = 0.0f64;
    let mut rounds = 1_000;
    let begin = Instant::now();
    loop {
        let start = Instant::now();
        black_box(backend.run(Chains { rounds }));
        let took = start.elapsed().as_secs_f64().max(1e-9);
        best = best.max(flop(rounds) / took);
        if took < seconds / 10.0 {
            rounds *= 2;
        }
        if begin.elapsed().as_secs_f64() >= seconds {
            return best;
        }
    }
}

/// The peak of all threads of a kernel set together, in FLOP/s, over about `seconds`.
pub fn measure_all(kernels: &Kernels, seconds: f64) -> f64 {
    let sum = std::sync::Mutex::new(0.0);
    let n = kernels.threads().count();
    kernels.threads().split(n, usize::MAX, &|part| {
        for _ in part {
            let one = measure(kernels.backend(), seconds);
            if let Ok(mut sum) = sum.lock() {
                *sum += one;
            }
        }
    });
    sum.into_inner().unwrap_or(0.0)
}

//! Loads and stores of the first lanes of a register: for matrices whose columns do not fill a register.

use super::{LANES, Simd};

/// Lanes from `lanes` on are zero.
///
/// # Safety
/// `p` is readable for `lanes` floats.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(simd: S, p: *const f32, lanes: usize) -> S::F {
    // SAFETY: the caller's promise.
    unsafe {
        match lanes {
            LANES => simd.load(p),
            8 => simd.load_half(p),
            _ => simd.load_first(p, lanes),
        }
    }
}

/// Stores the first `lanes` lanes.
///
/// # Safety
/// `p` is writable for `lanes` floats.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(simd: S, p: *mut f32, lanes: usize, x: S::F) {
    // SAFETY: the caller's promise.
    unsafe {
        match lanes {
            LANES => simd.store(p, x),
            8 => simd.store_half(p, x),
            _ => simd.store_first(p, lanes, x),
        }
    }
}

//! What happens to a finished sum before it is stored.

use crate::elementwise::dropout::Dropout;
use crate::shape::MatRef;
use crate::simd::Simd;

/// What happens to each finished sum `s[m,n]` before it is stored in `c[m,n]`.
///
/// Vectors indexed by `n` have as many floats as the packed columns, a multiple of 16.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// `c = s`
    Store,
    /// `c = s + bias[n]`
    Bias(&'a [f32]),
    /// `c = relu(s + bias[n])`
    BiasRelu(&'a [f32]),
    /// `c = relu(s + bias[n])`, then inverted dropout by the element's place in `c`.
    BiasReluDropout(&'a [f32], Dropout),
    /// `c = a[m,n] > 0 ? s·scale : 0`: back through a relu, and through the dropout behind it, whose
    /// dropped units are zero as well; `guided` also cuts what is negative.
    ReluGradient {
        /// The activations in front of which the gradient stands.
        a: MatRef<'a>,
        /// `1 / (1 − p)` of the dropout, or 1.
        scale: f32,
        /// Guided backprop: `max(s, 0)`.
        guided: bool,
    },
    /// `c = coefficient·r[m,n] / (s + ε)`: what a relevance rule sends back.
    Ratio {
        /// Relevance of the outputs.
        r: MatRef<'a>,
        /// `α`, `−β` or 1.
        coefficient: f32,
        /// Signed: `z − ε` where the pool is the negative one.
        eps: f32,
    },
    /// `c = s·(a[m,n] − shift)`: the second product of a relevance rule.
    Times {
        /// Activations.
        a: MatRef<'a>,
        /// `0` for z⁺, `l` or `h` for z^β.
        shift: f32,
        /// Adds to what stands in `c`.
        add: bool,
    },
}

/// One epilogue, over sixteen lanes of which `n` count.
pub(crate) trait Finish {
    /// # Safety
    /// The operands are readable at row `m`, columns `n..n + lanes`, as is `c`.
    unsafe fn lanes<S: Simd>(
        &self,
        simd: S,
        m: usize,
        n: usize,
        lanes: usize,
        s: S::F,
        c: *const f32,
    ) -> S::F;
}

pub(crate) struct Plain;
impl Finish for Plain {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, _: S, _: usize, _: usize, _: usize, s: S::F, _: *const f32) -> S::F {
        s
    }
}

pub(crate) struct AddBias<'a>(pub &'a [f32]);
impl Finish for AddBias<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, _: usize, n: usize, _: usize, s: S::F, _: *const f32) -> S::F {
        debug_assert!(n + 16 <= self.0.len());
        // SAFETY: the vector is padded to whole strips and `n` is the start of one.
        simd.add(s, unsafe { simd.load(self.0.as_ptr().add(n)) })
    }
}

pub(crate) struct AddBiasRelu<'a>(pub &'a [f32]);
impl Finish for AddBiasRelu<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(
        &self,
        simd: S,
        m: usize,
        n: usize,
        lanes: usize,
        s: S::F,
        c: *const f32,
    ) -> S::F {
        // SAFETY: the caller's promise.
        let h = unsafe { AddBias(self.0).lanes(simd, m, n, lanes, s, c) };
        simd.where_positive(h, h)
    }
}

pub(crate) struct AddBiasReluDropout<'a> {
    pub bias: &'a [f32],
    pub dropout: Dropout,
    pub cols: usize,
}
impl Finish for AddBiasReluDropout<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(
        &self,
        simd: S,
        m: usize,
        n: usize,
        lanes: usize,
        s: S::F,
        c: *const f32,
    ) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { AddBiasRelu(self.bias).lanes(simd, m, n, lanes, s, c) };
        let factors = self.dropout.factors((m * self.cols + n) as u64);
        // SAFETY: 16 floats on the stack.
        simd.mul(a, unsafe { simd.load(factors.as_ptr()) })
    }
}

pub(crate) struct Gradient<'a> {
    pub a: MatRef<'a>,
    pub scale: f32,
    pub guided: bool,
}
impl Finish for Gradient<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(
        &self,
        simd: S,
        m: usize,
        n: usize,
        lanes: usize,
        s: S::F,
        _: *const f32,
    ) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { read(simd, &self.a, m, n, lanes) };
        let s = if self.guided { simd.where_positive(s, s) } else { s };
        simd.where_positive(a, simd.mul(s, simd.splat(self.scale)))
    }
}

pub(crate) struct Divide<'a> {
    pub r: MatRef<'a>,
    pub coefficient: f32,
    pub eps: f32,
}
impl Finish for Divide<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(
        &self,
        simd: S,
        m: usize,
        n: usize,
        lanes: usize,
        s: S::F,
        _: *const f32,
    ) -> S::F {
        // SAFETY: the caller's promise.
        let r = unsafe { read(simd, &self.r, m, n, lanes) };
        simd.div(simd.mul(r, simd.splat(self.coefficient)), simd.add(s, simd.splat(self.eps)))
    }
}

pub(crate) struct Multiply<'a> {
    pub a: MatRef<'a>,
    pub shift: f32,
    pub add: bool,
}
impl Finish for Multiply<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(
        &self,
        simd: S,
        m: usize,
        n: usize,
        lanes: usize,
        s: S::F,
        c: *const f32,
    ) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { read(simd, &self.a, m, n, lanes) };
        let x = simd.mul(s, simd.sub(a, simd.splat(self.shift)));
        if self.add {
            // SAFETY: the caller's promise.
            simd.add(x, unsafe { simd.load_first(c, lanes) })
        } else {
            x
        }
    }
}

/// # Safety
/// `m` is a row of the matrix, `n + lanes` at most its columns.
#[inline(always)]
unsafe fn read<S: Simd>(simd: S, matrix: &MatRef, m: usize, n: usize, lanes: usize) -> S::F {
    debug_assert!(m < matrix.rows && n + lanes <= matrix.cols);
    // SAFETY: `MatRef` has checked that each of its rows lies in the slice.
    unsafe {
        let p = matrix.data.as_ptr().add(matrix.map.offset(m) + n);
        if lanes == 16 { simd.load(p) } else { simd.load_first(p, lanes) }
    }
}

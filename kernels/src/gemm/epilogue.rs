//! What happens to a finished sum before it is stored.

use crate::elementwise::dropout::Dropout;
use crate::elementwise::rows::load;
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
        /// What the denominator gets.
        stabiliser: Stabiliser,
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

/// What is added to a denominator `z` of a relevance rule, so that an output with `z = 0` absorbs its
/// relevance instead of dividing by zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stabiliser {
    /// `z + s`; negative for a group whose denominators are.
    Constant(f32),
    /// `z + s·sign(z)`, where `sign(0) = 1`.
    Signed(f32),
}

impl Stabiliser {
    /// What a denominator becomes.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, simd: S, z: S::F) -> S::F {
        match self {
            Stabiliser::Constant(s) => simd.add(z, simd.splat(s)),
            Stabiliser::Signed(s) => {
                let negative = simd.sub(simd.splat(0.0), z);
                simd.add(z, simd.select(negative, simd.splat(-s), simd.splat(s)))
            }
        }
    }
}

impl Epilogue<'_> {
    /// The matrix that it reads beside the sums.
    pub(crate) fn matrix(&self) -> Option<&MatRef<'_>> {
        match self {
            Epilogue::ReluGradient { a, .. } | Epilogue::Times { a, .. } => Some(a),
            Epilogue::Ratio { r, .. } => Some(r),
            _ => None,
        }
    }
}

/// Up to sixteen adjacent outputs.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Row of the product.
    pub m: usize,
    /// First column, a multiple of 16.
    pub n: usize,
    pub lanes: usize,
    /// Where the row starts in [`Epilogue::matrix`].
    pub with: usize,
    pub c: *const f32,
}

impl Place {
    /// # Safety
    /// `matrix` has this place's row and columns.
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, simd: S, matrix: &MatRef) -> S::F {
        debug_assert!(self.n + self.lanes <= matrix.cols);
        // SAFETY: `MatRef` has checked that each of its rows lies in the slice.
        unsafe { load(simd, matrix.data.as_ptr().add(self.with + self.n), self.lanes) }
    }
}

/// One epilogue, over the lanes of a place.
pub(crate) trait Lanes {
    /// Whether [`Place::with`] is used.
    const READS: bool = false;

    /// # Safety
    /// The operands are readable at this place, as is `c`.
    unsafe fn lanes<S: Simd>(&self, simd: S, place: Place, s: S::F) -> S::F;
}

pub(crate) struct Plain;

impl Lanes for Plain {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, _: S, _: Place, s: S::F) -> S::F {
        s
    }
}

pub(crate) struct AddBias<'a>(pub &'a [f32]);

impl Lanes for AddBias<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, place: Place, s: S::F) -> S::F {
        debug_assert!(place.n + 16 <= self.0.len());
        // SAFETY: the vector is padded to whole strips and `n` is the start of one.
        simd.add(s, unsafe { simd.load(self.0.as_ptr().add(place.n)) })
    }
}

pub(crate) struct AddBiasRelu<'a>(pub &'a [f32]);

impl Lanes for AddBiasRelu<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, place: Place, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        relu(simd, unsafe { AddBias(self.0).lanes(simd, place, s) })
    }
}

/// `max(h, 0)`, and 0 for NaN.
#[inline(always)]
pub(crate) fn relu<S: Simd>(simd: S, h: S::F) -> S::F {
    simd.where_positive(h, h)
}

pub(crate) struct AddBiasReluDropout<'a> {
    pub bias: &'a [f32],
    pub dropout: Dropout,
    pub cols: usize,
}

impl Lanes for AddBiasReluDropout<'_> {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, place: Place, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { AddBiasRelu(self.bias).lanes(simd, place, s) };
        let factors = self.dropout.factors((place.m * self.cols + place.n) as u64);
        // SAFETY: 16 floats on the stack.
        simd.mul(a, unsafe { simd.load(factors.as_ptr()) })
    }
}

pub(crate) struct Gradient<'a> {
    pub a: MatRef<'a>,
    pub scale: f32,
    pub guided: bool,
}

impl Lanes for Gradient<'_> {
    const READS: bool = true;

    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, place: Place, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { place.read(simd, &self.a) };
        let s = if self.guided { simd.where_positive(s, s) } else { s };
        simd.where_positive(a, simd.mul(s, simd.splat(self.scale)))
    }
}

pub(crate) struct Divide<'a> {
    pub r: MatRef<'a>,
    pub coefficient: f32,
    pub stabiliser: Stabiliser,
}

impl Lanes for Divide<'_> {
    const READS: bool = true;

    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, place: Place, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let r = unsafe { place.read(simd, &self.r) };
        simd.div(simd.mul(r, simd.splat(self.coefficient)), self.stabiliser.apply(simd, s))
    }
}

pub(crate) struct Multiply<'a> {
    pub a: MatRef<'a>,
    pub shift: f32,
    pub add: bool,
}

impl Lanes for Multiply<'_> {
    const READS: bool = true;

    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, place: Place, s: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let a = unsafe { place.read(simd, &self.a) };
        let x = simd.mul(s, simd.sub(a, simd.splat(self.shift)));
        if self.add {
            // SAFETY: the caller's promise.
            simd.add(x, unsafe { load(simd, place.c, place.lanes) })
        } else {
            x
        }
    }
}

//! The ratios `c = coefficient·R / (z + s)` where the denominators are known, and what stabilisers absorb.

use super::packed::{Denominator, PackedGroup};
use super::terms::{SharedGroup, Stabiliser};
use crate::elementwise::reduce::Chains;
use crate::exec::Kernels;
use crate::layout::{MatRef, Rows, STRIP};
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// What an input contributes to the denominators `[N, K]`, without a product.
#[derive(Clone, Copy)]
pub(super) enum Known<'a> {
    Nothing,
    /// `z − v`
    Less {
        z: MatRef<'a>,
        v: MatRef<'a>,
    },
    Constant(MatRef<'a>),
}

impl<'a> Known<'a> {
    /// Those of a group that is no product; `z` has been checked.
    pub fn of<W, B>(group: &'a PackedGroup<W, B>, z: Option<MatRef<'a>>, [n, k]: [usize; 2]) -> Self {
        match (&group.denominator, z, group.constants(n, k)) {
            (Denominator::Forward(_), Some(z), Some(v)) => Known::Less { z, v },
            (Denominator::Constant(_), _, Some(v)) => Known::Constant(v),
            _ => unreachable!("no product, and the forward product has been checked"),
        }
    }
}

/// `c = coefficient·r / (base + known + s)`, row by row.
#[derive(Clone, Copy)]
pub(super) struct Quotients<'a> {
    pub shared: SharedGroup,
    pub r: MatRef<'a>,
    pub base: Option<MatRef<'a>>,
    pub known: Known<'a>,
    /// Where row 0 of `c` would be; rows that are not computed need not be there.
    pub c: *mut f32,
    pub c_map: Rows,
}

// SAFETY: `run` asks that the rows of `c` are nobody else's; the rest is read.
unsafe impl Sync for Quotients<'_> {}

impl Quotients<'_> {
    /// Computes some rows on the calling thread.
    ///
    /// # Safety
    /// All matrices have the columns of `r` and these rows; those of `c` are writable and nobody else's.
    pub unsafe fn run(&self, kernels: &Kernels, rows: Range<usize>) {
        kernels.backend().run(Part { quotients: self, rows });
    }
}

struct Part<'a> {
    quotients: &'a Quotients<'a>,
    rows: Range<usize>,
}

/// Rows whose offsets are worked out together.
const BLOCK: usize = 64;

impl Kernel for Part<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Part { quotients, rows } = self;
        match (quotients.known, quotients.base.is_some()) {
            (Known::Nothing, _) => quotients.rows::<S, true, false, false>(simd, rows),
            (Known::Less { .. }, false) => quotients.rows::<S, false, true, true>(simd, rows),
            (Known::Less { .. }, true) => quotients.rows::<S, true, true, true>(simd, rows),
            (Known::Constant(_), false) => quotients.rows::<S, false, false, true>(simd, rows),
            (Known::Constant(_), true) => quotients.rows::<S, true, false, true>(simd, rows),
        }
    }
}

impl Quotients<'_> {
    /// Those with a base, a forward product, a constant.
    #[inline(always)]
    fn rows<S: Simd, const BASE: bool, const Z: bool, const V: bool>(&self, simd: S, rows: Range<usize>) {
        let Quotients { shared, r, base, known, c, c_map } = self;
        // What is not there is not read.
        let base = base.as_ref().unwrap_or(r);
        let (z, v) = match known {
            Known::Nothing => (r, r),
            Known::Less { z, v } => (z, v),
            Known::Constant(v) => (r, v),
        };
        let (mut r_at, mut base_at, mut z_at) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
        let (mut v_at, mut c_at) = ([0; BLOCK], [0; BLOCK]);
        let coefficient = simd.splat(shared.coefficient);
        for first in rows.clone().step_by(BLOCK) {
            let rows = BLOCK.min(rows.end - first);
            r.map.each_offset(first, rows, |i, offset| r_at[i] = offset);
            c_map.each_offset(first, rows, |i, offset| c_at[i] = offset);
            if BASE {
                base.map.each_offset(first, rows, |i, offset| base_at[i] = offset);
            }
            if Z {
                z.map.each_offset(first, rows, |i, offset| z_at[i] = offset);
            }
            if V {
                v.map.each_offset(first, rows, |i, offset| v_at[i] = offset);
            }
            for i in 0..rows {
                for n in (0..r.cols).step_by(STRIP) {
                    let lanes = STRIP.min(r.cols - n);
                    // SAFETY: row and columns of all operands, which have one shape; their rows lie in
                    // their slices, and those of `c` are this part's own.
                    unsafe {
                        let mut sum = simd.splat(0.0);
                        if V {
                            sum = load(simd, v.data.as_ptr().add(v_at[i] + n), lanes);
                        }
                        if Z {
                            sum = simd.sub(load(simd, z.data.as_ptr().add(z_at[i] + n), lanes), sum);
                        }
                        if BASE {
                            sum = simd.add(load(simd, base.data.as_ptr().add(base_at[i] + n), lanes), sum);
                        }
                        let r = simd.mul(load(simd, r.data.as_ptr().add(r_at[i] + n), lanes), coefficient);
                        let quotient = simd.div(r, shared.stabiliser.apply(simd, sum));
                        store(simd, c.wrapping_add(c_at[i] + n), lanes, quotient);
                    }
                }
            }
        }
    }
}

/// Adds to `absorbed[sample]` what the stabiliser took from its rows of the ratios `c = coefficient·R / (z + s)`:
/// `s·Σ c`, because `coefficient·R − z·c = s·c`. Row 0 of `c` belongs to row `first` of the relevance `r`.
///
/// The sign of a signed stabiliser is that of `z + s`, so that of `c` and `coefficient·R` together:
/// `s·c = s₀·|c|·sign(coefficient·R)`, `s = s₀·sign(z)`.
///
/// # Panics
/// If the rows of `c` are no multiple of the samples.
pub(super) fn add_absorbed(c: MatRef, r: MatRef, first: usize, shared: SharedGroup, absorbed: &mut [f64]) {
    assert!(absorbed.is_empty() || c.rows.is_multiple_of(absorbed.len()), "{} rows", c.rows);
    if c.cols == 0 {
        return;
    }
    let rows = c.rows / absorbed.len().max(1);
    for (i, absorbed) in absorbed.iter_mut().enumerate() {
        match shared.stabiliser {
            Stabiliser::Constant(s) => {
                let mut chains = Chains::default();
                c.map.each_offset(i * rows, rows, |_, at| chains.add(&c.data[at..][..c.cols], |x| x));
                *absorbed += chains.total() * f64::from(s);
            }
            Stabiliser::Signed(s) => {
                let mut sum = 0.0;
                c.map.each_offset(i * rows, rows, |row, at| {
                    let r = r.row(first + i * rows + row);
                    let of = |(c, r): (&f32, &f32)| f64::from(c.abs().copysign(*r));
                    sum += c.data[at..][..c.cols].iter().zip(r).map(of).sum::<f64>();
                });
                *absorbed += sum * f64::from(s * shared.coefficient.signum());
            }
        }
    }
}

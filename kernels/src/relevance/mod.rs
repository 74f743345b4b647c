//! Relevance rules: how a layer hands the relevance of its outputs to its inputs (Table 3.1).
//!
//! Biases take no part. A rule divides by `z + ε`, so an output with `z = 0` loses its relevance
//! instead of dividing by zero; every rule returns what was lost so, a sample's sum in its own place.

mod conv;
mod conv_pool;
mod dense;
mod ratios;
#[cfg(test)]
mod same_bits;
mod terms;

pub mod alpha_beta;
pub mod joint;
pub mod pooled;
pub mod w_square;
pub mod z_beta;
pub mod z_plus;

pub use conv::{RelevanceConv, relevance_conv};
pub use conv_pool::{RelevanceConvMaxPool, relevance_conv_max_pool};
pub use dense::{Denominators, Messages, Ratios, Relevance, denominators, messages, ratios, relevance};
pub use terms::{Group, InputMap, PackedRule, Rule, SharedGroup, Stabiliser, Term};

use crate::Kernels;
use crate::buffer::Buffer;
use crate::elementwise::reduce::Chains;
use crate::gemm::epilogue::Epilogue;
use crate::gemm::pack::{self, Part};
use crate::gemm::product::Output;
use crate::gemm::tile::ReductionLoops;
use crate::gemm::{Init, PanelProduct};
use crate::shape::{ConvShape, MatMut, MatRef, Panels, Rows, panels_len};
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// `ε` of every denominator; the negative pool takes `−ε`.
pub const EPS: f32 = 1e-9;

/// One part of a layer's weights in both orientations, made once per version of the weights.
#[derive(Clone, Debug, Default)]
pub struct PackedPart {
    k: usize,
    n: usize,
    back_k: usize,
    back_n: usize,
    forward: Buffer,
    back: Buffer,
}

impl PackedPart {
    /// A part of dense `[J, K]` weights.
    pub fn dense(w: Panels, part: Part) -> Self {
        let mut packed = PackedPart { k: w.k, n: w.n, back_k: w.n, back_n: w.k, ..Self::default() };
        packed.forward = Buffer::zeroed(panels_len(w.k, w.n));
        packed.back = Buffer::zeroed(panels_len(w.n, w.k));
        pack::part(w, part, &mut packed.forward);
        pack::transpose(w, part, &mut packed.back);
        packed
    }

    /// A part of a convolution's weights; the way back is the reversed convolution.
    ///
    /// # Panics
    /// If the weights are not the convolution's.
    pub fn conv(shape: &ConvShape, w: Panels, part: Part) -> Self {
        assert_eq!((w.k, w.n), (shape.patch(), shape.outputs), "convolution weights");
        let back_k = shape.reversed().patch();
        let mut packed = PackedPart { k: w.k, n: w.n, back_k, back_n: shape.inputs, ..Self::default() };
        packed.forward = Buffer::zeroed(panels_len(w.k, w.n));
        packed.back = Buffer::zeroed(panels_len(back_k, shape.inputs));
        pack::part(w, part, &mut packed.forward);
        pack::reverse_conv(shape, w, part, &mut packed.back);
        packed
    }

    /// The part as the forward pass multiplies it.
    pub fn forward(&self) -> Panels<'_> {
        Panels::new(&self.forward, self.k, self.n)
    }

    /// The part as the way back multiplies it.
    pub fn back(&self) -> Panels<'_> {
        Panels::new(&self.back, self.back_k, self.back_n)
    }
}

/// Adds to `lost[sample]` the relevance that `ε` took: `ε·Σ c` over the sample's rows of
/// `c = R / (z + ε)`, because `R − z·c = ε·c`.
///
/// # Panics
/// If the rows of `c` are no multiple of the samples.
pub fn add_lost(c: MatRef, eps: f32, lost: &mut [f64]) {
    assert!(lost.is_empty() || c.rows.is_multiple_of(lost.len()), "{} rows", c.rows);
    if c.cols == 0 {
        return;
    }
    let rows = c.rows / lost.len().max(1);
    for (i, lost) in lost.iter_mut().enumerate() {
        let mut chains = Chains::default();
        c.map.each_offset(i * rows, rows, |_, offset| chains.add(&c.data[offset..][..c.cols], |x| x));
        *lost += chains.total() * f64::from(eps);
    }
}

/// Rows whose `c` stays in L2 between the two products.
const BLOCK: usize = 48;

/// One pool of a rule: `c = coefficient·R / (a·W + ε)`, then `c·Wᵀ`.
pub(crate) struct Pool<'a> {
    pub weights: &'a PackedPart,
    pub coefficient: f32,
    pub eps: f32,
}

/// `r_in = a ∘ Σ_pools c·Wᵀ`, row block by row block, so that `z` never exists and `c` never
/// leaves the cache.
///
/// Operands have been checked against each other.
pub(crate) fn pools(
    kernels: &Kernels,
    a: MatRef,
    pools: &[Pool],
    r_out: MatRef,
    mut r_in: MatMut,
    lost: &mut [f64],
) {
    let Some(any) = pools.first() else { return };
    let (m, width) = (a.rows, r_out.cols);
    let fused = Fused { a, pools, r_out, r_in: Output::of(&mut r_in), lost: Shared::new(lost) };
    let cost = 2 * pools.len() * m * any.weights.k * any.weights.n;
    kernels.threads().split(m, cost, &|rows: Range<usize>| {
        with_scratch(BLOCK * width, |c| {
            for from in rows.clone().step_by(BLOCK) {
                let rows = from..rows.end.min(from + BLOCK);
                fused.block(kernels, rows, c);
            }
        });
    });
}

struct Fused<'a> {
    a: MatRef<'a>,
    pools: &'a [Pool<'a>],
    r_out: MatRef<'a>,
    r_in: Output,
    lost: Shared<f64>,
}

impl Fused<'_> {
    fn block(&self, kernels: &Kernels, range: Range<usize>, scratch: &mut [f32]) {
        let Fused { a, pools, r_out, r_in, lost } = self;
        let width = r_out.cols;
        let rows = range.len();
        // The products count rows from the whole matrix's first; the scratch holds the block's.
        let before = range.start * width;
        for (i, pool) in pools.iter().enumerate() {
            let (w, wt) = (pool.weights.forward(), pool.weights.back());
            let ratio = Epilogue::Ratio {
                r: *r_out,
                coefficient: pool.coefficient,
                stabiliser: Stabiliser::Constant(pool.eps),
            };
            let block_of_c = Output::of(&mut MatMut::new(&mut *scratch, rows, width));
            let mut first = PanelProduct {
                a: a.data.as_ptr(),
                a_rows: a.map,
                loops: ReductionLoops::row_times_panel(w.k),
                b: w,
                init: Init::Zero,
                epilogue: ratio,
                c: &block_of_c,
            }
            .product();
            first.c = first.c.wrapping_sub(before);
            let c = first.c.cast_const();
            let (init, epilogue) = (
                if i == 0 { Init::Zero } else { Init::Accumulate },
                if i + 1 == pools.len() {
                    Epilogue::Times { a: *a, shift: 0.0, add: false }
                } else {
                    Epilogue::Store
                },
            );
            let (a_rows, loops) = (Rows::linear(width), ReductionLoops::row_times_panel(wt.k));
            let second = PanelProduct { a: c, a_rows, loops, b: wt, init, epilogue, c: r_in }.product();
            // SAFETY: operands were checked to one shape by the rule; the block's rows of the
            // scratch are its own, counted from before it as the products count them, and the parts
            // of a split own different rows of `r_in` and `lost`, which `pools` has borrowed mutably.
            unsafe {
                first.run_rows(kernels, range.clone());
                second.run_rows(kernels, range.clone());
                let lost = lost.slice(range.clone());
                add_lost(MatRef::new(scratch, rows, width), pool.eps, lost);
            }
        }
    }
}

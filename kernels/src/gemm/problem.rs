//! A matrix product as data: its operands with their strides, the order of its sums, their initial values and
//! their epilogue.

use crate::dropout::Dropout;
use crate::error::{ShapeError, axis};
use crate::layout::{MatMut, MatRef, Rows, STRIP};
use crate::panels::Panels;
use crate::threads::Shared;
use std::mem::MaybeUninit;
use std::ops::Range;

/// The initial values of the sums.
#[derive(Clone, Copy, Debug)]
pub enum Init<'a> {
    /// Zero.
    Zero,
    /// The values in the output: the product is added to them.
    Accumulate,
    /// Another matrix `[M, N]`.
    Copy(MatRef<'a>),
}

/// The operation on each finished sum `s[m,n]` before it is stored in `c[m,n]`.
///
/// A bias has `N` floats, or as many as the packed columns, a multiple of 16; a shorter one is copied at every
/// call.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// `c = s`
    Store,
    /// `c = s + bias[n]`
    Bias(&'a [f32]),
    /// `c = relu(s + bias[n])`
    BiasRelu(&'a [f32]),
    /// `c = relu(s + bias[n])`, then inverted dropout; its mask depends on the element's index in `c`.
    BiasReluDropout(&'a [f32], Dropout),
    /// `c = a[m,n] > 0 ? s·scale : 0`: the gradient of a relu, and of the dropout after it, whose dropped
    /// units are zero as well; `guided` also sets negative gradients to zero.
    ReluGradient {
        /// The activations after the relu.
        a: MatRef<'a>,
        /// `1 / (1 − p)` of the dropout, or 1.
        scale: f32,
        /// Guided backprop: `max(s, 0)`.
        guided: bool,
    },
    /// `c = coefficient·r[m,n] / (s + ε)`: the ratio of a relevance rule.
    Ratio {
        /// Relevance of the outputs.
        r: MatRef<'a>,
        /// `α`, `−β` or 1.
        coefficient: f32,
        /// What is added to the denominator.
        stabiliser: Stabiliser,
    },
    /// `c = s·(a[m,n] − shift)`: the second product of a relevance rule.
    Times {
        /// Activations.
        a: MatRef<'a>,
        /// `0` for z⁺, `l` or `h` for z^β.
        shift: f32,
        /// Whether the result is added to `c` instead of stored.
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

impl Epilogue<'_> {
    /// The same epilogue. A bias that is not padded to whole strips of `n` columns is copied to `room`.
    pub(crate) fn padded<'b>(self, n: usize, room: &'b mut Vec<f32>) -> Epilogue<'b>
    where
        Self: 'b,
    {
        match self {
            Epilogue::Bias(bias) => Epilogue::Bias(padded_bias(bias, n, room)),
            Epilogue::BiasRelu(bias) => Epilogue::BiasRelu(padded_bias(bias, n, room)),
            Epilogue::BiasReluDropout(bias, dropout) => {
                Epilogue::BiasReluDropout(padded_bias(bias, n, room), dropout)
            }
            other => other,
        }
    }

    /// The matrix that it reads in addition to the sums.
    pub(crate) fn matrix(&self) -> Option<&MatRef<'_>> {
        match self {
            Epilogue::ReluGradient { a, .. } | Epilogue::Times { a, .. } => Some(a),
            Epilogue::Ratio { r, .. } => Some(r),
            _ => None,
        }
    }
}

/// `bias`, or a copy of it in `room` if it has exactly `n` floats: registers read whole strips.
pub(crate) fn padded_bias<'a>(bias: &'a [f32], n: usize, room: &'a mut Vec<f32>) -> &'a [f32] {
    if bias.len() != n || n.is_multiple_of(STRIP) {
        return bias;
    }
    room.extend_from_slice(bias);
    room.resize(n.next_multiple_of(STRIP), 0.0);
    room
}

/// The name of a profiled product's epilogue, and the floats of its operands, the initial values and the
/// output for this many `sums`.
pub(crate) fn ends(init: &Init, epilogue: &Epilogue, sums: usize) -> (&'static str, usize) {
    let before = if matches!(init, Init::Zero) { 0 } else { sums };
    let (then, operands) = match epilogue {
        Epilogue::Store => ("", 0),
        Epilogue::Bias(_) => ("bias", 0),
        Epilogue::BiasRelu(_) => ("relu", 0),
        Epilogue::BiasReluDropout(..) => ("relu, dropout", 0),
        Epilogue::ReluGradient { .. } => ("relu gradient", sums),
        Epilogue::Ratio { .. } => ("ratio", sums),
        Epilogue::Times { .. } => ("times", sums),
    };
    (then, before + operands + sums)
}

/// Checks that init and epilogue have the product's shape.
pub(crate) fn check_ends(
    kernel: &'static str,
    m: usize,
    n: usize,
    init: &Init,
    epilogue: &Epilogue,
) -> Result<(), ShapeError> {
    let same = |name, matrix: &MatRef| {
        axis(kernel, "M", name, matrix.rows, m)?;
        axis(kernel, "N", name, matrix.cols, n)
    };
    if let Init::Copy(matrix) = init {
        same("init", matrix)?;
    }
    match epilogue {
        Epilogue::Store => Ok(()),
        Epilogue::Bias(bias) | Epilogue::BiasRelu(bias) | Epilogue::BiasReluDropout(bias, _) => {
            axis(kernel, "N", "bias", bias.len(), n.next_multiple_of(STRIP))
        }
        Epilogue::ReluGradient { a, .. } | Epilogue::Times { a, .. } => same("a", a),
        Epilogue::Ratio { r, .. } => same("r", r),
    }
}

/// The order of a sum: three nested loops, outermost first, with the strides of both operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReductionLoops {
    pub count: [usize; 3],
    /// Floats to the next term in `a`.
    pub a: [usize; 3],
    /// Floats to the next term in `b`.
    pub b: [usize; 3],
}

impl ReductionLoops {
    /// A row of `k` adjacent floats times a panel.
    pub const fn row_times_panel(k: usize) -> Self {
        ReductionLoops { count: [1, 1, k], a: [0, 0, 1], b: [0, 0, STRIP] }
    }

    pub fn len(&self) -> usize {
        self.count.iter().product()
    }
}

/// A matrix that products write; each thread has its own rows.
pub(crate) struct Output {
    pub data: Shared<f32>,
    pub map: Rows,
    pub cols: usize,
}

impl Output {
    /// The matrix must stay borrowed as long as the output, or a problem made of it, is used.
    pub fn of(c: &mut MatMut) -> Self {
        Output { data: Shared::new(c.data), map: c.map, cols: c.cols }
    }

    /// The same from a row on. Whoever uses it makes sure that rows behind it are spaced as those behind the first are.
    pub fn starting_at_row(&self, row: usize) -> Self {
        Output { data: self.data.from(self.map.offset(row)), map: self.map, cols: self.cols }
    }
}

/// A product `[m, n]` whose operands have been checked; its rows can be computed in any split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem<'a> {
    pub n: usize,
    pub a: *const f32,
    /// Offset of the first term of row `m` in `a`.
    pub a_rows: Rows,
    pub loops: ReductionLoops,
    pub b: *const f32,
    /// Floats from a strip of `b` to the next.
    pub b_strip: usize,
    /// Lanes of the last strip of `b` that may be read: 16 if it is packed.
    pub b_lanes: usize,
    /// The weights that `b` points to, if it is packed.
    pub weights: Option<Panels<'a>>,
    pub init: Init<'a>,
    pub epilogue: Epilogue<'a>,
    pub c: *mut f32,
    pub c_rows: Rows,
    /// Floats from a strip of `c` to the next: 16, or a panel.
    pub c_strip: usize,
    /// Lanes of the last strip of `c` that may be written.
    pub c_lanes: usize,
}

// SAFETY: the pointers come from borrows that outlive the problem, and the parts of a split write
// different rows of `c`.
unsafe impl Send for Problem<'_> {}
// SAFETY: as above.
unsafe impl Sync for Problem<'_> {}

impl<'a> Problem<'a> {
    /// Whether a sum is a single loop over evenly spaced terms.
    pub fn has_one_loop(&self) -> bool {
        self.loops.count[0] * self.loops.count[1] == 1
    }

    /// The packed weights, if the sums read all their rows in order.
    pub fn whole_weights(&self) -> Option<Panels<'a>> {
        let ReductionLoops { count, b, .. } = self.loops;
        let adjacent = (0..2).all(|i| count[i] == 1 || b[i] == b[i + 1] * count[i + 1]);
        let whole = |w: &Panels| w.data.as_ptr() == self.b && (w.k, w.n) == (self.loops.len(), self.n);
        self.weights.filter(|w| w.k > 0 && b[2] == STRIP && adjacent && whole(w))
    }
}

pub(crate) fn lanes_of_last_strip(n: usize) -> usize {
    n - n.saturating_sub(1) / STRIP * STRIP
}

/// A product with packed weights.
pub(crate) struct PanelProduct<'a, 'c> {
    /// The first term of row 0, and the offsets of the first terms of the other rows.
    pub a: *const f32,
    pub a_rows: Rows,
    pub loops: ReductionLoops,
    pub b: Panels<'a>,
    pub init: Init<'a>,
    pub epilogue: Epilogue<'a>,
    pub c: &'c Output,
}

impl<'a> PanelProduct<'a, '_> {
    pub fn problem(self) -> Problem<'a> {
        Problem {
            n: self.c.cols,
            a: self.a,
            a_rows: self.a_rows,
            loops: self.loops,
            b: self.b.data.as_ptr(),
            b_strip: self.b.stride,
            b_lanes: STRIP,
            weights: Some(self.b),
            init: self.init,
            epilogue: self.epilogue,
            c: self.c.data.as_ptr(),
            c_rows: self.c.map,
            c_strip: STRIP,
            c_lanes: lanes_of_last_strip(self.c.cols),
        }
    }
}

/// A product whose right operand is an unpacked matrix and whose output are rows of packed weights: a weight
/// gradient.
pub(crate) struct PanelRows {
    pub a: *const f32,
    /// Offset of the first term of each row of the gradient in `a`.
    pub a_rows: Rows,
    pub b: *const f32,
    /// Columns of `b`, and of the gradient.
    pub n: usize,
    pub loops: ReductionLoops,
    pub accumulate: bool,
    /// The first row of the first panel.
    pub d_w: *mut f32,
    /// Floats from a panel to the next.
    pub strip: usize,
}

impl PanelRows {
    pub fn problem<'a>(self) -> Problem<'a> {
        Problem {
            n: self.n,
            a: self.a,
            a_rows: self.a_rows,
            loops: self.loops,
            b: self.b,
            b_strip: STRIP,
            b_lanes: lanes_of_last_strip(self.n),
            weights: None,
            init: if self.accumulate { Init::Accumulate } else { Init::Zero },
            epilogue: Epilogue::Store,
            c: self.d_w,
            c_rows: Rows::linear(STRIP),
            c_strip: self.strip,
            c_lanes: STRIP,
        }
    }
}

/// Rows of a block: all strips are multiplied by them before the next block.
pub(crate) const BLOCK: usize = 256;

/// Where each row of a block starts in an operand, in floats: computed once for all strips.
pub(crate) struct Offsets([MaybeUninit<usize>; BLOCK]);

impl Offsets {
    #[inline(always)]
    fn fill(&mut self, map: &Rows, rows: Range<usize>) {
        let to = &mut self.0[..rows.len()];
        map.each_offset(rows.start, to.len(), |i, offset| _ = to[i].write(offset));
    }

    /// # Safety
    /// Filled for more than `row` rows.
    #[inline(always)]
    pub unsafe fn get(&self, row: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { self.0.get_unchecked(row).assume_init() }
    }
}

/// The row offsets of a block in the operands.
pub(crate) struct Block {
    /// The problem's row that is the block's first.
    pub first: usize,
    pub a: Offsets,
    pub c: Offsets,
    /// In the matrix of [`Init::Copy`].
    pub init: Offsets,
    /// In the matrix of the epilogue.
    pub with: Offsets,
}

impl Block {
    /// Rows `rows`, at most [`BLOCK`], of a problem. The caller makes the room: a block that is returned would be copied,
    /// which takes longer than a small product.
    #[inline(always)]
    pub fn new<'a>(room: &'a mut MaybeUninit<Block>, problem: &Problem, rows: Range<usize>) -> &'a Self {
        // SAFETY: `first` is written before a reference is made; offsets need no initial value.
        let block = unsafe {
            (&raw mut (*room.as_mut_ptr()).first).write(rows.start);
            room.assume_init_mut()
        };
        block.a.fill(&problem.a_rows, rows.clone());
        block.c.fill(&problem.c_rows, rows.clone());
        if let Init::Copy(matrix) = &problem.init {
            block.init.fill(&matrix.map, rows.clone());
        }
        if let Some(matrix) = problem.epilogue.matrix() {
            block.with.fill(&matrix.map, rows);
        }
        block
    }
}

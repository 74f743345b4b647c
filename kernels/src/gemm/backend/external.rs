//! The operands of an external library: plain strided matrices, and where its sums go.
//!
//! What has one row stride and one column stride is passed in place: activations, transposes, prepacked weights, and
//! outputs whose rows are adjacent. The patches of a convolution, weights that nobody prepacked, and sums that become
//! packed weights are copied, a block of rows at a time, by way of memory that the thread keeps.

use super::prepacked::RowMajor;
use super::{MatmulBlock, MatmulTask};
use crate::gemm::epilogue::{Line, finish_block, finish_line};
use crate::gemm::problem::{BLOCK, Block, Epilogue, Init, Problem, ReductionLoops, lanes_of_last_strip};
use crate::layout::{STRIP, Strided};
use crate::simd::{Kernel, Simd};
use crate::threads::with_scratch;
use std::mem::MaybeUninit;
use std::ops::Range;

/// What a backend can do with sums, so that nobody else has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It can add the product to what the output holds.
    pub accumulate: bool,
    /// It can add a bias to the columns, with and without a relu.
    pub bias: bool,
}

/// What a backend has to do with the sums of a block; nothing that it does not claim as one of its [`Abilities`].
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// The product is added to `c` instead of stored.
    pub accumulate: bool,
    /// What follows.
    pub then: Then<'a>,
}

/// The epilogue that a backend takes over.
#[derive(Clone, Copy, Debug)]
pub enum Then<'a> {
    /// `c = s`
    Store,
    /// `c = s + bias[n]`
    Bias(&'a [f32]),
    /// `c = relu(s + bias[n])`, 0 where the sum is NaN.
    BiasRelu(&'a [f32]),
}

impl MatmulTask<'_> {
    /// Calls `multiply` with the task's rows, some at a time, then adds the initial values to the sums,
    /// applies the epilogue and writes the output. No axis of a block is 0.
    pub fn each_block(self, mut multiply: impl FnMut(MatmulBlock)) {
        self.each_block_with(Abilities::default(), |block, _| multiply(block));
    }

    /// As [`MatmulTask::each_block`], for a backend with these abilities: `multiply` does what the [`Ends`] say, and what
    /// they leave out is done afterwards.
    pub fn each_block_with(self, abilities: Abilities, multiply: impl FnMut(MatmulBlock, Ends)) {
        let [m, n, k] = self.sizes();
        if m == 0 || n == 0 {
            return;
        }
        let place = Place::of(self.problem, &self.rows, abilities).filter(|_| k > 0);
        let prepacked = self.prepacked().filter(|RowMajor(rows)| rows.len() == k * n);
        let b_in_place = match prepacked {
            Some(RowMajor(rows)) => Some(Strided::row_major(rows, k, n)),
            // SAFETY: the code that makes a task guarantees that its operands are readable.
            None => unsafe { b_in_place(self.problem) },
        };
        let a_in_place = self.problem.has_one_loop() && self.problem.a_rows.width >= self.rows.end;
        // Without a copy and without an epilogue there is no reason for blocks.
        let most = if a_in_place && place.is_some() { m } else { m.min(BLOCK) };
        let c_stride = n.next_multiple_of(STRIP);
        let lens = [
            if b_in_place.is_some() { 0 } else { k * n },
            if a_in_place { 0 } else { most * k },
            if place.is_some() { 0 } else { most * c_stride },
        ];
        with_scratch(lens.iter().sum(), |scratch| {
            let (b, scratch) = scratch.split_at_mut(lens[0]);
            let (a, sums) = scratch.split_at_mut(lens[1]);
            let b = match b_in_place {
                Some(b) => b,
                None => {
                    // SAFETY: as above.
                    unsafe { copy_b(self.problem, b) };
                    Strided::row_major(b, k, n)
                }
            };
            let blocks = Blocks { task: self, b, a_in_place, most };
            // SAFETY: as above; `place` is that of this problem.
            unsafe {
                match place {
                    Some(place) => blocks.into_output(place, a, multiply),
                    None => blocks.by_way_of(sums, a, multiply),
                }
            }
        });
    }
}

/// How sums get straight into the output.
struct Place<'a> {
    ends: Ends<'a>,
    /// What is left to do in the output.
    left: Epilogue<'a>,
}

impl<'a> Place<'a> {
    /// None if rows of the output are not adjacent, or if a value that it holds is read after the product.
    fn of(problem: &Problem<'a>, rows: &Range<usize>, abilities: Abilities) -> Option<Place<'a>> {
        let n = problem.n;
        let adjacent = problem.c_rows.step == n && problem.c_rows.width >= rows.end;
        let plain = (n <= STRIP || problem.c_strip == STRIP) && problem.c_lanes == lanes_of_last_strip(n);
        let reads = matches!(problem.epilogue, Epilogue::Times { add: true, .. });
        let accumulate = match problem.init {
            Init::Zero => false,
            Init::Accumulate if abilities.accumulate => true,
            Init::Accumulate | Init::Copy(_) => return None,
        };
        let (then, left) = match problem.epilogue {
            Epilogue::Bias(bias) if abilities.bias => (Then::Bias(&bias[..n]), Epilogue::Store),
            Epilogue::BiasRelu(bias) if abilities.bias => (Then::BiasRelu(&bias[..n]), Epilogue::Store),
            left => (Then::Store, left),
        };
        (adjacent && plain && !reads).then_some(Place { ends: Ends { accumulate, then }, left })
    }
}

/// The rows of a task, block by block.
struct Blocks<'a> {
    task: MatmulTask<'a>,
    b: Strided<'a>,
    a_in_place: bool,
    /// Rows of a block.
    most: usize,
}

impl Blocks<'_> {
    fn rows(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, most) = (self.task.rows.clone(), self.most);
        rows.clone().step_by(most).map(move |from| from..rows.end.min(from + most))
    }

    /// The rows of the left operand, in place or copied to `room`.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn a<'b>(&'b self, rows: Range<usize>, room: &'b mut [f32]) -> Strided<'b> {
        let problem = self.task.problem;
        if self.a_in_place {
            // SAFETY: the caller's promise; the rows are one step apart.
            return unsafe { a_in_place(problem, rows) };
        }
        let (m, k) = (rows.len(), problem.loops.len());
        let room = &mut room[..m * k];
        // SAFETY: as above.
        unsafe { copy_a(problem, Block::new(&mut MaybeUninit::uninit(), problem, rows), room) };
        Strided::row_major(room, m, k)
    }

    /// # Safety
    /// Every term of the task is readable, its rows of the output are written by no other thread, and `place` is that
    /// of the problem. There is at least one term.
    unsafe fn into_output(self, place: Place, room: &mut [f32], mut multiply: impl FnMut(MatmulBlock, Ends)) {
        let problem = self.task.problem;
        let n = problem.n;
        for rows in self.rows() {
            let first = problem.c.wrapping_add(rows.start * n);
            {
                // SAFETY: adjacent rows of the output, which only this thread writes.
                let c = unsafe { std::slice::from_raw_parts_mut(first, rows.len() * n) };
                // SAFETY: the caller's promise.
                let a = unsafe { self.a(rows.clone(), room) };
                multiply(MatmulBlock { a, b: self.b, c, c_stride: n }, place.ends);
            }
            if !matches!(place.left, Epilogue::Store) {
                self.task.simd.run(InPlace { epilogue: place.left, rows, cols: n, first });
            }
        }
    }

    /// # Safety
    /// As [`Blocks::into_output`]; there may be no term.
    unsafe fn by_way_of(
        self,
        sums: &mut [f32],
        room: &mut [f32],
        mut multiply: impl FnMut(MatmulBlock, Ends),
    ) {
        let problem = self.task.problem;
        let (n, c_stride) = (problem.n, problem.n.next_multiple_of(STRIP));
        let none = Ends { accumulate: false, then: Then::Store };
        for rows in self.rows() {
            let sums = &mut sums[..rows.len() * c_stride];
            if problem.loops.len() == 0 {
                sums.fill(0.0);
            } else {
                // SAFETY: the caller's promise.
                let a = unsafe { self.a(rows.clone(), room) };
                multiply(MatmulBlock { a, b: self.b, c: &mut *sums, c_stride }, none);
                // Padding that is written to packed weights is zero.
                sums.chunks_exact_mut(c_stride).for_each(|row| row[n..].fill(0.0));
            }
            let mut room = MaybeUninit::uninit();
            let block = Block::new(&mut room, problem, rows.clone());
            // SAFETY: the caller's promise.
            unsafe { finish_block(self.task.simd, problem, block, rows.len(), sums) };
        }
    }
}

/// Applies an epilogue to rows of the output that hold their sums.
struct InPlace<'a> {
    epilogue: Epilogue<'a>,
    rows: Range<usize>,
    cols: usize,
    first: *mut f32,
}

impl Kernel for InPlace<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let InPlace { epilogue, rows, cols, first } = self;
        for (i, m) in rows.enumerate() {
            let c = first.wrapping_add(i * cols);
            // SAFETY: the code that makes this guarantees that these rows are the thread's own; the sums of a strip are
            // read before it is written.
            unsafe { finish_line(simd, &epilogue, Line { m, cols, sums: c, c }) };
        }
    }
}

/// Some rows of `a`, at least one, in place.
///
/// # Safety
/// These rows are readable, one step apart, and the sums have one loop with at least one term.
unsafe fn a_in_place<'a>(problem: &'a Problem, rows: Range<usize>) -> Strided<'a> {
    let (row_stride, col_stride, k) = (problem.a_rows.step, problem.loops.a[2], problem.loops.len());
    let len = (rows.len() - 1) * row_stride + (k - 1) * col_stride + 1;
    let first = problem.a.wrapping_add(rows.start * row_stride);
    // SAFETY: from the first to the last element of these rows; all are in the slice that `a` points into.
    let data = unsafe { std::slice::from_raw_parts(first, len) };
    Strided::new(data, [rows.len(), k], [row_stride, col_stride])
}

/// `b` in place, if its columns are adjacent.
///
/// # Safety
/// Every term is readable.
unsafe fn b_in_place<'a>(problem: &'a Problem) -> Option<Strided<'a>> {
    let (k, n, row_stride) = (problem.loops.len(), problem.n, problem.loops.b[2]);
    if k == 0 || !problem.has_one_loop() || (n > STRIP && problem.b_strip != STRIP) {
        return None;
    }
    // SAFETY: from the first to the last element; all are in the slice that `b` points into.
    let data = unsafe { std::slice::from_raw_parts(problem.b, (k - 1) * row_stride + n) };
    Some(Strided::new(data, [k, n], [row_stride, 1]))
}

/// Calls `visit` with the index of each term of a sum and its offsets in `a` and `b`.
fn each_term(loops: &ReductionLoops, mut visit: impl FnMut(usize, usize, usize)) {
    let mut q = 0;
    for i in 0..loops.count[0] {
        for j in 0..loops.count[1] {
            let [mut a, mut b] = [loops.a, loops.b].map(|steps| i * steps[0] + j * steps[1]);
            for _ in 0..loops.count[2] {
                visit(q, a, b);
                (q, a, b) = (q + 1, a + loops.a[2], b + loops.b[2]);
            }
        }
    }
}

/// Copies `b` to a row-major matrix.
///
/// # Safety
/// Every term is readable.
unsafe fn copy_b(problem: &Problem, to: &mut [f32]) {
    each_term(&problem.loops, |q, _, at| {
        for (strip, to) in to[q * problem.n..][..problem.n].chunks_mut(STRIP).enumerate() {
            let from = problem.b.wrapping_add(at + strip * problem.b_strip);
            // SAFETY: each term's strips are readable, the last one for its own columns.
            unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from, to.len()) };
        }
    });
}

/// Copies a block of rows of `a` to a row-major matrix.
///
/// # Safety
/// Every term of these rows is readable.
unsafe fn copy_a(problem: &Problem, block: &Block, to: &mut [f32]) {
    for (i, row) in to.chunks_exact_mut(problem.loops.len()).enumerate() {
        // SAFETY: the block has this row. `problem.a` itself may point in front of a block of rows, outside of
        // its slice.
        let from = unsafe { problem.a.wrapping_add(block.a.get(i)) };
        // SAFETY: the caller's promise.
        each_term(&problem.loops, |q, at, _| row[q] = unsafe { *from.wrapping_add(at) });
    }
}

//! The gates of an LSTM cell with a relu candidate: forward, backward, relevance, each one pass over the cells of a
//! step.
//!
//! `i, f, o = σ(z)`, `c = f∘c_before + i∘candidate`, `h = o∘c`. Rows of the gates are those of `i`, then `f`, then
//! `o`. At the first step there is no `c_before`: it counts as 0.

#![allow(clippy::needless_range_loop, reason = "five rows side by side read better by index than zipped")]

use super::activation::sigmoid;
use super::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::layout::volume;
use crate::profile::Work;
use crate::threads::Shared;

/// Operands of [`cell_forward`].
#[derive(Debug)]
pub struct CellForward<'a> {
    /// Cells of a row, `n`.
    pub cells: usize,
    /// `[N, 3n]` pre-activations of the gates, overwritten by the gates
    pub gates: &'a mut [f32],
    /// `[N, n]` candidates, ≥ 0
    pub candidate: &'a [f32],
    /// `[N, n]` state of the step before; none at the first step
    pub c_before: Option<&'a [f32]>,
    /// `[N, n]` state, overwritten
    pub c: &'a mut [f32],
    /// `[N, n]` output, overwritten
    pub h: &'a mut [f32],
}

/// Operands of [`cell_backward`].
#[derive(Debug)]
pub struct CellBackward<'a> {
    /// Cells of a row, `n`.
    pub cells: usize,
    /// `[N, 3n]` the gates
    pub gates: &'a [f32],
    /// `[N, n]` candidates, outputs of a relu
    pub candidate: &'a [f32],
    /// `[N, n]` state of the step before; none at the first step
    pub c_before: Option<&'a [f32]>,
    /// `[N, n]` state
    pub c: &'a [f32],
    /// `[N, n]` gradient of the output
    pub d_h: &'a [f32],
    /// `[N, n]` gradient of the state by the step after, overwritten by that of the state before
    pub d_c: &'a mut [f32],
    /// `[N, 3n]` gradient of the gates' pre-activations, overwritten
    pub d_gates: &'a mut [f32],
    /// `[N, n]` gradient of the candidates in front of their relu, overwritten
    pub d_candidate: &'a mut [f32],
    /// Guided backprop: the gates are constants, and negative gradients are cut at the relu.
    pub guided: bool,
}

/// Operands of [`cell_relevance`].
#[derive(Debug)]
pub struct CellRelevance<'a> {
    /// Cells of a row, `n`.
    pub cells: usize,
    /// `[N, 3n]` the gates
    pub gates: &'a [f32],
    /// `[N, n]` state of the step before; none at the first step
    pub c_before: Option<&'a [f32]>,
    /// `[N, n]` state
    pub c: &'a [f32],
    /// `[N, n]` relevance of the output
    pub r_h: &'a [f32],
    /// `[N, n]` relevance of the state by the step after, overwritten by that of the state before
    pub r_c: &'a mut [f32],
    /// `[N, n]` relevance of the candidates, overwritten
    pub r_candidate: &'a mut [f32],
    /// Added to the denominator `c`.
    pub eps: f32,
}

/// The gates of a row.
#[derive(Clone, Copy)]
struct Gates<'a> {
    input: &'a [f32],
    forget: &'a [f32],
    output: &'a [f32],
}

/// Row `row` of so many columns. Loops over as many columns need no bounds checks then.
#[inline(always)]
fn row_of(x: &[f32], row: usize, width: usize) -> &[f32] {
    &x[row * width..][..width]
}

#[inline(always)]
fn row_mut(x: &mut [f32], row: usize, width: usize) -> &mut [f32] {
    &mut x[row * width..][..width]
}

#[inline(always)]
fn gates_of(gates: &[f32], row: usize, cells: usize) -> Gates<'_> {
    let [input, forget, output] = [0, 1, 2].map(|gate| row_of(gates, 3 * row + gate, cells));
    Gates { input, forget, output }
}

impl Loop for CellForward<'_> {
    #[inline(always)]
    fn run(self) {
        let CellForward { cells: n, gates, candidate, c_before, c, h } = self;
        for gate in gates.iter_mut() {
            *gate = sigmoid(*gate);
        }
        for row in 0..c.len() / n {
            let Gates { input, forget, output } = gates_of(gates, row, n);
            let (candidate, c, h) = (row_of(candidate, row, n), row_mut(c, row, n), row_mut(h, row, n));
            match c_before {
                Some(before) => {
                    let before = row_of(before, row, n);
                    for j in 0..n {
                        c[j] = forget[j] * before[j] + input[j] * candidate[j];
                    }
                }
                None => {
                    for j in 0..n {
                        c[j] = input[j] * candidate[j];
                    }
                }
            }
            for j in 0..n {
                h[j] = output[j] * c[j];
            }
        }
    }
}

impl Loop for CellBackward<'_> {
    #[inline(always)]
    fn run(self) {
        let CellBackward { cells: n, gates, candidate, c_before, c, d_h, d_c, d_gates, d_candidate, guided } =
            self;
        for row in 0..c.len() / n {
            let Gates { input, forget, output } = gates_of(gates, row, n);
            let (candidate, c, d_h) = (row_of(candidate, row, n), row_of(c, row, n), row_of(d_h, row, n));
            let (d_c, d_candidate) = (row_mut(d_c, row, n), row_mut(d_candidate, row, n));
            let (d_input, rest) = row_mut(d_gates, row, 3 * n).split_at_mut(n);
            let (d_forget, d_output) = rest.split_at_mut(n);
            let d_output = &mut d_output[..n];
            for j in 0..n {
                d_c[j] += d_h[j] * output[j];
            }
            for j in 0..n {
                let d = d_c[j] * input[j];
                let passes = candidate[j] > 0.0 && (!guided || d > 0.0);
                d_candidate[j] = if passes { d } else { 0.0 };
            }
            if guided {
                d_input.fill(0.0);
                d_forget.fill(0.0);
                d_output.fill(0.0);
            } else {
                // σ' = σ·(1 − σ)
                for j in 0..n {
                    d_input[j] = d_c[j] * candidate[j] * (input[j] * (1.0 - input[j]));
                    d_output[j] = d_h[j] * c[j] * (output[j] * (1.0 - output[j]));
                }
                match c_before {
                    Some(before) => {
                        let before = row_of(before, row, n);
                        for j in 0..n {
                            d_forget[j] = d_c[j] * before[j] * (forget[j] * (1.0 - forget[j]));
                        }
                    }
                    None => d_forget.fill(0.0),
                }
            }
            for j in 0..n {
                d_c[j] *= forget[j];
            }
        }
    }
}

impl Loop for CellRelevance<'_> {
    #[inline(always)]
    fn run(self) {
        let CellRelevance { cells: n, gates, c_before, c, r_h, r_c, r_candidate, eps } = self;
        for row in 0..c.len() / n {
            let Gates { forget, .. } = gates_of(gates, row, n);
            let (c, r_h) = (row_of(c, row, n), row_of(r_h, row, n));
            let (r_c, r_candidate) = (row_mut(r_c, row, n), row_mut(r_candidate, row, n));
            match c_before {
                Some(before) => {
                    let before = row_of(before, row, n);
                    for j in 0..n {
                        let r = r_c[j] + r_h[j];
                        let kept = forget[j] * before[j] / (c[j] + eps) * r;
                        r_c[j] = kept;
                        r_candidate[j] = r - kept;
                    }
                }
                None => {
                    for j in 0..n {
                        r_candidate[j] = r_c[j] + r_h[j];
                        r_c[j] = 0.0;
                    }
                }
            }
        }
    }
}

/// The number of rows, all operands compared with it: `[N, n]` those of `cells`, `[N, 3n]` those of `gates`.
fn rows(
    name: &'static str,
    n: usize,
    c: usize,
    cells: &[(&'static str, usize)],
    gates: &[(&'static str, usize)],
) -> Result<usize, ShapeError> {
    let rows = c.checked_div(n).unwrap_or(0);
    axis(name, "N·n", "c", c, rows * n)?;
    for &(operand, found) in cells {
        axis(name, "N·n", operand, found, c)?;
    }
    for &(operand, found) in gates {
        axis(name, "N·3n", operand, found, volume([3, c]))?;
    }
    Ok(rows)
}

/// An elementwise function of a cell costs about as much as so many multiply-adds.
const COST: usize = 64;

/// Gates, state and output of a step from the gates' pre-activations and the candidates.
///
/// # Errors
/// [`ShapeError`] if `N` or `n` differ between operands; nothing is written then.
///
/// # Example
/// ```
/// use kernels::Kernels;
/// use kernels::elementwise::gates::{CellForward, cell_forward};
/// let (mut gates, mut c, mut h) = ([0.0; 3], [0.0], [0.0]);
/// let operands =
///     CellForward { cells: 1, gates: &mut gates, candidate: &[4.0], c_before: Some(&[2.0]), c: &mut c, h: &mut h };
/// cell_forward(&Kernels::default(), operands)?;
/// assert_eq!((gates, c, h), ([0.5; 3], [3.0], [1.5]));
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn cell_forward(kernels: &Kernels, operands: CellForward) -> Result<(), ShapeError> {
    const NAME: &str = "cell_forward";
    let CellForward { cells: n, gates, candidate, c_before, c, h } = operands;
    let _span = kernels.span(NAME, || Work::elements([c.len() / n.max(1), n], 40, 10));
    let before = c_before.map_or(c.len(), <[f32]>::len);
    let of_cells = [("candidate", candidate.len()), ("c_before", before), ("h", h.len())];
    let rows = rows(NAME, n, c.len(), &of_cells, &[("gates", gates.len())])?;
    let (gates, c, h) = (Shared::new(gates), Shared::new(c), Shared::new(h));
    kernels.threads().split(rows, COST * rows * n, &|rows| {
        let (at, at_gates) = (rows.start * n..rows.end * n, rows.start * 3 * n..rows.end * 3 * n);
        // SAFETY: the parts of a split own different rows of what is written, which is borrowed mutably.
        let (gates, c, h) = unsafe { (gates.slice(at_gates), c.slice(at.clone()), h.slice(at.clone())) };
        let c_before = c_before.map(|before| &before[at.clone()]);
        run(kernels.backend(), CellForward { cells: n, gates, candidate: &candidate[at], c_before, c, h });
    });
    Ok(())
}

/// The gradients of a step: of pre-activations, candidates and the state before, from those of output and state.
///
/// # Errors
/// [`ShapeError`] if `N` or `n` differ between operands; nothing is written then.
pub fn cell_backward(kernels: &Kernels, operands: CellBackward) -> Result<(), ShapeError> {
    const NAME: &str = "cell_backward";
    let CellBackward { cells: n, gates, candidate, c_before, c, d_h, d_c, d_gates, d_candidate, guided } =
        operands;
    let _span = kernels.span(NAME, || Work::elements([c.len() / n.max(1), n], 20, 13));
    let before = c_before.map_or(c.len(), <[f32]>::len);
    let of_cells = [
        ("candidate", candidate.len()),
        ("c_before", before),
        ("d_h", d_h.len()),
        ("d_c", d_c.len()),
        ("d_candidate", d_candidate.len()),
    ];
    let rows = rows(NAME, n, c.len(), &of_cells, &[("gates", gates.len()), ("d_gates", d_gates.len())])?;
    let (d_c, d_gates, d_candidate) = (Shared::new(d_c), Shared::new(d_gates), Shared::new(d_candidate));
    kernels.threads().split(rows, COST * rows * n, &|rows| {
        let (at, at_gates) = (rows.start * n..rows.end * n, rows.start * 3 * n..rows.end * 3 * n);
        // SAFETY: as in `cell_forward`.
        let (d_c, d_gates, d_candidate) = unsafe {
            (d_c.slice(at.clone()), d_gates.slice(at_gates.clone()), d_candidate.slice(at.clone()))
        };
        let part = CellBackward {
            cells: n,
            gates: &gates[at_gates],
            candidate: &candidate[at.clone()],
            c_before: c_before.map(|before| &before[at.clone()]),
            c: &c[at.clone()],
            d_h: &d_h[at],
            d_c,
            d_gates,
            d_candidate,
            guided,
        };
        run(kernels.backend(), part);
    });
    Ok(())
}

/// Splits the relevance of a step's state between the state before and the candidates, the gates taken as constants:
/// `p = f∘c_before / (c + ε)`, `p∘R` goes to the state before and `(1 − p)∘R` to the candidates, so that nothing is
/// absorbed. Where `c` is 0, all goes to the candidates.
///
/// # Errors
/// [`ShapeError`] if `N` or `n` differ between operands; nothing is written then.
pub fn cell_relevance(kernels: &Kernels, operands: CellRelevance) -> Result<(), ShapeError> {
    const NAME: &str = "cell_relevance";
    let CellRelevance { cells: n, gates, c_before, c, r_h, r_c, r_candidate, eps } = operands;
    let _span = kernels.span(NAME, || Work::elements([c.len() / n.max(1), n], 6, 7));
    let before = c_before.map_or(c.len(), <[f32]>::len);
    let of_cells =
        [("c_before", before), ("r_h", r_h.len()), ("r_c", r_c.len()), ("r_candidate", r_candidate.len())];
    let rows = rows(NAME, n, c.len(), &of_cells, &[("gates", gates.len())])?;
    let (r_c, r_candidate) = (Shared::new(r_c), Shared::new(r_candidate));
    kernels.threads().split(rows, COST * rows * n, &|rows| {
        let (at, at_gates) = (rows.start * n..rows.end * n, rows.start * 3 * n..rows.end * 3 * n);
        // SAFETY: as in `cell_forward`.
        let (r_c, r_candidate) = unsafe { (r_c.slice(at.clone()), r_candidate.slice(at.clone())) };
        let part = CellRelevance {
            cells: n,
            gates: &gates[at_gates],
            c_before: c_before.map(|before| &before[at.clone()]),
            c: &c[at.clone()],
            r_h: &r_h[at],
            r_c,
            r_candidate,
            eps,
        };
        run(kernels.backend(), part);
    });
    Ok(())
}

#[cfg(test)]
mod tests;

//! One cell of an LSTM with a relu candidate.

use super::sigmoid;

/// A cell at one step.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Input, forget and output gate.
    pub gates: [f64; 3],
    /// The candidate, the output of a relu.
    pub candidate: f64,
    /// State of the step before.
    pub before: f64,
    /// State.
    pub c: f64,
    /// Output.
    pub h: f64,
}

/// Gradients of a cell.
#[derive(Clone, Copy, Debug)]
pub struct CellGradients {
    /// Of the gates' pre-activations.
    pub d_pre: [f64; 3],
    /// Of the candidate in front of its relu.
    pub d_candidate: f64,
    /// Of the state of the step before.
    pub d_before: f64,
}

impl Cell {
    /// `i, f, o = σ(pre)`, `c = f·before + i·candidate`, `h = o·c`
    pub fn new(pre: [f64; 3], candidate: f64, before: f64) -> Cell {
        let gates = pre.map(sigmoid);
        let [i, f, o] = gates;
        let c = f * before + i * candidate;
        Cell { gates, candidate, before, c, h: o * c }
    }

    /// Gradients from those of the output and, by the step after, of the state. Guided backprop takes the gates as
    /// constants and cuts a negative gradient at the relu.
    pub fn backward(&self, d_h: f64, d_c: f64, guided: bool) -> CellGradients {
        let Cell { gates: [i, f, o], candidate, before, c, .. } = *self;
        let d_c = d_c + d_h * o;
        let d_pre = [d_c * candidate * i * (1.0 - i), d_c * before * f * (1.0 - f), d_h * c * o * (1.0 - o)];
        let d_candidate = if candidate > 0.0 && (!guided || d_c * i > 0.0) { d_c * i } else { 0.0 };
        CellGradients { d_pre: if guided { [0.0; 3] } else { d_pre }, d_candidate, d_before: d_c * f }
    }

    /// The relevance `r` of the state, split between the state before and the candidate.
    pub fn relevance(&self, r: f64, eps: f64) -> [f64; 2] {
        let kept = self.gates[1] * self.before / (self.c + eps);
        [kept * r, (1.0 - kept) * r]
    }
}

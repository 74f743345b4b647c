use super::*;
use crate::reference::Cell;
use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
use proptest::prelude::*;

/// A step with everything computed by the reference implementation.
struct Step {
    rows: usize,
    cells: usize,
    pre: Vec<f32>,
    candidate: Vec<f32>,
    before: Option<Vec<f32>>,
    from_h: Vec<f32>,
    from_c: Vec<f32>,
}

impl Step {
    fn cell(&self, i: usize) -> Cell {
        let (row, j, n) = (i / self.cells, i % self.cells, self.cells);
        let pre = [0, 1, 2].map(|gate| f64::from(self.pre[row * 3 * n + gate * n + j]));
        let before = self.before.as_ref().map_or(0.0, |before| f64::from(before[i]));
        Cell::new(pre, f64::from(self.candidate[i]), before)
    }

    fn cells(&self) -> impl Iterator<Item = (usize, Cell)> {
        (0..self.candidate.len()).map(|i| (i, self.cell(i)))
    }

    /// Values of the gates, laid out as the kernels have them.
    fn by_gate(&self, of: impl Fn(usize, Cell) -> [f64; 3]) -> Vec<f64> {
        let mut all = vec![0.0; 3 * self.candidate.len()];
        for (i, cell) in self.cells() {
            let (row, j, n) = (i / self.cells, i % self.cells, self.cells);
            let values = of(i, cell);
            (0..3).for_each(|gate| all[row * 3 * n + gate * n + j] = values[gate]);
        }
        all
    }

    fn by_cell(&self, of: impl Fn(usize, Cell) -> f64) -> Vec<f64> {
        self.cells().map(|(i, cell)| of(i, cell)).collect()
    }

    fn check(&self, kernels: &Kernels, bits: &mut SameBits) {
        let (n, len) = (self.cells, self.rows * self.cells);
        let before = self.before.as_deref();
        let (mut gates, mut c, mut h) = (self.pre.clone(), vec![f32::NAN; len], vec![f32::NAN; len]);
        let candidate = &self.candidate[..];
        let forward =
            CellForward { cells: n, gates: &mut gates, candidate, c_before: before, c: &mut c, h: &mut h };
        cell_forward(kernels, forward).expect("shapes fit");
        close("gates", &gates, &self.by_gate(|_, cell| cell.gates), 1e-6);
        close("c", &c, &self.by_cell(|_, cell| cell.c), 1e-6);
        close("h", &h, &self.by_cell(|_, cell| cell.h), 1e-6);
        let mut results = [gates.clone(), c.clone(), h].concat();
        let (d_h, d_c) = (&self.from_h, &self.from_c);
        let of = |values: &[f32], i: usize| f64::from(values[i]);
        for guided in [false, true] {
            let (mut d_c_out, mut d_gates, mut d_candidate) =
                (d_c.clone(), vec![f32::NAN; 3 * len], vec![f32::NAN; len]);
            let operands = CellBackward {
                cells: n,
                gates: &gates,
                candidate,
                c_before: before,
                c: &c,
                d_h,
                d_c: &mut d_c_out,
                d_gates: &mut d_gates,
                d_candidate: &mut d_candidate,
                guided,
            };
            cell_backward(kernels, operands).expect("shapes fit");
            let want = |i, cell: Cell| cell.backward(of(d_h, i), of(d_c, i), guided);
            close("d_gates", &d_gates, &self.by_gate(|i, cell| want(i, cell).d_pre), 1e-5);
            close("d_candidate", &d_candidate, &self.by_cell(|i, cell| want(i, cell).d_candidate), 1e-5);
            close("d_c", &d_c_out, &self.by_cell(|i, cell| want(i, cell).d_before), 1e-5);
            results.extend([d_c_out, d_gates, d_candidate].concat());
        }
        let (mut r_c, mut r_candidate) = (self.from_c.clone(), vec![f32::NAN; len]);
        let operands = CellRelevance {
            cells: n,
            gates: &gates,
            c_before: before,
            c: &c,
            r_h: d_h,
            r_c: &mut r_c,
            r_candidate: &mut r_candidate,
            eps: 1e-9,
        };
        cell_relevance(kernels, operands).expect("shapes fit");
        let want = |i, cell: Cell| cell.relevance(of(d_h, i) + of(d_c, i), 1e-9);
        close("r_c", &r_c, &self.by_cell(|i, cell| want(i, cell)[0]), 1e-5);
        close("r_candidate", &r_candidate, &self.by_cell(|i, cell| want(i, cell)[1]), 1e-5);
        results.extend([r_c, r_candidate].concat());
        bits.check(kernels, "a cell", &results);
    }
}

/// Compares with an f64 reference, relative to its largest value or to 1, the size of the operands: sums of these may cancel.
fn close(what: &str, found: &[f32], want: &[f64], tolerance: f64) {
    assert_close(what, &[found, &[1.0]].concat(), &[want, &[1.0]].concat(), tolerance);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_backend_gives_the_same_bits_and_agrees_with_f64(
        rows in 0usize..9, cells in 1usize..40, first: bool, scale in 0usize..3, seed in 1u64..1000,
    ) {
        let len = rows * cells;
        let scaled = |mut x: Vec<f32>, by: f32| { x.iter_mut().for_each(|x| *x *= by); x };
        let step = Step {
            rows,
            cells,
            pre: scaled(floats(3 * len, seed), [1.0, 8.0, 200.0][scale]),
            candidate: activations(len, seed + 1),
            before: (!first).then(|| activations(len, seed + 2)),
            from_h: floats(len, seed + 3),
            from_c: floats(len, seed + 4),
        };
        let mut bits = SameBits::default();
        for kernels in kernel_sets() {
            step.check(&kernels, &mut bits);
        }
    }
}

#[test]
fn relevance_of_a_state_of_zero_goes_to_the_candidate() {
    let (mut r_c, mut r_candidate) = ([1.0], [0.0]);
    let operands = CellRelevance {
        cells: 1,
        gates: &[0.5; 3],
        c_before: Some(&[0.0]),
        c: &[0.0],
        r_h: &[2.0],
        r_c: &mut r_c,
        r_candidate: &mut r_candidate,
        eps: 1e-9,
    };
    cell_relevance(&Kernels::default(), operands).expect("shapes fit");
    assert_eq!((r_c, r_candidate), ([0.0], [3.0]));
}

#[test]
fn operands_of_other_shapes_are_refused() {
    let (mut gates, mut c, mut h) = ([0.0; 5], [0.0; 2], [7.0; 2]);
    let operands = CellForward {
        cells: 2,
        gates: &mut gates,
        candidate: &[0.0; 2],
        c_before: None,
        c: &mut c,
        h: &mut h,
    };
    let error = cell_forward(&Kernels::default(), operands).expect_err("gates are too few");
    assert_eq!(error.to_string(), "cell_forward: axis N·3n is 5 in `gates`, 6 expected");
    assert_eq!(h, [7.0; 2]);
}

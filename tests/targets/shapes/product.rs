//! `gemm` and `gemm_tn`, with initial values and epilogues that convolutions use, too.

use super::draw::{Draw, panels, same};
use super::operand::{Mat, Out, agrees, close};
use kernels::pack::{pack, unpack};
use kernels::relevance::Stabiliser;
use kernels::{Dropout, Epilogue, Init, Kernels, Panels, panels_len, reference};

/// Initial value and epilogue with their operands.
pub struct Ends {
    init: usize,
    epilogue: usize,
    from: Mat,
    with: Mat,
    bias: Vec<f32>,
    dropout: Dropout,
    flag: bool,
}

impl Ends {
    pub fn drawn(draw: &mut Draw, m: usize, n: usize) -> Ends {
        let (init, epilogue, flag) = (draw.below(3), draw.below(7), draw.flag());
        let (m, n) = (draw.near(m), draw.near(n));
        let padded = draw.near_len(n.div_ceil(16).saturating_mul(16));
        Ends {
            init,
            epilogue,
            from: Mat::drawn(draw, if init == 2 { m } else { 0 }, n, Draw::values),
            with: Mat::drawn(draw, if epilogue > 3 { m } else { 0 }, n, Draw::values),
            bias: draw.values(padded),
            dropout: Dropout::new(0.5, m as u64),
            flag,
        }
    }

    pub fn reads_c(&self) -> bool {
        self.init == 1 || self.epilogue == 6
    }

    pub fn init(&self) -> Init<'_> {
        match self.init {
            0 => Init::Zero,
            1 => Init::Accumulate,
            _ => Init::Copy(self.from.view()),
        }
    }

    pub fn epilogue(&self) -> Epilogue<'_> {
        match self.epilogue {
            0 => Epilogue::Store,
            1 => Epilogue::Bias(&self.bias),
            2 => Epilogue::BiasRelu(&self.bias),
            3 => Epilogue::BiasReluDropout(&self.bias, self.dropout),
            4 => Epilogue::ReluGradient { a: self.with.view(), scale: 2.0, guided: self.flag },
            5 => Epilogue::Ratio {
                r: self.with.view(),
                coefficient: -1.0,
                stabiliser: Stabiliser::Constant(self.eps()),
            },
            _ => Epilogue::Times { a: self.with.view(), shift: 0.25, add: self.flag },
        }
    }

    fn eps(&self) -> f32 {
        if self.flag { 1e-9 } else { -1e-9 }
    }

    pub fn fit(&self, m: usize, n: usize) -> bool {
        let matrix = |mat: &Mat| (mat.rows, mat.cols) == (m, n);
        (self.init != 2 || matrix(&self.from))
            && match self.epilogue {
                0 => true,
                1..4 => self.bias.len() == n || same(&[(self.bias.len(), (n as u128).next_multiple_of(16))]),
                _ => matrix(&self.with),
            }
    }

    /// The expected `c`, from sums that started at zero.
    pub fn want(&self, sums: &[f64], before: &[f32], n: usize) -> Vec<f64> {
        let wide = |x: Vec<f32>| -> Vec<f64> { x.into_iter().map(f64::from).collect() };
        let before = wide(before.to_vec());
        let from = match self.init {
            0 => vec![0.0; sums.len()],
            1 => before.clone(),
            _ => wide(self.from.plain()),
        };
        let with = if self.epilogue > 3 { wide(self.with.plain()) } else { vec![0.0; sums.len()] };
        let one = |i: usize| {
            let s = sums[i] + from[i];
            let bias = |s: f64| s + f64::from(self.bias[i % n]);
            match self.epilogue {
                0 => s,
                1 => bias(s),
                2 => bias(s).max(0.0),
                3 => bias(s).max(0.0) * f64::from(self.dropout.factor(i as u64)),
                4 if with[i] <= 0.0 => 0.0,
                4 => 2.0 * if self.flag { s.max(0.0) } else { s },
                5 => -with[i] / (s + f64::from(self.eps())),
                _ => s * (with[i] - 0.25) + if self.flag { before[i] } else { 0.0 },
            }
        };
        (0..sums.len()).map(one).collect()
    }
}

pub fn gemm(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (m, n, k) = (draw.size(), draw.size(), draw.size());
    let (rows, cols) = (draw.near(m), draw.near(k));
    let a = Mat::drawn(draw, rows, cols, Draw::values);
    let (b_k, b_n) = (draw.near_len(k) % 128, draw.near_len(n) % 128);
    let w = draw.values(b_k * b_n);
    // Some of the rows of taller weights.
    let above = draw.below(3);
    let packed = pack(&[vec![f32::NAN; above * b_n], w.clone()].concat(), above + b_k, b_n);
    let b = Panels::new(&packed, above + b_k, b_n).rows(above, above + b_k);
    let ends = Ends::drawn(draw, m, n);
    let (c_m, c_n) = (draw.near(m), draw.near(n));
    let mut c = Out::drawn(draw, c_m, c_n, ends.reads_c());
    let fits = (a.rows, a.cols) == (c.rows(), b_k) && c.cols() == b_n && ends.fit(c.rows(), c.cols());
    let before = c.before();
    let result = kernels::gemm(kernels, a.view(), b, ends.init(), ends.epilogue(), c.view());
    if !agrees(draw, result, fits) {
        return c.untouched();
    }
    let sums = reference::gemm(&a.plain(), &w, a.rows, b_n, b_k);
    close("gemm", &c.written(), &ends.want(&sums, &before, b_n), 0.0);
}

pub fn gemm_tn(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (m, n, k) = (draw.size(), draw.size(), draw.size());
    let (above, below, add) = (draw.below(3), draw.below(3), draw.flag());
    let (rows, cols) = (draw.near(m), draw.near(k));
    let a = Mat::drawn(draw, rows, cols, Draw::values);
    let (rows, cols) = (draw.near(m), draw.near(n));
    let d_y = Mat::drawn(draw, rows, cols, Draw::values);
    let (total, first) = (draw.near(above + k + below), draw.near(above));
    let len = draw.near_len(panels_len(above + k + below, n));
    let mut d_w =
        if add { pack(&draw.values((above + k + below) * n), above + k + below, n) } else { vec![] };
    d_w.resize(len, if add { 0.0 } else { f32::NAN });
    let before = d_w.clone();
    let even = |mat: &Mat| mat.map.width >= mat.rows;
    let fits = d_y.rows == a.rows
        && same(&[(len, panels(total as u128, d_y.cols))])
        && first as u128 + a.cols as u128 <= total as u128
        && even(&a)
        && even(&d_y);
    if fits && (total > 1024 || a.rows > 1024) {
        return;
    }
    let result = kernels::gemm_tn(
        kernels,
        kernels::WeightGradient {
            a: a.view(),
            d_y: d_y.view(),
            accumulate: add,
            d_w: &mut d_w,
            rows: total,
            first_row: first,
        },
    );
    if !agrees(draw, result, fits) {
        return assert!(super::operand::same_bits(&d_w, &before), "written although it was refused");
    }
    let (k, n) = (a.cols, d_y.cols);
    let want = reference::gemm(&reference::transposed(&a.plain(), a.rows, k), &d_y.plain(), k, n, a.rows);
    let (found, before) = (unpack(Panels::new(&d_w, total, n)), unpack(Panels::new(&before, total, n)));
    for (i, (found, old)) in found.iter().zip(&before).enumerate() {
        let row = i / n;
        if row < first || row >= first + k {
            assert_eq!(found.to_bits(), old.to_bits(), "row {row} is not one of {first}..{}", first + k);
        } else {
            let want = want[(row - first) * n + i % n] + if add { f64::from(*old) } else { 0.0 };
            assert_eq!(f64::from(*found), want, "row {row}");
        }
    }
}

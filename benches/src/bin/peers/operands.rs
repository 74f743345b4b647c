//! The operands of the products of training, for ours and for other libraries.

use benches::{activations, assert_product, floats};
use kernels::{
    Dropout, Epilogue, Init, Kernels, MatMut, MatRef, MatmulBlock, PackedWeights, Panels, STRIP, Strided,
    WeightGradient, gemm, gemm_tn, panels_len, reference,
};

/// The product of training that a shape belongs to.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// `X·W`.
    Nn,
    /// `X·W` of ours with bias, relu and dropout; peers only multiply.
    Dropout,
    /// `Xᵀ·dY`, the weight gradient.
    Tn,
    /// `dY·Wᵀ`, the input gradient.
    Nt,
}

/// The operands as in training: `X`, `dY` and `W` row-major.
pub struct Operands {
    pub form: Form,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    /// `W` or `Wᵀ`, packed once for all calls; an external backend makes its own form of it once.
    packed: Option<PackedWeights>,
    bias: Vec<f32>,
}

/// The bias of every column.
const BIAS: f32 = 100.0;

impl Operands {
    pub fn new(form: Form, [m, n, k]: [usize; 3]) -> Self {
        let a = if form == Form::Nt { floats(m * k, 1) } else { activations(m * k, 1) };
        let b = floats(k * n, 2);
        let packed = match form {
            Form::Nn | Form::Dropout => Some(PackedWeights::new(&b, k, n)),
            Form::Tn => None,
            Form::Nt => Some(PackedWeights::new(&reference::transposed(&b, n, k), k, n)),
        };
        let packed = packed.map(|weights| weights.expect("a size that fits"));
        Operands { form, m, n, k, a, b, packed, bias: vec![BIAS; n.next_multiple_of(STRIP)] }
    }

    pub fn left(&self) -> Strided<'_> {
        match self.form {
            Form::Tn => Strided::row_major(&self.a, self.k, self.m).transposed(),
            _ => Strided::row_major(&self.a, self.m, self.k),
        }
    }

    pub fn right(&self) -> Strided<'_> {
        match self.form {
            Form::Nt => Strided::row_major(&self.b, self.n, self.k).transposed(),
            _ => Strided::row_major(&self.b, self.k, self.n),
        }
    }

    /// The product for another library, whose sums go to `c`.
    pub fn block<'a>(&'a self, c: &'a mut [f32]) -> MatmulBlock<'a> {
        MatmulBlock { a: self.left(), b: self.right(), c, c_stride: self.n }
    }

    /// Our product: with packed weights, or with a packed weight gradient as its output.
    pub fn product(&self, kernels: &Kernels, out: &mut [f32]) {
        let Operands { m, n, k, .. } = *self;
        let found = if let Some(w) = &self.packed {
            let epilogue = match self.form {
                // All are kept, and the bias keeps all sums positive, so that the result can be checked.
                Form::Dropout => Epilogue::BiasReluDropout(&self.bias, Dropout::new(0.0, 1)),
                _ => Epilogue::Store,
            };
            let a = MatRef::new(&self.a, m, k);
            gemm(kernels, a, w.panels(), Init::Zero, epilogue, MatMut::new(out, m, n))
        } else {
            let (x, d_y) = (MatRef::new(&self.a, k, m), MatRef::new(&self.b, k, n));
            gemm_tn(kernels, WeightGradient { a: x, d_y, accumulate: false, d_w: out, rows: m, first_row: 0 })
        };
        found.expect("shapes fit");
    }

    /// Room for our result, filled with NaN: a packed weight gradient is longer than its matrix.
    pub fn room(&self) -> Vec<f32> {
        vec![f32::NAN; if self.form == Form::Tn { panels_len(self.m, self.n) } else { self.m * self.n }]
    }

    /// The element of our result that is the sum at `[i, j]`.
    fn sum(&self, out: &[f32], i: usize, j: usize) -> f32 {
        match self.form {
            Form::Tn => Panels::new(out, self.m, self.n).at(i, j),
            Form::Dropout => out[i * self.n + j] - BIAS,
            Form::Nn | Form::Nt => out[i * self.n + j],
        }
    }

    /// Compares our result with the reference.
    pub fn check_ours(&self, out: &[f32]) {
        self.check("ours", |i, j| self.sum(out, i, j));
    }

    /// Compares the row-major result of another library with the reference.
    pub fn check_theirs(&self, who: &str, c: &[f32]) {
        self.check(who, |i, j| c[i * self.n + j]);
    }

    fn check(&self, who: &str, found: impl Fn(usize, usize) -> f32) {
        let (a, b) = (self.left(), self.right());
        let row = |i: usize| (0..self.k).map(|p| a.at(i, p)).collect();
        let column = |j: usize| (0..self.k).map(|p| b.at(p, j)).collect();
        assert_product(who, [self.m, self.n], found, row, column);
    }
}

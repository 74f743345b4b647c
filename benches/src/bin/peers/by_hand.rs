//! Relevance rules written down with plain products: every matrix whole, the steps between them one
//! loop each on the calling thread, buffers made once.

use benches::{activations, floats};
use kernels::pack::{self, Part, pack};
use kernels::relevance::EPS;
use kernels::{Epilogue, Init, Kernels, MatMut, MatRef, Panels, gemm, panels_len};
use std::array;

/// α and β of the αβ rule.
pub const ALPHA_BETA: (f32, f32) = (2.0, 1.0);
/// `l` and `h` of the z^β rule.
pub const BOUNDS: (f32, f32) = (-1.0, 1.0);

/// A dense layer `[J, K]`, its inputs `[N, J]` and the relevance of its outputs `[N, K]`.
pub struct Layer {
    pub n: usize,
    pub j: usize,
    pub k: usize,
    pub x: Vec<f32>,
    pub w: Vec<f32>,
    pub r: Vec<f32>,
    packed: Vec<f32>,
}

impl Layer {
    /// A layer that sees relu activations.
    pub fn hidden([n, j, k]: [usize; 3]) -> Self {
        let w = floats(j * k, 2);
        let packed = pack(&w, j, k);
        Layer { n, j, k, x: activations(n * j, 1), r: activations(n * k, 3), w, packed }
    }

    /// A layer that sees pixels within [`BOUNDS`].
    pub fn pixels(shape @ [n, j, _]: [usize; 3]) -> Self {
        Layer { x: floats(n * j, 1), ..Self::hidden(shape) }
    }

    pub fn panels(&self) -> Panels<'_> {
        Panels::new(&self.packed, self.j, self.k)
    }

    pub fn x(&self) -> MatRef<'_> {
        MatRef::new(&self.x, self.n, self.j)
    }

    pub fn r(&self) -> MatRef<'_> {
        MatRef::new(&self.r, self.n, self.k)
    }
}

/// A part of the weights, materialised in both orientations.
#[derive(Clone)]
struct Both {
    part: Part,
    j: usize,
    k: usize,
    forward: Vec<f32>,
    back: Vec<f32>,
}

impl Both {
    fn new(layer: &Layer, part: Part) -> Self {
        let Layer { j, k, .. } = *layer;
        let (forward, back) = (vec![0.0; panels_len(j, k)], vec![0.0; panels_len(k, j)]);
        let mut both = Both { part, j, k, forward, back };
        both.make(layer);
        both
    }

    fn make(&mut self, layer: &Layer) {
        pack::part(layer.panels(), self.part, &mut self.forward);
        pack::transpose(layer.panels(), self.part, &mut self.back);
    }

    /// `out = x·W`
    fn forward(&self, kernels: &Kernels, x: &[f32], out: &mut [f32]) {
        product(kernels, x, Panels::new(&self.forward, self.j, self.k), out);
    }

    /// `out = s·Wᵀ`
    fn back(&self, kernels: &Kernels, s: &[f32], out: &mut [f32]) {
        product(kernels, s, Panels::new(&self.back, self.k, self.j), out);
    }
}

fn product(kernels: &Kernels, a: &[f32], b: Panels, c: &mut [f32]) {
    let (m, k, n) = (a.len() / b.k(), b.k(), b.n());
    let (a, c) = (MatRef::new(a, m, k), MatMut::new(c, m, n));
    gemm(kernels, a, b, Init::Zero, Epilogue::Store, c).expect("shapes fit");
}

/// What a rule by hand keeps between calls.
#[derive(Clone)]
pub struct Buffers {
    whole: Both,
    positive: Both,
    negative: Both,
    z: [Vec<f32>; 3],
    c: [Vec<f32>; 3],
    low: Vec<f32>,
    high: Vec<f32>,
    /// Relevance of the inputs.
    pub out: Vec<f32>,
}

impl Buffers {
    pub fn new(layer: &Layer) -> Self {
        let (inputs, outputs) = (layer.n * layer.j, layer.n * layer.k);
        let [whole, positive, negative] =
            [Part::All, Part::Positive, Part::Negative].map(|part| Both::new(layer, part));
        Buffers {
            whole,
            positive,
            negative,
            z: array::from_fn(|_| vec![0.0; outputs]),
            c: array::from_fn(|_| vec![0.0; inputs]),
            low: vec![BOUNDS.0; inputs],
            high: vec![BOUNDS.1; inputs],
            out: vec![0.0; inputs],
        }
    }

    /// Materialises W⁺; W and Wᵀ themselves are there, since training multiplies by them.
    pub fn make_positive(&mut self, layer: &Layer) {
        self.positive.make(layer);
    }

    /// Materialises W⁺ and W⁻.
    pub fn make_both(&mut self, layer: &Layer) {
        self.positive.make(layer);
        self.negative.make(layer);
    }
}

fn divide(r: &[f32], coefficient: f32, z: &mut [f32], eps: f32) {
    for (z, r) in z.iter_mut().zip(r) {
        *z = coefficient * r / (*z + eps);
    }
}

/// `x∘(S·W⁺ᵀ)`, `S = R / (x·W⁺ + ε)`: two products.
pub fn z_plus(kernels: &Kernels, layer: &Layer, buffers: &mut Buffers) {
    let Buffers { positive, z: [z, ..], c: [c, ..], out, .. } = buffers;
    positive.forward(kernels, &layer.x, z);
    divide(&layer.r, 1.0, z, EPS);
    positive.back(kernels, z, c);
    for ((out, c), x) in out.iter_mut().zip(&*c).zip(&layer.x) {
        *out = c * x;
    }
}

/// `x∘(S⁺·W⁺ᵀ + S⁻·W⁻ᵀ)`, `S⁺ = αR / (x·W⁺ + ε)`, `S⁻ = −βR / (x·W⁻ − ε)`: four products.
pub fn alpha_beta(kernels: &Kernels, layer: &Layer, buffers: &mut Buffers) {
    let Buffers { positive, negative, z: [z, y, _], c: [c, d, _], out, .. } = buffers;
    positive.forward(kernels, &layer.x, z);
    negative.forward(kernels, &layer.x, y);
    divide(&layer.r, ALPHA_BETA.0, z, EPS);
    divide(&layer.r, -ALPHA_BETA.1, y, -EPS);
    positive.back(kernels, z, c);
    negative.back(kernels, y, d);
    for (((out, c), d), x) in out.iter_mut().zip(&*c).zip(&*d).zip(&layer.x) {
        *out = (c + d) * x;
    }
}

/// `x∘(S·Wᵀ) − l∘(S·W⁺ᵀ) − h∘(S·W⁻ᵀ)`, `S = R / (x·W − l·W⁺ − h·W⁻ + ε)`: six products.
pub fn z_beta(kernels: &Kernels, layer: &Layer, buffers: &mut Buffers) {
    let Buffers { whole, positive, negative, z: [s, zl, zh], c: [c, cl, ch], low, high, out } = buffers;
    whole.forward(kernels, &layer.x, s);
    positive.forward(kernels, low, zl);
    negative.forward(kernels, high, zh);
    for ((s, zl), zh) in s.iter_mut().zip(&*zl).zip(&*zh) {
        *s -= zl + zh;
    }
    divide(&layer.r, 1.0, s, EPS);
    whole.back(kernels, s, c);
    positive.back(kernels, s, cl);
    negative.back(kernels, s, ch);
    let by_x = out.iter_mut().zip(&*c).zip(&layer.x);
    let by_bounds = cl.iter().zip(&*low).zip(ch.iter().zip(&*high));
    for (((out, c), x), ((cl, l), (ch, h))) in by_x.zip(by_bounds) {
        *out = x * c - l * cl - h * ch;
    }
}

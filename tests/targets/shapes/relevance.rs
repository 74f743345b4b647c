//! The rules of dense layers.

use super::draw::Draw;
use super::operand::{Mat, Out, agrees, close, largest};
use kernels::pack::{Part, pack};
use kernels::relevance::z_beta::ZBeta;
use kernels::relevance::{self, EPS, PackedPart};
use kernels::{ConvShape, Kernels, Panels, reference};

/// What every rule has: `[N, J]` inputs, `[J, K]` weights, `[N, K]` relevance.
struct Layer {
    kernels: &'static Kernels,
    n: usize,
    j: usize,
    k: usize,
    /// The shape of the weights themselves, that of a convolution now and then.
    w_shape: (usize, usize),
    of_conv: bool,
    w: Vec<f32>,
    a: Mat,
    r_out: Mat,
    r_in: Out,
    lost: Vec<f64>,
}

impl Layer {
    fn drawn(draw: &mut Draw) -> Layer {
        let kernels = draw.kernels();
        let (n, j, k) = ([0, 1, 2, 3, 47, 48, 49, 60][draw.below(8)], draw.size(), draw.size());
        let w_shape = (draw.near_len(j) % 128, draw.near_len(k) % 128);
        let w = draw.values(w_shape.0 * w_shape.1);
        let (rows, cols) = (draw.near(n), draw.near(j));
        let a = Mat::drawn(draw, rows, cols, Draw::activations);
        let (rows, cols) = (draw.near(n), draw.near(k));
        let r_out = Mat::drawn(draw, rows, cols, Draw::values);
        let (rows, cols) = (draw.near(n), draw.near(j));
        let r_in = Out::drawn(draw, rows, cols, false);
        let lost = vec![1.0; draw.near_len(n)];
        let of_conv = draw.below(16) == 15;
        Layer { kernels, n, j, k, w_shape, of_conv, w, a, r_out, r_in, lost }
    }

    /// A part of the weights; of a convolution with three filter lines if that fits, which no rule may take.
    fn part(&self, part: Part) -> PackedPart {
        let (j, k) = self.w_shape;
        let packed = pack(&self.w, j, k);
        let panels = Panels::new(&packed, j, k);
        let shape = ConvShape { rows: 1, cols: 1, size: 3, inputs: j / 9, outputs: k };
        if self.conv() { PackedPart::conv(&shape, panels, part) } else { PackedPart::dense(panels, part) }
    }

    /// Whether the weights are those of a convolution. Without any they are those of both.
    fn conv(&self) -> bool {
        let (j, k) = self.w_shape;
        self.of_conv && j % 9 == 0 && j * k > 0
    }

    /// Whether what all rules have fits.
    fn fits(&self) -> bool {
        let (n, k) = (self.r_out.rows, self.r_out.cols);
        !self.conv() && self.w_shape == (self.r_in.cols(), k) && self.r_in.rows() == n && self.lost.len() == n
    }

    fn a_fits(&self) -> bool {
        (self.a.rows, self.a.cols) == (self.r_in.rows(), self.r_in.cols())
    }

    fn untouched(&self) {
        self.r_in.untouched();
        assert!(self.lost.iter().all(|&lost| lost == 1.0), "lost something although it was refused");
    }

    /// Compares with a reference implementation that sees inputs and relevance of a sample.
    fn compare(&self, one: impl Fn(&[f32], &[f64]) -> (Vec<f64>, f64)) {
        let (n, j, k) = (self.r_out.rows, self.r_in.cols(), self.r_out.cols);
        let a = if self.a.rows == n { self.a.plain() } else { vec![] };
        let r = self.r_out.plain();
        let found = self.r_in.written();
        let scale = 4.0 * largest(&r) * k.max(1) as f64;
        for i in 0..n {
            let r: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
            let a = if self.a_fits() { &a[i * j..][..j] } else { &[][..] };
            let (want, lost) = one(a, &r);
            close("relevance", &found[i * j..][..j], &want, scale);
            close("lost", &[(self.lost[i] - 1.0) as f32], &[lost], scale);
        }
    }
}

pub fn z_plus(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw);
    let fits = layer.fits() && layer.a_fits();
    let (part, Layer { kernels, a, r_out, r_in, lost, .. }) = (layer.part(Part::Positive), &mut layer);
    let result = relevance::z_plus::z_plus(kernels, a.view(), &part, r_out.view(), r_in.view(), lost);
    if !agrees(draw, result, fits) {
        return layer.untouched();
    }
    layer.compare(|a, r| reference::z_plus(a, &layer.w, r, f64::from(EPS)));
}

pub fn alpha_beta(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw);
    // The negative part may be that of other weights.
    let other = (draw.near_len(layer.w_shape.0) % 128, draw.near_len(layer.w_shape.1) % 128);
    let fits = layer.fits() && layer.a_fits() && other == layer.w_shape;
    let positive = layer.part(Part::Positive);
    let negative = if other == layer.w_shape {
        layer.part(Part::Negative)
    } else {
        let packed = pack(&draw.values(other.0 * other.1), other.0, other.1);
        PackedPart::dense(Panels::new(&packed, other.0, other.1), Part::Negative)
    };
    let Layer { kernels, a, r_out, r_in, lost, .. } = &mut layer;
    let (a, r_out, r_in) = (a.view(), r_out.view(), r_in.view());
    let result =
        relevance::alpha_beta::alpha_beta(kernels, (2.0, 1.0), a, &positive, &negative, r_out, r_in, lost);
    if !agrees(draw, result, fits) {
        return layer.untouched();
    }
    layer.compare(|a, r| reference::alpha_beta((2.0, 1.0), a, &layer.w, r, f64::from(EPS)));
}

pub fn w_square(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw);
    let square = layer.part(Part::Square);
    let mut z = relevance::w_square::dense_denominators(&square);
    z.resize(draw.near_len(layer.k), 1.0);
    let mut c = vec![7.0; draw.near_len(layer.n * layer.k)];
    let fits = layer.fits() && z.len() == layer.r_out.cols && c.len() == layer.r_out.rows * layer.r_out.cols;
    let Layer { kernels, r_out, r_in, lost, .. } = &mut layer;
    let (r_out, r_in) = (r_out.view(), r_in.view());
    let result = relevance::w_square::w_square(kernels, &square, &z, r_out, r_in, &mut c, lost);
    if !agrees(draw, result, fits) {
        assert!(c.iter().all(|&c| c == 7.0), "scratch written although it was refused");
        return layer.untouched();
    }
    let j = layer.w_shape.0;
    layer.compare(|_, r| reference::w_square(j, &layer.w, r, f64::from(EPS)));
}

/// Pixels from −1 to 1.
fn pixels(draw: &mut Draw, len: usize) -> Vec<f32> {
    (0..len).map(|_| draw.value() / 2.0).collect()
}

pub fn z_beta(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw);
    let (rows, cols) = (draw.near(layer.n), draw.near(layer.j));
    layer.a = Mat::drawn(draw, rows, cols, pixels);
    layer.of_conv = false;
    let (j, k) = layer.w_shape;
    let packed = pack(&layer.w, j, k);
    let rule = ZBeta::dense(Panels::new(&packed, j, k), -1.0, 1.0);
    let right = layer.n * layer.k;
    let len = draw.near_len(right);
    let mut fits = layer.fits() && layer.a_fits() && len == layer.r_out.rows * layer.r_out.cols;
    let mut z = vec![1.0; len];
    if fits {
        let product = reference::gemm(&layer.a.plain(), &layer.w, layer.a.rows, k, j);
        z = product.iter().map(|&z| z as f32).collect();
    }
    let before = z.clone();
    // The kernel's own steps: `z − v`, the ratios, the numerators.
    if fits && draw.flag() {
        let n = layer.a.rows;
        let mut steps = z.clone();
        let other = draw.near_len(k) % 128;
        let mut wrong = vec![0.0; n * other];
        let found = rule.subtract_v(layer.kernels, kernels::MatMut::new(&mut wrong, n, other));
        assert_eq!(found.is_ok(), other == k, "subtract_v");
        rule.subtract_v(layer.kernels, kernels::MatMut::new(&mut steps, n, k)).expect("fits");
        for (i, (found, z)) in steps.iter().zip(&z).enumerate() {
            let v: f64 = (0..j).map(|p| -f64::from(layer.w[p * k + i % k].abs())).sum();
            assert_eq!(f64::from(*found), f64::from(*z) - v, "z − v");
        }
        let (rows, cols) = (draw.near(n), draw.near(k));
        let c = Mat::drawn(draw, rows, cols, Draw::values);
        let Layer { kernels, a, r_in, w, .. } = &mut layer;
        fits = (c.rows, c.cols) == (n, k);
        let result = rule.numerators(kernels, a.view(), c.view(), r_in.view());
        if !agrees(draw, result, fits) {
            return r_in.untouched();
        }
        let (a, c, w) = (a.plain(), c.plain(), &*w);
        let want: Vec<f64> = (0..n * j)
            .map(|at| {
                let (i, p) = (at / j, at % j);
                let sum = |sign: f32| -> f64 {
                    let part = |o: usize| f64::from((sign * w[p * k + o]).max(0.0) * sign);
                    (0..k).map(|o| f64::from(c[i * k + o]) * part(o)).sum()
                };
                (f64::from(a[at]) + 1.0) * sum(1.0) + (f64::from(a[at]) - 1.0) * sum(-1.0)
            })
            .collect();
        return close("numerators", &r_in.written(), &want, 1.0);
    }
    let Layer { kernels, a, r_out, r_in, lost, .. } = &mut layer;
    let (a, r_out, r_in) = (a.view(), r_out.view(), r_in.view());
    let result = relevance::z_beta::z_beta(kernels, &rule, a, &mut z, r_out, r_in, lost);
    if !agrees(draw, result, fits) {
        assert_eq!(z, before, "denominators written although it was refused");
        return layer.untouched();
    }
    layer.compare(|a, r| reference::z_beta(a, &layer.w, (-1.0, 1.0), r, f64::from(EPS)));
}

pub fn joint(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw);
    layer.of_conv = false;
    let part = layer.part(Part::Positive);
    let (rows, cols) = (draw.near(layer.n), draw.near(layer.k));
    let base = Mat::drawn(draw, rows, cols, Draw::activations);
    let (rows, cols) = (draw.near(layer.n), draw.near(layer.k));
    let mut c = Out::drawn(draw, rows, cols, false);
    let (n, k) = (c.rows(), c.cols());
    let without = layer.a.cols == 0;
    let fits = (base.rows, base.cols) == (n, k)
        && (layer.r_out.rows, layer.r_out.cols) == (n, k)
        && layer.a.rows == n
        && (layer.w_shape == (layer.a.cols, k) || without && layer.w_shape.1 == k)
        && layer.lost.len() == n;
    let Layer { kernels, a, r_out, lost, .. } = &mut layer;
    let (base_view, a_view, r) = (base.view(), a.view(), r_out.view());
    let result = relevance::joint::ratios(kernels, base_view, a_view, &part, (1.0, EPS), r, c.view(), lost);
    if !agrees(draw, result, fits) {
        c.untouched();
        layer.untouched();
    } else {
        let w: Vec<f32> = layer.w.iter().map(|w| w.max(0.0)).collect();
        let j = layer.a.cols;
        let sums = reference::gemm(&layer.a.plain(), if without { &[] } else { &w }, n, k, j);
        let (base, r, found) = (base.plain(), layer.r_out.plain(), c.written());
        for i in 0..n * k {
            let want = f64::from(r[i]) / (sums[i] + f64::from(base[i]) + f64::from(EPS));
            close("ratios", &[found[i]], &[want], 0.0);
        }
    }
    messages(draw, layer);
}

/// Messages of up to two pools, of which the second may be the wrong one.
fn messages(draw: &mut Draw, layer: Layer) {
    let Layer { kernels, n, k, w_shape, ref w, ref a, mut r_in, .. } = layer;
    let part = {
        let packed = pack(w, w_shape.0, w_shape.1);
        PackedPart::dense(Panels::new(&packed, w_shape.0, w_shape.1), Part::All)
    };
    let pools = draw.below(3);
    let mut ratios = Vec::new();
    for _ in 0..pools {
        let (rows, cols) = (draw.near(n), draw.near(k));
        ratios.push(Mat::drawn(draw, rows, cols, Draw::values));
    }
    let one = |c: &Mat| {
        (c.rows, c.cols) == (r_in.rows(), w_shape.1)
            && (r_in.rows(), r_in.cols()) == (a.rows, a.cols)
            && r_in.cols() == w_shape.0
    };
    let fits = ratios.iter().all(one);
    let views: Vec<_> = ratios.iter().map(|c| (c.view(), &part)).collect();
    let result = relevance::joint::messages(kernels, &views, a.view(), r_in.view());
    if pools == 0 {
        return;
    }
    if !agrees(draw, result, fits) {
        return r_in.untouched();
    }
    let (n, j, k) = (a.rows, a.cols, w_shape.1);
    let back = reference::transposed(w, j, k);
    let mut want = vec![0.0; n * j];
    for c in &ratios {
        let sums = reference::gemm(&c.plain(), &back, n, j, k);
        want.iter_mut().zip(&sums).for_each(|(want, sum)| *want += sum);
    }
    let a = a.plain();
    want.iter_mut().zip(&a).for_each(|(want, &a)| *want *= f64::from(a));
    close("messages", &r_in.written(), &want, 0.0);
}

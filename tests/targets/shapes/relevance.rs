//! Every rule of dense layers.

use super::draw::Draw;
use super::operand::{Mat, Out, agrees, close, largest};
use super::relevance_conv::pixels;
use kernels::pack::pack;
use kernels::relevance::{self, Denominators, Messages, PackedRule, Ratios, Relevance, Rule};
use kernels::{ConvShape, Kernels, MatRef, Panels, reference};

/// One of the rules; sums are exact, so that the sign of a denominator is that of its definition.
pub fn rule(draw: &mut Draw) -> Rule {
    match draw.below(7) {
        0 => Rule::z_plus(),
        1 => Rule::alpha_beta(2.0, 1.0),
        2 => Rule::z_beta(-1.0, 1.0),
        3 => Rule::w_square(),
        4 => Rule::flat(),
        5 => Rule::epsilon(0.5),
        _ => Rule::gamma(0.25, 0.5),
    }
}

/// Inputs of the rule's domain.
pub fn domain(rule: &Rule) -> fn(&mut Draw, usize) -> Vec<f32> {
    if *rule == Rule::z_beta(-1.0, 1.0) { pixels } else { Draw::activations }
}

/// The operands of a rule: `[N, J]` inputs, `[J, K]` weights, `[N, K]` relevance.
struct Layer {
    kernels: &'static Kernels,
    rule: Rule,
    n: usize,
    k: usize,
    /// The shape of the weights, sometimes that of a convolution.
    w_shape: (usize, usize),
    of_conv: bool,
    w: Vec<f32>,
    a: Mat,
    r_out: Mat,
    r_in: Out,
    absorbed: Vec<f64>,
}

impl Layer {
    fn drawn(draw: &mut Draw) -> Layer {
        let (kernels, rule) = (draw.kernels(), rule(draw));
        let (n, j, k) = ([0, 1, 2, 3, 47, 48, 49, 60][draw.below(8)], draw.size(), draw.size());
        let w_shape = (draw.near_len(j) % 128, draw.near_len(k) % 128);
        let w = draw.values(w_shape.0 * w_shape.1);
        let (rows, cols) = (draw.near(n), draw.near(j));
        let a = Mat::drawn(draw, rows, cols, domain(&rule));
        let (rows, cols) = (draw.near(n), draw.near(k));
        let r_out = Mat::drawn(draw, rows, cols, Draw::values);
        let (rows, cols) = (draw.near(n), draw.near(j));
        let r_in = Out::drawn(draw, rows, cols, false);
        let absorbed = vec![1.0; draw.near_len(n)];
        let of_conv = draw.below(16) == 15;
        Layer { kernels, rule, n, k, w_shape, of_conv, w, a, r_out, r_in, absorbed }
    }

    /// The rule with the weights; if they fit, sometimes packed for a convolution with three filter lines,
    /// which a dense layer must refuse.
    fn packed(&self) -> PackedRule {
        let (j, k) = self.w_shape;
        let packed = pack(&self.w, j, k);
        let panels = Panels::new(&packed, j, k);
        let shape = ConvShape { rows: 1, cols: 1, size: 3, inputs: j / 9, outputs: k };
        if self.conv() {
            return PackedRule::conv(self.kernels, &self.rule, &shape, panels)
                .expect("weights of this shape");
        }
        PackedRule::dense(&self.rule, panels)
    }

    fn conv(&self) -> bool {
        self.of_conv && self.w_shape.0.is_multiple_of(9)
    }

    /// Whether the operands that every rule takes are consistent.
    fn fits(&self) -> bool {
        let (n, k) = (self.r_out.rows, self.r_out.cols);
        !self.conv()
            && self.w_shape == (self.r_in.cols(), k)
            && (self.a.rows, self.a.cols) == (n, self.r_in.cols())
            && self.r_in.rows() == n
            && self.absorbed.len() == n
    }

    fn untouched(&self) {
        self.r_in.untouched();
        assert!(self.absorbed.iter().all(|&a| a == 1.0), "absorbed relevance although it was refused");
    }

    /// The forward product of the operands.
    fn forward(&self) -> Vec<f32> {
        let (n, (j, k)) = (self.a.rows, self.w_shape);
        if self.a.cols != j || n > 1024 {
            return vec![1.0; self.n * self.k];
        }
        reference::gemm(&self.a.plain(), &self.w, n, k, j).iter().map(|&z| z as f32).collect()
    }
}

pub fn one_input(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw);
    let rule = &layer.packed();
    let mut z = layer.forward();
    let (rows, cols) = (draw.near(layer.r_out.rows), draw.near(layer.r_out.cols));
    let (rows, cols) =
        if rows.saturating_mul(cols) > 1 << 16 { (rows % 64, cols % 64) } else { (rows, cols) };
    z.resize(rows * cols, 1.0);
    let given = draw.below(8) > 0;
    let z = given.then(|| MatRef::new(&z, rows, cols));
    let z_fits = given && (rows, cols) == (layer.r_out.rows, layer.r_out.cols)
        || layer.r_out.rows == 0 && layer.r_out.cols == 0 && !given;
    let fits = layer.fits() && (!rule.reads_forward() || z_fits);
    let Layer { kernels, a, r_out, r_in, absorbed, .. } = &mut layer;
    let (a, r_out, r_in) = (a.view(), r_out.view(), r_in.view());
    let result = relevance::relevance(kernels, Relevance { rule, a, z, r_out, r_in, absorbed });
    if !agrees(draw, result, fits) {
        return layer.untouched();
    }
    let (n, j, k) = (layer.r_out.rows, layer.r_in.cols(), layer.r_out.cols);
    let (a, r, found) = (layer.a.plain(), layer.r_out.plain(), layer.r_in.written());
    let scale = 4.0 * largest(&r) * k.max(1) as f64;
    for i in 0..n {
        let r: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
        let (want, absorbed) = reference::relevance(&layer.rule, &a[i * j..][..j], &layer.w, &r);
        close("relevance", &found[i * j..][..j], &want, scale);
        close("absorbed", &[(layer.absorbed[i] - 1.0) as f32], &[absorbed], scale);
    }
}

/// The contribution of an input to shared denominators, the ratios with a base, and their messages.
pub fn shared(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw);
    layer.rule = Rule::z_plus();
    layer.of_conv = false;
    let rule = &layer.packed();
    let shared = Rule::shared(&[&layer.rule])[0];
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
        && layer.absorbed.len() == n;
    let group = draw.below(8) / 7;
    let Layer { kernels, a, r_out, absorbed, .. } = &mut layer;
    let operands = Ratios {
        shared,
        rule,
        group,
        base: base.view(),
        a: a.view(),
        z: None,
        r_out: r_out.view(),
        c: c.view(),
        absorbed,
    };
    let result = relevance::ratios(kernels, operands);
    if agrees(draw, result, fits) {
        let w: Vec<f32> = layer.w.iter().map(|w| w.max(0.0)).collect();
        let part = !without && group == 0;
        let sums = reference::gemm(&layer.a.plain(), if without { &[] } else { &w }, n, k, layer.a.cols);
        let (base, r, found) = (base.plain(), layer.r_out.plain(), c.written());
        for i in 0..n * k {
            let sum = if part { sums[i] } else { 0.0 };
            let want = f64::from(r[i]) / (sum + f64::from(base[i]) + f64::from(relevance::EPS));
            close("ratios", &[found[i]], &[want], 0.0);
        }
    } else {
        c.untouched();
        layer.untouched();
    }
    denominators(draw, &layer, rule);
    messages(draw, layer);
}

fn denominators(draw: &mut Draw, layer: &Layer, rule: &PackedRule) {
    let (rows, cols) = (draw.near(layer.n), draw.near(layer.k));
    let mut out = Out::drawn(draw, rows, cols, false);
    let (n, k, group) = (out.rows(), out.cols(), draw.below(8) / 7);
    let fits = layer.w_shape == (layer.a.cols, k) && layer.a.rows == n;
    let operands = Denominators { rule, group, a: layer.a.view(), z: None, out: out.view() };
    if !agrees(draw, relevance::denominators(layer.kernels, operands), fits) {
        return out.untouched();
    }
    let w: Vec<f32> = layer.w.iter().map(|w| w.max(0.0)).collect();
    let mut want = reference::gemm(&layer.a.plain(), &w, n, k, layer.a.cols);
    if group > 0 {
        want.fill(0.0);
    }
    close("denominators", &out.written(), &want, 1.0);
}

/// Messages of up to two groups, of which the second may be the wrong one.
fn messages(draw: &mut Draw, mut layer: Layer) {
    layer.rule = if draw.flag() { Rule::z_plus() } else { Rule::alpha_beta(2.0, 1.0) };
    let (rule, groups) = (&layer.packed(), layer.rule.groups.len());
    let Layer { kernels, n, k, w_shape, ref w, ref a, mut r_in, .. } = layer;
    let mut ratios = Vec::new();
    for _ in 0..draw.below(3) {
        let (rows, cols) = (draw.near(n), draw.near(k));
        ratios.push(Mat::drawn(draw, rows, cols, Draw::values));
    }
    let one = |c: &Mat| (c.rows, c.cols) == (r_in.rows(), w_shape.1);
    let fits = ratios.len() >= groups
        && (r_in.rows(), r_in.cols()) == (a.rows, a.cols)
        && r_in.cols() == w_shape.0
        && ratios.iter().all(one);
    let c: Vec<_> = ratios.iter().map(Mat::view).collect();
    let operands = Messages { rule, c: &c, a: a.view(), r_in: r_in.view() };
    if !agrees(draw, relevance::messages(kernels, operands), fits) {
        return r_in.untouched();
    }
    let (n, j, k) = (a.rows, a.cols, w_shape.1);
    let back = reference::transposed(w, j, k);
    let mut want = vec![0.0; n * j];
    for (group, c) in ratios.iter().take(groups).enumerate() {
        let part: Vec<f32> = back.iter().map(|w| if group == 0 { w.max(0.0) } else { w.min(0.0) }).collect();
        let sums = reference::gemm(&c.plain(), &part, n, j, k);
        want.iter_mut().zip(&sums).for_each(|(want, sum)| *want += sum);
    }
    let a = a.plain();
    want.iter_mut().zip(&a).for_each(|(want, &a)| *want *= f64::from(a));
    close("messages", &r_in.written(), &want, 1.0);
}

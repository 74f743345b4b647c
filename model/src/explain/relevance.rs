//! The way of relevance from the logits back to the pixels (Algorithm 1), written once for all cells
//! and rules.
//!
//! The head explains layer 4 of the last step; combine splits relevance into `e_t` and `r_t`; `r_t`
//! goes through the recurrent layer to layer 4 of the step before. Then all steps go through the
//! encoder together.

use super::Method;
use super::pixels::PixelRule;
use crate::layer::{self, Op};
use crate::plan::Plan;
use crate::walk::forward::{Trace, step};
use crate::{ModelError, Network};
use kernels::pack::Part;
use kernels::pool::PoolBack;
use kernels::relevance::alpha_beta::{alpha_beta, alpha_beta_conv};
use kernels::relevance::pooled::{PooledRule, relevance_pooled};
use kernels::relevance::z_plus::{z_plus, z_plus_conv};
use kernels::relevance::{EPS, PackedPart, joint};
use kernels::{Buffer, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, Panels, gemm};

/// The αβ rule on a layer above the pixels; z⁺ where there is no negative part.
#[derive(Clone, Debug)]
struct Rule {
    alpha: f32,
    beta: f32,
    positive: PackedPart,
    negative: Option<PackedPart>,
}

/// How a method weights the two pools.
#[derive(Clone, Copy)]
struct Weighting {
    alpha: f32,
    beta: f32,
}

impl Weighting {
    fn rule(self, pack: impl Fn(Part) -> PackedPart) -> Rule {
        let negative = (self.beta > 0.0).then(|| pack(Part::Negative));
        Rule { alpha: self.alpha, beta: self.beta, positive: pack(Part::Positive), negative }
    }

    fn dense(self, w: Panels) -> Rule {
        self.rule(|part| PackedPart::dense(w, part))
    }
}

impl Rule {
    fn dense(
        &self,
        kernels: &Kernels,
        a: MatRef,
        r_out: MatRef,
        r_in: MatMut,
        lost: &mut [f64],
    ) -> Result<(), ModelError> {
        let positive = &self.positive;
        Ok(match &self.negative {
            None => z_plus(kernels, a, positive, r_out, r_in, lost),
            Some(negative) => {
                let weights = (self.alpha, self.beta);
                alpha_beta(kernels, weights, a, positive, negative, r_out, r_in, lost)
            }
        }?)
    }

    #[allow(clippy::too_many_arguments)]
    fn conv(
        &self,
        kernels: &Kernels,
        shape: &ConvShape,
        a: &[f32],
        r_out: MatRef,
        r_in: MatMut,
        c: &mut [f32],
        lost: &mut [f64],
    ) -> Result<(), ModelError> {
        let positive = &self.positive;
        Ok(match &self.negative {
            None => z_plus_conv(kernels, shape, a, positive, r_out, r_in, c, lost),
            Some(negative) => {
                let weights = (self.alpha, self.beta);
                alpha_beta_conv(kernels, weights, shape, a, positive, negative, r_out, r_in, c, lost)
            }
        }?)
    }

    /// The second half of the rule where the denominators were shared with another input.
    fn messages<'a>(
        &'a self,
        kernels: &Kernels,
        a: MatRef,
        ratios: impl Iterator<Item = MatRef<'a>>,
        r_in: MatMut,
    ) -> Result<(), ModelError> {
        let parts = std::iter::once(&self.positive).chain(&self.negative);
        let mut pools = ratios.zip(parts);
        // One or two pools, without an allocation.
        match (pools.next(), pools.next()) {
            (Some(one), Some(two)) => joint::messages(kernels, &[one, two], a, r_in)?,
            (Some(one), None) => joint::messages(kernels, &[one], a, r_in)?,
            _ => {}
        }
        Ok(())
    }

    /// The pools as (weights, coefficient, ε).
    fn pools(&self) -> impl Iterator<Item = (&PackedPart, f32, f32)> {
        let positive = (&self.positive, self.alpha, EPS);
        let negative = self.negative.as_ref().map(|part| (part, -self.beta, -EPS));
        std::iter::once(positive).chain(negative)
    }
}

/// The `e_t` side of the combine layer: activations, or the pixels themselves.
#[derive(Clone, Debug)]
enum EncodedRule {
    Activations(Rule),
    Pixels(PixelRule),
}

/// Packed weights and buffers of the way back.
#[derive(Clone, Debug)]
pub(crate) struct RelevanceWay {
    head: Vec<Rule>,
    recurrent: Option<Rule>,
    combine_r: Rule,
    combine_e: EncodedRule,
    /// Of each encoder layer; `None` for pools and for the layer that sees pixels.
    encoder: Vec<Option<Rule>>,
    /// Of each max-pooled convolution of the encoder, whether it sees pixels or not.
    pooled: Vec<Option<PooledRule>>,
    /// The rule of the encoder layer that sees pixels.
    pixels: Option<PixelRule>,
    r_head: Vec<Buffer>,
    r_a4: Buffer,
    r_r: Buffer,
    /// Of each pool of the combine layer, its denominators over all steps, then its ratios.
    base: Vec<Buffer>,
    ratios: Vec<Buffer>,
    r_acts: Vec<Buffer>,
    /// Ratios of each convolution, in planes with a border.
    conv_ratios: Vec<Buffer>,
    /// What an encoder's pixel layer makes of its product.
    z: Buffer,
    lost_rows: Vec<f64>,
}

impl RelevanceWay {
    pub fn new(
        kernels: &Kernels,
        network: &Network,
        method: Method,
        capacity: usize,
    ) -> Result<RelevanceWay, ModelError> {
        let plan = &network.plan;
        let weighting = match method {
            Method::Lrp { alpha, beta } => Weighting { alpha, beta },
            _ => Weighting { alpha: 1.0, beta: 0.0 },
        };
        let images = capacity * plan.task.seq_len;
        let (low, high) = (plan.task.low, plan.task.high);
        let combine = network.weight(plan.combine);
        let combine_e = if plan.encoder.is_empty() {
            let w = combine.rows(0, plan.e);
            EncodedRule::Pixels(PixelRule::dense(method, w, low, high, images))
        } else {
            EncodedRule::Activations(weighting.dense(combine.rows(0, plan.e)))
        };
        let mut pixels = None;
        let (mut encoder, mut pooled) = (Vec::new(), Vec::new());
        for (i, op) in plan.encoder.iter().enumerate() {
            pooled.push(match op {
                Op::ConvMaxPool { spec, shape } => {
                    let w = network.weight(*spec);
                    Some(match method {
                        Method::WSquare if i == 0 => PooledRule::w_square(kernels, shape, w)?,
                        _ if i == 0 => PooledRule::z_beta(kernels, shape, w, low, high)?,
                        _ => PooledRule::alpha_beta(shape, w, weighting.alpha, weighting.beta),
                    })
                }
                _ => None,
            });
            encoder.push(match op {
                Op::Pool { .. } | Op::ConvMaxPool { .. } => None,
                Op::Dense { spec } if i == 0 => {
                    let w = network.weight(*spec);
                    pixels = Some(PixelRule::dense(method, w, low, high, images));
                    None
                }
                Op::Conv { spec, shape } if i == 0 => {
                    let w = network.weight(*spec);
                    pixels = Some(PixelRule::conv(kernels, method, shape, w, (low, high), images)?);
                    None
                }
                Op::Dense { spec } => Some(weighting.dense(network.weight(*spec))),
                Op::Conv { spec, shape } => {
                    let w = network.weight(*spec);
                    Some(weighting.rule(|part| PackedPart::conv(shape, w, part)))
                }
            });
        }
        let pools = if weighting.beta > 0.0 { 2 } else { 1 };
        let steps_of_layer_4 = Buffer::zeroed(images * plan.c);
        let conv_ratios = plan.encoder.iter().enumerate().map(|(i, op)| match op {
            Op::Conv { shape, .. } if i > 0 => Buffer::zeroed(images * shape.output().len()),
            _ => Buffer::default(),
        });
        Ok(RelevanceWay {
            head: plan.head.iter().map(|&spec| weighting.dense(network.weight(spec))).collect(),
            recurrent: plan.recurrent.map(|spec| weighting.dense(network.weight(spec))),
            combine_r: weighting.dense(combine.rows(plan.e, plan.e + plan.r)),
            combine_e,
            encoder,
            pooled,
            pixels,
            r_head: plan.head.iter().map(|&s| Buffer::zeroed(capacity * plan.specs[s].n)).collect(),
            r_a4: steps_of_layer_4.clone(),
            r_r: Buffer::zeroed(capacity * plan.r),
            base: vec![steps_of_layer_4.clone(); pools],
            ratios: vec![steps_of_layer_4; pools],
            r_acts: (0..plan.planes.len())
                .map(|i| Buffer::zeroed(images * plan.back_plane(i).len()))
                .collect(),
            conv_ratios: conv_ratios.collect(),
            z: Buffer::zeroed(if plan.encoder.is_empty() { 0 } else { plan.pixel_product_len(images) }),
            lost_rows: vec![0.0; images],
        })
    }

    /// Finds the relevance of each pixel for the logits `target`, and adds to `lost` what each sample's
    /// dead units kept. The rule of the pixel layer uses `trace.z` up: it is copied if the trace is `kept`
    /// for another target.
    pub fn run(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        (trace, kept): (&mut Trace, bool),
        target: &[usize],
        lost: &mut [f64],
    ) -> Result<(), ModelError> {
        let plan = &network.plan;
        let n = target.len();
        let z = if plan.encoder.is_empty() { &mut self.base[0] } else { &mut self.z };
        if kept {
            z.copy_from_slice(&trace.z);
        } else {
            std::mem::swap(z, &mut trace.z);
        }
        self.head(kernels, plan, trace, target, lost)?;
        self.time(kernels, plan, trace, n, lost)?;
        self.encoder(kernels, plan, trace, n, lost)
    }

    /// Relevance of the first activation.
    pub fn pixels(&self) -> &[f32] {
        &self.r_acts[0]
    }

    fn head(
        &mut self,
        kernels: &Kernels,
        plan: &Plan,
        trace: &Trace,
        target: &[usize],
        lost: &mut [f64],
    ) -> Result<(), ModelError> {
        let (n, classes) = (target.len(), plan.task.classes);
        let logits = trace.logits(plan, n);
        if let Some(r) = self.r_head.last_mut() {
            r[..n * classes].fill(0.0);
            for (i, &class) in target.iter().enumerate() {
                r[i * classes + class] = logits[i * classes + class];
            }
        }
        let last = step(plan.task.seq_len - 1, n, plan.c);
        for (i, &spec) in plan.head.iter().enumerate().rev() {
            let layer = &plan.specs[spec];
            let (before, behind) = self.r_head.split_at_mut(i);
            let (a, r_in) = match before.last_mut() {
                Some(r_in) => (&trace.head[i - 1][..n * layer.k], &mut r_in[..]),
                None => (&trace.a4[last.clone()], &mut self.r_a4[last.clone()]),
            };
            let a = MatRef::new(a, n, layer.k);
            let r_out = MatRef::new(&behind[0], n, layer.n);
            self.head[i].dense(kernels, a, r_out, MatMut::new(r_in, n, layer.k), lost)?;
        }
        Ok(())
    }

    /// Combine and recurrent, step by step backwards; then the `e_t` of all steps at once.
    fn time(
        &mut self,
        kernels: &Kernels,
        plan: &Plan,
        trace: &Trace,
        n: usize,
        lost: &mut [f64],
    ) -> Result<(), ModelError> {
        let (steps, images) = (plan.task.seq_len, n * plan.task.seq_len);
        let (e, r, c) = (plan.e, plan.r, plan.c);
        let encoded = MatRef::new(&trace.acts[plan.encoder.len()], images, e);
        // What e_t gives to each denominator. Pixels and r_t share the positive one; the negative
        // pool of a layer that sees pixels has r_t only.
        match &self.combine_e {
            EncodedRule::Activations(rule) => {
                for ((part, _, _), base) in rule.pools().zip(&mut self.base) {
                    let base = MatMut::new(base, images, c);
                    gemm(kernels, encoded, part.forward(), Init::Zero, Epilogue::Store, base)?;
                }
            }
            EncodedRule::Pixels(rule) => {
                rule.shared_denominator(kernels, MatMut::new(&mut self.base[0], images, c))?;
                self.base[1..].iter_mut().for_each(|base| base.fill(0.0));
            }
        }
        for t in (0..steps).rev() {
            let known = if t == 0 { 0 } else { r };
            let r_t = MatRef::new(if t == 0 { &[] } else { &trace.r[step(t, n, r)] }, n, known);
            let at = step(t, n, c);
            let r_a4 = MatRef::new(&self.r_a4[at.clone()], n, c);
            for (i, (part, coefficient, eps)) in self.combine_r.pools().enumerate() {
                let base = MatRef::new(&self.base[i][at.clone()], n, c);
                let out = MatMut::new(&mut self.ratios[i][at.clone()], n, c);
                joint::ratios(kernels, base, r_t, part, (coefficient, eps), r_a4, out, lost)?;
            }
            let Some(recurrent) = self.recurrent.as_ref().filter(|_| t > 0) else { continue };
            let r_r = MatMut::new(&mut self.r_r, n, r);
            let ratios = self.ratios.iter().map(|ratios| MatRef::new(&ratios[at.clone()], n, c));
            self.combine_r.messages(kernels, r_t, ratios, r_r)?;
            let a4 = MatRef::new(&trace.a4[step(t - 1, n, c)], n, c);
            let r_in = MatMut::new(&mut self.r_a4[step(t - 1, n, c)], n, c);
            recurrent.dense(kernels, a4, MatRef::new(&self.r_r, n, r), r_in, lost)?;
        }
        let r_e = MatMut::new(&mut self.r_acts[plan.encoder.len()], images, e);
        match &self.combine_e {
            EncodedRule::Activations(rule) => {
                let ratios = self.ratios.iter().map(|ratios| MatRef::new(ratios, images, c));
                rule.messages(kernels, encoded, ratios, r_e)
            }
            EncodedRule::Pixels(rule) => {
                rule.numerators(kernels, encoded, MatRef::new(&self.ratios[0], images, c), r_e)
            }
        }
    }

    fn encoder(
        &mut self,
        kernels: &Kernels,
        plan: &Plan,
        trace: &Trace,
        n: usize,
        lost: &mut [f64],
    ) -> Result<(), ModelError> {
        let images = n * plan.task.seq_len;
        let rows = &mut self.lost_rows[..images];
        rows.fill(0.0);
        for (i, op) in plan.encoder.iter().enumerate().rev() {
            let (before, behind) = self.r_acts.split_at_mut(i + 1);
            let (r_in, r_out) = (&mut before[i], &behind[0]);
            let a = &trace.acts[i][..images * plan.planes[i].len()];
            match op {
                Op::ConvMaxPool { shape, .. } => {
                    let (Some(rule), Some(max_indices)) = (&self.pooled[i], &trace.max_indices[i]) else {
                        continue;
                    };
                    let z =
                        if i == 0 { &self.z[..images * shape.windows() * shape.conv.outputs] } else { &[] };
                    let r_out = MatRef::new(r_out, images * shape.windows(), shape.conv.outputs);
                    let r_in = plan.back_plane(i).lines_mut(r_in, images);
                    relevance_pooled(kernels, rule, a, max_indices, z, r_out, r_in, rows)?;
                }
                Op::Pool { shape } => {
                    let planes =
                        (&plan.planes[i], &plan.planes[i + 1], plan.back_plane(i), plan.back_plane(i + 1));
                    let from = layer::pool::Back {
                        what: PoolBack::Relevance { eps: EPS },
                        acts: (a, &trace.acts[i + 1]),
                        back: r_out,
                    };
                    layer::pool::backward(kernels, *shape, planes, images, &from, r_in)?;
                }
                Op::Dense { spec } => {
                    let layer = &plan.specs[*spec];
                    let x = MatRef::new(a, images, layer.k);
                    let r_out = MatRef::new(r_out, images, layer.n);
                    let r_in = MatMut::new(r_in, images, layer.k);
                    match (&self.encoder[i], &mut self.pixels) {
                        (Some(rule), _) => rule.dense(kernels, x, r_out, r_in, rows)?,
                        (None, Some(rule)) => {
                            let z = &mut self.z[..images * layer.n];
                            rule.dense_layer(kernels, x, z, r_out, r_in, rows)?;
                        }
                        (None, None) => {}
                    }
                }
                Op::Conv { shape, .. } => {
                    let r_out = plan.back_plane(i + 1).pixels_of(r_out, images);
                    let r_in = plan.back_plane(i).pixels_mut(r_in, images);
                    let ratios = images * shape.output().len();
                    match (&self.encoder[i], &mut self.pixels) {
                        (Some(rule), _) => {
                            let c = &mut self.conv_ratios[i][..ratios];
                            rule.conv(kernels, shape, a, r_out, r_in, c, rows)?;
                        }
                        (None, Some(rule)) => {
                            let z = &mut self.z[..ratios];
                            rule.conv_layer(kernels, shape, a, z, r_out, r_in, rows)?;
                        }
                        (None, None) => {}
                    }
                }
            }
        }
        for (row, kept) in rows.iter().enumerate() {
            lost[row % n] += kept;
        }
        Ok(())
    }
}

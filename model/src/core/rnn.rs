//! The relu core of the thesis: `a_t = relu([e_t, r_t]·W − softplus(b))`, `r_{t+1} = relu(a_t·U − softplus(d))`,
//! `r_0 = 0`; the output is the last `a_t`. Forward, backward and relevance through time.
//!
//! Products that do not depend on `r_t` are one product over all `T·N` rows: the contribution of `e_t`, and
//! every weight gradient. Only the contribution of `r_t` is computed step by step.

use super::layer::{CoreBackward, CoreLayer, CoreRelevance, CoreStage, step};
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use crate::stage::bias::BiasTerms;
use crate::stage::edge::{Domain, Edge, Place};
use crate::stage::layer::{Context, Setup};
use crate::stage::masks::{Mask, MaskPlace, Masks};
use crate::stage::rule::{DenseRelevance, DenseRule};
use kernels::elementwise::reduce::sum_of_squares;
use kernels::pack::{self, Part};
use kernels::profile::Work;
use kernels::relevance::{
    Denominators, Messages, PackedRule, Ratios, Rule, SharedGroup, denominators, messages, ratios,
};
use kernels::{
    Buffer, Dropout, Epilogue, Init, Kernels, MatMut, MatRef, PackedWeights, WeightGradient, gemm, gemm_tn,
};

/// The sizes of the core.
pub(crate) struct Widths {
    pub combine: usize,
    pub recurrent: usize,
    pub steps: usize,
}

/// The layers `combine` on `[e_t, r_t]` and `recurrent` on `a_t`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rnn {
    /// Index of the parameters of `combine`.
    combine: usize,
    /// Index of the parameters of `recurrent`; none if there is only one step.
    recurrent: Option<usize>,
    steps: usize,
    /// Features of `e_t`, of `r_t` (0 if there is only one step), of `a_t`.
    e: usize,
    r: usize,
    c: usize,
    input: Edge,
    output: Edge,
    /// Numbers of further masks start here.
    first_mask: usize,
    /// The mask of `e_t` where no mask is on the encoder's output.
    mask_e: Option<Mask>,
}

impl Rnn {
    /// A core on `input`, with the dropout mask `dropout` on its last output.
    pub fn new(specs: &mut Specs, input: Edge, widths: Widths, dropout: Mask) -> Rnn {
        let Widths { combine: c, recurrent, steps } = widths;
        let e = input.features();
        let r = if steps > 1 { recurrent } else { 0 };
        let combine = specs.add("combine", [e + r, c]);
        let recurrent = (steps > 1).then(|| specs.add("recurrent", [c, r]));
        let first_mask = dropout.layer + 1;
        let masked = input.is_pixels() || input.relu.is_some_and(|relu| relu.dropout.is_some());
        let mask_e = (!masked).then_some(Mask { place: MaskPlace::Combine, layer: first_mask });
        let output = Edge::relu_vector(c, Some(dropout));
        Rnn { combine, recurrent, steps, e, r, c, input, output, first_mask, mask_e }
    }

    /// The mask of `r_t`; a mask of its own for each step.
    fn mask_r(&self, masks: &Masks, t: usize) -> Option<Mask> {
        Some(Mask { place: MaskPlace::Combine, layer: self.first_mask + 1 + 2 * masks.step(t) })
    }

    /// The mask of `a_t`: the head reads the last one, the recurrent layer the others.
    fn mask_a(&self, masks: &Masks, t: usize) -> Option<Mask> {
        if t + 1 == self.steps {
            return self.output.relu.and_then(|relu| relu.dropout);
        }
        Some(Mask { place: MaskPlace::Recurrent, layer: self.first_mask + 2 + 2 * masks.step(t) })
    }
}

impl CoreLayer for Rnn {
    fn output(&self) -> Edge {
        self.output
    }

    fn stage(&self, setup: &Setup) -> Box<dyn CoreStage> {
        let &Rnn { e, r, c, input, .. } = self;
        let (n, rows) = (setup.samples, setup.samples * self.steps);
        let rules = Rules::new(self, setup);
        let keeps_z = rules.as_ref().is_some_and(|rules| rules.combine_e.reads_forward());
        let needs_back = setup.needs_back(&self.output);
        let gradient = setup.needs_gradient(&self.output);
        let weights = |k, n, wanted: bool| match wanted {
            true => PackedWeights::zeroed(k, n),
            false => PackedWeights::zeroed(0, 0),
        };
        let mut stage = RnnStage {
            layer: *self,
            masked_e: Buffer::zeroed(if setup.trains() && self.mask_e.is_some() { rows * e } else { 0 }),
            a: Buffer::zeroed(rows * c),
            r: Buffer::zeroed(rows * r),
            z: keeps_z.then(|| Buffer::zeroed(rows * c)),
            back_a: Buffer::zeroed(if needs_back { rows * c } else { 0 }),
            back_r: Buffer::zeroed(if needs_back { rows * r } else { 0 }),
            combine_e: weights(c, e, setup.needs_gradient(&input)),
            combine_r: weights(c, r, gradient),
            recurrent: weights(r, c, gradient),
            rules,
        };
        debug_assert!(n * self.steps == setup.rows, "a core reads the rows of the encoder");
        stage.repack(setup.parameters);
        Box::new(stage)
    }
}

/// The core in one pass.
#[derive(Debug)]
struct RnnStage {
    layer: Rnn,
    /// `e_t` with dropout, where it may have its own.
    masked_e: Buffer,
    /// `a_t`, `[T·N, c]`.
    a: Buffer,
    /// `r_t`, `[T·N, r]`; the rows of `r_0` stay 0.
    r: Buffer,
    /// The contribution of `e_t` to the products of `combine`, `[T·N, c]`, if its rule reads them.
    z: Option<Buffer>,
    /// Gradient or relevance of each `a_t` and `r_t`.
    back_a: Buffer,
    back_r: Buffer,
    /// Transposed weights: of `combine` the parts of `e_t` and `r_t`, and of `recurrent`.
    combine_e: PackedWeights,
    combine_r: PackedWeights,
    recurrent: PackedWeights,
    rules: Option<Rules>,
}

/// Relu behind the bias, and dropout behind that where there is any.
fn activation(bias: &[f32], dropout: Option<Dropout>) -> Epilogue<'_> {
    match dropout {
        Some(dropout) => Epilogue::BiasReluDropout(bias, dropout),
        None => Epilogue::BiasRelu(bias),
    }
}

/// The rules of the layers, and what they need besides.
#[derive(Debug)]
struct Rules {
    /// The rules of the inputs `e_t` and `r_t` of `combine`, which share the denominator of each group.
    combine_e: PackedRule,
    combine_r: PackedRule,
    /// What the biases of `combine` add to its denominators.
    bias: BiasTerms,
    shared: Vec<SharedGroup>,
    recurrent: Option<DenseRule>,
    /// For each group, the contribution of `e_t` to its denominators, and its ratios.
    bases: Vec<Buffer>,
    ratios: Vec<Buffer>,
}

impl Rules {
    fn new(layer: &Rnn, setup: &Setup) -> Option<Rules> {
        let &Rnn { e, r, c, .. } = layer;
        let of_e: Rule = setup
            .rule(layer.input.domain, if layer.input.is_pixels() { Place::First } else { Place::Middle })?;
        let of_r = setup.rule(Domain::NonNegative, Place::Middle)?;
        let combine = setup.parameters.weight(layer.combine);
        let shared = Rule::shared(&[&of_e, &of_r]);
        let a_group = vec![Buffer::zeroed(setup.rows * c); shared.len()];
        Some(Rules {
            combine_e: PackedRule::dense(&of_e, combine.rows(0, e)),
            combine_r: PackedRule::dense(&of_r, combine.rows(e, e + r)),
            shared,
            bias: setup.bias_terms(&of_r, layer.combine),
            recurrent: layer
                .recurrent
                .map(|at| DenseRule::new(&of_r, setup.parameters.weight(at), at, setup.samples, setup)),
            bases: a_group.clone(),
            ratios: a_group,
        })
    }
}

impl CoreStage for RnnStage {
    fn forward(&mut self, context: &Context, n: usize, encoded: &[f32]) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, .. } = context;
        let Rnn { combine, recurrent, steps, e: inputs, r, c, .. } = self.layer;
        let rows = n * steps;
        let (weight, bias) = (parameters.weight(combine), parameters.bias(combine));
        let product = MatMut::new(self.z.as_mut().unwrap_or(&mut self.a), rows, c);
        let mut e = self.layer.input.rows(encoded, rows);
        if let Some(dropout) = masks.dropout_over_steps(self.layer.mask_e, rows * inputs, steps) {
            for (i, (masked, &e)) in self.masked_e.iter_mut().zip(&encoded[..rows * inputs]).enumerate() {
                *masked = e * dropout.factor(i as u64);
            }
            e = MatRef::new(&self.masked_e, rows, inputs);
        }
        gemm(kernels, e, weight.rows(0, inputs), Init::Zero, Epilogue::Store, product)?;
        for t in 0..steps {
            let known = if t == 0 { 0 } else { r };
            let r_t = MatRef::new(if t == 0 { &[] } else { &self.r[step(t, n, r)] }, n, known);
            let init = match &self.z {
                Some(z) => Init::Copy(MatRef::new(&z[step(t, n, c)], n, c)),
                None => Init::Accumulate,
            };
            let epilogue = activation(bias, masks.dropout(self.layer.mask_a(&masks, t)));
            let a = MatMut::new(&mut self.a[step(t, n, c)], n, c);
            gemm(kernels, r_t, weight.rows(inputs, inputs + known), init, epilogue, a)?;
            if let Some(recurrent) = recurrent
                && t + 1 < steps
            {
                let a = MatRef::new(&self.a[step(t, n, c)], n, c);
                let next = MatMut::new(&mut self.r[step(t + 1, n, r)], n, r);
                let dropout = masks.dropout(self.layer.mask_r(&masks, t + 1));
                let relu = activation(parameters.bias(recurrent), dropout);
                gemm(kernels, a, parameters.weight(recurrent), Init::Zero, relu, next)?;
            }
        }
        Ok(())
    }

    fn output(&mut self, n: usize) -> (&[f32], &mut [f32]) {
        let last = step(self.layer.steps - 1, n, self.layer.c);
        let back = if self.back_a.is_empty() { 0..0 } else { last.clone() };
        (&self.a[last], &mut self.back_a[back])
    }

    fn backward(&mut self, context: &Context, operands: CoreBackward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, guided } = context;
        let CoreBackward { samples: n, e, d_e, gradients } = operands;
        let Rnn { steps, e: inputs, r, c, input, .. } = self.layer;
        let (rows, later) = (n * steps, n * (steps - 1));
        let layer = self.layer;
        let relu = |a, mask| Epilogue::ReluGradient { a, scale: masks.scale(mask), guided };
        for t in (1..steps).rev() {
            let r_t = MatRef::new(&self.r[step(t, n, r)], n, r);
            let d_a = MatRef::new(&self.back_a[step(t, n, c)], n, c);
            let weight = self.combine_r.panels();
            let d_r = MatMut::new(&mut self.back_r[step(t, n, r)], n, r);
            gemm(kernels, d_a, weight, Init::Zero, relu(r_t, layer.mask_r(&masks, t)), d_r)?;
            let d_r = MatRef::new(&self.back_r[step(t, n, r)], n, r);
            let a = MatRef::new(&self.a[step(t - 1, n, c)], n, c);
            let weight = self.recurrent.panels();
            let d_a = MatMut::new(&mut self.back_a[step(t - 1, n, c)], n, c);
            gemm(kernels, d_r, weight, Init::Zero, relu(a, layer.mask_a(&masks, t - 1)), d_a)?;
        }
        let e = input.rows(e, rows);
        let dropout_e = masks.dropout_over_steps(layer.mask_e, rows * inputs, steps);
        let seen = if dropout_e.is_some() { MatRef::new(&self.masked_e, rows, inputs) } else { e };
        let d_a = MatRef::new(&self.back_a, rows, c);
        if let Some(gradients) = gradients {
            let spec = parameters.spec(self.layer.combine);
            let (rows, accumulate) = (spec.k, false);
            let d_w = &mut gradients[spec.weight.clone()];
            gemm_tn(kernels, WeightGradient { a: seen, d_y: d_a, accumulate, d_w, rows, first_row: 0 })?;
            if let Some(recurrent) = self.layer.recurrent {
                let r_t = MatRef::new(&self.r[n * r..], later, r);
                let d_later = MatRef::new(&self.back_a[n * c..], later, c);
                let d_w = &mut gradients[spec.weight.clone()];
                let operands =
                    WeightGradient { a: r_t, d_y: d_later, accumulate, d_w, rows, first_row: inputs };
                gemm_tn(kernels, operands)?;
                let a = MatRef::new(&self.a, later, c);
                let d_r = MatRef::new(&self.back_r[n * r..], later, r);
                let d_w = &mut gradients[parameters.spec(recurrent).weight.clone()];
                gemm_tn(kernels, WeightGradient { a, d_y: d_r, accumulate, d_w, rows: c, first_row: 0 })?;
                parameters.bias_gradient(kernels, recurrent, d_r, gradients)?;
            }
            parameters.bias_gradient(kernels, self.layer.combine, d_a, gradients)?;
        }
        if let Some(d_e) = d_e {
            let weight = self.combine_e.panels();
            let epilogue = input.gradient(e, masks, guided);
            gemm(kernels, d_a, weight, Init::Zero, epilogue, MatMut::new(&mut *d_e, rows, inputs))?;
            if let Some(dropout) = dropout_e {
                let values = d_e[..rows * inputs].iter_mut().enumerate();
                values.for_each(|(i, d)| *d *= dropout.factor(i as u64));
            }
        }
        Ok(())
    }

    fn relevance(&mut self, kernels: &Kernels, operands: CoreRelevance) -> Result<(), ModelError> {
        let CoreRelevance { samples: n, e, r_e, ledger } = operands;
        let Rnn { steps, e: inputs, r, c, input, .. } = self.layer;
        let rules = self.rules.as_mut().expect("a pass for relevance has packed the rules");
        let Rules { combine_e, combine_r, bias, shared, recurrent, bases, ratios: c_of } = rules;
        let rows = n * steps;
        let e = input.rows(e, rows);
        for (group, base) in bases.iter_mut().enumerate() {
            let z = self.z.as_ref().map(|z| MatRef::new(z, rows, c));
            let out = MatMut::new(base, rows, c);
            denominators(kernels, Denominators { rule: combine_e, group, a: e, z, out })?;
            bias.add_to(group, &mut base[..rows * c]);
        }
        for t in (0..steps).rev() {
            let known = if t == 0 { 0 } else { r };
            let r_t = MatRef::new(if t == 0 { &[] } else { &self.r[step(t, n, r)] }, n, known);
            let at = step(t, n, c);
            for (group, (&shared, base)) in shared.iter().zip(&*bases).enumerate() {
                let operands = Ratios {
                    shared,
                    rule: combine_r,
                    group,
                    base: MatRef::new(&base[at.clone()], n, c),
                    a: r_t,
                    z: None,
                    r_out: MatRef::new(&self.back_a[at.clone()], n, c),
                    c: MatMut::new(&mut c_of[group][at.clone()], n, c),
                    absorbed: &mut ledger.layer(self.layer.combine).absorbed[step(t, n, 1)],
                };
                ratios(kernels, operands)?;
                let c_t = MatRef::new(&c_of[group][at.clone()], n, c);
                bias.absorb(group, c_t, &mut ledger.layer(self.layer.combine).absorbed[step(t, n, 1)]);
            }
            if let (Some(recurrent), Some(layer)) = (recurrent.as_mut(), self.layer.recurrent)
                && t > 0
            {
                let c_t: Vec<MatRef> = c_of.iter().map(|c_of| MatRef::new(&c_of[at.clone()], n, c)).collect();
                let r_in = MatMut::new(&mut self.back_r, n, r);
                messages(kernels, Messages { rule: combine_r, c: &c_t, a: r_t, r_in })?;
                let back_r = &self.back_r[..n * r];
                ledger.layer(self.layer.combine).add_negative(t * n, r, back_r);
                let before = step(t - 1, n, c);
                let operands = DenseRelevance {
                    a: MatRef::new(&self.a[step(t - 1, n, c)], n, c),
                    z: None,
                    r_out: MatRef::new(back_r, n, r),
                    r_in: MatMut::new(&mut self.back_a[before.clone()], n, c),
                    absorbed: &mut ledger.layer(layer).absorbed[step(t - 1, n, 1)],
                };
                recurrent.relevance(kernels, operands)?;
                ledger.layer(layer).add_negative((t - 1) * n, c, &self.back_a[before]);
            }
        }
        let c_all: Vec<MatRef> = c_of.iter().map(|c_of| MatRef::new(c_of, rows, c)).collect();
        let r_in = MatMut::new(&mut *r_e, rows, inputs);
        messages(kernels, Messages { rule: combine_e, c: &c_all, a: e, r_in })?;
        ledger.layer(self.layer.combine).add_negative(0, inputs, &r_e[..rows * inputs]);
        Ok(())
    }

    fn repack(&mut self, parameters: &Parameters) {
        let Rnn { combine, recurrent, e, r, .. } = self.layer;
        let combine = parameters.weight(combine);
        if !self.combine_r.is_empty() {
            self.combine_r.update(|to| pack::transpose(combine.rows(e, e + r), Part::All, to));
        }
        if !self.combine_e.is_empty() {
            self.combine_e.update(|to| pack::transpose(combine.rows(0, e), Part::All, to));
        }
        if let Some(recurrent) = recurrent
            && !self.recurrent.is_empty()
        {
            self.recurrent.update(|to| pack::transpose(parameters.weight(recurrent), Part::All, to));
        }
    }

    fn packed(&self) -> usize {
        self.combine_e.len() + self.combine_r.len() + self.recurrent.len()
    }

    fn non_finite(&self, n: usize) -> Option<String> {
        let Rnn { steps, r, c, .. } = self.layer;
        let bad = |values: &[f32]| values.iter().any(|value| !value.is_finite());
        (0..steps).find_map(|t| {
            if bad(&self.a[step(t, n, c)]) {
                return Some(format!("combine at step {}", t + 1));
            }
            let next = t + 1 < steps && bad(&self.r[step(t + 1, n, r)]);
            next.then(|| format!("recurrent at step {}", t + 1))
        })
    }

    /// `a_t` counts at the last step only, because the head reads only that one; `r_t` counts at all its
    /// steps.
    fn is_dead(&self, n: usize, sample: usize) -> bool {
        let Rnn { steps, r, c, .. } = self.layer;
        let zero = |values: &[f32], width: usize, t: usize| {
            values[(t * n + sample) * width..][..width].iter().all(|&value| value == 0.0)
        };
        zero(&self.a, c, steps - 1) || (r > 0 && (1..steps).all(|t| zero(&self.r, r, t)))
    }

    fn step_norms(&self, kernels: &Kernels, n: usize, norms: &mut [f64]) {
        let c = self.layer.c;
        let _span = kernels.span("sum_of_squares", || Work::elements([norms.len(), n * c], 2, 1));
        for (t, norm) in norms.iter_mut().enumerate() {
            *norm = sum_of_squares(&self.back_a[step(t, n, c)]).sqrt();
        }
    }
}

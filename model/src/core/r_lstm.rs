//! The R-LSTM of the finished thesis: with `u_t = [e_t, h_{t−1}]`, `i, f, o = σ(u_t·W + b)`,
//! `c̃ = relu(u_t·W_c − softplus(b_c))`, `c_t = f∘c_{t−1} + i∘c̃`, `h_t = o∘c_t`; `h_0 = c_0 = 0`, its output is the
//! last `h_t`. Forward, backward and relevance through time.
//!
//! The parts of `e_t` are two products over all `T·N` rows, as every weight gradient is one. Step by step run the parts
//! of `h_{t−1}` and one kernel over the cells.

use super::layer::{CoreBackward, CoreLayer, CoreRelevance, CoreStage, step};
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use crate::stage::bias::BiasTerms;
use crate::stage::edge::{Domain, Edge, Place, vector};
use crate::stage::layer::{Context, Setup};
use crate::stage::masks::{Mask, MaskPlace, Masks};
use kernels::elementwise::gates::{
    CellBackward, CellForward, CellRelevance, cell_backward, cell_forward, cell_relevance,
};
use kernels::elementwise::reduce::sum_of_squares;
use kernels::pack::{self, Part};
use kernels::profile::Work;
use kernels::relevance::{
    Denominators, EPS, Messages, PackedRule, Ratios, Rule, SharedGroup, denominators, messages, ratios,
};
use kernels::{
    Buffer, Dropout, Epilogue, Init, Kernels, MatMut, MatRef, PackedWeights, WeightGradient, gemm, gemm_tn,
};

/// The layers `gates` and `candidate` on `[e_t, h_{t−1}]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RLstm {
    /// Numbers of the parameters.
    gates: usize,
    candidate: usize,
    steps: usize,
    /// Features of `e_t`.
    e: usize,
    /// Cells.
    n: usize,
    input: Edge,
    output: Edge,
    /// The number of the last output's mask; those of further masks come behind it.
    mask: usize,
    /// The mask of `e_t` where no mask is on the encoder's output.
    mask_e: Option<Mask>,
}

impl RLstm {
    /// A core of `n` cells behind `input` whose last output has the mask of the number in `dropout`. All its tensors
    /// are there for any number of steps.
    pub fn new(specs: &mut Specs, input: Edge, n: usize, steps: usize, dropout: Mask) -> RLstm {
        let e = input.features();
        let gates = specs.add_plain("gates", [e + n, 3 * n]);
        let candidate = specs.add("candidate", [e + n, n]);
        let masked = input.is_pixels() || input.relu.is_some_and(|relu| relu.dropout.is_some());
        let mask_e = (!masked).then_some(Mask { place: MaskPlace::Combine, layer: dropout.layer + 1 });
        // `h_t` is no relu's output: guided backprop does not cut its gradient.
        let plane = vector(n);
        let output = Edge { values: plane, back: plane, relu: None, domain: Domain::NonNegative };
        RLstm { gates, candidate, steps, e, n, input, output, mask: dropout.layer, mask_e }
    }

    /// The mask of `h_t`: the head reads the last one, the step after the others. A mask that is the same at every step
    /// is the last one's too.
    fn mask_h(&self, masks: &Masks, t: usize) -> Option<Mask> {
        if t + 1 == self.steps {
            return Some(Mask { place: MaskPlace::LastHidden, layer: self.mask });
        }
        Some(Mask {
            place: MaskPlace::Hidden,
            layer: if masks.policy.stationary { self.mask } else { self.mask + 2 + t },
        })
    }
}

impl CoreLayer for RLstm {
    fn output(&self) -> Edge {
        self.output
    }

    fn stage(&self, setup: &Setup) -> Box<dyn CoreStage> {
        let &RLstm { e, n, input, .. } = self;
        let (samples, rows) = (setup.samples, setup.samples * self.steps);
        debug_assert!(rows == setup.rows, "a core sees the rows of the encoder");
        let rules = Rules::new(self, setup);
        let keeps_z = rules.as_ref().is_some_and(|rules| rules.of_e.reads_forward());
        let back = |floats| Buffer::zeroed(if setup.needs_back(&self.output) { floats } else { 0 });
        let gradient = setup.needs_gradient(&self.output);
        let weights = |k, n, wanted: bool| match wanted {
            true => PackedWeights::zeroed(k, n),
            false => PackedWeights::zeroed(0, 0),
        };
        let gradient_e = setup.needs_gradient(&input);
        let mut stage = RLstmStage {
            layer: *self,
            masked_e: Buffer::zeroed(if setup.trains() && self.mask_e.is_some() { rows * e } else { 0 }),
            gates: Buffer::zeroed(rows * 3 * n),
            candidate: Buffer::zeroed(rows * n),
            z: keeps_z.then(|| Buffer::zeroed(rows * n)),
            c: Buffer::zeroed(rows * n),
            h: Buffer::zeroed(rows * n),
            back_h: back(samples * n),
            back_c: back(samples * n),
            back_gates: Buffer::zeroed(if gradient { rows * 3 * n } else { 0 }),
            back_candidate: back(rows * n),
            gates_e: weights(3 * n, e, gradient_e),
            gates_h: weights(3 * n, n, gradient),
            candidate_e: weights(n, e, gradient_e),
            candidate_h: weights(n, n, gradient),
            rules,
        };
        stage.repack(setup.parameters);
        Box::new(stage)
    }
}

/// The core in one pass.
#[derive(Debug)]
struct RLstmStage {
    layer: RLstm,
    /// `e_t` with dropout, where it may have its own.
    masked_e: Buffer,
    /// `i, f, o`, `[T·N, 3n]`.
    gates: Buffer,
    /// `c̃`, `c_t` and `h_t` with its dropout, `[T·N, n]`.
    candidate: Buffer,
    c: Buffer,
    h: Buffer,
    /// The part of `e_t` in the products of `candidate`, `[T·N, n]`, if its rule reads them.
    z: Option<Buffer>,
    /// Gradient or relevance of `h_t` and `c_t`, `[N, n]`, of one step after the other.
    back_h: Buffer,
    back_c: Buffer,
    /// Gradients of the pre-activations, or relevance of the candidates, of each step.
    back_gates: Buffer,
    back_candidate: Buffer,
    /// Transposed weights: of `gates` and `candidate` the parts of `e_t` and `h_{t−1}`.
    gates_e: PackedWeights,
    gates_h: PackedWeights,
    candidate_e: PackedWeights,
    candidate_h: PackedWeights,
    rules: Option<Rules>,
}

/// The rules of the candidate layer, and what they need besides. The gates are constants.
#[derive(Debug)]
struct Rules {
    /// Of the inputs `e_t` and `h_{t−1}`: both share a denominator in each group.
    of_e: PackedRule,
    of_h: PackedRule,
    /// What the biases of the candidate layer add to its denominators.
    bias: BiasTerms,
    shared: Vec<SharedGroup>,
    /// Of each group, what `e_t` gives to its denominators, and its ratios.
    bases: Vec<Buffer>,
    ratios: Vec<Buffer>,
}

impl Rules {
    fn new(layer: &RLstm, setup: &Setup) -> Option<Rules> {
        let &RLstm { e, n, input, .. } = layer;
        let place = if input.is_pixels() { Place::First } else { Place::Middle };
        let of_e: Rule = setup.rule(input.domain, place)?;
        let of_h = setup.rule(Domain::NonNegative, Place::Middle)?;
        let weight = setup.parameters.weight(layer.candidate);
        let shared = Rule::shared(&[&of_e, &of_h]);
        let a_group = vec![Buffer::zeroed(setup.rows * n); shared.len()];
        Some(Rules {
            of_e: PackedRule::dense(&of_e, weight.rows(0, e)),
            of_h: PackedRule::dense(&of_h, weight.rows(e, e + n)),
            bias: setup.bias_terms(&of_h, layer.candidate),
            shared,
            bases: a_group.clone(),
            ratios: a_group,
        })
    }
}

/// Multiplies by a mask, whose first unit is that of the first value.
fn drop_units(values: &mut [f32], dropout: Option<Dropout>) {
    if let Some(dropout) = dropout {
        values.iter_mut().enumerate().for_each(|(i, value)| *value *= dropout.factor(i as u64));
    }
}

impl CoreStage for RLstmStage {
    fn forward(&mut self, context: &Context, samples: usize, encoded: &[f32]) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, .. } = context;
        let RLstm { gates, candidate, steps, e: inputs, n, .. } = self.layer;
        let rows = samples * steps;
        let mut e = self.layer.input.rows(encoded, rows);
        if let Some(dropout) = masks.dropout_over_steps(self.layer.mask_e, rows * inputs, steps) {
            self.masked_e[..rows * inputs].copy_from_slice(&encoded[..rows * inputs]);
            drop_units(&mut self.masked_e[..rows * inputs], Some(dropout));
            e = MatRef::new(&self.masked_e, rows, inputs);
        }
        let (of_gates, of_candidate) = (parameters.weight(gates), parameters.weight(candidate));
        let products = [
            (of_gates, MatMut::new(&mut self.gates, rows, 3 * n)),
            (of_candidate, MatMut::new(self.z.as_mut().unwrap_or(&mut self.candidate), rows, n)),
        ];
        for (weight, to) in products {
            gemm(kernels, e, weight.rows(0, inputs), Init::Zero, Epilogue::Store, to)?;
        }
        for t in 0..steps {
            let (at, at_gates) = (step(t, samples, n), step(t, samples, 3 * n));
            let known = if t == 0 { 0 } else { n };
            let before = step(t.saturating_sub(1), samples, n);
            let h = MatRef::new(if t == 0 { &[] } else { &self.h[before.clone()] }, samples, known);
            let to = MatMut::new(&mut self.gates[at_gates.clone()], samples, 3 * n);
            let bias = Epilogue::Bias(parameters.bias(gates));
            gemm(kernels, h, of_gates.rows(inputs, inputs + known), Init::Accumulate, bias, to)?;
            let init = match &self.z {
                Some(z) => Init::Copy(MatRef::new(&z[at.clone()], samples, n)),
                None => Init::Accumulate,
            };
            let to = MatMut::new(&mut self.candidate[at.clone()], samples, n);
            let relu = Epilogue::BiasRelu(parameters.bias(candidate));
            gemm(kernels, h, of_candidate.rows(inputs, inputs + known), init, relu, to)?;
            let (c_before, c) = self.c.split_at_mut(at.start);
            let operands = CellForward {
                cells: n,
                gates: &mut self.gates[at_gates],
                candidate: &self.candidate[at.clone()],
                c_before: (t > 0).then(|| &c_before[before]),
                c: &mut c[..samples * n],
                h: &mut self.h[at.clone()],
            };
            cell_forward(kernels, operands)?;
            drop_units(&mut self.h[at], masks.dropout(self.layer.mask_h(&masks, t)));
        }
        Ok(())
    }

    fn output(&mut self, samples: usize) -> (&[f32], &mut [f32]) {
        let last = step(self.layer.steps - 1, samples, self.layer.n);
        let back = if self.back_h.is_empty() { 0 } else { samples * self.layer.n };
        (&self.h[last], &mut self.back_h[..back])
    }

    fn backward(&mut self, context: &Context, operands: CoreBackward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, guided } = context;
        let CoreBackward { samples, e, d_e, gradients } = operands;
        let RLstm { gates, candidate, steps, e: inputs, n, input, .. } = self.layer;
        let (rows, later, cells) = (samples * steps, samples * (steps - 1), samples * n);
        self.back_c[..cells].fill(0.0);
        for t in (0..steps).rev() {
            let (at, at_gates) = (step(t, samples, n), step(t, samples, 3 * n));
            drop_units(&mut self.back_h[..cells], masks.dropout(self.layer.mask_h(&masks, t)));
            let operands = CellBackward {
                cells: n,
                gates: &self.gates[at_gates.clone()],
                candidate: &self.candidate[at.clone()],
                c_before: (t > 0).then(|| &self.c[at.start - cells..at.start]),
                c: &self.c[at.clone()],
                d_h: &self.back_h[..cells],
                d_c: &mut self.back_c[..cells],
                d_gates: &mut self.back_gates[at_gates.clone()],
                d_candidate: &mut self.back_candidate[at.clone()],
                guided,
            };
            cell_backward(kernels, operands)?;
            if t > 0 {
                let d_gates = MatRef::new(&self.back_gates[at_gates], samples, 3 * n);
                let d_candidate = MatRef::new(&self.back_candidate[at], samples, n);
                let of_gates = self.gates_h.panels();
                let of_candidate = self.candidate_h.panels();
                let mut d_h = MatMut::new(&mut self.back_h, samples, n);
                gemm(kernels, d_gates, of_gates, Init::Zero, Epilogue::Store, d_h.reborrow())?;
                gemm(kernels, d_candidate, of_candidate, Init::Accumulate, Epilogue::Store, d_h)?;
            }
        }
        let e = input.rows(e, rows);
        let dropout_e = masks.dropout_over_steps(self.layer.mask_e, rows * inputs, steps);
        let seen = if dropout_e.is_some() { MatRef::new(&self.masked_e, rows, inputs) } else { e };
        let h = MatRef::new(&self.h, later, n);
        let backs = [(gates, &self.back_gates, 3 * n), (candidate, &self.back_candidate, n)];
        if let Some(gradients) = gradients {
            for (layer, back, width) in backs {
                let spec = parameters.spec(layer);
                let (rows_of, accumulate) = (spec.k, false);
                let d_y = MatRef::new(back, rows, width);
                let d_w = &mut gradients[spec.weight.clone()];
                gemm_tn(
                    kernels,
                    WeightGradient { a: seen, d_y, accumulate, d_w, rows: rows_of, first_row: 0 },
                )?;
                let d_later = MatRef::new(&back[samples * width..], later, width);
                let d_w = &mut gradients[spec.weight.clone()];
                let (rows, first_row) = (rows_of, inputs);
                gemm_tn(kernels, WeightGradient { a: h, d_y: d_later, accumulate, d_w, rows, first_row })?;
                parameters.bias_gradient(kernels, layer, d_y, gradients)?;
            }
        }
        if let Some(d_e) = d_e {
            let [d_gates, d_candidate] = backs.map(|(_, back, width)| MatRef::new(back, rows, width));
            let of_gates = self.gates_e.panels();
            let of_candidate = self.candidate_e.panels();
            let mut to = MatMut::new(&mut *d_e, rows, inputs);
            gemm(kernels, d_gates, of_gates, Init::Zero, Epilogue::Store, to.reborrow())?;
            let epilogue = input.gradient(e, masks, guided);
            gemm(kernels, d_candidate, of_candidate, Init::Accumulate, epilogue, to)?;
            drop_units(&mut d_e[..rows * inputs], dropout_e);
        }
        Ok(())
    }

    fn relevance(&mut self, kernels: &Kernels, operands: CoreRelevance) -> Result<(), ModelError> {
        let CoreRelevance { samples, e, r_e, ledger } = operands;
        let RLstm { candidate: layer, steps, e: inputs, n, input, .. } = self.layer;
        let rules = self.rules.as_mut().expect("a pass for relevance has packed the rules");
        let Rules { of_e, of_h, bias, shared, bases, ratios: c_of } = rules;
        let (rows, cells) = (samples * steps, samples * n);
        let e = input.rows(e, rows);
        for (group, base) in bases.iter_mut().enumerate() {
            let z = self.z.as_ref().map(|z| MatRef::new(z, rows, n));
            let out = MatMut::new(base, rows, n);
            denominators(kernels, Denominators { rule: of_e, group, a: e, z, out })?;
            bias.add_to(group, &mut base[..rows * n]);
        }
        self.back_c[..cells].fill(0.0);
        for t in (0..steps).rev() {
            let at = step(t, samples, n);
            let before = (t > 0).then(|| at.start - cells..at.start);
            let operands = CellRelevance {
                cells: n,
                gates: &self.gates[step(t, samples, 3 * n)],
                c_before: before.clone().map(|before| &self.c[before]),
                c: &self.c[at.clone()],
                r_h: &self.back_h[..cells],
                r_c: &mut self.back_c[..cells],
                r_candidate: &mut self.back_candidate[at.clone()],
                eps: EPS,
            };
            cell_relevance(kernels, operands)?;
            let h = match before {
                Some(before) => MatRef::new(&self.h[before], samples, n),
                None => MatRef::new(&[], samples, 0),
            };
            for (group, (&shared, base)) in shared.iter().zip(&*bases).enumerate() {
                let operands = Ratios {
                    shared,
                    rule: of_h,
                    group,
                    base: MatRef::new(&base[at.clone()], samples, n),
                    a: h,
                    z: None,
                    r_out: MatRef::new(&self.back_candidate[at.clone()], samples, n),
                    c: MatMut::new(&mut c_of[group][at.clone()], samples, n),
                    absorbed: &mut ledger.layer(layer).absorbed[step(t, samples, 1)],
                };
                ratios(kernels, operands)?;
                let c_t = MatRef::new(&c_of[group][at.clone()], samples, n);
                bias.absorb(group, c_t, &mut ledger.layer(layer).absorbed[step(t, samples, 1)]);
            }
            if t > 0 {
                let c_t: Vec<MatRef> =
                    c_of.iter().map(|c_of| MatRef::new(&c_of[at.clone()], samples, n)).collect();
                let r_in = MatMut::new(&mut self.back_h, samples, n);
                messages(kernels, Messages { rule: of_h, c: &c_t, a: h, r_in })?;
                ledger.layer(layer).add_negative(t * samples, n, &self.back_h[..cells]);
            }
        }
        let c_all: Vec<MatRef> = c_of.iter().map(|c_of| MatRef::new(c_of, rows, n)).collect();
        let r_in = MatMut::new(&mut *r_e, rows, inputs);
        messages(kernels, Messages { rule: of_e, c: &c_all, a: e, r_in })?;
        ledger.layer(layer).add_negative(0, inputs, &r_e[..rows * inputs]);
        Ok(())
    }

    fn repack(&mut self, parameters: &Parameters) {
        let RLstm { gates, candidate, e, n, .. } = self.layer;
        let (gates, candidate) = (parameters.weight(gates), parameters.weight(candidate));
        for (weight, to) in [
            (gates.rows(0, e), &mut self.gates_e),
            (gates.rows(e, e + n), &mut self.gates_h),
            (candidate.rows(0, e), &mut self.candidate_e),
            (candidate.rows(e, e + n), &mut self.candidate_h),
        ] {
            if !to.is_empty() {
                to.update(|to| pack::transpose(weight, Part::All, to));
            }
        }
    }

    fn packed(&self) -> usize {
        self.gates_e.len() + self.gates_h.len() + self.candidate_e.len() + self.candidate_h.len()
    }

    fn non_finite(&self, samples: usize) -> Option<String> {
        let RLstm { steps, n, .. } = self.layer;
        let bad = |values: &[f32]| values.iter().any(|value| !value.is_finite());
        (0..steps).find_map(|t| {
            let at = step(t, samples, n);
            let named = [
                ("gates", &self.gates[step(t, samples, 3 * n)]),
                ("candidate", &self.candidate[at.clone()]),
                ("the state", &self.c[at]),
            ];
            let (name, _) = named.into_iter().find(|(_, values)| bad(values))?;
            Some(format!("{name} at step {}", t + 1))
        })
    }

    /// The head reads the last `h_t` only.
    fn is_dead(&self, samples: usize, sample: usize) -> bool {
        let RLstm { steps, n, .. } = self.layer;
        self.h[((steps - 1) * samples + sample) * n..][..n].iter().all(|&value| value == 0.0)
    }

    fn step_norms(&self, kernels: &Kernels, samples: usize, norms: &mut [f64]) {
        let n = self.layer.n;
        let _span = kernels.span("sum_of_squares", || Work::elements([norms.len(), 4 * samples * n], 2, 1));
        for (t, norm) in norms.iter_mut().enumerate() {
            let gates = sum_of_squares(&self.back_gates[step(t, samples, 3 * n)]);
            *norm = (gates + sum_of_squares(&self.back_candidate[step(t, samples, n)])).sqrt();
        }
    }
}

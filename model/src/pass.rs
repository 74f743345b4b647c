//! One pass over a network: its stages, the buffers between them, and three loops over them.
//!
//! Rows are time-major, `t·N + n`, so that a step is a block of adjacent rows. The encoder processes all
//! `T·N` rows at once, the head processes `N`; between them the core processes the steps.

use crate::core::layer::{CoreBackward, CoreRelevance, CoreStage};
use crate::error::ModelError;
use crate::ledger::Ledger;
use crate::network::{Layers, Network};
use crate::samples::Samples;
use crate::stage::edge::Edge;
use crate::stage::layer::{Backward, Context, Forward, Layer, Purpose, Relevance, Setup, Stage};
use crate::stage::masks::Masks;
use crate::task::Task;
use kernels::profile::Work;
use kernels::{Buffer, Kernels};
use std::ops::Range;

/// The state of one pass over a network, allocated once for a number of samples and a purpose.
#[derive(Debug)]
pub(crate) struct Pass {
    capacity: usize,
    task: Task,
    /// Buffer for reading one sample.
    image: Buffer,
    pixels: Wire,
    encoder: Chain,
    core: Box<dyn CoreStage>,
    head: Chain,
    /// What became of the relevance of the last explanation.
    ledger: Ledger,
}

/// The buffers of an edge.
#[derive(Debug)]
struct Wire {
    edge: Edge,
    values: Buffer,
    /// Gradient or relevance; empty if it is not needed.
    back: Buffer,
}

impl Wire {
    fn new(edge: Edge, setup: &Setup) -> Wire {
        let back = if setup.needs_back(&edge) { setup.rows * edge.back.len() } else { 0 };
        Wire { edge, values: Buffer::zeroed(setup.rows * edge.values.len()), back: Buffer::zeroed(back) }
    }
}

/// The input of a chain: the values that it reads, and the buffer for their gradient or relevance.
struct Source<'a> {
    values: &'a [f32],
    back: Option<&'a mut [f32]>,
}

/// The rows of the ledger that a chain's rows are.
struct RowsOfLedger<'a> {
    ledger: &'a mut Ledger,
    rows: Range<usize>,
}

/// Stages one behind the other.
#[derive(Debug)]
struct Chain {
    stages: Vec<Box<dyn Stage>>,
    /// The output edge of each stage.
    wires: Vec<Wire>,
    /// Names of the parameters of the stages that have any.
    names: Vec<Option<String>>,
    /// For each stage the entry of the ledger: the layer of its own parameters, or of the stage in front.
    entries: Vec<usize>,
    /// Floats of a row of what comes back to the edge in front of the chain.
    width: usize,
}

impl Chain {
    /// The stages of `layers` behind `input`.
    fn new(layers: &[Box<dyn Layer>], input: Edge, setup: &Setup) -> Chain {
        let name = |layer: usize| setup.parameters.spec(layer).name.clone();
        let mut entry = 0;
        let mut entry_of = |parameters: Option<usize>| {
            entry = parameters.unwrap_or(entry);
            entry
        };
        Chain {
            entries: layers.iter().map(|layer| entry_of(layer.parameters())).collect(),
            width: input.back.len(),
            stages: layers.iter().map(|layer| layer.stage(setup)).collect(),
            wires: layers.iter().map(|layer| Wire::new(layer.output(), setup)).collect(),
            names: layers.iter().map(|layer| layer.parameters().map(name)).collect(),
        }
    }

    fn forward(&mut self, context: &Context, rows: usize, input: &[f32]) -> Result<(), ModelError> {
        for (i, stage) in self.stages.iter_mut().enumerate() {
            let (before, behind) = self.wires.split_at_mut(i);
            let x = before.last().map_or(input, |wire| &wire.values);
            stage.forward(context, Forward { rows, x, y: &mut behind[0].values })?;
        }
        Ok(())
    }

    fn backward(
        &mut self,
        context: &Context,
        rows: usize,
        mut source: Source,
        mut gradients: Option<&mut [f32]>,
    ) -> Result<(), ModelError> {
        for (i, stage) in self.stages.iter_mut().enumerate().rev() {
            let (before, behind) = self.wires.split_at_mut(i);
            let (x, d_x) = match before.last_mut() {
                Some(Wire { values, back, .. }) => (&values[..], Some(&mut back[..])),
                None => (source.values, source.back.take()),
            };
            let (y, d_y, gradients) = (&behind[0].values, &behind[0].back, gradients.as_deref_mut());
            stage.backward(context, Backward { rows, x, y, d_y, d_x, gradients })?;
        }
        Ok(())
    }

    fn relevance(
        &mut self,
        kernels: &Kernels,
        source: Source,
        f: &[f32],
        ledger: RowsOfLedger,
    ) -> Result<(), ModelError> {
        let RowsOfLedger { ledger, rows: of_ledger } = ledger;
        let rows = of_ledger.len();
        let Source { values, back: Some(r_source) } = source else {
            unreachable!("every edge has relevance");
        };
        for (i, stage) in self.stages.iter_mut().enumerate().rev() {
            let (before, behind) = self.wires.split_at_mut(i);
            let (x, r_x, width) = match before.last_mut() {
                Some(Wire { values, back, edge }) => (&values[..], &mut back[..], edge.back.len()),
                None => (values, &mut r_source[..], self.width),
            };
            let (y, r_y) = (&behind[0].values, &behind[0].back);
            let entry = ledger.layer(self.entries[i]);
            let absorbed = &mut entry.absorbed[of_ledger.clone()];
            let negative = &mut entry.negative[of_ledger.clone()];
            let operands = Relevance { rows, x, y, r_y, r_x: &mut *r_x, f, absorbed, negative };
            stage.relevance(kernels, operands)?;
            entry.add_negative(of_ledger.start, width, &r_x[..rows * width]);
        }
        Ok(())
    }

    /// The name of the first stage with a non-finite output.
    fn non_finite(&self, rows: usize) -> Option<&str> {
        let mut named =
            self.names.iter().zip(&self.wires).filter_map(|(name, wire)| Some((name.as_ref()?, wire)));
        let bad = |wire: &Wire| wire.values[..rows * wire.edge.values.len()].iter().any(|v| !v.is_finite());
        named.find_map(|(name, wire)| bad(wire).then_some(&name[..]))
    }

    /// Whether one of the first `layers` outputs is 0 in all the given rows.
    fn is_dead(&self, layers: usize, rows: impl Iterator<Item = usize> + Clone) -> bool {
        self.wires[..layers].iter().any(|wire| {
            let width = wire.edge.values.len();
            rows.clone().all(|row| wire.values[row * width..][..width].iter().all(|&value| value == 0.0))
        })
    }
}

impl Pass {
    /// Buffers and packed weights for up to `capacity` samples.
    pub fn new(kernels: &Kernels, network: &Network, capacity: usize, purpose: Purpose) -> Pass {
        let Layers { task, pixels, encoder, core, head, .. } = &**network.graph();
        let (samples, rows) = (capacity, capacity * task.seq_len);
        let all = Setup { kernels, parameters: network.parameters(), purpose, samples, rows };
        let last = Setup { rows: capacity, ..all };
        let relevance = matches!(purpose, Purpose::Relevance(_));
        Pass {
            capacity,
            task: *task,
            image: Buffer::zeroed(task.rows * task.cols),
            pixels: Wire::new(*pixels, &all),
            encoder: Chain::new(encoder, *pixels, &all),
            core: core.stage(&all),
            head: Chain::new(head, core.output(), &last),
            ledger: if relevance { Ledger::new(network.layers().len(), rows) } else { Ledger::new(0, 0) },
        }
    }

    /// The most samples at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Reads the given samples into the input.
    pub fn load(&mut self, samples: &dyn Samples, indices: &[usize]) -> Result<(), ModelError> {
        let n = indices.len();
        if n > self.capacity {
            return Err(ModelError::Batch { found: n, capacity: self.capacity });
        }
        for (i, &index) in indices.iter().enumerate() {
            samples.pixels(index, &mut self.image);
            let (values, image) = (&mut self.pixels.values, &self.image);
            for_each_run(&self.task, &self.pixels.edge, Sample { i, of: n }, |run| {
                copy(&image[run.image..][..run.len], &mut values[run.values..][..run.len]);
            });
        }
        Ok(())
    }

    /// Forward: encoder, core, head.
    pub fn forward(&mut self, context: &Context, n: usize) -> Result<(), ModelError> {
        self.encoder.forward(context, n * self.task.seq_len, &self.pixels.values)?;
        let encoded = self.encoder.wires.last().unwrap_or(&self.pixels);
        self.core.forward(context, n, &encoded.values)?;
        let (input, _) = self.core.output(n);
        self.head.forward(context, n, input)
    }

    /// Backward: head, core, encoder, from the gradient of the logits in [`Pass::back_mut`]. If `gradients`
    /// is given, the gradients of the parameters are written there.
    pub fn backward(
        &mut self,
        context: &Context,
        n: usize,
        mut gradients: Option<&mut [f32]>,
    ) -> Result<(), ModelError> {
        let (values, back) = self.core.output(n);
        let source = Source { values, back: Some(back) };
        self.head.backward(context, n, source, gradients.as_deref_mut())?;
        let encoded = self.encoder.wires.last_mut().unwrap_or(&mut self.pixels);
        let Wire { values: e, back, .. } = encoded;
        let d_e = if back.is_empty() { None } else { Some(&mut back[..]) };
        let operands = CoreBackward { samples: n, e, d_e, gradients: gradients.as_deref_mut() };
        self.core.backward(context, operands)?;
        let Wire { values, back, .. } = &mut self.pixels;
        let back = if back.is_empty() { None } else { Some(&mut back[..]) };
        let source = Source { values, back };
        self.encoder.backward(context, n * self.task.seq_len, source, gradients)
    }

    /// Relevance: head, core, encoder, of the values `f` whose rows over the logits are in [`Pass::logits_and_back`].
    /// [`Pass::ledger`] says then what became of it.
    pub fn relevance(&mut self, kernels: &Kernels, f: &[f32]) -> Result<(), ModelError> {
        let (n, steps) = (f.len(), self.task.seq_len);
        let ledger = &mut self.ledger;
        ledger.clear();
        let (values, back) = self.core.output(n);
        let source = Source { values, back: Some(back) };
        let rows = (steps - 1) * n..steps * n;
        self.head.relevance(kernels, source, f, RowsOfLedger { ledger: &mut *ledger, rows })?;
        let encoded = self.encoder.wires.last_mut().unwrap_or(&mut self.pixels);
        let (e, r_e) = (&encoded.values, &mut encoded.back);
        self.core.relevance(kernels, CoreRelevance { samples: n, e, r_e, ledger: &mut *ledger })?;
        let Wire { values, back, .. } = &mut self.pixels;
        let source = Source { values, back: Some(&mut back[..]) };
        self.encoder.relevance(kernels, source, f, RowsOfLedger { ledger, rows: 0..steps * n })
    }

    /// What became of the relevance of the last explanation: rows `t·N + n`.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Repacks the weights of the backward pass after the parameters have changed.
    pub fn repack(&mut self, kernels: &Kernels, network: &Network) {
        let _span = kernels.span("pack", || {
            let stages = self.encoder.stages.iter().chain(&self.head.stages);
            let packed = stages.map(|stage| stage.packed()).sum::<usize>() + self.core.packed();
            Work::elements([1, packed], 0, 2)
        });
        self.core.repack(network.parameters());
        for stage in self.head.stages.iter_mut().chain(&mut self.encoder.stages) {
            stage.repack(network.parameters());
        }
    }

    /// The logits `[N, C]`.
    pub fn logits(&self, n: usize) -> &[f32] {
        &self.last().values[..n * self.task.classes]
    }

    /// The logits, and the buffer for their gradient or relevance.
    pub fn logits_and_back(&mut self, n: usize) -> (&[f32], &mut [f32]) {
        let floats = n * self.task.classes;
        let last = self.head.wires.len() - 1;
        let Wire { values, back, .. } = &mut self.head.wires[last];
        (&values[..floats], &mut back[..floats])
    }

    fn last(&self) -> &Wire {
        &self.head.wires[self.head.wires.len() - 1]
    }

    /// Assembles the image of a sample from its steps: `of(x, back)` for each pixel, where `back` is its
    /// gradient or relevance.
    pub fn pixels(&self, sample: Sample, image: &mut [f32], of: impl Fn(f32, f32) -> f32) {
        let (xs, backs) = (&self.pixels.values, &self.pixels.back);
        for_each_run(&self.task, &self.pixels.edge, sample, |run| {
            let (xs, backs) = (&xs[run.values..][..run.len], &backs[run.back..][..run.len]);
            for ((to, &x), &back) in image[run.image..][..run.len].iter_mut().zip(xs).zip(backs) {
                *to = of(x, back);
            }
        });
    }

    /// The norm of the gradient with respect to the core's pre-activation at each step: it shows vanishing
    /// and exploding gradients.
    pub fn step_norms(&self, kernels: &Kernels, n: usize, norms: &mut [f64]) {
        self.core.step_norms(kernels, n, norms);
    }

    /// Health check: the first stage with a non-finite output, in the order of computation.
    pub fn non_finite(&self, n: usize) -> Option<String> {
        let encoder = || self.encoder.non_finite(n * self.task.seq_len).map(str::to_owned);
        let head = || self.head.non_finite(n).map(str::to_owned);
        encoder().or_else(|| self.core.non_finite(n)).or_else(head)
    }

    /// Health check: the number of samples for which a whole hidden layer is 0 at every step where it is
    /// read, so that the logits do not depend on the input.
    pub fn dead(&self, n: usize) -> usize {
        let is_dead = |&sample: &usize| {
            let rows = (0..self.task.seq_len).map(|t| t * n + sample);
            self.encoder.is_dead(self.encoder.wires.len(), rows)
                || self.core.is_dead(n, sample)
                || self.head.is_dead(self.head.wires.len() - 1, std::iter::once(sample))
        };
        (0..n).filter(is_dead).count()
    }
}

/// A context without dropout.
pub(crate) fn plain<'a>(kernels: &'a Kernels, network: &'a Network) -> Context<'a> {
    Context { kernels, parameters: network.parameters(), masks: Masks::NONE, guided: false }
}

/// Index of the largest logit or probability, the first of equals: the predicted class.
///
/// ```
/// assert_eq!(model::arg_max(&[0.5, 2.0, 2.0]), 1);
/// ```
pub fn arg_max<T: PartialOrd>(values: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

/// Copies a run of pixels. A strip of 28 columns is 2, 4 or 7 wide: with a constant length the copy is one or
/// two moves; a call of `memcpy` would take as long as copying the whole image.
fn copy(from: &[f32], to: &mut [f32]) {
    fn known<const N: usize>(from: &[f32], to: &mut [f32]) -> bool {
        let (Ok(from), Ok(to)) = (<&[f32; N]>::try_from(from), <&mut [f32; N]>::try_from(to)) else {
            return false;
        };
        *to = *from;
        true
    }
    if !(known::<4>(from, to) || known::<7>(from, to) || known::<2>(from, to)) {
        to.copy_from_slice(from);
    }
}

/// Sample `i` of a batch of `samples`.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub i: usize,
    pub of: usize,
}

/// The offsets of a run of adjacent pixels of one sample.
struct Run {
    /// In the values of the first edge.
    values: usize,
    /// In its gradient or relevance, which has no border.
    back: usize,
    /// In the image.
    image: usize,
    len: usize,
}

/// Visits each run of adjacent pixels of a sample.
fn for_each_run(task: &Task, pixels: &Edge, sample: Sample, mut visit: impl FnMut(Run)) {
    let Sample { i, of: n } = sample;
    let (len, plane) = (task.step_cols(), &pixels.values);
    // In a vector the rows of the strip are adjacent; in an image the border is between them.
    let line = if plane.pixels() == 1 { len } else { plane.line() };
    for t in 0..task.seq_len {
        let values = (t * n + i) * plane.len() + plane.interior();
        let back = (t * n + i) * task.rows * len;
        for y in 0..task.rows {
            visit(Run {
                values: values + y * line,
                back: back + y * len,
                image: y * task.cols + t * len,
                len,
            });
        }
    }
}

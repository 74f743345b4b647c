//! Forwards: what does not depend on `r_t` runs once over all `T·N` rows, the rest step by step.
//!
//! Rows are time-major, `t·N + n`, so that a step is a block of adjacent rows.

use crate::layer::{self, Op};
use crate::plan::Plan;
use crate::{ModelError, Network, Samples};
use kernels::conv::max_pool::MaxIndices;
use kernels::{Buffer, Dropout, Epilogue, Init, Kernels, MatMut, MatRef, gemm};
use std::ops::Range;

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Logits only.
    Infer,
    /// Dropout with masks of this seed.
    Train { seed: u64 },
    /// The product of the pixel layer is kept for z^β.
    Explain,
}

/// Every activation of a batch, in buffers that are made once.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub capacity: usize,
    /// In front of each encoder layer, and behind the last.
    pub acts: Vec<Buffer>,
    /// Of each max-pooled convolution, where the maxima stand.
    pub max_indices: Vec<Option<MaxIndices>>,
    /// `x·W` of the layer that sees pixels, without its bias; only with [`Mode::Explain`].
    pub z: Buffer,
    /// Layer 4, `[T·N, c]`.
    pub a4: Buffer,
    /// `r_t`, `[T·N, r]`; `r_0 = 0`.
    pub r: Buffer,
    /// Layers of the head, the logits last.
    pub head: Vec<Buffer>,
    image: Buffer,
}

/// Rows of step `t` with `n` samples of `width` floats.
pub(crate) fn step(t: usize, n: usize, width: usize) -> Range<usize> {
    t * n * width..(t + 1) * n * width
}

/// Which mask a dropout layer draws.
fn mask_seed(seed: u64, layer: usize) -> u64 {
    (seed ^ (layer as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

impl Trace {
    pub fn new(plan: &Plan, capacity: usize, explain: bool) -> Trace {
        let images = capacity * plan.task.seq_len;
        let z = if explain { plan.pixel_product_len(images) } else { 0 };
        Trace {
            capacity,
            acts: plan.planes.iter().map(|plane| Buffer::zeroed(images * plane.len())).collect(),
            max_indices: plan.encoder.iter().map(|op| layer::conv::max_indices(op, images)).collect(),
            z: Buffer::zeroed(z),
            a4: Buffer::zeroed(images * plan.c),
            r: Buffer::zeroed(images * plan.r),
            head: plan.head.iter().map(|&spec| Buffer::zeroed(capacity * plan.specs[spec].n)).collect(),
            image: Buffer::zeroed(plan.task.rows * plan.task.cols),
        }
    }

    /// Takes the given samples as the input.
    pub fn load(&mut self, plan: &Plan, samples: &dyn Samples, indices: &[usize]) -> Result<(), ModelError> {
        let n = indices.len();
        if n > self.capacity {
            return Err(ModelError::Batch { found: n, capacity: self.capacity });
        }
        for (i, &index) in indices.iter().enumerate() {
            samples.pixels(index, &mut self.image);
            let (acts, image) = (&mut self.acts[0], &self.image);
            for_each_strip(plan, n, i, |run, width| {
                copy(&image[run.image..][..width], &mut acts[run.at..][..width]);
            });
        }
        Ok(())
    }

    pub fn logits(&self, plan: &Plan, n: usize) -> &[f32] {
        let classes = plan.task.classes;
        self.head.last().map_or(&[], |logits| &logits[..n * classes])
    }

    pub fn forward(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        n: usize,
        mode: Mode,
    ) -> Result<(), ModelError> {
        let plan = &network.plan;
        let (steps, images) = (plan.task.seq_len, n * plan.task.seq_len);
        let dropout = |layer: usize| match mode {
            Mode::Train { seed } if plan.cell.dropout > 0.0 => {
                Some(Dropout::new(plan.cell.dropout, mask_seed(seed, layer)))
            }
            _ => None,
        };
        for (i, op) in plan.encoder.iter().enumerate() {
            let (before, behind) = self.acts.split_at_mut(i + 1);
            let (x, y) = (&before[i], &mut behind[0]);
            let z = (i == 0 && mode == Mode::Explain).then_some(&mut self.z[..]);
            match op {
                Op::Dense { spec } => {
                    layer::dense::forward(kernels, network, *spec, x, images, dropout(i), z, y)?;
                }
                Op::Conv { spec, shape } => {
                    layer::conv::forward(kernels, network, *spec, shape, x, images, z, y)?;
                }
                Op::ConvMaxPool { spec, shape } => {
                    let (plane, max_indices) = (&plan.planes[i + 1], &mut self.max_indices[i]);
                    layer::conv::forward_pooled(
                        kernels,
                        network,
                        (*spec, shape),
                        x,
                        images,
                        z,
                        (plane, y),
                        max_indices,
                    )?;
                }
                Op::Pool { shape } => {
                    let planes = (&plan.planes[i], &plan.planes[i + 1]);
                    layer::pool::forward(kernels, *shape, planes, images, x, y)?;
                }
            }
        }
        // Layer 4: the part of e_t over all steps, then the part of r_t step by step.
        let (e, r, c) = (plan.e, plan.r, plan.c);
        let weight = network.weight(plan.combine);
        let bias = network.bias(plan.combine);
        let encoded = MatRef::new(&self.acts[plan.encoder.len()], images, e);
        let keep = plan.encoder.is_empty() && mode == Mode::Explain;
        let product = if keep { &mut self.z } else { &mut self.a4 };
        let product = MatMut::new(product, images, c);
        gemm(kernels, encoded, weight.rows(0, e), Init::Zero, Epilogue::Store, product)?;
        for t in 0..steps {
            let known = if t == 0 { 0 } else { r };
            let r_t = MatRef::new(if t == 0 { &[] } else { &self.r[step(t, n, r)] }, n, known);
            let start =
                if keep { Init::Copy(MatRef::new(&self.z[step(t, n, c)], n, c)) } else { Init::Accumulate };
            let epilogue = match dropout(plan.encoder.len()) {
                Some(dropout) if t + 1 == steps => Epilogue::BiasReluDropout(bias, dropout),
                _ => Epilogue::BiasRelu(bias),
            };
            let a4 = MatMut::new(&mut self.a4[step(t, n, c)], n, c);
            gemm(kernels, r_t, weight.rows(e, e + known), start, epilogue, a4)?;
            if let Some(spec) = plan.recurrent
                && t + 1 < steps
            {
                let a4 = MatRef::new(&self.a4[step(t, n, c)], n, c);
                let next = MatMut::new(&mut self.r[step(t + 1, n, r)], n, r);
                let relu = Epilogue::BiasRelu(network.bias(spec));
                gemm(kernels, a4, network.weight(spec), Init::Zero, relu, next)?;
            }
        }
        for (i, &spec) in plan.head.iter().enumerate() {
            let (before, behind) = self.head.split_at_mut(i);
            let x = match before.last() {
                Some(x) => MatRef::new(x, n, plan.specs[spec].k),
                None => MatRef::new(&self.a4[step(steps - 1, n, c)], n, c),
            };
            let bias = network.bias(spec);
            let last = i + 1 == plan.head.len();
            let epilogue = if last { Epilogue::Bias(bias) } else { Epilogue::BiasRelu(bias) };
            let y = MatMut::new(&mut behind[0], n, plan.specs[spec].n);
            gemm(kernels, x, network.weight(spec), Init::Zero, epilogue, y)?;
        }
        Ok(())
    }
}

/// Copies a run of pixels. A strip of 28 columns is 2, 4 or 7 wide: with the length known that is a move
/// or two, where a call would take as long as the copying of the whole image.
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

/// Where a run of adjacent pixels of one sample is.
pub(crate) struct Run {
    /// In the first activation.
    pub at: usize,
    /// In planes without border, as relevance is kept.
    pub bare: usize,
    /// In the image.
    pub image: usize,
}

/// Calls `visit(place, length)` for each run of pixels of sample `i` of `n`.
pub(crate) fn for_each_strip(plan: &Plan, n: usize, i: usize, mut visit: impl FnMut(Run, usize)) {
    let (task, plane) = (&plan.task, &plan.planes[0]);
    let width = task.step_cols();
    // A vector has the strip's rows behind one another; an image has its border between them.
    let line = if plane.pixels() == 1 { width } else { plane.line() };
    for t in 0..task.seq_len {
        let at = (t * n + i) * plane.len() + plane.interior();
        let bare = (t * n + i) * task.rows * width;
        for y in 0..task.rows {
            let place = Run { at: at + y * line, bare: bare + y * width, image: y * task.cols + t * width };
            visit(place, width);
        }
    }
}

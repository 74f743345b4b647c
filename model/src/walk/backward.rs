//! Backwards through time and layers: gradients of the parameters, of the pixels, or both.

use super::forward::{Trace, step};
use crate::layer::{self, Op};
use crate::plan::Plan;
use crate::{ModelError, Network};
use kernels::conv::max_pool::{ConvMaxPoolInputGradient, Filters, conv_max_pool_input_gradient};
use kernels::elementwise::reduce::sum_of_squares;
use kernels::pack::{self, Part};
use kernels::pool::PoolBack;
use kernels::profile::Work;
use kernels::{
    Buffer, Epilogue, Init, Kernels, MatMut, MatRef, Panels, WeightGradient, gemm, gemm_tn, panels_len,
};

/// Buffers of the way back, and the weights as it multiplies them.
#[derive(Clone, Debug)]
pub(crate) struct Back {
    /// The way goes on to the pixels.
    to_pixels: bool,
    /// Transposed or reversed weights of each layer; of the combine layer, the part of `e_t`.
    weights: Vec<Buffer>,
    /// Weights of each encoder layer that is a max-pooled convolution.
    filters: Vec<Option<Filters>>,
    /// Transposed weights of the combine layer's part of `r_t`.
    combine_r: Buffer,
    /// Gradients in front of each encoder layer, and behind the last.
    pub d_acts: Vec<Buffer>,
    d_a4: Buffer,
    d_r: Buffer,
    pub d_head: Vec<Buffer>,
}

/// How a gradient goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// `1 / (1 − p)` where the forward pass dropped out, else 1.
    pub scale: f32,
    /// Negative values are cut at each relu.
    pub guided: bool,
}

impl Back {
    pub fn new(plan: &Plan, capacity: usize, to_pixels: bool) -> Back {
        let images = capacity * plan.task.seq_len;
        let mut weights: Vec<Buffer> =
            plan.specs.iter().map(|spec| Buffer::zeroed(panels_len(spec.n, spec.k))).collect();
        let needed = |i: usize| to_pixels || i > 0;
        for (i, op) in plan.encoder.iter().enumerate() {
            match op {
                Op::Dense { spec } | Op::Conv { spec, .. } if !needed(i) => {
                    weights[*spec] = Buffer::default()
                }
                Op::ConvMaxPool { spec, .. } => weights[*spec] = Buffer::default(),
                Op::Conv { spec, shape } => {
                    weights[*spec] = Buffer::zeroed(panels_len(shape.reversed().patch(), shape.inputs));
                }
                _ => {}
            }
        }
        let e = if needed(plan.encoder.len()) { plan.e } else { 0 };
        weights[plan.combine] = Buffer::zeroed(panels_len(plan.c, e));
        let d_acts = (0..plan.planes.len())
            .map(|i| Buffer::zeroed(if needed(i) { images * plan.back_plane(i).len() } else { 0 }));
        Back {
            to_pixels,
            weights,
            filters: vec![None; plan.encoder.len()],
            combine_r: Buffer::zeroed(panels_len(plan.c, plan.r)),
            d_acts: d_acts.collect(),
            d_a4: Buffer::zeroed(images * plan.c),
            d_r: Buffer::zeroed(images * plan.r),
            d_head: plan.head.iter().map(|&spec| Buffer::zeroed(capacity * plan.specs[spec].n)).collect(),
        }
    }

    /// Makes the transposed weights of this version of the parameters.
    pub fn refresh(&mut self, kernels: &Kernels, network: &Network) {
        let _span = kernels.span("pack", || {
            let packed =
                self.weights.iter().map(|weights| weights.len()).sum::<usize>() + self.combine_r.len();
            Work::elements([1, packed], 0, 2)
        });
        let plan = &network.plan;
        let (e, r) = (plan.e, plan.r);
        let combine = network.weight(plan.combine);
        pack::transpose(combine.rows(e, e + r), Part::All, &mut self.combine_r);
        if !self.weights[plan.combine].is_empty() {
            pack::transpose(combine.rows(0, e), Part::All, &mut self.weights[plan.combine]);
        }
        for &spec in plan.recurrent.iter().chain(&plan.head) {
            pack::transpose(network.weight(spec), Part::All, &mut self.weights[spec]);
        }
        for (i, op) in plan.encoder.iter().enumerate() {
            match op {
                Op::ConvMaxPool { spec, shape } if i > 0 || self.to_pixels => {
                    let w = network.weight(*spec);
                    match &mut self.filters[i] {
                        Some(filters) => filters.refresh(w),
                        none => *none = Some(Filters::new(shape, w, Part::All, None)),
                    }
                }
                Op::Dense { spec } if !self.weights[*spec].is_empty() => {
                    pack::transpose(network.weight(*spec), Part::All, &mut self.weights[*spec]);
                }
                Op::Conv { spec, shape } if !self.weights[*spec].is_empty() => {
                    let out = &mut self.weights[*spec];
                    pack::reverse_conv(shape, network.weight(*spec), Part::All, out);
                }
                _ => {}
            }
        }
    }

    /// From the gradient of the logits, which stands in the last `d_head`, back to where the buffers
    /// reach; the parameters' gradients go into `gradients` where given.
    pub fn backward(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        trace: &Trace,
        n: usize,
        way: Way,
        mut gradients: Option<&mut [f32]>,
    ) -> Result<(), ModelError> {
        let plan = &network.plan;
        let (steps, images) = (plan.task.seq_len, n * plan.task.seq_len);
        let (e, r, c) = (plan.e, plan.r, plan.c);
        let relu = |a, scale| Epilogue::ReluGradient { a, scale, guided: way.guided };
        let last = step(steps - 1, n, c);
        for (i, &spec) in plan.head.iter().enumerate().rev() {
            let layer = &plan.specs[spec];
            let (before, behind) = self.d_head.split_at_mut(i);
            let d_h = MatRef::new(&behind[0], n, layer.n);
            let (x, scale, d_x) = match before.last_mut() {
                Some(d_x) => (&trace.head[i - 1][..n * layer.k], 1.0, &mut d_x[..]),
                None => (&trace.a4[last.clone()], way.scale, &mut self.d_a4[last.clone()]),
            };
            let x = MatRef::new(x, n, layer.k);
            if let Some(gradients) = gradients.as_deref_mut() {
                layer::dense::gradient(kernels, network, spec, x, d_h, gradients)?;
            }
            let weight = Panels::new(&self.weights[spec], layer.n, layer.k);
            let d_x = MatMut::new(d_x, n, layer.k);
            gemm(kernels, d_h, weight, Init::Zero, relu(x, scale), d_x)?;
        }
        if let Some(spec) = plan.recurrent {
            for t in (1..steps).rev() {
                let r_t = MatRef::new(&trace.r[step(t, n, r)], n, r);
                let d_h = MatRef::new(&self.d_a4[step(t, n, c)], n, c);
                let weight = Panels::new(&self.combine_r, c, r);
                let d_r = MatMut::new(&mut self.d_r[step(t, n, r)], n, r);
                gemm(kernels, d_h, weight, Init::Zero, relu(r_t, 1.0), d_r)?;
                let d_r = MatRef::new(&self.d_r[step(t, n, r)], n, r);
                let a4 = MatRef::new(&trace.a4[step(t - 1, n, c)], n, c);
                let weight = Panels::new(&self.weights[spec], r, c);
                let d_a4 = MatMut::new(&mut self.d_a4[step(t - 1, n, c)], n, c);
                gemm(kernels, d_r, weight, Init::Zero, relu(a4, 1.0), d_a4)?;
            }
        }
        let d_a4 = MatRef::new(&self.d_a4, images, c);
        let encoded = plan.encoder.len();
        if let Some(gradients) = gradients.as_deref_mut() {
            let spec = &plan.specs[plan.combine];
            let later = images - n;
            let d_w = &mut gradients[spec.weight.clone()];
            let x = MatRef::new(&trace.acts[encoded], images, e);
            gemm_tn(
                kernels,
                WeightGradient { a: x, d_y: d_a4, accumulate: false, d_w, rows: spec.k, first_row: 0 },
            )?;
            if let Some(recurrent) = plan.recurrent {
                let x = MatRef::new(&trace.r[n * r..], later, r);
                let d_h = MatRef::new(&self.d_a4[n * c..], later, c);
                gemm_tn(
                    kernels,
                    WeightGradient { a: x, d_y: d_h, accumulate: false, d_w, rows: spec.k, first_row: e },
                )?;
                let x = MatRef::new(&trace.a4, later, c);
                let d_h = MatRef::new(&self.d_r[n * r..], later, r);
                layer::dense::gradient(kernels, network, recurrent, x, d_h, gradients)?;
            }
            layer::dense::bias_gradient(kernels, network, spec, d_a4, gradients)?;
        }
        if encoded > 0 || self.to_pixels {
            let weight = Panels::new(&self.weights[plan.combine], c, e);
            let a = MatRef::new(&trace.acts[encoded], images, e);
            let scale = plan.relu_scale(encoded, way.scale);
            let epilogue = scale.map_or(Epilogue::Store, |scale| relu(a, scale));
            let out = MatMut::new(&mut self.d_acts[encoded], images, e);
            gemm(kernels, d_a4, weight, Init::Zero, epilogue, out)?;
        }
        self.encoder(kernels, network, trace, images, way, gradients)
    }

    fn encoder(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        trace: &Trace,
        images: usize,
        way: Way,
        mut gradients: Option<&mut [f32]>,
    ) -> Result<(), ModelError> {
        let plan = &network.plan;
        for (i, op) in plan.encoder.iter().enumerate().rev() {
            let (before, behind) = self.d_acts.split_at_mut(i + 1);
            let (d_x, d_y) = (&mut before[i], &behind[0]);
            let wanted = i > 0 || self.to_pixels;
            let relu = |i: usize, a| {
                let gradient = |scale| Epilogue::ReluGradient { a, scale, guided: way.guided };
                plan.relu_scale(i, way.scale).map_or(Epilogue::Store, gradient)
            };
            match op {
                Op::Dense { spec } => {
                    let layer = &plan.specs[*spec];
                    let x = MatRef::new(&trace.acts[i], images, layer.k);
                    let d_h = MatRef::new(d_y, images, layer.n);
                    if let Some(gradients) = gradients.as_deref_mut() {
                        layer::dense::gradient(kernels, network, *spec, x, d_h, gradients)?;
                    }
                    if wanted {
                        let epilogue = relu(i, x);
                        let weight = Panels::new(&self.weights[*spec], layer.n, layer.k);
                        let d_x = MatMut::new(d_x, images, layer.k);
                        gemm(kernels, d_h, weight, Init::Zero, epilogue, d_x)?;
                    }
                }
                Op::Conv { spec, shape } => {
                    if let Some(gradients) = gradients.as_deref_mut() {
                        let (layer, x) = ((*spec, shape), &trace.acts[i]);
                        layer::conv::gradient(kernels, network, layer, x, d_y, images, gradients)?;
                    }
                    if wanted {
                        let k = shape.reversed().patch();
                        let weight = Panels::new(&self.weights[*spec], k, shape.inputs);
                        let plane = plan.back_plane(i);
                        layer::conv::backward(kernels, shape, weight, d_y, images, plane, d_x)?;
                    }
                }
                Op::ConvMaxPool { spec, shape } => {
                    let Some(max_indices) = &trace.max_indices[i] else { continue };
                    let d_h = MatRef::new(d_y, images * shape.windows(), shape.conv.outputs);
                    if let Some(gradients) = gradients.as_deref_mut() {
                        let (layer, x) = ((*spec, shape), &trace.acts[i]);
                        layer::conv::gradient_pooled(
                            kernels,
                            network,
                            layer,
                            x,
                            max_indices,
                            d_h,
                            images,
                            gradients,
                        )?;
                    }
                    if let Some(filters) = &self.filters[i] {
                        let epilogue = relu(i, plan.planes[i].lines_of(&trace.acts[i], images));
                        let d_x = plan.back_plane(i).lines_mut(d_x, images);
                        conv_max_pool_input_gradient(
                            kernels,
                            ConvMaxPoolInputGradient {
                                filters,
                                max_indices,
                                d_h,
                                images,
                                epilogues: &[epilogue],
                                d_x,
                            },
                        )?;
                    }
                }
                Op::Pool { shape } => {
                    let planes =
                        (&plan.planes[i], &plan.planes[i + 1], plan.back_plane(i), plan.back_plane(i + 1));
                    let from = layer::pool::Back {
                        what: PoolBack::Gradient { guided: way.guided },
                        acts: (&trace.acts[i], &trace.acts[i + 1]),
                        back: d_y,
                    };
                    layer::pool::backward(kernels, *shape, planes, images, &from, d_x)?;
                }
            }
        }
        Ok(())
    }

    /// The norm of the loss's gradient by layer 4's pre-activation at each step: what vanishes or
    /// explodes on its way through time.
    pub fn step_norms(&self, kernels: &Kernels, plan: &Plan, n: usize, norms: &mut [f64]) {
        let _span = kernels.span("sum_of_squares", || Work::elements([norms.len(), n * plan.c], 2, 1));
        for (t, norm) in norms.iter_mut().enumerate() {
            *norm = sum_of_squares(&self.d_a4[step(t, n, plan.c)]).sqrt();
        }
    }
}

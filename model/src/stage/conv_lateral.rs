//! A convolution that also reads its own output of the step before: `y_t = relu(x_t ∗ K + y_{t−1} ∗ U − softplus(b))`,
//! `y_0 = 0`. Forward, backward and relevance through time.
//!
//! Rows are time-major, so a step is a block of images. What does not depend on `y_{t−1}` is one product over all
//! images; only the part of `y_{t−1}` runs step by step.

use super::bias::BiasTerms;
use super::conv::Consumer;
use super::edge::{Domain, Edge, Place};
use super::layer::{Backward, Context, Forward, Layer, Relevance, Setup, Stage};
use crate::error::ModelError;
use crate::params::{Parameters, Specs};
use kernels::elementwise::activation::bias_relu;
use kernels::pack::{self, Part};
use kernels::relevance::{
    DenominatorsConv, MessagesConv, PackedRule, RatiosConv, Rule, SharedGroup, denominators_conv,
    messages_conv, ratios_conv,
};
use kernels::{
    Buffer, Conv as Product, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, PackedWeights, Panels,
    Plane, conv, conv_weight_gradient, gemm,
};
use std::ops::Range;

/// A convolution with lateral connections, SAME, stride 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvLateral {
    parameters: usize,
    steps: usize,
    /// Of `K`, and of `U`: channels to channels by a filter of the same size.
    shape: ConvShape,
    lateral: ConvShape,
    input: Edge,
    output: Edge,
}

/// What a lateral convolution is made of.
pub(crate) struct Sizes {
    pub size: usize,
    pub channels: usize,
    pub steps: usize,
}

impl ConvLateral {
    /// A layer of `channels` filters of `size × size`.
    pub fn new(specs: &mut Specs, name: &str, input: Edge, sizes: Sizes, consumer: Consumer) -> ConvLateral {
        let Sizes { size, channels, steps } = sizes;
        let Plane { rows, cols, channels: inputs, .. } = input.values;
        let shape = ConvShape { rows, cols, size, inputs, outputs: channels };
        let lateral = ConvShape { inputs: channels, ..shape };
        let pad = match consumer {
            Consumer::Conv { border } => border,
            // A pool reads any plane, so that the values can be those which `U` reads.
            Consumer::Pool => size / 2,
            Consumer::Rows => 0,
        };
        // The gradient of the relu is taken here, when the gradients of all readers have been added.
        let (values, relu) = (Plane { rows, cols, channels, pad }, None);
        let output = Edge { values, back: Plane { pad: 0, ..values }, relu, domain: Domain::NonNegative };
        let parameters = specs.add_lateral(name, [size, size, inputs, channels]);
        ConvLateral { parameters, steps, shape, lateral, input, output }
    }
}

impl Layer for ConvLateral {
    fn output(&self) -> Edge {
        self.output
    }

    fn parameters(&self) -> Option<usize> {
        Some(self.parameters)
    }

    fn stage(&self, setup: &Setup) -> Box<dyn Stage> {
        let ConvLateral { shape, lateral, input, output, .. } = self;
        let rules = Rules::new(self, setup);
        let keeps_z = rules.as_ref().is_some_and(|rules| rules.of_x.reads_forward());
        let (back, back_lateral) = (shape.reversed(), lateral.reversed());
        let weights = |shape: &ConvShape, wanted: bool| {
            wanted.then(|| PackedWeights::zeroed(shape.patch(), shape.outputs))
        };
        let (plane, rows) = (shape.output(), setup.rows);
        let gradient = setup.needs_gradient(output);
        let relevance = if rules.is_some() { rows * plane.pixels() * shape.outputs } else { 0 };
        let mut stage = ConvLateralStage {
            layer: *self,
            state: (output.values != lateral.input()).then(|| Buffer::zeroed(rows * lateral.input().len())),
            z: keeps_z.then(|| Buffer::zeroed(rows * plane.pixels() * shape.outputs)),
            d_h: Buffer::zeroed(if gradient { rows * plane.len() } else { 0 }),
            reversed: weights(&back, setup.needs_gradient(input)),
            lateral: weights(&back_lateral, gradient),
            r: Buffer::zeroed(relevance),
            message: Buffer::zeroed(relevance / self.steps),
            rules,
        };
        stage.repack(setup.parameters);
        Box::new(stage)
    }
}

/// A lateral convolution in one pass.
#[derive(Debug)]
struct ConvLateralStage {
    layer: ConvLateral,
    /// `y_t` with the border that `U` needs, if that of the output is another.
    state: Option<Buffer>,
    /// `x ∗ K`, `[rows·pixels, channels]`, if the rule reads it.
    z: Option<Buffer>,
    /// The gradient of the pre-activations, with a border.
    d_h: Buffer,
    /// The weights of the reversed convolutions, of `K` and `U`.
    reversed: Option<PackedWeights>,
    lateral: Option<PackedWeights>,
    /// Relevance of all `y_t`, and what a step gives to that before.
    r: Buffer,
    message: Buffer,
    rules: Option<Rules>,
}

/// The rules of both inputs, which share a denominator in each group.
#[derive(Debug)]
struct Rules {
    of_x: PackedRule,
    of_y: PackedRule,
    /// What the biases add to the denominators.
    bias: BiasTerms,
    shared: Vec<SharedGroup>,
    /// Of each group, what `x_t` gives to its denominators, and its ratios with a border of zeros.
    bases: Vec<Buffer>,
    ratios: Vec<Buffer>,
}

impl Rules {
    fn new(layer: &ConvLateral, setup: &Setup) -> Option<Rules> {
        let ConvLateral { shape, lateral, input, parameters, .. } = layer;
        let of_x: Rule = setup.rule(input.domain, input.place_of_conv())?;
        let of_y = setup.rule(Domain::NonNegative, Place::Convolution)?;
        let packed = |rule, shape, weight| {
            PackedRule::conv(setup.kernels, rule, shape, weight)
                .unwrap_or_else(|error| unreachable!("the weights are the layer's own: {error}"))
        };
        let shared = Rule::shared(&[&of_x, &of_y]);
        let (plane, groups) = (shape.output(), shared.len());
        Some(Rules {
            of_x: packed(&of_x, shape, setup.parameters.weight(*parameters)),
            of_y: packed(&of_y, lateral, setup.parameters.lateral(*parameters)),
            bias: setup.bias_terms(&of_y, *parameters),
            shared,
            bases: vec![Buffer::zeroed(setup.rows * plane.pixels() * shape.outputs); groups],
            ratios: vec![Buffer::zeroed(setup.rows * plane.len()); groups],
        })
    }
}

/// The floats of `images` planes from image `first` on.
fn floats(plane: &Plane, first: usize, images: usize) -> Range<usize> {
    first * plane.len()..(first + images) * plane.len()
}

impl ConvLateralStage {
    /// All `y_t` with the border that `U` needs; `y` are the values of the output.
    fn seen_by_u<'a>(&'a self, y: &'a [f32]) -> &'a [f32] {
        self.state.as_deref().unwrap_or(y)
    }
}

impl Stage for ConvLateralStage {
    fn forward(&mut self, context: &Context, operands: Forward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, .. } = context;
        let Forward { rows, x, y } = operands;
        let ConvLateral { parameters: layer, steps, shape, lateral, output, .. } = &self.layer;
        let (n, values, seen) = (rows / steps, &output.values, lateral.input());
        let (pixels, channels) = (shape.output().pixels(), shape.outputs);
        let (bias, weight) = (parameters.bias(*layer), parameters.weight(*layer));
        let x = &x[..rows * shape.input().len()];
        let product =
            |x, images, epilogue, y| Product { shape, images, x, w: weight, init: Init::Zero, epilogue, y };
        let (now, later) = y.split_at_mut(n * values.len());
        let first = values.pixels_mut(now, n);
        if let Some(z) = &mut self.z {
            let to = MatMut::new(z, rows * pixels, channels);
            conv(kernels, product(x, rows, Epilogue::Store, to))?;
            bias_relu(kernels, MatRef::new(z, n * pixels, channels), bias, first)?;
        } else {
            let (x_now, x_later) = x.split_at(n * shape.input().len());
            conv(kernels, product(x_now, n, Epilogue::BiasRelu(bias), first))?;
            let to = values.pixels_mut(&mut later[floats(values, 0, rows - n)], rows - n);
            conv(kernels, product(x_later, rows - n, Epilogue::Store, to))?;
        }
        for t in 0..*steps {
            let at = t * n;
            if t > 0 {
                let (before, now) = y.split_at_mut(at * values.len());
                let before = match &self.state {
                    Some(state) => &state[floats(&seen, at - n, n)],
                    None => &before[floats(values, at - n, n)],
                };
                let init = match &self.z {
                    Some(z) => {
                        let of_step = at * pixels * channels..(at + n) * pixels * channels;
                        Init::Copy(MatRef::new(&z[of_step], n * pixels, channels))
                    }
                    None => Init::Accumulate,
                };
                let y = values.pixels_mut(&mut now[floats(values, 0, n)], n);
                let (w, epilogue) = (parameters.lateral(*layer), Epilogue::BiasRelu(bias));
                conv(kernels, Product { shape: lateral, images: n, x: before, w, init, epilogue, y })?;
            }
            if let Some(state) = &mut self.state {
                let from = values.pixels_of(&y[floats(values, at, n)], n);
                let mut to = seen.pixels_mut(&mut state[floats(&seen, at, n)], n);
                (0..from.rows()).for_each(|i| to.row_mut(i).copy_from_slice(from.row(i)));
            }
        }
        Ok(())
    }

    fn backward(&mut self, context: &Context, operands: Backward) -> Result<(), ModelError> {
        let &Context { kernels, parameters, masks, guided } = context;
        let Backward { rows, x, y, d_y, d_x, gradients } = operands;
        let ConvLateral { parameters: layer, steps, shape, lateral, input, output } = self.layer;
        let (n, plane, back) = (rows / steps, shape.output(), output.back);
        let channels = shape.outputs;
        for t in (0..steps).rev() {
            let at = t * n;
            let a = output.values.pixels_of(&y[floats(&output.values, at, n)], n);
            let from_reader = Init::Copy(back.pixels_of(&d_y[floats(&back, at, n)], n));
            let relu = Epilogue::ReluGradient { a, scale: 1.0, guided };
            let (now, later) = self.d_h[..rows * plane.len()].split_at_mut((at + n) * plane.len());
            let to = plane.pixels_mut(&mut now[floats(&plane, at, n)], n);
            if t + 1 < steps {
                let reversed = &lateral.reversed();
                let w = self.lateral.as_ref().expect("packed for gradients").panels();
                let (x, init, epilogue) = (&later[floats(&plane, 0, n)], from_reader, relu);
                conv(kernels, Product { shape: reversed, images: n, x, w, init, epilogue, y: to })?;
            } else {
                // A product without columns: only the gradient of the relu is left.
                let nothing = MatRef::new(&[], to.rows(), 0);
                gemm(kernels, nothing, Panels::new(&[], 0, channels), from_reader, relu, to)?;
            }
        }
        let d_h = &self.d_h[..rows * plane.len()];
        if let Some(gradients) = gradients {
            let spec = parameters.spec(layer);
            let x = &x[..rows * shape.input().len()];
            conv_weight_gradient(kernels, &shape, x, d_h, rows, &mut gradients[spec.weight.clone()])?;
            let before = &self.seen_by_u(y)[floats(&lateral.input(), 0, rows - n)];
            let place = spec.lateral.as_ref().expect("a lateral layer's parameters").weight.clone();
            let later = &d_h[floats(&plane, n, rows - n)];
            conv_weight_gradient(kernels, &lateral, before, later, rows - n, &mut gradients[place])?;
            parameters.bias_gradient(kernels, layer, plane.pixels_of(d_h, rows), gradients)?;
        }
        if let Some(d_x) = d_x {
            let reversed = &shape.reversed();
            let w = self.reversed.as_ref().expect("packed if a gradient comes back").panels();
            let epilogue = input.gradient(input.values.pixels_of(x, rows), masks, guided);
            let (init, y) = (Init::Zero, input.back.pixels_mut(d_x, rows));
            conv(kernels, Product { shape: reversed, images: rows, x: d_h, w, init, epilogue, y })?;
        }
        Ok(())
    }

    fn relevance(&mut self, kernels: &Kernels, operands: Relevance) -> Result<(), ModelError> {
        let Relevance { rows, x, y, r_y, r_x, absorbed, negative, .. } = operands;
        let ConvLateral { steps, shape, lateral, input, output, .. } = self.layer;
        let (n, plane, seen) = (rows / steps, shape.output(), lateral.input());
        let (pixels, channels) = (plane.pixels(), shape.outputs);
        let state = self.state.as_deref().unwrap_or(y);
        let Rules { of_x, of_y, bias, shared, bases, ratios } =
            self.rules.as_mut().expect("a pass for relevance has packed the rules");
        let x_planes = &x[..rows * shape.input().len()];
        for (group, base) in bases.iter_mut().enumerate() {
            let z = self.z.as_ref().map(|z| MatRef::new(z, rows * pixels, channels));
            let out = MatMut::new(base, rows * pixels, channels);
            let operands = DenominatorsConv { rule: of_x, group, images: rows, a: x_planes, z, out };
            denominators_conv(kernels, operands)?;
            bias.add_to(group, &mut base[..rows * pixels * channels]);
        }
        let floats_of =
            |first: usize, images: usize| first * pixels * channels..(first + images) * pixels * channels;
        let from_reader = output.back.pixels_of(r_y, rows);
        let mut r = MatMut::new(&mut self.r, rows * pixels, channels);
        (0..from_reader.rows()).for_each(|i| r.row_mut(i).copy_from_slice(from_reader.row(i)));
        for t in (0..steps).rev() {
            let at = t * n;
            let before = (t > 0).then(|| &state[floats(&seen, at.saturating_sub(n), n)]);
            for (group, &shared) in shared.iter().enumerate() {
                let operands = RatiosConv {
                    shared,
                    rule: of_y,
                    group,
                    base: MatRef::new(&bases[group][floats_of(at, n)], n * pixels, channels),
                    a: before,
                    z: None,
                    r_out: MatRef::new(&self.r[floats_of(at, n)], n * pixels, channels),
                    c: plane.pixels_mut(&mut ratios[group][floats(&plane, at, n)], n),
                    absorbed: &mut absorbed[at..at + n],
                };
                ratios_conv(kernels, operands)?;
                let c = plane.pixels_of(&ratios[group][floats(&plane, at, n)], n);
                bias.absorb(group, c, &mut absorbed[at..at + n]);
            }
            if let Some(before) = before {
                let c: Vec<&[f32]> = ratios.iter().map(|c| &c[floats(&plane, at, n)]).collect();
                let r_in = MatMut::new(&mut self.message, n * pixels, channels);
                let a = seen.pixels_of(before, n);
                messages_conv(kernels, MessagesConv { rule: of_y, images: n, c: &c, a, r_in })?;
                let message = &self.message[..n * pixels * channels];
                self.r[floats_of(at - n, n)].iter_mut().zip(message).for_each(|(r, message)| *r += message);
                for (sum, message) in
                    negative[at..at + n].iter_mut().zip(message.chunks_exact(pixels * channels))
                {
                    *sum += message.iter().map(|&r| f64::from(r.min(0.0))).sum::<f64>();
                }
            }
        }
        let c: Vec<&[f32]> = ratios.iter().map(|c| &c[..rows * plane.len()]).collect();
        let (a, r_in) = (input.values.pixels_of(x, rows), input.back.pixels_mut(r_x, rows));
        Ok(messages_conv(kernels, MessagesConv { rule: of_x, images: rows, c: &c, a, r_in })?)
    }

    fn repack(&mut self, parameters: &Parameters) {
        let ConvLateral { parameters: layer, shape, lateral, .. } = &self.layer;
        if let Some(reversed) = &mut self.reversed {
            reversed.update(|to| pack::reverse_conv(shape, parameters.weight(*layer), Part::All, to));
        }
        if let Some(reversed) = &mut self.lateral {
            reversed.update(|to| pack::reverse_conv(lateral, parameters.lateral(*layer), Part::All, to));
        }
    }

    fn packed(&self) -> usize {
        [&self.reversed, &self.lateral].into_iter().flatten().map(PackedWeights::len).sum()
    }
}

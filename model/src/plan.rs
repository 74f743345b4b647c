//! A cell and a task, worked out: every layer's place, shape and parameters.

use crate::layer::Op;
use crate::params::Spec;
use crate::{Cell, Encoder, ModelError, Task};
use kernels::conv::max_pool::ConvMaxPoolShape;
use kernels::pool::{PoolKind, PoolShape};
use kernels::{ConvShape, Plane};

/// The pool behind a convolution: 2×2, stride 2.
const POOL: usize = 2;
/// The widest layer; the largest of the thesis has 768 units.
const MAX_UNITS: usize = 1 << 16;
/// The largest filter.
const MAX_FILTER: usize = 255;
/// The most layers of an encoder or of a head.
const MAX_LAYERS: usize = 16;
/// The most floats that a network's parameters take: 1 GiB.
const MAX_FLOATS: usize = 1 << 28;

/// Every layer of a network, in words of shapes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub cell: Cell,
    pub task: Task,
    pub specs: Vec<Spec>,
    /// The encoder; a convolution and its pool are two.
    pub encoder: Vec<Op>,
    /// What stands in front of each encoder layer, and behind the last.
    pub planes: Vec<Plane>,
    pub combine: usize,
    pub recurrent: Option<usize>,
    pub head: Vec<usize>,
    /// Features of `e_t`, of `r_t` (0 where T = 1), of layer 4.
    pub e: usize,
    pub r: usize,
    pub c: usize,
    /// Floats of all parameters in panel order.
    pub len: usize,
}

/// A vector as an image of one pixel.
fn vector(features: usize) -> Plane {
    Plane { rows: 1, cols: 1, channels: features, pad: 0 }
}

impl Plan {
    pub fn new(cell: Cell, task: Task) -> Result<Plan, ModelError> {
        task.check()?;
        check_cell(&cell)?;
        let (rows, cols) = (task.rows, task.step_cols());
        let mut specs: Vec<Spec> = Vec::new();
        let mut len = 0;
        let mut add = |name: String, shape: Vec<usize>| {
            let spec = Spec::new(name, shape, &mut len);
            specs.push(spec);
            specs.len() - 1
        };
        let mut encoder = Vec::new();
        let pad = |layer: Option<&Encoder>| match layer {
            Some(Encoder::Conv { size, .. }) => size / 2,
            _ => 0,
        };
        // The image of a step as the first layer reads it.
        let mut planes = vec![match cell.encoder.first() {
            first @ Some(Encoder::Conv { .. }) => Plane { rows, cols, channels: 1, pad: pad(first) },
            _ => vector(rows * cols),
        }];
        for (i, layer) in cell.encoder.iter().enumerate() {
            let before = planes[planes.len() - 1];
            let name = format!("encoder.{i}");
            match *layer {
                Encoder::Dense { units } => {
                    let spec = add(name, vec![before.pixels() * before.channels, units]);
                    encoder.push(Op::Dense { spec });
                    planes.push(vector(units));
                }
                Encoder::Conv { size, channels } => {
                    if i > 0 && !matches!(cell.encoder[i - 1], Encoder::Conv { .. }) {
                        return Err(ModelError::ConvolutionBehindDense { layer: i });
                    }
                    let Plane { rows, cols, channels: inputs, .. } = before;
                    let shape = ConvShape { rows, cols, size, inputs, outputs: channels };
                    let spec = add(name, vec![size, size, inputs, channels]);
                    let pool = PoolShape { rows, cols, channels, size: POOL, kind: task.pool };
                    match task.pool {
                        PoolKind::Max => {
                            let shape = ConvMaxPoolShape { conv: shape, window: POOL };
                            encoder.push(Op::ConvMaxPool { spec, shape });
                        }
                        PoolKind::Sum => {
                            encoder.push(Op::Conv { spec, shape });
                            planes.push(Plane { rows, cols, channels, pad: 0 });
                            encoder.push(Op::Pool { shape: pool });
                        }
                    }
                    planes.push(Plane {
                        rows: pool.out_rows(),
                        cols: pool.out_cols(),
                        channels,
                        pad: pad(cell.encoder.get(i + 1)),
                    });
                }
            }
        }
        let last = planes[planes.len() - 1];
        let e = last.pixels() * last.channels;
        let r = if task.seq_len > 1 { cell.recurrent } else { 0 };
        let c = cell.combine;
        let combine = add("combine".to_owned(), vec![e + r, c]);
        let recurrent = (r > 0).then(|| add("recurrent".to_owned(), vec![c, r]));
        let mut head = Vec::new();
        let mut inputs = c;
        for (i, &units) in cell.head.iter().chain([&task.classes]).enumerate() {
            head.push(add(format!("head.{i}"), vec![inputs, units]));
            inputs = units;
        }
        at_most("the number of parameters", len, MAX_FLOATS)?;
        Ok(Plan { cell, task, specs, encoder, planes, combine, recurrent, head, e, r, c, len })
    }

    /// The gradient or relevance of activation `i`: what comes out of a convolution has the border
    /// that the way back through it needs.
    pub fn back_plane(&self, i: usize) -> Plane {
        let pad = match i.checked_sub(1).map(|layer| &self.encoder[layer]) {
            Some(Op::Conv { shape, .. }) => shape.size / 2,
            _ => 0,
        };
        Plane { pad, ..self.planes[i] }
    }

    /// Floats of the product `x·W` of the layer that sees pixels; a convolution's has a border.
    pub fn pixel_product_len(&self, images: usize) -> usize {
        match self.encoder.first() {
            Some(Op::Dense { .. }) => images * self.planes[1].len(),
            Some(Op::Conv { shape, .. }) => images * shape.output().len(),
            Some(Op::ConvMaxPool { shape, .. }) => images * shape.windows() * shape.conv.outputs,
            Some(Op::Pool { .. }) | None => images * self.c,
        }
    }

    /// The scale of the relu gradient at activation `i`, `dropout` where the layer drops out; none where what
    /// comes back has yet to go through a pool.
    pub fn relu_scale(&self, i: usize, dropout: f32) -> Option<f32> {
        match self.encoder.get(i.checked_sub(1)?)? {
            Op::Dense { .. } => Some(dropout),
            Op::ConvMaxPool { .. } => Some(1.0),
            Op::Conv { .. } | Op::Pool { .. } => None,
        }
    }
}

fn at_most(what: &'static str, found: usize, most: usize) -> Result<(), ModelError> {
    if found > most { Err(ModelError::TooLarge { what, found, most }) } else { Ok(()) }
}

fn check_cell(cell: &Cell) -> Result<(), ModelError> {
    at_most("the number of encoder layers", cell.encoder.len(), MAX_LAYERS)?;
    at_most("the number of head layers", cell.head.len(), MAX_LAYERS)?;
    let widths = cell.encoder.iter().map(|layer| match *layer {
        Encoder::Dense { units } => units,
        Encoder::Conv { channels, .. } => channels,
    });
    for width in widths.chain(cell.head.iter().copied()).chain([cell.combine, cell.recurrent]) {
        if width == 0 {
            return Err(ModelError::Zero { what: "a layer's width" });
        }
        at_most("a layer's width", width, MAX_UNITS)?;
    }
    for layer in &cell.encoder {
        let Encoder::Conv { size, .. } = *layer else { continue };
        at_most("the size of a filter", size, MAX_FILTER)?;
        if size.is_multiple_of(2) {
            let (what, expected) = ("the size of a filter", "odd");
            return Err(ModelError::Range { what, found: size as f64, expected });
        }
    }
    if !(0.0..1.0).contains(&cell.dropout) {
        let found = f64::from(cell.dropout);
        return Err(ModelError::Range { what: "dropout", found, expected: "at least 0 and below 1" });
    }
    Ok(())
}

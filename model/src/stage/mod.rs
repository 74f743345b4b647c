//! The stages of encoder and head, one per file, and the table that builds them from an architecture.

pub(crate) mod bias;
mod conv;
mod conv_lateral;
mod conv_pool;
mod dense;
pub(crate) mod edge;
pub(crate) mod layer;
mod logits;
pub(crate) mod masks;
mod pool;
pub(crate) mod rule;

use crate::architecture::EncoderLayer;
use crate::params::Specs;
use crate::task::Task;
use conv::{Consumer, Conv};
use conv_lateral::{ConvLateral, Sizes};
use conv_pool::ConvPool;
use dense::Dense;
use edge::{Domain, Edge, vector};
use kernels::Plane;
use kernels::pool::PoolKind;
use layer::Layer;
use logits::Logits;
use masks::{Mask, MaskPlace};
use pool::Pool;

impl Consumer {
    /// The layer behind a convolution, or the core.
    fn of(layer: Option<&EncoderLayer>) -> Consumer {
        match layer {
            Some(EncoderLayer::Conv { size, .. }) => Consumer::Conv { border: size / 2 },
            Some(EncoderLayer::Pool(_)) => Consumer::Pool,
            Some(EncoderLayer::Dense(_)) | None => Consumer::Rows,
        }
    }
}

/// The border that a layer's filter needs around its input.
fn border(layer: Option<&EncoderLayer>) -> usize {
    match layer {
        Some(EncoderLayer::Conv { size, .. }) => size / 2,
        Some(EncoderLayer::Dense(_) | EncoderLayer::Pool(_)) | None => 0,
    }
}

/// The edge before the first layer: the image of a step.
pub(crate) fn pixels(layers: &[EncoderLayer], task: &Task) -> Edge {
    let (rows, cols) = (task.rows, task.step_cols());
    let first = layers.first();
    let back = match first {
        Some(EncoderLayer::Conv { .. }) => Plane { rows, cols, channels: 1, pad: 0 },
        Some(EncoderLayer::Dense(_) | EncoderLayer::Pool(_)) | None => vector(rows * cols),
    };
    let domain = Domain::Pixels { low: task.low, high: task.high };
    Edge { values: Plane { pad: border(first), ..back }, back, relu: None, domain }
}

/// The stages of an encoder behind `input`: the one place that knows which layers there are. A layer of a new kind is
/// a file in this folder and a row here. Also returns the first number of a mask behind them.
pub(crate) fn encoder(
    mut layers: &[EncoderLayer],
    steps: usize,
    input: Edge,
    specs: &mut Specs,
) -> (Vec<Box<dyn Layer>>, usize) {
    let mut stages: Vec<Box<dyn Layer>> = Vec::new();
    let mut edge = input;
    let mut with_parameters = 0;
    // Dropout masks are functions of this number: two layers that became one keep theirs.
    let mut number = 0;
    loop {
        let name = format!("encoder.{with_parameters}");
        let place = if layers.len() == 1 { MaskPlace::Encoded } else { MaskPlace::Encoder };
        let dropout = Some(Mask { place, layer: number });
        let (stage, rest): (Box<dyn Layer>, _) = match *layers {
            [] => return (stages, number),
            [EncoderLayer::Dense(units), ref rest @ ..] => {
                (Box::new(Dense::hidden(specs, &name, edge, units, dropout)), rest)
            }
            [EncoderLayer::Conv { size, channels, lateral: true }, ref rest @ ..] => {
                let sizes = Sizes { size, channels, steps };
                (Box::new(ConvLateral::new(specs, &name, edge, sizes, Consumer::of(rest.first()))), rest)
            }
            [EncoderLayer::Conv { size, channels, .. }, EncoderLayer::Pool(kind), ref rest @ ..] => {
                let border = border(rest.first());
                (Box::new(ConvPool::new(specs, &name, edge, ([size, channels], kind), border)), rest)
            }
            [EncoderLayer::Conv { size, channels, .. }, ref rest @ ..] => {
                let consumer = Consumer::of(rest.first());
                (Box::new(Conv::new(specs, &name, edge, [size, channels], consumer)), rest)
            }
            [EncoderLayer::Pool(kind), ref rest @ ..] => {
                (Box::new(Pool::new(edge, kind, border(rest.first()))), rest)
            }
        };
        let sum_pooled = matches!(
            layers,
            [EncoderLayer::Conv { lateral: false, .. }, EncoderLayer::Pool(PoolKind::Sum), ..]
        );
        number += if sum_pooled { 2 } else { 1 };
        with_parameters += usize::from(stage.parameters().is_some());
        edge = stage.output();
        stages.push(stage);
        layers = rest;
    }
}

/// The stages of a head on `input`: hidden layers of these widths, then the logits.
pub(crate) fn head(hidden: &[usize], classes: usize, input: Edge, specs: &mut Specs) -> Vec<Box<dyn Layer>> {
    let mut stages: Vec<Box<dyn Layer>> = Vec::new();
    let mut edge = input;
    for (i, &units) in hidden.iter().enumerate() {
        let stage = Dense::hidden(specs, &format!("head.{i}"), edge, units, None);
        edge = stage.output();
        stages.push(Box::new(stage));
    }
    stages.push(Box::new(Logits::new(specs, &format!("head.{}", hidden.len()), edge, classes)));
    stages
}

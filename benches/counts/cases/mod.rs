//! The kernels that are counted, each at two shapes.

mod dense;
mod elements;
mod images;

use kernels::conv::max_pool::ConvPoolShape;
use kernels::{ConvShape, Kernels};

/// One call of a kernel; results and operands belong to the case.
pub struct Case {
    pub name: String,
    pub work: Box<dyn FnMut(&Kernels)>,
}

/// Collects cases whose names begin alike.
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &str, shape: String, work: impl FnMut(&Kernels) + 'static) {
        self.0.push(Case { name: format!("{name} {shape}"), work: Box::new(work) });
    }
}

/// Every case.
pub fn all(kernels: &Kernels) -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    for sizes in [[50, 128, 256], [48, 40, 112]] {
        dense::products(&mut cases, sizes);
        dense::rules(&mut cases, sizes);
    }
    for shape in [
        ConvShape { rows: 14, cols: 2, size: 3, inputs: 24, outputs: 48 },
        ConvShape { rows: 8, cols: 8, size: 5, inputs: 1, outputs: 24 },
    ] {
        images::convolutions(&mut cases, kernels, shape);
        images::shared_rules(&mut cases, kernels, shape);
        images::pools(&mut cases, shape);
        images::max_pooled(&mut cases, kernels, ConvPoolShape { conv: shape, window: 2 });
    }
    for [n, width] in [[50, 96], [7, 45]] {
        elements::layers(&mut cases, n, width);
        elements::optimisers(&mut cases, n * width);
        elements::gates(&mut cases, n, width);
    }
    cases.0
}

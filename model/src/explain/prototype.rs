//! Activation maximisation: the input of the highest class probability (section 3.2).

use crate::error::ModelError;
use crate::network::Network;
use crate::pass::{Pass, Sample, plain};
use crate::samples::Samples;
use crate::stage::layer::Purpose;
use kernels::elementwise::softmax::{CrossEntropy, cross_entropy};
use kernels::{Kernels, MatMut, MatRef};

/// What gradient ascent found.
#[derive(Clone, Debug, PartialEq)]
pub struct Prototype {
    /// `[rows, cols]`, within the task's range.
    pub image: Vec<f32>,
    /// `P(class | image)` at the start and after each step.
    pub probability: Vec<f64>,
}

struct One<'a>(&'a [f32], u8);

impl Samples for One<'_> {
    fn len(&self) -> usize {
        1
    }
    fn pixels(&self, _: usize, x: &mut [f32]) {
        x.copy_from_slice(self.0);
    }
    fn label(&self, _: usize) -> u8 {
        self.1
    }
}

/// How gradient ascent goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    /// Steps.
    pub steps: usize,
    /// Length of a step a pixel, root mean square.
    pub rate: f32,
    /// Weight of the distance from the mean: 0 is the bare maximisation of section 3.2.
    pub lambda: f32,
}

/// Climbs `log P(class | x) − λ/2·‖x − mean‖²` from the data mean, within the task's pixel range; `λ > 0` keeps the
/// image near the data.
///
/// # Errors
/// [`ModelError::Class`] if the class does not exist, [`ModelError::TensorShape`] if the mean is not
/// an image of the task.
pub fn prototype(
    kernels: &Kernels,
    network: &Network,
    class: usize,
    mean: &[f32],
    ascent: Ascent,
) -> Result<Prototype, ModelError> {
    let Ascent { steps, rate, lambda } = ascent;
    let task = network.task();
    if class >= task.classes {
        return Err(ModelError::Class { found: class, classes: task.classes });
    }
    if mean.len() != task.rows * task.cols {
        let (found, expected) = (vec![mean.len()], vec![task.rows, task.cols]);
        return Err(ModelError::TensorShape { name: "mean".to_owned(), found, expected });
    }
    let label = class as u8;
    let mut pass = Pass::new(kernels, network, 1, Purpose::Gradient);
    let context = plain(kernels, network);
    let mut image = mean.to_vec();
    let mut direction = vec![0.0; image.len()];
    let mut probability = Vec::with_capacity(steps + 1);
    for round in 0..=steps {
        pass.load(&One(&image, label), &[0])?;
        pass.forward(&context, 1)?;
        let mut loss = [0.0];
        let (logits, d_logits) = pass.logits_and_back(1);
        let out = MatMut::new(d_logits, 1, task.classes);
        let logits = MatRef::new(logits, 1, task.classes);
        let zero_logit = task.zero_logit;
        let operands =
            CrossEntropy { logits, labels: &[label], zero_logit, gradient: out, losses: &mut loss };
        cross_entropy(kernels, operands)?;
        probability.push((-f64::from(loss[0])).exp());
        if round == steps {
            break;
        }
        pass.backward(&context, 1, None)?;
        pass.pixels(Sample { i: 0, of: 1 }, &mut direction, |_, d| d);
        for (d, (&x, &mean)) in direction.iter_mut().zip(image.iter().zip(mean)) {
            *d = -*d - lambda * (x - mean);
        }
        let square: f64 = direction.iter().map(|&d| f64::from(d) * f64::from(d)).sum();
        let length = (square / direction.len() as f64).sqrt();
        if length > 0.0 {
            let scale = (f64::from(rate) / length) as f32;
            for (x, &d) in image.iter_mut().zip(&direction) {
                *x = (*x + scale * d).clamp(task.low, task.high);
            }
        }
    }
    Ok(Prototype { image, probability })
}

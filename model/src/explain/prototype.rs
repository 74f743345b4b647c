//! Activation maximisation: the input that a class is surest of (section 3.2).

use super::gradient::GradientWay;
use crate::walk::forward::{Mode, Trace, for_each_strip};
use crate::{ModelError, Network, Samples};
use kernels::Kernels;
use kernels::elementwise::softmax::cross_entropy;
use kernels::{MatMut, MatRef};

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

/// Climbs `log P(class | x) − λ/2·‖x − mean‖²` from the data mean in `steps` steps of length `rate` a
/// pixel (root mean square), within the task's pixel range; `λ = 0` is the bare maximisation of
/// section 3.2, `λ > 0` keeps the image near the data.
///
/// # Errors
/// [`ModelError::Class`] if the class does not exist, [`ModelError::TensorShape`] if the mean is not
/// an image of the task.
pub fn prototype(
    kernels: &Kernels,
    network: &Network,
    class: usize,
    mean: &[f32],
    (steps, rate, lambda): (usize, f32, f32),
) -> Result<Prototype, ModelError> {
    let (plan, task) = (&network.plan, network.task());
    if class >= task.classes {
        return Err(ModelError::Class { found: class, classes: task.classes });
    }
    if mean.len() != task.rows * task.cols {
        let (found, expected) = (vec![mean.len()], vec![task.rows, task.cols]);
        return Err(ModelError::TensorShape { name: "mean".to_owned(), found, expected });
    }
    let label = class as u8;
    let mut trace = Trace::new(plan, 1, false);
    let mut way = GradientWay::new(network, 1);
    let mut image = mean.to_vec();
    let mut ascent = vec![0.0; image.len()];
    let mut d_logits = vec![0.0; task.classes];
    let mut probability = Vec::with_capacity(steps + 1);
    for round in 0..=steps {
        trace.load(plan, &One(&image, label), &[0])?;
        trace.forward(kernels, network, 1, Mode::Infer)?;
        let mut loss = [0.0];
        let logits = MatRef::new(trace.logits(plan, 1), 1, task.classes);
        let out = MatMut::new(&mut d_logits, 1, task.classes);
        cross_entropy(kernels, logits, &[label], out, &mut loss)?;
        probability.push((-f64::from(loss[0])).exp());
        if round == steps {
            break;
        }
        way.back_from(kernels, network, &trace, 1, false, |_, d| d.copy_from_slice(&d_logits))?;
        let d_x = way.pixels();
        for_each_strip(plan, 1, 0, |run, width| {
            for (from, to) in (run.bare..run.bare + width).zip(run.image..) {
                ascent[to] = -d_x[from] - lambda * (image[to] - mean[to]);
            }
        });
        let square: f64 = ascent.iter().map(|&d| f64::from(d) * f64::from(d)).sum();
        let length = (square / ascent.len() as f64).sqrt();
        if length > 0.0 {
            let scale = (f64::from(rate) / length) as f32;
            for (x, &d) in image.iter_mut().zip(&ascent) {
                *x = (*x + scale * d).clamp(task.low, task.high);
            }
        }
    }
    Ok(Prototype { image, probability })
}

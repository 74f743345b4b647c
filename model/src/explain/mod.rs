//! Explanations: what each pixel contributes to a logit (chapter 3 of the thesis).
//!
//! Methods are data: the gradient methods share one way back through the network, the relevance
//! methods another, and differ in the rules they put on it.

mod gradient;
mod pixels;
mod prototype;
mod relevance;

pub use prototype::{Prototype, prototype};

use crate::plan::Plan;
use crate::walk::evaluate::arg_max;
use crate::walk::forward::{Mode, Trace, for_each_strip};
use crate::{ModelError, Network, Samples};
use gradient::GradientWay;
use kernels::Kernels;
use kernels::elementwise::reduce::sum;
use relevance::RelevanceWay;

/// How relevance is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// `(∂f/∂x)²`
    Sensitivity,
    /// `x·∂f/∂x`
    SimpleTaylor,
    /// The gradient with negative values cut at each relu.
    GuidedBackprop,
    /// LRP-αβ with `α − β = 1` (Eq. 3.3) above, z^β on the pixels.
    Lrp {
        /// Weight of what excites.
        alpha: f32,
        /// Weight of what inhibits.
        beta: f32,
    },
    /// z⁺ above, z^β on the pixels: LRP-αβ with α = 1, β = 0.
    DeepTaylor,
    /// z⁺ above, w² on the pixels.
    WSquare,
}

impl Method {
    /// The names that [`Method::by_name`] knows.
    pub const NAMES: [&'static str; 7] =
        ["deep-taylor", "lrp", "z-plus", "w-square", "sensitivity", "simple-taylor", "guided-backprop"];

    /// The method of that name; α and β count for `lrp` only. `z-plus` is `lrp` with α = 1, β = 0.
    pub fn by_name(name: &str, alpha: f32, beta: f32) -> Option<Method> {
        Some(match name {
            "deep-taylor" => Method::DeepTaylor,
            "lrp" => Method::Lrp { alpha, beta },
            "z-plus" => Method::Lrp { alpha: 1.0, beta: 0.0 },
            "w-square" => Method::WSquare,
            "sensitivity" => Method::Sensitivity,
            "simple-taylor" => Method::SimpleTaylor,
            "guided-backprop" => Method::GuidedBackprop,
            _ => return None,
        })
    }
}

/// Which logit is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The largest one.
    Predicted,
    /// The label's.
    True,
    /// The largest one that is not the label's.
    Rival,
    /// That of one class.
    Class(usize),
    /// Each in turn, over one forward pass.
    All,
}

/// Relevance of a batch for one logit a sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// The class explained, `[N]`.
    pub target: Vec<usize>,
    /// `f(x)`: its logit, `[N]`.
    pub explained: Vec<f32>,
    /// All logits, `[N, C]`.
    pub logits: Vec<f32>,
    /// `[N, rows, cols]`, in units of the logit.
    pub relevance: Vec<f32>,
    /// What dead units kept, `[N]`, in units of the logit; 0 for the gradient methods.
    pub lost: Vec<f64>,
    /// `|f − Σ R − lost| / |f|`, `[N]` (Eq. 3.8); the gradient methods do not promise it.
    pub conservation_error: Vec<f64>,
}

/// Buffers and packed weights for explaining one network by one method.
#[derive(Clone, Debug)]
pub struct Explainer {
    method: Method,
    trace: Trace,
    way: Way,
    lost: Vec<f64>,
}

#[derive(Clone, Debug)]
enum Way {
    Gradient(Box<GradientWay>),
    Relevance(Box<RelevanceWay>),
}

impl Way {
    /// What came back to the first activation, `[T·N]` planes without border.
    fn pixels(&self) -> &[f32] {
        match self {
            Way::Gradient(way) => way.pixels(),
            Way::Relevance(way) => way.pixels(),
        }
    }
}

impl Explainer {
    /// Packs the network's weights for a method, with room for `capacity` samples at once.
    ///
    /// # Errors
    /// [`ModelError::Range`] unless `α − β = 1` and `β ≥ 0`.
    pub fn new(
        kernels: &Kernels,
        network: &Network,
        method: Method,
        capacity: usize,
    ) -> Result<Explainer, ModelError> {
        if let Method::Lrp { alpha, beta } = method {
            let difference = f64::from(alpha) - f64::from(beta);
            if difference.is_nan() || (difference - 1.0).abs() >= 1e-6 {
                return Err(ModelError::Range { what: "alpha − beta", found: difference, expected: "1" });
            }
            if beta < 0.0 {
                let found = f64::from(beta);
                return Err(ModelError::Range { what: "beta", found, expected: "at least 0" });
            }
        }
        let plan = &network.plan;
        let way = match method {
            Method::Sensitivity | Method::SimpleTaylor | Method::GuidedBackprop => {
                Way::Gradient(Box::new(GradientWay::new(network, capacity)))
            }
            _ => Way::Relevance(Box::new(RelevanceWay::new(kernels, network, method, capacity)?)),
        };
        Ok(Explainer { method, trace: Trace::new(plan, capacity, true), way, lost: vec![0.0; capacity] })
    }

    /// Explains up to `capacity` samples: one [`Explanation`], or one a class for [`Target::All`].
    ///
    /// # Errors
    /// [`ModelError::Batch`] if there are more samples than the capacity, [`ModelError::Class`] if
    /// the target is no class.
    pub fn explain(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        samples: &dyn Samples,
        indices: &[usize],
        target: Target,
    ) -> Result<Vec<Explanation>, ModelError> {
        let plan = &network.plan;
        let (n, classes) = (indices.len(), plan.task.classes);
        self.trace.load(plan, samples, indices)?;
        self.trace.forward(kernels, network, n, Mode::Explain)?;
        let predicted = |i: usize| arg_max(&self.trace.logits(plan, n)[i * classes..][..classes]);
        let targets: Vec<Vec<usize>> = match target {
            Target::Predicted => vec![(0..n).map(predicted).collect()],
            Target::True => {
                vec![indices.iter().map(|&i| usize::from(samples.label(i))).collect()]
            }
            Target::Rival => {
                let logits = self.trace.logits(plan, n).chunks_exact(classes);
                let rival = |(h, &i): (&[f32], &usize)| rival(h, usize::from(samples.label(i)));
                vec![logits.zip(indices).map(rival).collect()]
            }
            Target::Class(class) => vec![vec![class; n]],
            Target::All => (0..classes).map(|class| vec![class; n]).collect(),
        };
        if let Some(&found) = targets.iter().flatten().find(|&&class| class >= classes) {
            return Err(ModelError::Class { found, classes });
        }
        let last = targets.len() - 1;
        let with = |(i, target)| self.one(kernels, network, n, target, i < last);
        targets.into_iter().enumerate().map(with).collect()
    }

    fn one(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        n: usize,
        target: Vec<usize>,
        kept: bool,
    ) -> Result<Explanation, ModelError> {
        let plan = &network.plan;
        let size = plan.task.rows * plan.task.cols;
        let logits = self.trace.logits(plan, n).to_vec();
        let explained: Vec<f32> =
            target.iter().enumerate().map(|(i, &class)| logits[i * plan.task.classes + class]).collect();
        let lost = &mut self.lost[..n];
        lost.fill(0.0);
        match &mut self.way {
            Way::Gradient(way) => {
                let guided = self.method == Method::GuidedBackprop;
                way.run(kernels, network, &self.trace, &target, guided)?;
            }
            Way::Relevance(way) => {
                let trace = (&mut self.trace, kept);
                way.run(kernels, network, trace, &target, lost)?;
            }
        }
        let mut relevance = vec![0.0; n * size];
        for (i, image) in relevance.chunks_exact_mut(size).enumerate() {
            match self.method {
                Method::Sensitivity => self.place(plan, n, i, |_, r| r * r, image),
                Method::SimpleTaylor => self.place(plan, n, i, |x, r| x * r, image),
                _ => self.place(plan, n, i, |_, r| r, image),
            }
        }
        let conservation_error = relevance
            .chunks_exact(size)
            .zip(&explained)
            .zip(&self.lost)
            .map(|((image, &f), lost)| {
                (f64::from(f) - sum(image) - lost).abs() / f64::from(f).abs().max(f64::MIN_POSITIVE)
            })
            .collect();
        let lost = self.lost[..n].to_vec();
        Ok(Explanation { target, explained, logits, relevance, lost, conservation_error })
    }

    /// Puts the strips of sample `i` together, `of(x, r)` for each pixel.
    fn place(&self, plan: &Plan, n: usize, i: usize, of: impl Fn(f32, f32) -> f32, image: &mut [f32]) {
        let (xs, rs) = (&self.trace.acts[0], self.way.pixels());
        for_each_strip(plan, n, i, |run, width| {
            let (x, r) = (&xs[run.at..][..width], &rs[run.bare..][..width]);
            for ((to, &x), &r) in image[run.image..][..width].iter_mut().zip(x).zip(r) {
                *to = of(x, r);
            }
        });
    }
}

/// Index of the largest logit but that of `label`.
fn rival(logits: &[f32], label: usize) -> usize {
    let without = |&i: &usize| i != label;
    let larger = |best: usize, i| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).filter(without).reduce(larger).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::rival;

    #[test]
    fn the_rival_is_the_strongest_of_the_others() {
        assert_eq!(rival(&[1.0, 5.0, 3.0], 1), 2);
        assert_eq!(rival(&[1.0, 5.0, 3.0], 0), 1);
        assert_eq!(rival(&[2.0, 2.0, 2.0], 0), 1);
        assert_eq!(rival(&[2.0], 0), 0);
    }
}

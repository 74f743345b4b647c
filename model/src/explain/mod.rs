//! Explanations: what each pixel contributes to a logit (chapter 3 of the thesis).
//!
//! Gradient methods and relevance methods share the forward pass. A relevance method is a table from a layer's input
//! domain and place to a rule ([`composite`]).

mod composite;
mod gradient;
mod prototype;
mod relevance;
mod rules;

pub use composite::Method;
pub use prototype::{Ascent, Prototype, prototype};

use crate::error::ModelError;
use crate::network::Network;
use crate::pass::{Pass, Sample, arg_max, plain};
use crate::samples::Samples;
use crate::stage::layer::Purpose;
use composite::Kind;
use gradient::gradient_of_logits;
use kernels::Kernels;
use kernels::elementwise::reduce::sum;
use relevance::relevance_of_logits;

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
    /// Relevance that the `ε` of denominators absorbed, `[N]`, in units of the logit: that of dead units. 0 for the
    /// gradient methods.
    pub absorbed: Vec<f64>,
    /// `|f − Σ R − absorbed| / |f|`, `[N]` (Eq. 3.8); the gradient methods do not promise it.
    pub conservation_error: Vec<f64>,
}

/// Buffers and packed weights for explaining one network by one method. The network is borrowed, so that its
/// parameters cannot change while their packed forms are in use.
#[derive(Debug)]
pub struct Explainer<'a> {
    network: &'a Network,
    kind: Kind,
    pass: Pass,
    absorbed: Vec<f64>,
}

impl<'a> Explainer<'a> {
    /// Packs the network's weights for a method, with room for `capacity` samples at once.
    ///
    /// # Errors
    /// [`ModelError::Range`] unless `α − β = 1` and `β ≥ 0`.
    pub fn new(
        kernels: &Kernels,
        network: &'a Network,
        method: Method,
        capacity: usize,
    ) -> Result<Explainer<'a>, ModelError> {
        let kind = method.kind()?;
        let pass = match &kind {
            Kind::Gradient(_) => Pass::new(kernels, network, capacity, Purpose::Gradient),
            Kind::Relevance(composite) => {
                let rule = |domain, place| composite.rule(domain, place);
                Pass::new(kernels, network, capacity, Purpose::Relevance(&rule))
            }
        };
        Ok(Explainer { network, kind, pass, absorbed: vec![0.0; capacity] })
    }

    /// Explains up to `capacity` samples: one [`Explanation`], or one a class for [`Target::All`].
    ///
    /// # Errors
    /// [`ModelError::Batch`] if there are more samples than the capacity, [`ModelError::Class`] if
    /// the target is no class.
    pub fn explain(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
        target: Target,
    ) -> Result<Vec<Explanation>, ModelError> {
        let (n, classes) = (indices.len(), self.network.task().classes);
        self.pass.load(samples, indices)?;
        self.pass.forward(&plain(kernels, self.network), n)?;
        let logits = || self.pass.logits(n).chunks_exact(classes);
        let labels = || indices.iter().map(|&i| usize::from(samples.label(i)));
        let targets: Vec<Vec<usize>> = match target {
            Target::Predicted => vec![logits().map(arg_max).collect()],
            Target::True => vec![labels().collect()],
            Target::Rival => vec![logits().zip(labels()).map(|(h, label)| rival(h, label)).collect()],
            Target::Class(class) => vec![vec![class; n]],
            Target::All => (0..classes).map(|class| vec![class; n]).collect(),
        };
        if let Some(&found) = targets.iter().flatten().find(|&&class| class >= classes) {
            return Err(ModelError::Class { found, classes });
        }
        targets.into_iter().map(|target| self.explain_target(kernels, target)).collect()
    }

    /// Explains the samples of the last forward pass, one class for each.
    fn explain_target(&mut self, kernels: &Kernels, target: Vec<usize>) -> Result<Explanation, ModelError> {
        let Explainer { network, kind, pass, absorbed } = self;
        let (n, task) = (target.len(), network.task());
        let logits = pass.logits(n).to_vec();
        let explained: Vec<f32> =
            target.iter().enumerate().map(|(i, &class)| logits[i * task.classes + class]).collect();
        let absorbed = &mut absorbed[..n];
        absorbed.fill(0.0);
        match kind {
            Kind::Gradient(method) => gradient_of_logits(kernels, network, pass, *method, &target)?,
            Kind::Relevance(_) => relevance_of_logits(kernels, pass, &target, absorbed)?,
        }
        let size = task.rows * task.cols;
        let mut relevance = vec![0.0; n * size];
        for (i, image) in relevance.chunks_exact_mut(size).enumerate() {
            let sample = Sample { i, of: n };
            match kind {
                Kind::Gradient(method) => method.read(pass, sample, image),
                Kind::Relevance(_) => pass.pixels(sample, image, |_, r| r),
            }
        }
        let sums = relevance.chunks_exact(size).map(sum);
        let conservation_error = sums.zip(&explained).zip(&*absorbed).map(|((sum, &f), absorbed)| {
            (f64::from(f) - sum - absorbed).abs() / f64::from(f).abs().max(f64::MIN_POSITIVE)
        });
        let (conservation_error, absorbed) = (conservation_error.collect(), absorbed.to_vec());
        Ok(Explanation { target, explained, logits, relevance, absorbed, conservation_error })
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

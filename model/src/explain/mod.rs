//! Explanations: what each pixel contributes to a value of the logits (chapter 3 of the thesis).
//!
//! A [`Value`] is a row over the logits; gradient methods and relevance methods explain it, and share the forward pass.
//! A relevance method is a [`Composite`]: a table from a layer's inputs and place to a [`LayerRule`].

mod averaged;
mod composite;
mod convention;
mod gradient;
mod prototype;
mod rules;
mod value;

pub use crate::stage::bias::BiasShare;
pub use averaged::{Noise, Path};
pub use composite::{Composite, Method};
pub use convention::Convention;
pub use prototype::{Ascent, Prototype, prototype};
pub use rules::{LayerRule, Numbers};
pub use value::{Explained, Target, Value};

use crate::error::ModelError;
use crate::network::Network;
use crate::pass::{Pass, Sample, plain};
use crate::samples::Samples;
use crate::stage::layer::{Purpose, Rules};
use averaged::{Found, Inputs};
use composite::Kind;
use gradient::gradient_of_value;
use kernels::Kernels;
use kernels::elementwise::reduce::sum;

/// Relevance of a batch for one value a sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// The class explained, `[N]`; for given rows, the predicted one.
    pub target: Vec<usize>,
    /// The explained value `f`, `[N]`.
    pub explained: Vec<f32>,
    /// All logits, `[N, C]`.
    pub logits: Vec<f32>,
    /// `[N, rows, cols]`, in units of the logits.
    pub relevance: Vec<f32>,
    /// Relevance that the stabilisers of denominators absorbed, `[N]`: that of dead units. For integrated gradients the
    /// value of the path's first image, for the other gradient methods 0.
    pub absorbed: Vec<f64>,
    /// `|f − Σ R − absorbed| / |f|`, `[N]` (Eq. 3.8); gradient methods do not promise that it is 0. That of integrated
    /// gradients falls as the points of their path become more.
    pub conservation_error: Vec<f64>,
    /// Where relevance was absorbed or negative, by layer; empty for the gradient methods.
    pub ledger: Vec<LayerLedger>,
}

/// What became of relevance in one layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerLedger {
    /// Name of the layer; a pool counts with the convolution in front of it.
    pub layer: String,
    /// The relevance that its stabilisers absorbed, `[N, T]`.
    pub absorbed: Vec<f64>,
    /// The sum of the negative relevance of its inputs, `[N, T]`.
    pub negative: Vec<f64>,
}

/// Buffers and packed weights for explaining one network by one method. The network is borrowed, so that its
/// parameters cannot change while their packed forms are in use; this does not compile:
/// ```compile_fail,E0502
/// # use kernels::Kernels;
/// # use model::explain::{Explainer, Method, Target};
/// # use model::{Architecture, Network, Samples, Task};
/// # fn changed(samples: &dyn Samples, values: &[f32]) -> Result<(), model::ModelError> {
/// let mut network = Network::new(Architecture::preset("deep")?, Task::default(), 7)?;
/// let mut explainer = Explainer::new(&Kernels::default(), &network, Method::DEEP_TAYLOR, 2)?;
/// network.set_values(values)?;
/// explainer.explain(&Kernels::default(), samples, &[0], Target::Predicted)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Explainer<'a> {
    network: &'a Network,
    kind: Kind,
    pass: Pass,
    /// Rows over the logits, `[N, C]`.
    gamma: Vec<f32>,
}

impl<'a> Explainer<'a> {
    /// Packs the network's weights for a method, with room for `capacity` samples at once.
    ///
    /// # Errors
    /// As [`Composite::check`].
    pub fn new(
        kernels: &Kernels,
        network: &'a Network,
        method: Method,
        capacity: usize,
    ) -> Result<Explainer<'a>, ModelError> {
        let kind = method.kind()?;
        let pass = match &kind {
            Kind::Gradient(_) | Kind::Averaged(_) => Pass::new(kernels, network, capacity, Purpose::Gradient),
            Kind::Relevance(composite) => {
                let rule = |domain, place| composite.rule(domain, place);
                let rules = Rules { rule: &rule, bias: composite.convention.bias };
                Pass::new(kernels, network, capacity, Purpose::Relevance(rules))
            }
        };
        Ok(Explainer { network, kind, pass, gamma: vec![0.0; capacity * network.task().classes] })
    }

    /// Explains the logits of up to `capacity` samples: one [`Explanation`], or one a class for [`Target::All`].
    ///
    /// # Errors
    /// As [`Explainer::explain_values`].
    pub fn explain(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
        target: Target,
    ) -> Result<Vec<Explanation>, ModelError> {
        self.explain_values(kernels, samples, indices, &[target.into()])
    }

    /// Explains values of up to `capacity` samples over one forward pass: for each of `what` in turn one
    /// [`Explanation`], or one a class for [`Target::All`].
    ///
    /// # Errors
    /// [`ModelError::Batch`] if there are more samples than the capacity, [`ModelError::Class`] if a target is no
    /// class; [`ModelError::TensorShape`] or [`ModelError::NotFinite`] if rows are not `[N, C]` finite values, and
    /// [`ModelError::Range`] if a value asks for another logit and there is none.
    pub fn explain_values(
        &mut self,
        kernels: &Kernels,
        samples: &dyn Samples,
        indices: &[usize],
        what: &[Explained],
    ) -> Result<Vec<Explanation>, ModelError> {
        let (n, classes) = (indices.len(), self.network.task().classes);
        what.iter().try_for_each(|Explained { value, .. }| value.check(n, classes))?;
        self.pass.load(samples, indices)?;
        self.pass.forward(&plain(kernels, self.network), n)?;
        let logits = self.pass.logits(n);
        let mut all: Vec<(&Value, Vec<usize>)> = Vec::new();
        for Explained { target, value } in what {
            let target = if matches!(value, Value::Rows(_)) { Target::Predicted } else { *target };
            let labels = indices.iter().map(|&i| usize::from(samples.label(i)));
            all.extend(target.classes(logits, classes, labels).into_iter().map(|target| (value, target)));
        }
        if let Some(&found) = all.iter().flat_map(|(_, target)| target).find(|&&class| class >= classes) {
            return Err(ModelError::Class { found, classes });
        }
        match self.kind {
            Kind::Averaged(averaged) => {
                let logits = logits.to_vec();
                let of = |(value, target): &(&Value, Vec<usize>)| {
                    let mut gamma = vec![0.0; n * classes];
                    let explained = rows(value, target, &logits, &mut gamma);
                    (explained, gamma)
                };
                let (explained, gammas): (Vec<Vec<f32>>, Vec<Vec<f32>>) = all.iter().map(of).unzip();
                let inputs = Inputs { samples, indices };
                let found = averaged.explain(kernels, self.network, &mut self.pass, inputs, &gammas)?;
                let all = all.into_iter().zip(explained).zip(found);
                let all = all.map(|(((_, target), explained), Found { relevance, start })| Explanation {
                    conservation_error: conservation_error(&relevance, &explained, &start),
                    absorbed: start,
                    target,
                    explained,
                    logits: logits.clone(),
                    relevance,
                    ledger: Vec::new(),
                });
                Ok(all.collect())
            }
            _ => all.into_iter().map(|(value, target)| self.explain_value(kernels, value, target)).collect(),
        }
    }

    /// Explains a value of the samples of the last forward pass, for one class each, by one pass back.
    fn explain_value(
        &mut self,
        kernels: &Kernels,
        value: &Value,
        target: Vec<usize>,
    ) -> Result<Explanation, ModelError> {
        let Explainer { network, kind, pass, gamma } = self;
        let (n, task) = (target.len(), network.task());
        let logits = pass.logits(n).to_vec();
        let gamma = &mut gamma[..n * task.classes];
        let explained = rows(value, &target, &logits, gamma);
        match kind {
            Kind::Gradient(method) => gradient_of_value(kernels, network, pass, *method, gamma)?,
            _ => {
                pass.logits_and_back(n).1.copy_from_slice(gamma);
                pass.relevance(kernels, &explained)?;
            }
        }
        let size = task.rows * task.cols;
        let mut relevance = vec![0.0; n * size];
        for (i, image) in relevance.chunks_exact_mut(size).enumerate() {
            let sample = Sample { i, of: n };
            match kind {
                Kind::Gradient(method) => method.read(pass, sample, image),
                _ => pass.pixels(sample, image, |_, r| r),
            }
        }
        let ledger = ledger(network, pass, n);
        let absorbed: Vec<f64> = (0..n)
            .map(|i| ledger.iter().flat_map(|of| &of.absorbed[i * task.seq_len..][..task.seq_len]).sum())
            .collect();
        let conservation_error = conservation_error(&relevance, &explained, &absorbed);
        Ok(Explanation { target, explained, logits, relevance, absorbed, conservation_error, ledger })
    }
}

/// Writes the row of each sample and gives its value.
fn rows(value: &Value, target: &[usize], logits: &[f32], gamma: &mut [f32]) -> Vec<f32> {
    let classes = gamma.len() / target.len().max(1);
    let rows = logits.chunks_exact(classes.max(1)).zip(gamma.chunks_exact_mut(classes.max(1)));
    let rows = rows.zip(target).enumerate();
    rows.map(|(i, ((h, row), &class))| value.row(i, h, class, row)).collect()
}

/// `|f − Σ R − absorbed| / |f|` of each sample.
fn conservation_error(relevance: &[f32], explained: &[f32], absorbed: &[f64]) -> Vec<f64> {
    let size = (relevance.len() / explained.len().max(1)).max(1);
    let sums = relevance.chunks_exact(size).map(sum).zip(explained).zip(absorbed);
    let error = |((sum, &f), absorbed): ((f64, &f32), &f64)| {
        (f64::from(f) - sum - absorbed).abs() / f64::from(f).abs().max(f64::MIN_POSITIVE)
    };
    sums.map(error).collect()
}

/// The ledger of the last explanation of `n` samples, by layer, sample and step.
fn ledger(network: &Network, pass: &Pass, n: usize) -> Vec<LayerLedger> {
    let steps = network.task().seq_len;
    let by_sample = |rows: &[f64]| -> Vec<f64> {
        (0..n).flat_map(|i| (0..steps).map(move |t| rows[t * n + i])).collect()
    };
    let entries = network.layers().iter().zip(pass.ledger().layers());
    entries
        .map(|(spec, entry)| LayerLedger {
            layer: spec.name.clone(),
            absorbed: by_sample(&entry.absorbed),
            negative: by_sample(&entry.negative),
        })
        .collect()
}

//! Explanations as arrays.

use crate::arrays::ImageArray;
use crate::compute::kernels;
use crate::errors::exception;
use crate::watch::Watch;
use anyhow::{Context, Result, ensure};
use harness::command::method::{MethodArgs, RuleTable};
use harness::measure::explanations::{ExplanationRequest, explain_all};
use kernels::Kernels;
use model::explain::{Explanation, Method, Target, Value};
use model::measure::shares::per_step;
use model::{Network, Samples, Task};
use numpy::{
    IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use std::path::PathBuf;

/// What is explained, and how. All keys are there; what is not given is `None`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct ExplainOptions<'py> {
    method: String,
    first: Option<String>,
    middle: Option<String>,
    last: Option<String>,
    alpha: Option<f32>,
    beta: Option<f32>,
    epsilon: Option<f32>,
    gamma: Option<f32>,
    /// Whose stabilisers and biases.
    convention: Option<String>,
    /// A file of rules, or rules by place.
    rules_file: Option<PathBuf>,
    rules: Option<Rules>,
    /// `predicted`, `all` or a class.
    target: String,
    /// The class that is explained of each image, `[N]`, instead of `target`.
    targets: Option<PyReadonlyArray1<'py, i64>>,
    /// Unless given, that of the convention.
    value: Option<String>,
    /// Rows over the logits, `[N, classes]`, instead of `value`.
    weights: Option<PyReadonlyArray2<'py, f32>>,
}

/// Rules by place.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Rules {
    first: Option<String>,
    convolution: Option<String>,
    middle: Option<String>,
    last: Option<String>,
}

/// What was found of `N` images with `K` targets each.
#[derive(IntoPyObject)]
pub struct Found<'py> {
    /// float32 `[N, K, rows, cols]`
    relevance: Bound<'py, PyArrayDyn<f32>>,
    /// The explained value, float32 `[N, K]`.
    f: Bound<'py, PyArrayDyn<f32>>,
    /// int64 `[N, K]`
    target: Bound<'py, PyArrayDyn<i64>>,
    /// float32 `[N, classes]`
    logits: Bound<'py, PyArrayDyn<f32>>,
    /// float64 `[N, K]`
    absorbed: Bound<'py, PyArrayDyn<f64>>,
    /// `|f − ΣR − absorbed| / |f|`, float64 `[N, K]`
    conservation: Bound<'py, PyArrayDyn<f64>>,
    /// Sum of the relevance of each step's columns, float64 `[N, K, T]`.
    by_step: Bound<'py, PyArrayDyn<f64>>,
    /// Names of the layers of the ledger.
    layers: Vec<String>,
    /// float64 `[N, K, layers, T]`
    layer_absorbed: Bound<'py, PyArrayDyn<f64>>,
    /// float64 `[N, K, layers, T]`
    layer_negative: Bound<'py, PyArrayDyn<f64>>,
    /// Whether the method promises that relevance is conserved.
    conserves: bool,
}

impl ExplainOptions<'_> {
    fn args(&self) -> MethodArgs {
        MethodArgs {
            method: self.method.clone(),
            first: self.first.clone(),
            middle: self.middle.clone(),
            last: self.last.clone(),
            convention: self.convention.clone(),
            rules: self.rules_file.clone(),
            alpha: self.alpha,
            beta: self.beta,
            epsilon: self.epsilon,
            gamma: self.gamma,
            // Integrated gradients and SmoothGrad have their default numbers.
            ..MethodArgs::default()
        }
    }

    fn method(&self) -> Result<Method> {
        let Some(Rules { first, convolution, middle, last }) = &self.rules else {
            return self.args().parse();
        };
        let [first, convolution, middle, last] = [first, convolution, middle, last].map(Clone::clone);
        self.args().parse_over(&RuleTable { first, convolution, middle, last, ..RuleTable::default() })
    }

    fn target(&self, classes: usize) -> Result<Target> {
        Ok(match self.target.as_str() {
            _ if self.targets.is_some() => Target::True,
            "predicted" => Target::Predicted,
            "all" => Target::All,
            class => {
                let known = class.parse().ok().filter(|&class: &usize| class < classes);
                let why = || {
                    format!(
                        "target is {class}; it must be 'predicted', 'all', a class from 0 to {}, or one class an image",
                        classes.saturating_sub(1)
                    )
                };
                Target::Class(known.with_context(why)?)
            }
        })
    }

    fn value(&self, shape: [usize; 2]) -> Result<Value> {
        let Some(weights) = &self.weights else {
            let name = match &self.value {
                Some(name) => name,
                None => self.args().convention()?.value,
            };
            let names = Value::NAMES.join(", ");
            let why = || format!("value is {name:?}; it must be one of {names}, or an array [N, classes]");
            return Value::by_name(name).with_context(why);
        };
        let found = weights.shape();
        ensure!(
            *found == shape,
            "value has shape {found:?}; it must be {shape:?}, a row over the logits for each image"
        );
        Ok(Value::Rows(weights.as_slice().context("value is not contiguous")?.to_vec()))
    }
}

/// Explains the images.
pub fn explain<'py>(
    py: Python<'py>,
    network: &Network,
    x: &ImageArray,
    options: &ExplainOptions,
    watch: Watch,
) -> PyResult<Found<'py>> {
    let prepare = || -> Result<_> {
        let task = network.task();
        let images = x.images("x", task)?;
        let images = match &options.targets {
            Some(targets) => images.labelled("target", targets, task.classes)?,
            None => images,
        };
        let value = options.value([images.len(), task.classes])?;
        Ok((images, options.method()?, options.target(task.classes)?, value))
    };
    let (images, method, target, value) = prepare().map_err(exception)?;
    let indices: Vec<usize> = (0..images.len()).collect();
    let request = ExplanationRequest { network, samples: &images, indices: &indices, target, value: &value };
    let all = py.detach(|| Collected::of(&kernels()?, method, request, watch)).map_err(exception)?;
    all.arrays(py, network.task(), matches!(method, Method::Relevance(_)))
}

/// The explanations of all images: of each its targets, one behind the other.
#[derive(Default)]
struct Collected {
    relevance: Vec<f32>,
    f: Vec<f32>,
    target: Vec<i64>,
    logits: Vec<f32>,
    absorbed: Vec<f64>,
    conservation: Vec<f64>,
    by_step: Vec<f64>,
    layers: Vec<String>,
    layer_absorbed: Vec<f64>,
    layer_negative: Vec<f64>,
}

impl Collected {
    fn of(
        kernels: &Kernels,
        method: Method,
        request: ExplanationRequest,
        mut watch: Watch,
    ) -> Result<Collected> {
        let task = request.network.task();
        let targets = if request.target == Target::All { task.classes } else { 1 };
        let mut all = Collected::default();
        all.relevance.reserve_exact(request.indices.len() * targets * task.rows * task.cols);
        let mut done = 0;
        explain_all(kernels, method, request, |chunk, found| {
            (0..chunk.len()).for_each(|i| all.add(task, i, &found));
            done += chunk.len();
            Ok(watch.tick(done)?)
        })?;
        watch.tell(done)?;
        Ok(all)
    }

    /// Adds sample `i` of a chunk.
    fn add(&mut self, task: &Task, i: usize, found: &[Explanation]) {
        let Task { rows, cols, seq_len, classes, .. } = *task;
        for (k, batch) in found.iter().enumerate() {
            if k == 0 {
                self.logits.extend_from_slice(&batch.logits[i * classes..][..classes]);
            }
            let relevance = &batch.relevance[i * rows * cols..][..rows * cols];
            self.relevance.extend_from_slice(relevance);
            self.by_step.extend(per_step(relevance, rows, cols, seq_len));
            self.f.push(batch.explained[i]);
            self.target.push(batch.target[i] as i64);
            self.absorbed.push(batch.absorbed[i]);
            self.conservation.push(batch.conservation_error[i]);
            if self.layers.is_empty() {
                self.layers = batch.ledger.iter().map(|of| of.layer.clone()).collect();
            }
            for of in &batch.ledger {
                self.layer_absorbed.extend_from_slice(&of.absorbed[i * seq_len..][..seq_len]);
                self.layer_negative.extend_from_slice(&of.negative[i * seq_len..][..seq_len]);
            }
        }
    }

    fn arrays<'py>(self, py: Python<'py>, task: &Task, conserves: bool) -> PyResult<Found<'py>> {
        let Task { rows, cols, seq_len, classes, .. } = *task;
        let n = self.logits.len() / classes;
        let k = self.f.len() / n.max(1);
        let layers = self.layers.len();
        let floats = |values: Vec<f64>, shape: Vec<usize>| values.into_pyarray(py).reshape(shape);
        Ok(Found {
            relevance: self.relevance.into_pyarray(py).reshape(vec![n, k, rows, cols])?,
            f: self.f.into_pyarray(py).reshape(vec![n, k])?,
            target: self.target.into_pyarray(py).reshape(vec![n, k])?,
            logits: self.logits.into_pyarray(py).reshape(vec![n, classes])?,
            absorbed: floats(self.absorbed, vec![n, k])?,
            conservation: floats(self.conservation, vec![n, k])?,
            by_step: floats(self.by_step, vec![n, k, seq_len])?,
            layers: self.layers,
            layer_absorbed: floats(self.layer_absorbed, vec![n, k, layers, seq_len])?,
            layer_negative: floats(self.layer_negative, vec![n, k, layers, seq_len])?,
            conserves,
        })
    }
}

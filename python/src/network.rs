//! The network as a Python object.

use crate::arrays::ImageArray;
use crate::compute::kernels;
use crate::errors::exception;
use crate::explain::{ExplainOptions, Found, explain};
use crate::train::{EpochRecord, TrainOptions, train};
use crate::watch::Watch;
use anyhow::{Context, Result, ensure};
use harness::io::tensors::TensorFile;
use harness::model_file;
use harness::run::epoch::CHUNK;
use harness::run::settings::{InitialName, PartialSettings};
use model::{Architecture, Evaluation, Evaluator, Samples, Task};
use numpy::{
    IntoPyArray, PyArray2, PyArrayDyn, PyArrayMethods, PyReadonlyArray1, PyReadonlyArrayDyn,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// An architecture as JSON: a preset, or its parts replaced. `settings` is JSON with `cell`, `encoder`, `core` and `head`.
#[pyfunction]
pub fn architecture(settings: &str) -> PyResult<String> {
    let parse = || -> Result<String> {
        let settings: PartialSettings = serde_json::from_str(settings).context("not an architecture")?;
        Ok(serde_json::to_string(&settings.complete()?.architecture)?)
    };
    parse().map_err(exception)
}

/// The names of all presets.
#[pyfunction]
pub fn presets() -> Vec<&'static str> {
    Architecture::names().collect()
}

/// A network. Its parameters change only by [`Network::train`], as a whole; whoever computes meanwhile keeps the earlier ones.
#[pyclass(frozen, module = "relrnn._native")]
pub struct Network {
    network: RwLock<Arc<model::Network>>,
}

/// The shape of a network's input and output.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Shape {
    rows: usize,
    cols: usize,
    seq_len: usize,
    classes: usize,
    low: f32,
    high: f32,
    zero_logit: bool,
}

/// Metadata and tensors, as a model file has them.
type Content<'py> = (BTreeMap<String, String>, BTreeMap<String, Bound<'py, PyArrayDyn<f32>>>);

impl Network {
    fn of(network: model::Network) -> Network {
        Network { network: RwLock::new(Arc::new(network)) }
    }

    /// The network with its present parameters.
    fn now(&self) -> Arc<model::Network> {
        Arc::clone(&self.network.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl Network {
    /// A network with initial values.
    #[staticmethod]
    fn create(
        py: Python<'_>,
        architecture: &str,
        shape: Shape,
        initial_values: &str,
        seed: u64,
    ) -> PyResult<Network> {
        let Shape { rows, cols, seq_len, classes, low, high, zero_logit } = shape;
        let make = || -> Result<Network> {
            let architecture: Architecture = serde_json::from_str(architecture).context("architecture")?;
            let values: InitialName =
                serde_json::from_value(initial_values.into()).context("initial_values")?;
            let task = Task { rows, cols, seq_len, classes, low, high, zero_logit };
            Ok(Network::of(model::Network::with_initial_values(architecture, task, values.into(), seed)?))
        };
        py.detach(make).map_err(exception)
    }

    /// Reads a model file.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Network> {
        py.detach(|| model_file::load(&path)).map(Network::of).map_err(exception)
    }

    /// Writes a model file, atomically.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let network = self.now();
        py.detach(|| model_file::save(&path, &network)).map_err(exception)
    }

    /// The network of the content of a model file.
    #[staticmethod]
    fn build(
        py: Python<'_>,
        metadata: BTreeMap<String, String>,
        tensors: BTreeMap<String, PyReadonlyArrayDyn<f32>>,
    ) -> PyResult<Network> {
        let read = |(name, array): (String, PyReadonlyArrayDyn<f32>)| -> Result<_> {
            let values =
                array.as_slice().with_context(|| format!("tensor `{name}` is not contiguous"))?.to_vec();
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                anyhow::bail!("tensor `{name}` holds {} at index {at}; it must be finite", values[at]);
            }
            Ok((name, (array.shape().to_vec(), values)))
        };
        let tensors = tensors.into_iter().map(read).collect::<Result<_>>().map_err(exception)?;
        let file = TensorFile { metadata, tensors };
        py.detach(|| model_file::build(&file)).map(Network::of).map_err(exception)
    }

    /// The content of the network's model file: metadata, and tensors by name.
    fn describe<'py>(&self, py: Python<'py>) -> PyResult<Content<'py>> {
        let TensorFile { metadata, tensors } = model_file::describe(&self.now()).map_err(exception)?;
        let array = |(name, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
            Ok((name, values.into_pyarray(py).reshape(shape)?))
        };
        Ok((metadata, tensors.into_iter().map(array).collect::<PyResult<_>>()?))
    }

    /// The architecture as JSON.
    #[getter]
    fn architecture(&self) -> PyResult<String> {
        serde_json::to_string(self.now().architecture()).map_err(exception)
    }

    /// The preset's name, or else a description.
    #[getter]
    fn name(&self) -> String {
        self.now().architecture().name()
    }

    /// Number of variables.
    #[getter]
    fn variables(&self) -> usize {
        self.now().variables()
    }

    #[getter]
    fn rows(&self) -> usize {
        self.now().task().rows
    }

    #[getter]
    fn cols(&self) -> usize {
        self.now().task().cols
    }

    #[getter]
    fn seq_len(&self) -> usize {
        self.now().task().seq_len
    }

    #[getter]
    fn classes(&self) -> usize {
        self.now().task().classes
    }

    #[getter]
    fn low(&self) -> f32 {
        self.now().task().low
    }

    #[getter]
    fn high(&self) -> f32 {
        self.now().task().high
    }

    #[getter]
    fn zero_logit(&self) -> bool {
        self.now().task().zero_logit
    }

    /// Logits `[N, classes]`.
    fn logits<'py>(
        &self,
        py: Python<'py>,
        x: ImageArray,
        report: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let network = self.now();
        let images = x.images("x", network.task()).map_err(exception)?;
        let shape = [images.len(), network.task().classes];
        let mut logits = Vec::with_capacity(shape[0] * shape[1]);
        let mut keep = |_: Evaluation, found: &[f32]| logits.extend_from_slice(found);
        py.detach(|| evaluate(&network, &images, Watch::new(report), &mut keep)).map_err(exception)?;
        logits.into_pyarray(py).reshape(shape)
    }

    /// Loss (nats), accuracy, and the share of samples of which a whole layer is 0.
    fn evaluate(
        &self,
        py: Python<'_>,
        x: ImageArray,
        y: PyReadonlyArray1<i64>,
        report: Option<Py<PyAny>>,
    ) -> PyResult<(f64, f64, usize)> {
        let network = self.now();
        let classes = network.task().classes;
        let images = x.images("x", network.task()).and_then(|images| images.labelled("y", &y, classes));
        let images = images.map_err(exception)?;
        let mut sum = Evaluation::default();
        let mut keep = |found: Evaluation, _: &[f32]| sum.add(found);
        py.detach(|| evaluate(&network, &images, Watch::new(report), &mut keep)).map_err(exception)?;
        Ok((sum.mean_loss(), sum.accuracy(), sum.dead))
    }

    /// Explains the images; what `options` holds, `Network.explain` of the package says.
    fn explain<'py>(
        &self,
        py: Python<'py>,
        x: ImageArray,
        options: ExplainOptions,
        report: Option<Py<PyAny>>,
    ) -> PyResult<Found<'py>> {
        explain(py, &self.now(), &x, &options, Watch::new(report))
    }

    /// Trains the network on images and labels; `settings` is JSON with the names of a run's settings. After each epoch
    /// `epoch(record)` is called; an interrupted training keeps the epochs that are complete.
    fn train(
        &self,
        py: Python<'_>,
        x: ImageArray,
        y: PyReadonlyArray1<i64>,
        options: TrainOptions,
        report: Option<Py<PyAny>>,
    ) -> PyResult<Vec<EpochRecord>> {
        let keep = |network: model::Network| {
            *self.network.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(network);
        };
        train(py, &self.now(), (&x, &y), &options, Watch::new(report), keep)
    }
}

/// Evaluates all samples, chunk by chunk; `keep` gets what the labels give, and the logits.
fn evaluate(
    network: &model::Network,
    samples: &dyn Samples,
    mut watch: Watch,
    keep: &mut (dyn FnMut(Evaluation, &[f32]) + Send),
) -> Result<()> {
    let kernels = kernels()?;
    ensure!(!samples.is_empty(), "there are no samples");
    let mut evaluator = Evaluator::new(network, CHUNK.min(samples.len()));
    let indices: Vec<usize> = (0..samples.len()).collect();
    for (i, chunk) in indices.chunks(CHUNK).enumerate() {
        watch.tick(i * CHUNK)?;
        let found = evaluator.evaluate(&kernels, network, samples, chunk)?;
        keep(found, evaluator.last_logits());
    }
    watch.tell(samples.len())?;
    Ok(())
}

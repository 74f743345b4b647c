//! A network: its layers, and the values of their parameters.

use crate::architecture::{Architecture, at_most};
use crate::core::core;
use crate::core::layer::CoreLayer;
use crate::error::ModelError;
use crate::init::{InitialValues, initialise};
use crate::params::{NamedTensor, Parameters, Spec, Specs};
use crate::stage::edge::Edge;
use crate::stage::layer::Layer;
use crate::stage::masks::{Mask, MaskPlace};
use crate::stage::{encoder, head, pixels};
use crate::task::Task;
use kernels::Kernels;
use std::sync::Arc;

/// Maximum number of floats of a network's parameters: 1 GiB.
const MAX_FLOATS: usize = 1 << 28;

/// An architecture with a task and parameters.
///
/// A network has no buffers: trainers, evaluators and explainers have their own, so that several of them can run
/// over one network.
#[derive(Clone, Debug)]
pub struct Network {
    layers: Arc<Layers>,
    parameters: Parameters,
}

/// The layers of a network, which never change.
#[derive(Debug)]
pub(crate) struct Layers {
    pub architecture: Architecture,
    pub task: Task,
    /// The image of a step, as the first layer reads it.
    pub pixels: Edge,
    pub encoder: Vec<Box<dyn Layer>>,
    pub core: Box<dyn CoreLayer>,
    /// Hidden layers, then the logits.
    pub head: Vec<Box<dyn Layer>>,
}

impl Layers {
    /// The layers, and their parameters in the order of the flat buffer.
    fn new(architecture: Architecture, task: Task) -> Result<(Layers, Specs), ModelError> {
        task.check()?;
        architecture.check()?;
        let mut specs = Specs::default();
        let pixels = pixels(&architecture.encoder, &task);
        let (encoder, next_mask) = encoder(&architecture.encoder, task.seq_len, pixels, &mut specs);
        let encoded = encoder.last().map_or(pixels, |layer| layer.output());
        let dropout = Mask { place: MaskPlace::Head, layer: next_mask };
        let core = core(architecture.core, &task, encoded, dropout, &mut specs);
        let head = head(&architecture.head, task.classes, core.output(), &mut specs);
        at_most("the number of parameters", specs.len, MAX_FLOATS)?;
        Ok((Layers { architecture, task, pixels, encoder, core, head }, specs))
    }
}

impl Network {
    /// A network with the initial values of section 4.4.
    ///
    /// # Errors
    /// [`ModelError`] if the architecture cannot be built or does not fit the task.
    pub fn new(architecture: Architecture, task: Task, seed: u64) -> Result<Network, ModelError> {
        Network::with_initial_values(architecture, task, InitialValues::Draft, seed)
    }

    /// A network with initial values of a profile.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn with_initial_values(
        architecture: Architecture,
        task: Task,
        values: InitialValues,
        seed: u64,
    ) -> Result<Network, ModelError> {
        let (layers, specs) = Layers::new(architecture, task)?;
        let mut network = Network { layers: Arc::new(layers), parameters: Parameters::zeroed(specs) };
        initialise(&mut network.parameters, values, seed);
        network.parameters.refresh(&Kernels::default())?;
        Ok(network)
    }

    /// The layers with parameters that such a network has, in the order of the flat buffers; nothing is allocated for
    /// them.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn specs(architecture: &Architecture, task: Task) -> Result<Vec<Spec>, ModelError> {
        Ok(Layers::new(architecture.clone(), task)?.1.specs)
    }

    /// A network with the given parameters.
    ///
    /// # Errors
    /// [`ModelError`] as [`Network::new`], or if a tensor is missing, has another shape, or belongs to no layer.
    pub fn from_tensors(
        architecture: Architecture,
        task: Task,
        tensors: &[NamedTensor],
    ) -> Result<Network, ModelError> {
        let (layers, specs) = Layers::new(architecture, task)?;
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let expected = || specs.specs.iter().flat_map(Spec::tensors);
        if let Some((name, expected)) = expected().find(|(name, _)| find(name).is_none()) {
            return Err(ModelError::MissingTensor { name, expected });
        }
        let mut found = Vec::new();
        for (name, expected) in expected() {
            let tensor = find(&name).expect("none is missing");
            if tensor.shape != expected || tensor.values.len() != expected.iter().product::<usize>() {
                return Err(ModelError::TensorShape { name, found: tensor.shape.clone(), expected });
            }
            found.push(&tensor.values[..]);
        }
        if let Some(tensor) = tensors.iter().find(|tensor| !expected().any(|(name, _)| name == tensor.name)) {
            let known = specs.specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(ModelError::UnknownTensor { name: tensor.name.clone(), known });
        }
        // Allocated after the check of the tensors, so that a wrong file cannot request memory.
        let mut parameters = Parameters::zeroed(specs);
        let mut found = &found[..];
        for layer in 0..parameters.specs().len() {
            let (tensors, rest) = found.split_at(parameters.spec(layer).tensors().len());
            parameters.import(layer, tensors);
            found = rest;
        }
        parameters.refresh(&Kernels::default())?;
        Ok(Network { layers: Arc::new(layers), parameters })
    }

    /// The architecture.
    pub fn architecture(&self) -> &Architecture {
        &self.layers.architecture
    }

    /// The task.
    pub fn task(&self) -> &Task {
        &self.layers.task
    }

    /// The layers with parameters, in the order of the flat buffers.
    pub fn layers(&self) -> &[Spec] {
        self.parameters.specs()
    }

    /// Number of variables (Table 4.3).
    pub fn variables(&self) -> usize {
        self.layers().iter().map(Spec::variables).sum()
    }

    /// All parameters, row-major, by name.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        self.export(self.values())
    }

    /// The tensors of a flat buffer in the parameters' layout (moments, gradients), row-major, by name.
    ///
    /// # Panics
    /// If the buffer is not as long as the parameters.
    pub fn export(&self, buffer: &[f32]) -> Vec<NamedTensor> {
        assert_eq!(buffer.len(), self.values().len(), "a buffer of the parameters' layout");
        self.layers().iter().flat_map(|spec| spec.export(buffer)).collect()
    }

    /// The parameters in panel order.
    pub fn values(&self) -> &[f32] {
        self.parameters.values()
    }

    /// Replaces the values of the parameters, in the same layout.
    ///
    /// # Errors
    /// [`ModelError::TensorShape`] if their number differs.
    pub fn set_values(&mut self, values: &[f32]) -> Result<(), ModelError> {
        if values.len() != self.values().len() {
            let (found, expected) = (vec![values.len()], vec![self.values().len()]);
            return Err(ModelError::TensorShape { name: "values".to_owned(), found, expected });
        }
        self.parameters.values_mut().copy_from_slice(values);
        self.parameters.refresh(&Kernels::default())
    }

    pub(crate) fn graph(&self) -> &Arc<Layers> {
        &self.layers
    }

    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    pub(crate) fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sixteen_counts_of_table_4_3() {
        let table = [
            ("shallow", [610_570, 355_722, 291_210, 248_202]),
            ("deep", [550_346, 314_954, 271_946, 243_274]),
            ("deepv2", [575_050, 306_890, 263_882, 235_210]),
            ("convdeep", [647_594, 283_178, 197_162, 197_162]),
        ];
        for (name, counts) in table {
            for (seq_len, count) in [1, 4, 7, 14].into_iter().zip(counts) {
                let preset = Architecture::preset(name).expect("a preset");
                let network = Network::new(preset, Task { seq_len, ..Task::default() }, 1).expect("fits");
                assert_eq!(network.variables(), count, "{name}-{seq_len}");
            }
        }
    }

    #[test]
    fn the_counts_of_the_finished_thesis() {
        let counts = [
            ("final-shallow", 12, 184_330),
            ("final-shallow", 1, 203_530),
            ("final-shallow", 7, 162_826),
            ("final-deep", 12, 153_578),
            ("final-deep", 1, 238_314),
            ("final-deep", 7, 132_074),
            ("final-deepv2", 12, 161_386),
            ("final-convdeep", 12, 151_802),
            ("r-lstm", 12, 145_914),
            ("convr-lstm", 12, 152_410),
            ("convplus-deep", 12, 175_418),
            ("convplus-r-lstm", 12, 176_026),
        ];
        for (name, seq_len, count) in counts {
            // The majority problem is three images wide; the single images are 28×28.
            let cols = if seq_len == 12 { 84 } else { 28 };
            let preset = Architecture::preset(name).expect("a preset");
            let network = Network::new(preset, Task { cols, seq_len, ..Task::default() }, 1).expect("fits");
            assert_eq!(network.variables(), count, "{name}-{seq_len}");
        }
    }

    #[test]
    fn tensors_go_out_and_come_back() {
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        let network =
            Network::new(Architecture::preset("convdeep").expect("a preset"), task, 5).expect("fits");
        let mut tensors = network.tensors();
        let again = Network::from_tensors(network.architecture().clone(), task, &tensors).expect("complete");
        assert_eq!(again.values(), network.values());
        tensors[0].name = "encoder.9.weight".to_owned();
        let error =
            Network::from_tensors(network.architecture().clone(), task, &tensors).expect_err("misnamed");
        assert!(error.to_string().contains("encoder.0.weight"), "{error}");
    }
}

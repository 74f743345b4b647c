//! A network: a plan and the values of its parameters.

use crate::init::initialise;
use crate::params::{NamedTensor, Spec};
use crate::plan::Plan;
use crate::{Cell, ModelError, Task};
use kernels::elementwise::activation::softplus_bias;
use kernels::{Buffer, Kernels, Panels, STRIP};

/// A cell put to a task, with parameters.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) plan: Plan,
    /// All parameters in panel order.
    pub(crate) values: Buffer,
    /// `−softplus(b)` of each layer, padded to whole strips; made anew with each version.
    biases: Vec<Buffer>,
}

impl Network {
    /// A network with the initial values of section 4.4.
    ///
    /// # Errors
    /// [`ModelError`] if the cell and the task do not go together.
    pub fn new(cell: Cell, task: Task, seed: u64) -> Result<Network, ModelError> {
        let mut network = Self::zeroed(Plan::new(cell, task)?);
        initialise(&network.plan.specs, seed, &mut network.values);
        network.refresh(&Kernels::default())?;
        Ok(network)
    }

    /// A network with the given parameters.
    ///
    /// # Errors
    /// [`ModelError`] if a tensor is missing, has another shape, or belongs to no layer.
    pub fn from_tensors(cell: Cell, task: Task, tensors: &[NamedTensor]) -> Result<Network, ModelError> {
        let plan = Plan::new(cell, task)?;
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let wanted = || plan.specs.iter().flat_map(|spec| spec.tensors());
        if let Some((name, expected)) = wanted().find(|(name, _)| find(name).is_none()) {
            return Err(ModelError::MissingTensor { name, expected });
        }
        for (name, expected) in wanted() {
            let Some(tensor) = find(&name) else { continue };
            if tensor.shape != expected || tensor.values.len() != expected.iter().product::<usize>() {
                return Err(ModelError::TensorShape { name, found: tensor.shape.clone(), expected });
            }
        }
        if let Some(tensor) = tensors.iter().find(|tensor| !wanted().any(|(name, _)| name == tensor.name)) {
            let known = plan.specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(ModelError::UnknownTensor { name: tensor.name.clone(), known });
        }
        // Only now, when the tensors are known to fill it, is room made for them.
        let mut network = Self::zeroed(plan);
        let Network { plan, values, .. } = &mut network;
        for spec in &plan.specs {
            let [weight, bias] = spec.tensors().map(|(name, _)| find(&name));
            if let (Some(weight), Some(bias)) = (weight, bias) {
                spec.import_weight(&weight.values, values);
                values[spec.bias.clone()].copy_from_slice(&bias.values);
            }
        }
        network.refresh(&Kernels::default())?;
        Ok(network)
    }

    fn zeroed(plan: Plan) -> Network {
        let biases = plan.specs.iter().map(|spec| Buffer::zeroed(spec.n.next_multiple_of(STRIP))).collect();
        let values = Buffer::zeroed(plan.len);
        Network { plan, values, biases }
    }

    /// The cell.
    pub fn cell(&self) -> &Cell {
        &self.plan.cell
    }

    /// The task.
    pub fn task(&self) -> &Task {
        &self.plan.task
    }

    /// The layers with parameters, in the order of the flat buffers.
    pub fn layers(&self) -> &[Spec] {
        &self.plan.specs
    }

    /// Number of variables (Table 4.3).
    pub fn variables(&self) -> usize {
        self.plan.specs.iter().map(Spec::variables).sum()
    }

    /// All parameters, row-major, by name.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        self.export(&self.values)
    }

    /// A flat buffer of the parameters' layout (moments, gradients), row-major, by name.
    ///
    /// # Panics
    /// If the buffer is not as long as the parameters.
    pub fn export(&self, buffer: &[f32]) -> Vec<NamedTensor> {
        assert_eq!(buffer.len(), self.values.len(), "a buffer of the parameters' layout");
        self.plan.specs.iter().flat_map(|spec| spec.export(buffer)).collect()
    }

    /// The parameters in panel order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Puts other values in place of the parameters, in the same layout.
    ///
    /// # Errors
    /// [`ModelError::TensorShape`] if there are not as many.
    pub fn set_values(&mut self, values: &[f32]) -> Result<(), ModelError> {
        if values.len() != self.values.len() {
            let (found, expected) = (vec![values.len()], vec![self.values.len()]);
            return Err(ModelError::TensorShape { name: "values".to_owned(), found, expected });
        }
        self.values.copy_from_slice(values);
        self.refresh(&Kernels::default())
    }

    /// Makes what depends on the version of the parameters.
    pub(crate) fn refresh(&mut self, kernels: &Kernels) -> Result<(), ModelError> {
        for (spec, bias) in self.plan.specs.iter().zip(&mut self.biases) {
            softplus_bias(kernels, &self.values[spec.bias.clone()], bias)?;
        }
        Ok(())
    }

    pub(crate) fn weight(&self, spec: usize) -> Panels<'_> {
        self.plan.specs[spec].panels(&self.values)
    }

    pub(crate) fn bias(&self, spec: usize) -> &[f32] {
        &self.biases[spec]
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
                let cell = Cell::preset(name).expect("a preset");
                let network = Network::new(cell, Task { seq_len, ..Task::default() }, 1).expect("fits");
                assert_eq!(network.variables(), count, "{name}-{seq_len}");
            }
        }
    }

    #[test]
    fn tensors_go_out_and_come_back() {
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        let network = Network::new(Cell::preset("convdeep").expect("a preset"), task, 5).expect("fits");
        let mut tensors = network.tensors();
        let again = Network::from_tensors(network.cell().clone(), task, &tensors).expect("complete");
        assert_eq!(again.values(), network.values());
        tensors[0].name = "encoder.9.weight".to_owned();
        let error = Network::from_tensors(network.cell().clone(), task, &tensors).expect_err("misnamed");
        assert!(error.to_string().contains("encoder.0.weight"), "{error}");
    }
}

//! The measurements on each network of an experiment.

use super::heatmaps::{self, Relevance};
use crate::error::UsageError;
use crate::io::bounds::{MEASURED, bounded};
use crate::io::pair::pair;
use model::explain::{Target, Value};
use serde::{Deserialize, Serialize};

/// The measurement settings of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Measure {
    /// Methods of explanation; `random` is a control that does not depend on the network.
    pub methods: Vec<String>,
    /// Test samples of all classes that pixel flipping, noise, classes and randomisation are measured on.
    pub samples: usize,
    /// The class whose test samples show the distribution of relevance over the sequence (Figures 4.8 and
    /// 4.9).
    pub class: usize,
    /// Samples of that class that are drawn (Figure 4.8).
    pub population: usize,
    /// Side of the regions that pixel flipping removes.
    pub region: usize,
    /// The value of the logits that is explained, by which claims are judged: logit, relu, centred, runner-up or contrast.
    pub value: String,
    /// The class that is explained: predicted or true.
    #[serde(skip_serializing_if = "is_predicted")]
    pub target: String,
    /// Whether heatmaps are checked: pixel flipping, dependence on class and weights, prototypes.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub checks: bool,
    /// The neuron of Figures 3.4 to 3.6.
    pub neuron: Neuron,
}

fn is_predicted(target: &str) -> bool {
    target == "predicted"
}

/// A relu neuron of two inputs: `R = max(0, w·a + b)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Neuron {
    /// Weights.
    #[serde(deserialize_with = "pair")]
    pub weights: [f64; 2],
    /// Bias, not positive.
    pub bias: f64,
    /// The point that is explained; within 0…1, so that each of the three rules applies.
    #[serde(deserialize_with = "pair")]
    pub activations: [f64; 2],
}

impl Default for Measure {
    fn default() -> Measure {
        Measure {
            methods: heatmaps::NAMES.map(str::to_owned).to_vec(),
            samples: 100,
            class: 1,
            population: 16,
            region: 4,
            value: "logit".to_owned(),
            target: "predicted".to_owned(),
            checks: true,
            neuron: Neuron { weights: [1.0, -0.6], bias: -0.15, activations: [0.8, 0.45] },
        }
    }
}

impl Measure {
    /// The explained value.
    pub fn value(&self) -> Value {
        Value::by_name(&self.value).unwrap_or(Value::Logit)
    }

    /// The class that is explained.
    pub fn target(&self) -> Target {
        if is_predicted(&self.target) { Target::Predicted } else { Target::True }
    }

    /// Checks what can be checked without data.
    ///
    /// # Errors
    /// [`UsageError`] that names the setting.
    pub fn check(&self) -> Result<(), UsageError> {
        let refuse = |text: String| Err(UsageError(format!("[measure] {text}")));
        for (name, value) in
            [("samples", self.samples), ("population", self.population), ("region", self.region)]
        {
            bounded(&format!("[measure] {name}"), value, MEASURED)?;
        }
        let unknown = self.methods.iter().find(|name| Relevance::by_name(name).is_none());
        if let Some(name) = unknown {
            return refuse(format!(
                "methods names {name}; use {}, lrp-alpha1.5-beta0.5",
                [&heatmaps::NAMES[..], &heatmaps::FURTHER].concat().join(", ")
            ));
        }
        let repeated = self.methods.iter().enumerate().find(|(i, name)| self.methods[..*i].contains(name));
        if let Some((_, name)) = repeated {
            return refuse(format!("methods names {name} twice"));
        }
        if !self.methods.iter().any(|name| name == heatmaps::MAIN) {
            return refuse(format!("methods must hold {}, which the figures show", heatmaps::MAIN));
        }
        if Value::by_name(&self.value).is_none() {
            return refuse(format!("value is {}; it must be {}", self.value, Value::NAMES.join(", ")));
        }
        if !["predicted", "true"].contains(&&self.target[..]) {
            return refuse(format!("target is {}; it must be predicted or true", self.target));
        }
        if self.checks && !is_predicted(&self.target) {
            return refuse(
                "target is true, which needs checks = false: they are those of predicted classes".to_owned(),
            );
        }
        let Neuron { weights, bias, activations } = self.neuron;
        let value = weights[0] * activations[0] + weights[1] * activations[1] + bias;
        let inside = activations.iter().all(|a| (0.0..=1.0).contains(a));
        // A NaN fails both comparisons.
        if !(inside && bias <= 0.0 && value > 0.0 && value.is_finite()) {
            return refuse(format!(
                "neuron is {value} at its activations; it must be above 0, with a bias of at most 0 and activations in 0…1"
            ));
        }
        Ok(())
    }
}

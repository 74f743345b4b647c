//! The checkpoint of a training, one file written atomically: parameters, optimiser moments, epoch.

use crate::io::tensors::{self, TensorFile};
use anyhow::{Context, Result, bail};
use model::train::State;
use std::collections::BTreeMap;
use std::path::Path;

/// What to do about a file that is not a checkpoint.
const ADVICE: &str = "it is not a checkpoint of this program; give --overwrite or choose another --out";

/// The state of a training between two epochs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Epochs done.
    pub epoch: u64,
    /// Best validation accuracy so far, and its epoch.
    pub best: Option<(u64, f64)>,
    /// Optimiser state.
    pub state: State,
    /// Parameters in panel order.
    pub values: Vec<f32>,
    /// The settings they belong to, as JSON.
    pub settings: String,
    /// Checksums of the training data, as JSON.
    pub data: String,
    /// Lines of `metrics.csv` up to here.
    pub metrics: String,
}

impl Checkpoint {
    /// Writes the checkpoint atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut metadata = BTreeMap::from([
            ("epoch".to_owned(), self.epoch.to_string()),
            ("steps".to_owned(), self.state.steps.to_string()),
            ("settings".to_owned(), self.settings.clone()),
            ("data".to_owned(), self.data.clone()),
            ("metrics".to_owned(), self.metrics.clone()),
        ]);
        if let Some((epoch, accuracy)) = self.best {
            metadata.insert("best_epoch".to_owned(), epoch.to_string());
            metadata.insert("best_accuracy".to_owned(), accuracy.to_string());
        }
        let vector = |values: &Vec<f32>| (vec![values.len()], values.clone());
        let tensors = BTreeMap::from([
            ("values".to_owned(), vector(&self.values)),
            ("m".to_owned(), vector(&self.state.m)),
            ("v".to_owned(), vector(&self.state.v)),
        ]);
        tensors::write(path, &TensorFile { metadata, tensors })
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// If it is damaged; the message names the file and what is missing.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        let name = path.display();
        let file = tensors::read(path)?;
        let text = |key: &str| -> Result<&String> {
            file.metadata.get(key).with_context(|| format!("{name}: `{key}` is missing; {ADVICE}"))
        };
        let number = |key: &str| -> Result<u64> {
            let text = text(key)?;
            text.parse().with_context(|| format!("{name}: `{key}` is {text:?}, expected a number; {ADVICE}"))
        };
        let vector = |key: &str| -> Result<Vec<f32>> {
            let found = file
                .tensors
                .get(key)
                .with_context(|| format!("{name}: tensor `{key}` is missing; {ADVICE}"))?;
            Ok(found.1.clone())
        };
        let best = match file.metadata.get("best_accuracy").map(|text| text.parse::<f64>()) {
            Some(Ok(accuracy)) => Some((number("best_epoch")?, accuracy)),
            Some(Err(_)) => bail!("{name}: `best_accuracy` is not a number; {ADVICE}"),
            None => None,
        };
        Ok(Checkpoint {
            epoch: number("epoch")?,
            best,
            state: State { steps: number("steps")?, m: vector("m")?, v: vector("v")? },
            values: vector("values")?,
            settings: text("settings")?.clone(),
            data: text("data")?.clone(),
            metrics: text("metrics")?.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resume.safetensors");
        let state = State { steps: 7, m: vec![0.5, -1.0], v: vec![] };
        let values = vec![1.0, 2.0, 3.0];
        let best = Some((2, 0.912_345_678_9));
        let (settings, data) = ("{}".to_owned(), "[]".to_owned());
        let metrics = "1,0.5\n2,0.4\n3,0.3\n".to_owned();
        let checkpoint = Checkpoint { epoch: 3, best, state, values, settings, data, metrics };
        checkpoint.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
    }
}

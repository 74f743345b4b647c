//! Settings as `run.json` and checkpoints store them.

use super::{DropoutProfile, InitialName, OptimiserName, PoolName, Range, Settings, resized};
use model::{Architecture, ModelError};
use serde::Deserialize;

/// Settings as `run.json` and checkpoints store them. Those without an architecture have a preset, a kind of pool and two
/// widths.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct StoredSettings {
    cell: String,
    architecture: Option<Architecture>,
    seq_len: usize,
    dataset: String,
    epochs: u64,
    batch: usize,
    lr: f32,
    optimiser: OptimiserName,
    momentum: f32,
    dropout: f32,
    seed: u64,
    validation: Option<usize>,
    limit_train: Option<usize>,
    limit_test: Option<usize>,
    input_range: Range,
    pool: Option<PoolName>,
    combine: Option<usize>,
    recurrent: Option<usize>,
    #[serde(default)]
    zero_logit: bool,
    #[serde(default)]
    dropout_profile: DropoutProfile,
    #[serde(default)]
    initial_values: InitialName,
    #[serde(default)]
    stationary: bool,
    folds: Option<usize>,
    fold: Option<usize>,
    #[serde(default)]
    leaky: bool,
}

impl TryFrom<StoredSettings> for Settings {
    type Error = ModelError;

    fn try_from(stored: StoredSettings) -> Result<Settings, ModelError> {
        let StoredSettings { pool, combine, recurrent, .. } = stored;
        let architecture = match stored.architecture {
            Some(architecture) => architecture,
            None => resized(Architecture::preset(&stored.cell)?, pool, combine, recurrent)?,
        };
        Ok(Settings {
            cell: stored.cell,
            architecture,
            seq_len: stored.seq_len,
            dataset: stored.dataset,
            folds: stored.folds,
            fold: stored.fold,
            leaky: stored.leaky,
            epochs: stored.epochs,
            batch: stored.batch,
            lr: stored.lr,
            optimiser: stored.optimiser,
            momentum: stored.momentum,
            dropout: stored.dropout,
            dropout_profile: stored.dropout_profile,
            stationary: stored.stationary,
            initial_values: stored.initial_values,
            seed: stored.seed,
            validation: stored.validation,
            limit_train: stored.limit_train,
            limit_test: stored.limit_test,
            input_range: stored.input_range,
            zero_logit: stored.zero_logit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::settings::PartialSettings;

    #[test]
    fn settings_without_an_architecture_are_read() {
        let text = r#"{"cell":"convdeep","seq-len":4,"dataset":"synth","epochs":2,"batch":50,"lr":0.0005,
            "optimiser":"adam","momentum":0.9,"dropout":0.5,"seed":1,"validation":null,"limit-train":null,
            "limit-test":null,"input-range":[-1.0,1.0],"pool":"sum","combine":48,"recurrent":24}"#;
        let stored: Settings = serde_json::from_str(text).unwrap();
        let line =
            "cell = \"convdeep\"\nseq-len = 4\nepochs = 2\npool = \"sum\"\ncombine = 48\nrecurrent = 24";
        assert_eq!(stored, toml::from_str::<PartialSettings>(line).unwrap().complete().unwrap());
        let again = serde_json::to_string(&stored).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&again).unwrap(), stored, "{again}");
        let error = serde_json::from_str::<Settings>(&text.replace("convdeep", "lstm")).unwrap_err();
        assert!(error.to_string().contains("lstm"), "{error}");
    }
}

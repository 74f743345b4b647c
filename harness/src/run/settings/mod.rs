//! Settings of a training: defaults, overridden by an optional TOML file, overridden by the command line.

mod choices;
mod partial;
mod stored;

pub use choices::{DropoutProfile, InitialName, OptimiserName, PoolName, Range, parse_range};
pub use partial::PartialSettings;

use super::architecture::{STATIONARY_SUFFIX, file_name};
use crate::dataset::Dataset;
use crate::dataset::cross_validation::FoldChoice;
use crate::dataset::fold_args::FoldArgs;
use crate::error::UsageError;
use crate::io::bounds::{BATCH, EPOCHS, SEQ_LEN, bounded};
use anyhow::Result;
use model::train::{DropoutPolicy, Optimiser, TrainOptions};
use model::{Architecture, Core, ModelError, Task};
use serde::{Deserialize, Serialize};
use std::path::Path;
use stored::StoredSettings;

/// Complete settings of one training; `run.json` holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "StoredSettings")]
#[allow(missing_docs)] // each is documented in `PartialSettings`
pub struct Settings {
    /// Name of the architecture in folders and files: that of a preset, that of an entry of
    /// `[[architectures]]`, or a description.
    pub cell: String,
    pub architecture: Architecture,
    pub seq_len: usize,
    pub dataset: String,
    pub folds: Option<usize>,
    pub fold: Option<usize>,
    pub leaky: bool,
    pub epochs: u64,
    pub batch: usize,
    pub lr: f32,
    pub optimiser: OptimiserName,
    pub momentum: f32,
    pub dropout: f32,
    pub dropout_profile: DropoutProfile,
    pub stationary: bool,
    pub initial_values: InitialName,
    pub seed: u64,
    pub validation: Option<usize>,
    pub limit_train: Option<usize>,
    pub limit_test: Option<usize>,
    pub input_range: Range,
    pub zero_logit: bool,
}

impl Settings {
    /// Checks what can be checked without data.
    ///
    /// # Errors
    /// [`UsageError`] that names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), UsageError> {
        let refuse = |text: String| Err(UsageError(text));
        bounded("--batch", self.batch, BATCH)?;
        bounded("--seq-len", self.seq_len, SEQ_LEN)?;
        bounded("--epochs", self.epochs, EPOCHS)?;
        self.fold_args().choice(&self.dataset)?;
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return refuse(format!("--lr is {}; it must be a positive number such as 5e-4", self.lr));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse(format!("--momentum is {}; it must be at least 0 and below 1", self.momentum));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!("--dropout is {}; it must be at least 0 and below 1", self.dropout));
        }
        Ok(())
    }

    fn fold_args(&self) -> FoldArgs {
        FoldArgs { folds: self.folds, fold: self.fold, leaky: self.leaky }
    }

    /// Which fold of the data set is tested; none if its own halves are used.
    pub fn fold_choice(&self) -> Option<FoldChoice> {
        let (folds, fold) = self.folds.zip(self.fold)?;
        Some(FoldChoice { folds, fold, leaky: self.leaky })
    }

    /// Opens the data set, or its fold.
    ///
    /// # Errors
    /// If it is not found or cannot be read.
    pub fn open_data(&self, data_dir: Option<&Path>) -> Result<Dataset> {
        self.fold_args().open(&self.dataset, data_dir)
    }

    /// Name of the cell in folders and files, `deep` or `deep-sd`.
    pub fn cell_name(&self) -> String {
        format!("{}{}", self.cell, if self.stationary { STATIONARY_SUFFIX } else { "" })
    }

    /// `mnist`, or `mnist-maj/fold0`: what is the same for runs on the same samples.
    pub fn data_name(&self) -> String {
        let leaky = if self.leaky { "-leaky" } else { "" };
        match self.fold_choice() {
            Some(FoldChoice { folds, fold, .. }) => format!("{}/fold{fold}of{folds}{leaky}", self.dataset),
            None => self.dataset.clone(),
        }
    }

    /// An error of the model as a usage error that names the option.
    pub fn usage_error(&self, error: ModelError) -> UsageError {
        let option = match error {
            ModelError::SequenceLength { seq_len, .. } => format!("--seq-len {seq_len}: "),
            ModelError::Range { what: "low" | "high", .. } => "--input-range: ".to_owned(),
            ModelError::LayerOrder { .. } => "--encoder: ".to_owned(),
            _ => String::new(),
        };
        UsageError(format!("{option}{error}"))
    }

    /// Optimiser, batch, seed and dropout.
    pub fn train_options(&self) -> TrainOptions {
        let policy = self.dropout_profile.policy(&self.architecture);
        let dropout = DropoutPolicy { rate: self.dropout, stationary: self.stationary, ..policy };
        TrainOptions { optimiser: self.optimiser(), batch: self.batch, seed: self.seed, dropout }
    }

    /// The preset whose architecture this is, whatever its name.
    pub fn preset(&self) -> Option<&'static str> {
        let name = self.architecture.name();
        Architecture::names().find(|preset| *preset == name)
    }

    /// The task: shape of the input, sequence length, classes and pixel range.
    pub fn task(&self, rows: usize, cols: usize, classes: usize) -> Task {
        let Range(low, high) = self.input_range;
        Task { rows, cols, seq_len: self.seq_len, classes, low, high, zero_logit: self.zero_logit }
    }

    /// The optimiser.
    pub fn optimiser(&self) -> Optimiser {
        match self.optimiser {
            OptimiserName::Adam => Optimiser::Adam { lr: self.lr },
            OptimiserName::Sgd => Optimiser::Sgd { lr: self.lr, momentum: self.momentum },
        }
    }

    /// `Deep-7`, `Deep-SD-7`: the name of a preset or of a named architecture, else a description of the layers.
    pub fn title(&self) -> String {
        let own_name =
            Architecture::names().all(|name| name != self.cell) && self.cell != file_name(&self.architecture);
        let name = if own_name { self.cell.clone() } else { self.architecture.title() };
        let name = match (self.stationary, name.strip_suffix(" (final)")) {
            (false, _) => name,
            (true, Some(name)) => format!("{name}-SD (final)"),
            (true, None) => format!("{name}-SD"),
        };
        format!("{name}-{}", self.seq_len)
    }
}

/// An architecture with other pools and widths of the core.
fn resized(
    mut architecture: Architecture,
    pool: Option<PoolName>,
    new_combine: Option<usize>,
    new_recurrent: Option<usize>,
) -> Result<Architecture, ModelError> {
    match &mut architecture.core {
        Core::Rnn { combine, recurrent } => {
            *combine = new_combine.unwrap_or(*combine);
            *recurrent = new_recurrent.unwrap_or(*recurrent);
        }
        Core::RLstm { .. } => {
            if let Some(width) = new_combine.or(new_recurrent) {
                let (what, expected) =
                    ("combine or recurrent", "left out: the core has neither; its cells are r-lstm:CELLS");
                return Err(ModelError::Range { what, found: width as f64, expected });
            }
        }
    }
    match pool {
        Some(pool) => Ok(architecture.with_pools(pool.into())),
        None => Ok(architecture),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_say_where_and_how_much_is_dropped() {
        let complete = |text: &str| toml::from_str::<PartialSettings>(text).unwrap().complete().unwrap();
        let policy = |text: &str| complete(text).train_options().dropout;
        assert_eq!(policy("cell = \"deep\""), DropoutPolicy::draft(&Architecture::preset("deep").unwrap()));
        let code = policy("cell = \"deep\"\ndropout-profile = \"draft-code\"");
        assert!(code.combine && !code.recurrent && code.rate == 0.5);
        assert_eq!(policy("cell = \"shallow\"\ndropout-profile = \"draft-code\"").rate, 0.0);
        assert_eq!(policy("cell = \"shallow\"\ndropout-profile = \"final\""), DropoutPolicy::finished());
        assert_eq!(policy("dropout-profile = \"final\"\ndropout = 0.4").rate, 0.4);
        let values = complete("initial-values = \"final\"\nzero-logit = true");
        assert_eq!((values.initial_values, values.zero_logit), (InitialName::Final, true));
        assert!(values.task(28, 28, 10).zero_logit);
    }

    #[test]
    fn a_fold_needs_the_number_of_folds_and_the_other_way_round() {
        for (text, word) in [
            ("folds = 7", "--fold,"),
            ("fold = 0", "--folds"),
            ("folds = 7\nfold = 7", "the last one is 6"),
            ("folds = 1\nfold = 0", "--folds"),
            ("folds = 1000000\nfold = 0", "--folds"),
            ("leaky = true", "--leaky"),
            ("leaky = true\nfolds = 7\nfold = 0", "no majority problem"),
        ] {
            let error = toml::from_str::<PartialSettings>(text).unwrap().complete().unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().contains(word), "{text}: {error}");
        }
        let text = "dataset = \"mnist-maj\"\nfolds = 7\nfold = 0";
        let settings = toml::from_str::<PartialSettings>(text).unwrap().complete().unwrap();
        assert_eq!(settings.data_name(), "mnist-maj/fold0of7");
        assert_eq!(settings.fold_choice(), Some(FoldChoice { folds: 7, fold: 0, leaky: false }));
    }
}

//! The options that choose a fold of a data set.

use super::cross_validation::{FoldChoice, open_fold};
use super::files::canonical_name;
use super::maj;
use super::set::Dataset;
use crate::error::UsageError;
use crate::io::bounds::{FOLDS, bounded};
use anyhow::Result;
use clap::Args;
use std::path::Path;

/// `--folds`, `--fold` and `--leaky`: all of them, or none.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct FoldArgs {
    /// Join training and test half and divide them into N stratified folds, as `train` does; needs --fold
    #[arg(long, value_name = "N")]
    pub folds: Option<usize>,
    /// The fold whose samples are used, from 0
    #[arg(long, value_name = "I")]
    pub fold: Option<usize>,
    /// The majority problem was drawn before the division into folds
    #[arg(long)]
    pub leaky: bool,
}

impl FoldArgs {
    /// The fold of the data set of this name; none if its own halves are used.
    ///
    /// # Errors
    /// [`UsageError`] if an option is missing, or they name a fold that there cannot be.
    pub fn choice(&self, dataset: &str) -> Result<Option<FoldChoice>, UsageError> {
        let FoldArgs { folds, fold, leaky } = *self;
        let is_majority = || canonical_name(dataset).is_ok_and(|name| name.ends_with(maj::SUFFIX));
        let text = match (folds, fold) {
            (Some(_), Some(_)) if leaky && !is_majority() => {
                format!("--leaky: {dataset} is no majority problem; name one that ends with {}", maj::SUFFIX)
            }
            (Some(folds), Some(fold)) if fold >= folds => {
                format!("--fold {fold}: of {folds} folds, the last one is {}", folds.saturating_sub(1))
            }
            (Some(folds), Some(fold)) => {
                return bounded("--folds", folds, FOLDS).map(|_| Some(FoldChoice { folds, fold, leaky }));
            }
            (Some(folds), None) => format!("--folds {folds} needs --fold, the one that is tested, from 0"),
            (None, Some(fold)) => format!("--fold {fold} needs --folds, the number of all folds"),
            (None, None) if leaky => "--leaky needs --folds and --fold".to_owned(),
            (None, None) => return Ok(None),
        };
        Err(UsageError(text))
    }

    /// Opens the data set of this name, or its fold.
    ///
    /// # Errors
    /// If the options do not fit, or the data set is not found or cannot be read.
    pub fn open(&self, dataset: &str, data_dir: Option<&Path>) -> Result<Dataset> {
        match self.choice(dataset)? {
            Some(choice) => open_fold(dataset, choice, data_dir),
            None => Dataset::open(dataset, data_dir),
        }
    }

    /// Whether one of them is given.
    pub fn any(&self) -> bool {
        self.folds.is_some() || self.fold.is_some() || self.leaky
    }
}

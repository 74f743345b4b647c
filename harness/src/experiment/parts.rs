//! Parts of an experiment, each a grid of trainings, and the choice of some of its runs on the command line.

use crate::dataset::files::canonical_name;
use crate::error::UsageError;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// One part of an experiment: every cell at every length on every data set, in every fold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExperimentPart {
    /// Its number, by which `--experiment` names it.
    pub number: usize,
    /// Data sets.
    pub datasets: Vec<String>,
    /// Names of presets or of `architectures`; the suffix `-sd` gives them stationary dropout.
    pub cells: Vec<String>,
    /// Sequence lengths T.
    pub seq_lens: Vec<usize>,
    /// Number of folds, each of which is tested once; none to use the halves of the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// Whether a majority problem is drawn before it is divided into folds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaky: bool,
}

/// The runs that are chosen; nothing given chooses all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Numbers of parts.
    pub parts: Option<Vec<usize>>,
    /// Data sets.
    pub datasets: Option<Vec<String>>,
    /// Cells, with or without the prefix `final-` of the presets of the finished thesis.
    pub cells: Option<Vec<String>>,
    /// Sequence lengths.
    pub seq_lens: Option<Vec<usize>>,
    /// Folds that are tested.
    pub folds: Option<Vec<usize>>,
}

/// A fold, or a range of folds such as `0..2`, which is 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldRange(pub std::ops::Range<usize>);

impl FromStr for FoldRange {
    type Err = String;

    fn from_str(text: &str) -> Result<FoldRange, String> {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let range = match text.split_once("..") {
            Some((from, to)) => number(from).zip(number(to)).map(|(from, to)| from..to),
            None => number(text).and_then(|fold| Some(fold..fold.checked_add(1)?)),
        };
        range.filter(|range| !range.is_empty() && range.len() <= 1000).map(FoldRange).ok_or_else(|| {
            "it must be a fold such as 0, or a range such as 0..2, which is 0 and 1".to_owned()
        })
    }
}

impl Selection {
    pub(super) fn has_part(&self, number: usize) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.contains(&number))
    }

    pub(super) fn has_dataset(&self, name: &str) -> bool {
        let same = |given: &String| canonical_name(given).is_ok_and(|given| given == name);
        self.datasets.as_ref().is_none_or(|given| given.iter().any(same))
    }

    pub(super) fn has_cell(&self, cell: &str) -> bool {
        self.cells.as_ref().is_none_or(|given| given.iter().any(|given| names(given, cell)))
    }

    pub(super) fn has_length(&self, seq_len: usize) -> bool {
        self.seq_lens.as_ref().is_none_or(|given| given.contains(&seq_len))
    }

    pub(super) fn has_fold(&self, fold: usize) -> bool {
        self.folds.as_ref().is_none_or(|given| given.contains(&fold))
    }

    /// Checks that each name and number that is given is one of the experiment's.
    pub(super) fn check(&self, parts: &[ExperimentPart]) -> Result<(), UsageError> {
        let refuse = |option: &str, found: &dyn std::fmt::Display, mut known: Vec<String>| {
            known.sort();
            known.dedup();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(UsageError(format!("{option} {found}: the experiment has {known}")))
        };
        let chosen = || parts.iter().filter(|part| self.has_part(part.number));
        let numbers = || parts.iter().map(|part| part.number.to_string()).collect();
        for number in self.parts.iter().flatten() {
            if parts.iter().all(|part| part.number != *number) {
                return refuse("--experiment", number, numbers());
            }
        }
        for name in self.datasets.iter().flatten() {
            let known: Vec<String> = chosen().flat_map(|part| part.datasets.clone()).collect();
            if known.iter().all(|known| canonical_name(name).ok() != canonical_name(known).ok()) {
                return refuse("--dataset", name, known);
            }
        }
        for name in self.cells.iter().flatten() {
            let known: Vec<String> = chosen().flat_map(|part| part.cells.clone()).collect();
            if known.iter().all(|known| !names(name, known)) {
                return refuse("--cells", name, known);
            }
        }
        for length in self.seq_lens.iter().flatten() {
            if chosen().all(|part| !part.seq_lens.contains(length)) {
                let known = chosen().flat_map(|part| part.seq_lens.iter().map(usize::to_string)).collect();
                return refuse("--seq-lens", length, known);
            }
        }
        for fold in self.folds.iter().flatten() {
            let folds = chosen().filter_map(|part| part.folds).max();
            if folds.is_none_or(|folds| *fold >= folds) {
                let known = folds.map(|folds| format!("0 to {}", folds.saturating_sub(1)));
                return refuse("--folds", fold, known.into_iter().collect());
            }
        }
        Ok(())
    }
}

/// Whether `given` names a cell; `deep` also names `final-deep` in an experiment that has it.
fn names(given: &str, cell: &str) -> bool {
    given == cell || cell.strip_prefix("final-") == Some(given)
}

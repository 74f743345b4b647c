//! Parts of an experiment, each a grid of trainings, and the choice of some of its runs on the command line.

use super::definition::Experiment;
use crate::dataset::files::canonical_name;
use crate::error::UsageError;
use crate::run::settings::PartialSettings;
use anyhow::{Result, ensure};
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

/// The trainings of a part on one data set: settings without data set and seed, in the order of folds, then rows.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub dataset: String,
    pub rows: Vec<PartialSettings>,
}

impl Experiment {
    /// The parts: those that are listed, or the lists of the experiment itself.
    fn all_parts(&self) -> Vec<ExperimentPart> {
        if !self.parts.is_empty() {
            return self.parts.clone();
        }
        vec![ExperimentPart {
            number: 1,
            datasets: self.datasets.clone(),
            cells: self.cells.clone(),
            seq_lens: self.seq_lens.clone(),
            folds: self.folds,
            leaky: self.leaky,
        }]
    }

    /// The chosen trainings, by data set.
    ///
    /// # Errors
    /// [`UsageError`] that names an empty list, or a choice that the experiment does not have.
    pub(super) fn grids(&self) -> Result<Vec<Grid>> {
        let own = [&self.datasets, &self.cells].iter().any(|list| !list.is_empty());
        ensure!(
            self.parts.is_empty() || !own && self.seq_lens.is_empty() && self.also.is_empty() && self.folds.is_none(),
            UsageError(
                "[[parts]] hold datasets, cells, seq-lens and folds; leave out the lists of the experiment and [[also]]"
                    .to_owned()
            )
        );
        let mut grids = Vec::new();
        let parts = self.all_parts();
        self.selection.check(&parts)?;
        for part in parts.iter().filter(|part| self.selection.has_part(part.number)) {
            let lists = [
                ("datasets", part.datasets.is_empty()),
                ("cells", part.cells.is_empty()),
                ("seq-lens", part.seq_lens.is_empty()),
            ];
            if let Some((name, _)) = lists.iter().find(|(_, empty)| *empty) {
                return Err(UsageError(format!("{name} must name at least one")).into());
            }
            let also = if self.parts.is_empty() { &self.also[..] } else { &[] };
            let rows = self.rows(part, also);
            for dataset in &part.datasets {
                let dataset = canonical_name(dataset)?;
                if self.selection.has_dataset(&dataset) {
                    let of = |row: &&PartialSettings| row.dataset.as_ref().is_none_or(|of| *of == dataset);
                    let rows = rows.iter().filter(of).cloned().collect();
                    grids.push(Grid { dataset, rows });
                }
            }
        }
        ensure!(
            grids.iter().any(|grid| !grid.rows.is_empty()),
            UsageError(
                "the options choose no run of the experiment; choose other cells, data sets or folds"
                    .to_owned()
            )
        );
        Ok(grids)
    }

    fn rows(&self, part: &ExperimentPart, also: &[PartialSettings]) -> Vec<PartialSettings> {
        let folds: Vec<Option<usize>> = match part.folds {
            Some(folds) => (0..folds).filter(|&fold| self.selection.has_fold(fold)).map(Some).collect(),
            None => vec![None],
        };
        let grid: Vec<PartialSettings> = part
            .cells
            .iter()
            .filter(|cell| self.selection.has_cell(cell))
            .flat_map(|cell| part.seq_lens.iter().map(move |&seq_len| (cell, seq_len)))
            .filter(|&(_, seq_len)| self.selection.has_length(seq_len))
            .map(|(cell, seq_len)| PartialSettings {
                cell: Some(cell.clone()),
                seq_len: Some(seq_len),
                ..PartialSettings::default()
            })
            .chain(also.iter().cloned())
            .collect();
        let in_fold = |fold: &Option<usize>| {
            let of_fold = PartialSettings {
                folds: fold.and(part.folds),
                fold: *fold,
                leaky: fold.map(|_| part.leaky),
                ..PartialSettings::default()
            };
            grid.iter().map(|row| row.clone().over(of_fold.clone())).collect::<Vec<_>>()
        };
        folds.iter().flat_map(in_fold).collect()
    }
}

impl Selection {
    fn has_part(&self, number: usize) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.contains(&number))
    }

    fn has_dataset(&self, name: &str) -> bool {
        let same = |given: &String| canonical_name(given).is_ok_and(|given| given == name);
        self.datasets.as_ref().is_none_or(|given| given.iter().any(same))
    }

    fn has_cell(&self, cell: &str) -> bool {
        self.cells.as_ref().is_none_or(|given| given.iter().any(|given| names(given, cell)))
    }

    fn has_length(&self, seq_len: usize) -> bool {
        self.seq_lens.as_ref().is_none_or(|given| given.contains(&seq_len))
    }

    fn has_fold(&self, fold: usize) -> bool {
        self.folds.as_ref().is_none_or(|given| given.contains(&fold))
    }

    /// Checks that each name and number that is given is one of the experiment's.
    fn check(&self, parts: &[ExperimentPart]) -> Result<(), UsageError> {
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

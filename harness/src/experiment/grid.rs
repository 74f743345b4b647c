//! The trainings of an experiment as grids, one a part and a data set.

use super::definition::Experiment;
use super::parts::ExperimentPart;
use crate::dataset::files::canonical_name;
use crate::error::UsageError;
use crate::run::settings::PartialSettings;
use anyhow::{Result, ensure};

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

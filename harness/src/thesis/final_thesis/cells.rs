//! The runs of an experiment by data set and cell, and the scores of a cell by fold.

use super::printed::METHODS;
use crate::experiment::folder::{Finished, Loaded};
use crate::measure::result::MajorityResult;
use crate::measure::samples::SampleSelection;
use crate::report::colormap::Look;
use crate::run::settings::Settings;
use model::measure::{Bootstrap, Interval};
use std::collections::BTreeMap;

/// A cell at one length on one data set.
#[derive(Clone, Debug)]
pub struct Cell<'a> {
    /// `final-deep-sd`
    pub name: String,
    /// `Deep-SD`
    pub title: String,
    /// Settings of its first planned run.
    pub settings: &'a Settings,
    /// Planned runs.
    pub planned: usize,
    /// Finished runs, in the order of folds, then seeds.
    pub runs: Vec<(&'a Settings, &'a Finished)>,
}

/// A data set and its cells.
#[derive(Clone, Debug)]
pub struct Set<'a> {
    /// `mnist-maj`
    pub name: &'a str,
    /// Its cells, in the order of the plan.
    pub cells: Vec<Cell<'a>>,
    /// Its samples, by [`Settings::data_name`].
    pub samples: Vec<(&'a str, &'a SampleSelection)>,
    /// How its heatmaps are drawn.
    pub look: Look,
}

/// Scores of one number by fold, mean over the seeds.
pub type Scores = BTreeMap<usize, f64>;

impl<'a> Set<'a> {
    /// The data sets of an experiment, in the order of the plan; `look` is how their heatmaps are drawn.
    pub fn of(loaded: &'a Loaded, look: Look) -> Vec<Set<'a>> {
        let mut sets: Vec<Set> = Vec::new();
        for run in &loaded.runs {
            let settings = &run.planned.settings;
            let at = sets.iter().position(|set| set.name == settings.dataset).unwrap_or_else(|| {
                let of_set = |name: &str| name.split('/').next() == Some(&settings.dataset[..]);
                let readable = loaded.sets.iter().filter(|(name, _)| of_set(name));
                let samples = readable.filter_map(|(name, set)| Some((&name[..], set.as_ref().ok()?)));
                sets.push(Set {
                    name: &settings.dataset,
                    cells: Vec::new(),
                    samples: samples.collect(),
                    look,
                });
                sets.len() - 1
            });
            let (name, cells) = (settings.cell_name(), &mut sets[at].cells);
            let same = |cell: &Cell| cell.name == name && cell.settings.seq_len == settings.seq_len;
            let cell = cells.iter().position(same).unwrap_or_else(|| {
                cells.push(Cell { name, title: title(settings), settings, planned: 0, runs: Vec::new() });
                cells.len() - 1
            });
            cells[cell].planned += 1;
            cells[cell].runs.extend(run.finished().map(|finished| (settings, finished)));
        }
        sets
    }

    /// Its name in texts.
    pub fn title(&self) -> String {
        match self.name {
            "mnist" => "MNIST".to_owned(),
            "fashion-mnist" => "Fashion-MNIST".to_owned(),
            "mnist-maj" => "MNIST-MAJ".to_owned(),
            "fashion-mnist-maj" => "Fashion-MAJ".to_owned(),
            "synth-maj" => "the majority problem of the synthetic digits".to_owned(),
            name => name.to_owned(),
        }
    }

    /// Whether a finished run was scored as a majority problem.
    pub fn is_majority(&self) -> bool {
        self.cells.iter().flat_map(|cell| &cell.runs).any(|(_, run)| !run.measured.majority.is_empty())
    }

    /// The cell of a name, if a run of it has finished.
    pub fn cell(&self, name: &str) -> Option<&Cell<'a>> {
        self.cells.iter().find(|cell| cell.name == name && !cell.runs.is_empty())
    }

    /// The cells with a finished run.
    pub fn measured(&self) -> impl Iterator<Item = &Cell<'a>> {
        self.cells.iter().filter(|cell| !cell.runs.is_empty())
    }

    /// The samples of a run.
    pub fn samples_of(&self, settings: &Settings) -> Option<&'a SampleSelection> {
        let name = settings.data_name();
        self.samples.iter().find(|(other, _)| *other == name).map(|(_, samples)| *samples)
    }
}

/// `Deep-SD`, as the thesis names it.
fn title(settings: &Settings) -> String {
    let with_length = settings.title().replace(" (final)", "");
    with_length.strip_suffix(&format!("-{}", settings.seq_len)).unwrap_or(&with_length).to_owned()
}

impl<'a> Cell<'a> {
    /// The run whose figures are shown.
    pub fn first(&self) -> Option<(&'a Settings, &'a Finished)> {
        self.runs.first().copied()
    }

    /// A number of each run by fold; runs without a fold count as fold 0.
    pub fn scores(&self, of: impl Fn(&Finished) -> Option<f64>) -> Scores {
        let mut sums: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
        for (settings, run) in &self.runs {
            if let Some(value) = of(run).filter(|value| value.is_finite()) {
                let sum = sums.entry(settings.fold.unwrap_or(0)).or_default();
                *sum = (sum.0 + value, sum.1 + 1);
            }
        }
        sums.into_iter().map(|(fold, (sum, count))| (fold, sum / count as f64)).collect()
    }

    /// Test accuracy by fold.
    pub fn accuracy(&self) -> Scores {
        self.scores(|run| Some(run.outcome.test_accuracy))
    }

    /// Cosine with the mask by fold.
    pub fn cosine(&self, method: &str) -> Scores {
        self.scores(|run| run.measured.majority(method).map(|of| of.cosine))
    }

    /// Cosine as the thesis has it: negative relevance of LRP is set to 0 first. So are negative values of guided backprop,
    /// whose sum over an image is negative as often as not: a cosine with their signs kept says nothing of their place.
    pub fn thesis_cosine(&self, method: &str) -> Scores {
        let signed = method.starts_with("lrp") || method == "guided-backprop";
        if signed { self.positive_cosine(method) } else { self.cosine(method) }
    }

    /// Cosine with negative relevance set to 0 first, by fold.
    pub fn positive_cosine(&self, method: &str) -> Scores {
        self.scores(|run| run.measured.majority(method).map(|of| of.cosine_positive))
    }

    /// Mean over the runs of a list of numbers of each.
    pub fn mean_of(&self, method: &str, of: impl Fn(&MajorityResult) -> &[f64]) -> Vec<f64> {
        let lists: Vec<&[f64]> =
            self.runs.iter().filter_map(|(_, run)| run.measured.majority(method)).map(of).collect();
        let length = lists.iter().map(|list| list.len()).min().unwrap_or(0);
        (0..length).map(|i| lists.iter().map(|list| list[i]).sum::<f64>() / lists.len() as f64).collect()
    }
}

/// Mean and bootstrap interval over folds.
pub fn interval(scores: &Scores) -> Option<Interval> {
    Bootstrap::default().mean(&scores.values().copied().collect::<Vec<f64>>())
}

/// Scores of several cells on the folds that all of them have.
pub fn paired(all: &[Scores]) -> Vec<Vec<f64>> {
    let Some(first) = all.first() else { return Vec::new() };
    let common: Vec<usize> =
        first.keys().copied().filter(|fold| all.iter().all(|scores| scores.contains_key(fold))).collect();
    all.iter().map(|scores| common.iter().map(|fold| scores[fold]).collect()).collect()
}

/// The name of a method in tables and figures.
pub fn method_title(method: &str) -> &str {
    METHODS.iter().find(|(name, _)| *name == method).map_or(method, |(_, title)| title)
}

/// The methods that the experiment measured on a cell.
pub fn methods<'a>(cell: &Cell<'a>) -> Vec<&'a str> {
    let first = cell.first();
    first.map_or(Vec::new(), |(_, run)| run.measured.methods.iter().map(|of| &of.method[..]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_paired_by_the_folds_that_all_have() {
        let of = |list: &[(usize, f64)]| list.iter().copied().collect::<Scores>();
        let all = [of(&[(0, 0.5), (1, 0.6), (3, 0.9)]), of(&[(1, 0.7), (3, 0.8), (4, 0.1)])];
        assert_eq!(paired(&all), [vec![0.6, 0.9], vec![0.7, 0.8]]);
        assert_eq!(interval(&of(&[(0, 0.25), (5, 0.75)])).map(|found| found.estimate), Some(0.5));
        assert!(interval(&Scores::new()).is_none() && paired(&[]).is_empty());
    }
}

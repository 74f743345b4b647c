//! Command line options that override an experiment.

use super::definition::{Experiment, Rate};
use super::parts::{FoldRange, Selection};
use crate::run::settings::PartialSettings;
use clap::Args;

/// Options that override an experiment.
#[derive(Clone, Debug, Default, Args)]
pub struct Overrides {
    /// Parts of an experiment that has parts, by number; data sets, cells, lengths and folds then choose from them
    #[arg(long = "experiment", value_name = "NUMBERS", value_delimiter = ',')]
    parts: Option<Vec<usize>>,
    /// Folds that are tested, such as 0 or 0..2, which is 0 and 1
    #[arg(long, value_name = "FOLDS", value_delimiter = ',')]
    folds: Option<Vec<FoldRange>>,
    /// Data sets: mnist, fashion-mnist, kmnist, synth, these with -maj, or names of folders
    #[arg(long, alias = "datasets", value_name = "NAMES", value_delimiter = ',')]
    dataset: Option<Vec<String>>,
    /// Presets or named architectures of the experiment
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cells: Option<Vec<String>>,
    /// Sequence lengths T
    #[arg(long, value_name = "TS", value_delimiter = ',')]
    seq_lens: Option<Vec<usize>>,
    /// Seeds; tables show mean and standard deviation over them, figures the first
    #[arg(long, alias = "seed", value_name = "SEEDS", value_delimiter = ',')]
    seeds: Option<Vec<u64>>,
    /// Epochs
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Batch size
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Learning rate, or `search`: the candidate with the best validation accuracy, for each architecture and
    /// T
    #[arg(long, value_name = "X")]
    lr: Option<Rate>,
    /// Use only the first N training samples
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Use only the first N test samples
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
}

impl Experiment {
    /// This experiment with the overrides applied: lists are replaced; of an experiment with parts, runs are chosen.
    #[must_use]
    pub fn with(mut self, overrides: &Overrides) -> Experiment {
        let Overrides { dataset, cells, seq_lens, seeds, epochs, batch, lr, limit_train, limit_test, .. } =
            overrides.clone();
        let folds = overrides.folds.as_ref();
        self.selection.folds = folds.map(|folds| folds.iter().flat_map(|range| range.0.clone()).collect());
        self.selection.parts.clone_from(&overrides.parts);
        self.seeds = seeds.unwrap_or(self.seeds);
        self.lr = lr.unwrap_or(self.lr);
        self.train = PartialSettings { epochs, batch, limit_train, limit_test, ..PartialSettings::default() }
            .over(self.train);
        if !self.parts.is_empty() {
            self.selection = Selection { datasets: dataset, cells, seq_lens, ..self.selection };
            return self;
        }
        if let Some(cells) = &cells {
            self.also.retain(|settings| settings.cell.as_ref().is_none_or(|cell| cells.contains(cell)));
        }
        if let Some(lengths) = &seq_lens {
            self.also.retain(|settings| settings.seq_len.is_none_or(|seq_len| lengths.contains(&seq_len)));
        }
        self.datasets = dataset.unwrap_or(self.datasets);
        self.cells = cells.unwrap_or(self.cells);
        self.seq_lens = seq_lens.unwrap_or(self.seq_lens);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::UsageError;
    use crate::experiment::rates::Rates;

    fn folders(overrides: &Overrides) -> anyhow::Result<Vec<String>> {
        let plan = Experiment::by_name("final")?.with(overrides).plan(&Rates::default())?;
        Ok(plan.into_iter().map(|run| run.folder).collect())
    }

    #[test]
    fn any_part_of_an_experiment_is_run_alone() {
        let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let of = Overrides {
            parts: Some(vec![2]),
            cells: list(&["deep"]),
            folds: Some(vec!["0..2".parse().unwrap()]),
            dataset: list(&["mnist-maj"]),
            ..Overrides::default()
        };
        let want = ["mnist-maj/final-deep-12-fold0-seed1", "mnist-maj/final-deep-12-fold1-seed1"];
        assert_eq!(folders(&of).unwrap(), want);
        let all = folders(&Overrides::default()).unwrap();
        assert_eq!(all.len(), 12 + 140, "12 of experiment 1, and 10 cells, 7 folds, 2 data sets");
        assert!(want.iter().all(|folder| all.contains(&(*folder).to_owned())));
        for (overrides, word) in [
            (Overrides { parts: Some(vec![4]), ..of.clone() }, "--experiment 4"),
            (Overrides { cells: list(&["shallow-sd"]), ..of.clone() }, "--cells shallow-sd"),
            (Overrides { folds: Some(vec!["7".parse().unwrap()]), ..of.clone() }, "--folds 7"),
            (Overrides { dataset: list(&["kmnist-maj"]), ..of.clone() }, "--dataset kmnist-maj"),
            (Overrides { seq_lens: Some(vec![7]), ..of.clone() }, "--seq-lens 7"),
        ] {
            let error = folders(&overrides).unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().contains(word), "{word}: {error}");
        }
        for text in ["2..1", "x", "1..", "0..100000", ""] {
            assert!(text.parse::<FoldRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_overrides_an_experiment() {
        let overrides = Overrides {
            cells: Some(vec!["deep".into()]),
            seq_lens: Some(vec![7]),
            seeds: Some(vec![1, 2]),
            epochs: Some(3),
            lr: Some("search".parse().unwrap()),
            ..Overrides::default()
        };
        let experiment = Experiment::by_name("draft").unwrap().with(&overrides);
        let plan = experiment.plan(&Rates::default()).unwrap();
        let folders: Vec<&str> = plan.iter().map(|run| &run.folder[..]).collect();
        assert_eq!(
            folders[..4],
            ["mnist/deep-7-seed1", "mnist/deep-7-seed2", "mnist/deep-7-sgd-seed1", "mnist/deep-7-sgd-seed2"]
        );
        assert_eq!((plan[0].settings.epochs, &plan[2].title[..]), (3, "Deep-7 (SGD)"));
        assert!(plan[0].searched && !plan[2].searched);
    }
}

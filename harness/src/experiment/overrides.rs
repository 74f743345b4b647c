//! Command line options that override an experiment.

use super::definition::{Experiment, Rate};
use crate::run::settings::PartialSettings;
use clap::Args;

/// Options that override an experiment.
#[derive(Clone, Debug, Default, Args)]
pub struct Overrides {
    /// Data sets: mnist, fashion-mnist, kmnist, synth or names of folders
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
    /// Learning rate, or `search`: the candidate with the best validation accuracy, for each cell and T
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
    /// This experiment with the overrides applied.
    #[must_use]
    pub fn with(mut self, overrides: &Overrides) -> Experiment {
        let Overrides { dataset, cells, seq_lens, seeds, epochs, batch, lr, limit_train, limit_test } =
            overrides.clone();
        if let Some(cells) = &cells {
            self.also.retain(|settings| settings.cell.as_ref().is_none_or(|cell| cells.contains(cell)));
        }
        if let Some(lengths) = &seq_lens {
            self.also.retain(|settings| settings.seq_len.is_none_or(|seq_len| lengths.contains(&seq_len)));
        }
        self.datasets = dataset.unwrap_or(self.datasets);
        self.cells = cells.unwrap_or(self.cells);
        self.seq_lens = seq_lens.unwrap_or(self.seq_lens);
        self.seeds = seeds.unwrap_or(self.seeds);
        self.lr = lr.unwrap_or(self.lr);
        self.train = PartialSettings { epochs, batch, limit_train, limit_test, ..PartialSettings::default() }
            .over(self.train);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::rates::Rates;

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

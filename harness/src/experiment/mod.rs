//! An experiment: which networks are trained on what, and how they are looked at. The presets are such files.

pub mod folder;
pub mod schedule;
pub mod search;

use crate::cli::Misuse;
use crate::input;
use crate::measure::Measure;
use crate::run::settings::{Given, OptimiserName, Settings};
use anyhow::{Result, ensure};
use clap::Args;
use search::{Rates, Search};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::str::FromStr;

/// Names of the presets and their files.
pub const PRESETS: [(&str, &str); 3] = [
    ("quick", include_str!("presets/quick.toml")),
    ("draft", include_str!("presets/draft.toml")),
    ("full", include_str!("presets/full.toml")),
];

/// The longest file of an experiment.
const MAX_BYTES: u64 = 1 << 20;

/// An experiment as a TOML file describes it: every cell at every length with every seed on every set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Experiment {
    /// What the results are called.
    pub name: String,
    /// Data sets.
    pub datasets: Vec<String>,
    /// Cells.
    pub cells: Vec<String>,
    /// Sequence lengths T.
    pub seq_lens: Vec<usize>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// The learning rate, or `"search"`.
    pub lr: Rate,
    /// Settings that all trainings share.
    #[serde(default)]
    pub train: Given,
    /// Further trainings, over `train`; on every set with every seed where they name none.
    #[serde(default)]
    pub also: Vec<Given>,
    /// How a learning rate is searched.
    #[serde(default)]
    pub search: Search,
    /// What is measured of each network.
    #[serde(default)]
    pub measure: Measure,
}

/// A learning rate, or how to come by one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Rate {
    /// This one for all.
    Fixed(f64),
    /// The best on the held-out training samples, for each cell and T.
    Search(Word),
}

/// The word that stands for a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// See [`search`].
    Search,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        match text {
            "search" => Ok(Rate::Search(Word::Search)),
            number => {
                number.parse().map(Rate::Fixed).map_err(|_| "it must be a number or `search`".to_owned())
            }
        }
    }
}

/// What the command line says over an experiment.
#[derive(Clone, Debug, Default, Args)]
pub struct Narrowed {
    /// Data sets: mnist, fashion-mnist, kmnist, synth or names of folders
    #[arg(long, alias = "datasets", value_name = "NAMES", value_delimiter = ',')]
    dataset: Option<Vec<String>>,
    /// Cells to compare
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cells: Option<Vec<String>>,
    /// Sequence lengths T
    #[arg(long, value_name = "TS", value_delimiter = ',')]
    seq_lens: Option<Vec<usize>>,
    /// Seeds; tables show mean and deviation over them, pictures the first
    #[arg(long, alias = "seed", value_name = "SEEDS", value_delimiter = ',')]
    seeds: Option<Vec<u64>>,
    /// Epochs
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Samples a step
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Learning rate, or `search`: the best of a few on held-out training samples, for each cell and T
    #[arg(long, value_name = "X")]
    lr: Option<Rate>,
    /// Use only the first N training samples
    #[arg(long, value_name = "N")]
    limit_train: Option<usize>,
    /// Use only the first N test samples
    #[arg(long, value_name = "N")]
    limit_test: Option<usize>,
}

/// One training of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its folder within the experiment's, `mnist/deep-7-seed1`.
    pub folder: String,
    /// Data set, cell, T and optimiser: what differs by the seed only, and what a rate is searched for.
    pub group: String,
    /// `Deep-7`, `Deep-7 (SGD)`
    pub title: String,
    /// Its settings.
    pub settings: Settings,
}

impl Experiment {
    /// A preset, or the experiment of a TOML file.
    ///
    /// # Errors
    /// [`Misuse`] that names the file and the key that is unknown, missing or mistyped.
    pub fn by_name(name: &str) -> Result<Experiment> {
        if let Some((name, text)) = PRESETS.iter().find(|(preset, _)| *preset == name) {
            return Experiment::parse(text, name);
        }
        let path = Path::new(name);
        let names = PRESETS.map(|(name, _)| name).join(", ");
        let is_file = path.extension().is_some() || path.exists();
        ensure!(
            is_file,
            Misuse(format!(
                "{name}: no such command or experiment; give {names}, a TOML file, or see --help"
            ))
        );
        Experiment::read(path)
    }

    /// The experiment of a TOML file.
    ///
    /// # Errors
    /// If it cannot be read or is no file of a sensible size, or [`Misuse`] if it is none.
    pub fn read(path: &Path) -> Result<Experiment> {
        let name = path.display().to_string();
        let bytes = input::read(path, MAX_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            Misuse(format!("{name}: is not UTF-8 text ({error}), expected the TOML of an experiment"))
        })?;
        Experiment::parse(&text, &name)
    }

    fn parse(text: &str, name: &str) -> Result<Experiment> {
        let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = toml::from_str(text);
        Ok(found.map_err(|error| Misuse(format!("{name}: {}", one_line(error.to_string()))))?)
    }

    /// This experiment, as the command line narrows or widens it.
    #[must_use]
    pub fn narrowed(mut self, by: &Narrowed) -> Experiment {
        let Narrowed { dataset, cells, seq_lens, seeds, epochs, batch, lr, limit_train, limit_test } =
            by.clone();
        if let Some(cells) = &cells {
            self.also.retain(|given| given.cell.as_ref().is_none_or(|cell| cells.contains(cell)));
        }
        if let Some(lengths) = &seq_lens {
            self.also.retain(|given| given.seq_len.is_none_or(|seq_len| lengths.contains(&seq_len)));
        }
        self.datasets = dataset.unwrap_or(self.datasets);
        self.cells = cells.unwrap_or(self.cells);
        self.seq_lens = seq_lens.unwrap_or(self.seq_lens);
        self.seeds = seeds.unwrap_or(self.seeds);
        self.lr = lr.unwrap_or(self.lr);
        self.train = Given { epochs, batch, limit_train, limit_test, ..Given::default() }.over(self.train);
        self
    }

    /// All trainings, in the order of sets, then `cells`, `seq-lens`, `also`, then seeds. A rate that is searched is
    /// taken from `rates`, or the first candidate if it is not known yet.
    ///
    /// # Errors
    /// [`Misuse`] that names what does not fit.
    pub fn plan(&self, rates: &Rates) -> Result<Vec<Planned>> {
        let lists = [
            ("datasets", self.datasets.is_empty()),
            ("cells", self.cells.is_empty()),
            ("seq-lens", self.seq_lens.is_empty()),
            ("seeds", self.seeds.is_empty()),
        ];
        if let Some((name, _)) = lists.iter().find(|(_, empty)| *empty) {
            return Err(Misuse(format!("{name} must name at least one")).into());
        }
        self.search.check()?;
        self.measure.check()?;
        let ours = |given: &Given| {
            let Given { cell, seq_len, dataset, lr, seed, .. } = given;
            [cell.is_some(), seq_len.is_some(), dataset.is_some(), lr.is_some(), seed.is_some()]
                .contains(&true)
        };
        ensure!(
            !ours(&self.train),
            Misuse(
                "[train] holds cell, seq-len, dataset, lr or seed; these are lists of the experiment"
                    .to_owned()
            )
        );
        let grid = self.cells.iter().flat_map(|cell| {
            let of =
                |&seq_len| Given { cell: Some(cell.clone()), seq_len: Some(seq_len), ..Given::default() };
            self.seq_lens.iter().map(of)
        });
        let rows: Vec<Given> = grid.chain(self.also.iter().cloned()).collect();
        let mut all: Vec<Planned> = Vec::new();
        for dataset in &self.datasets {
            let dataset = crate::dataset::locate::usual_name(dataset)?;
            for row in rows.iter().filter(|row| row.dataset.as_ref().is_none_or(|of| *of == dataset)) {
                for &seed in self.seeds.iter().filter(|&&seed| row.seed.is_none_or(|of| of == seed)) {
                    let own = Given { dataset: Some(dataset.clone()), seed: Some(seed), ..Given::default() };
                    let planned = self.planned(own.over(row.clone()).over(self.train.clone()), rates)?;
                    let repeated = all.iter().any(|other| other.folder == planned.folder);
                    ensure!(!repeated, Misuse(format!("{} is named twice", planned.folder)));
                    all.push(planned);
                }
            }
        }
        Ok(all)
    }

    fn planned(&self, given: Given, rates: &Rates) -> Result<Planned> {
        let mut settings = Given { lr: given.lr.or(Some(1.0)), ..given.clone() }.complete()?;
        let (mut group, mut title) =
            (format!("{}/{}-{}", settings.dataset, settings.cell, settings.seq_len), settings.title());
        if settings.optimiser == OptimiserName::Sgd {
            (group, title) = (format!("{group}-sgd"), format!("{title} (SGD)"));
        }
        if given.lr.is_none() {
            settings.lr = match self.lr {
                Rate::Fixed(rate) => rate as f32,
                Rate::Search(_) => rates.get(&group).unwrap_or(self.search.rates[0]) as f32,
            };
        }
        let folder = format!("{group}-seed{}", settings.seed);
        let settings = Given { lr: Some(settings.lr), ..given }.complete()?;
        Ok(Planned { folder, group, title, settings })
    }

    /// Whether a training's rate is searched.
    pub fn searches(&self, planned: &Planned) -> bool {
        let own = |given: &Given| {
            given.lr.is_some()
                && given.cell.as_ref() == Some(&planned.settings.cell)
                && given.seq_len == Some(planned.settings.seq_len)
                && given.optimiser.unwrap_or(OptimiserName::Adam) == planned.settings.optimiser
        };
        matches!(self.lr, Rate::Search(_)) && !self.also.iter().any(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_an_experiment_that_can_be_planned() {
        for ((name, _), runs) in PRESETS.into_iter().zip([6, 16, 108]) {
            let experiment = Experiment::by_name(name).unwrap();
            assert_eq!(experiment.name, name);
            assert_eq!(experiment.plan(&Rates::default()).unwrap().len(), runs, "{name}");
            let again = toml::to_string(&experiment).unwrap();
            assert_eq!(Experiment::parse(&again, name).unwrap(), experiment, "{again}");
        }
    }

    #[test]
    fn the_command_line_narrows_and_widens() {
        let by = Narrowed {
            cells: Some(vec!["deep".into()]),
            seq_lens: Some(vec![7]),
            seeds: Some(vec![1, 2]),
            epochs: Some(3),
            lr: Some("search".parse().unwrap()),
            ..Narrowed::default()
        };
        let experiment = Experiment::by_name("draft").unwrap().narrowed(&by);
        let plan = experiment.plan(&Rates::default()).unwrap();
        let folders: Vec<&str> = plan.iter().map(|run| &run.folder[..]).collect();
        assert_eq!(
            folders[..4],
            ["mnist/deep-7-seed1", "mnist/deep-7-seed2", "mnist/deep-7-sgd-seed1", "mnist/deep-7-sgd-seed2"]
        );
        assert_eq!((plan[0].settings.epochs, &plan[2].title[..]), (3, "Deep-7 (SGD)"));
        assert!(experiment.searches(&plan[0]) && !experiment.searches(&plan[2]));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_no_experiment() {
        let error = Experiment::by_name("/dev/zero").unwrap_err();
        assert!(format!("{error:#}").contains("a device"), "{error:#}");
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let quick = PRESETS[0].1;
        for (text, word) in [
            (quick.replace("seeds = [1]", "seeds = []"), "seeds"),
            (quick.replace("seq-lens", "seqlens"), "seqlens"),
            (quick.replace("lr = 5e-4", "lr = \"find\""), "lr"),
            (quick.replace("[train]", "[train]\nseed = 4"), "[train]"),
            (quick.replace("[1, 4, 7]", "[4, 4]"), "deep-4"),
            (quick.replace("samples = 50", "samples = 0"), "samples"),
        ] {
            let error = Experiment::parse(&text, "x.toml")
                .and_then(|found| found.plan(&Rates::default()))
                .map(|_| ())
                .unwrap_err();
            let line = format!("{error:#}");
            assert!(error.downcast_ref::<Misuse>().is_some() && !line.contains('\n'), "{line}");
            assert!(line.contains(word) || word == "deep-4" && line.contains("shallow-4"), "{word}: {line}");
        }
    }
}

//! The trainings of an experiment.

use super::definition::{Experiment, Rate};
use super::grid::Grid;
use super::rates::Rates;
use crate::error::UsageError;
use crate::run::architecture::{NamedArchitecture, without_suffix};
use crate::run::settings::{OptimiserName, PartialSettings, Settings};
use anyhow::{Result, ensure};

/// One training of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its folder within that of the experiment, `mnist/deep-7-seed1`.
    pub folder: String,
    /// Data set, architecture, T and optimiser: runs of a group differ in fold and seed only, and share a
    /// learning rate.
    pub group: String,
    /// `Deep-7`, `Deep-7 (SGD)`
    pub title: String,
    /// Its settings.
    pub settings: Settings,
    /// Whether its learning rate is searched.
    pub searched: bool,
}

impl Experiment {
    /// The chosen trainings, in the order of parts, data sets, folds, then `cells`, `seq-lens`, `also`, then seeds. One that
    /// several parts have is listed once. A searched rate is taken from `rates`, or the first candidate if it is not
    /// known yet.
    ///
    /// # Errors
    /// [`UsageError`] that names the invalid setting.
    pub fn plan(&self, rates: &Rates) -> Result<Vec<Planned>> {
        ensure!(!self.seeds.is_empty(), UsageError("seeds must name at least one".to_owned()));
        NamedArchitecture::check(&self.architectures)?;
        self.search.check()?;
        self.measure.check()?;
        let listed = |partial: &PartialSettings| {
            let PartialSettings { cell, encoder, core, head, seq_len, dataset, lr, seed, .. } = partial;
            let architecture = cell.is_some() || encoder.is_some() || core.is_some() || head.is_some();
            let fold = partial.folds.is_some() || partial.fold.is_some() || partial.leaky.is_some();
            architecture || fold || seq_len.is_some() || dataset.is_some() || lr.is_some() || seed.is_some()
        };
        ensure!(
            !listed(&self.train),
            UsageError(
                "[train] holds cell, encoder, core, head, seq-len, dataset, folds, lr or seed; these are lists of the \
                 experiment"
                    .to_owned()
            )
        );
        let mut all: Vec<Planned> = Vec::new();
        for Grid { dataset, rows } in self.grids()? {
            let before = all.len();
            for row in &rows {
                for &seed in self.seeds.iter().filter(|&&seed| row.seed.is_none_or(|of| of == seed)) {
                    let own = PartialSettings {
                        dataset: Some(dataset.clone()),
                        seed: Some(seed),
                        ..PartialSettings::default()
                    };
                    let planned = self.planned(own.over(row.clone()).over(self.train.clone()), rates)?;
                    match all.iter().position(|other| other.folder == planned.folder) {
                        Some(at) if at < before && all[at] == planned => {}
                        Some(_) => {
                            return Err(UsageError(format!("{} is listed twice", planned.folder)).into());
                        }
                        None => all.push(planned),
                    }
                }
            }
        }
        Ok(all)
    }

    /// The settings of a run, with the layers of a named architecture.
    fn resolved(&self, partial: PartialSettings) -> PartialSettings {
        let cell = partial.cell.as_deref().map(without_suffix);
        let named = self.architectures.iter().find(|named| Some(&named.name[..]) == cell);
        match named {
            Some(NamedArchitecture { encoder, core, head, .. }) => PartialSettings {
                encoder: partial.encoder.or_else(|| Some(encoder.clone())),
                core: partial.core.or_else(|| Some(core.clone())),
                head: partial.head.or_else(|| Some(head.clone())),
                ..partial
            },
            None => partial,
        }
    }

    fn planned(&self, partial: PartialSettings, rates: &Rates) -> Result<Planned> {
        let searched = partial.lr.is_none() && matches!(self.lr, Rate::Search(_));
        let lr = partial.lr;
        let mut settings = PartialSettings { lr: lr.or(Some(1.0)), ..self.resolved(partial) }.complete()?;
        let (mut group, mut title) =
            (format!("{}/{}-{}", settings.dataset, settings.cell_name(), settings.seq_len), settings.title());
        if settings.optimiser == OptimiserName::Sgd {
            (group, title) = (format!("{group}-sgd"), format!("{title} (SGD)"));
        }
        if lr.is_none() {
            settings.lr = match &self.lr {
                Rate::Fixed(rate) => *rate as f32,
                Rate::ByCell(rates) => {
                    match rates.get(&settings.cell_name()).or_else(|| rates.get(&settings.cell)) {
                        Some(rate) => *rate as f32,
                        None => {
                            let cells = rates.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                            let text = format!("lr has no rate for {}; it has {cells}", settings.cell);
                            return Err(UsageError(text).into());
                        }
                    }
                }
                Rate::Search(_) => rates.get(&group).unwrap_or(self.search.rates[0]) as f32,
            };
            settings.check()?;
        }
        let fold = settings.fold.map_or(String::new(), |fold| format!("-fold{fold}"));
        let folder = format!("{group}{fold}-seed{}", settings.seed);
        Ok(Planned { folder, group, title, settings, searched })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::definition::PRESETS;

    #[test]
    fn every_preset_is_an_experiment_that_can_be_planned() {
        for ((name, _), runs) in PRESETS.into_iter().zip([6, 16, 108, 6, 152]) {
            let experiment = Experiment::by_name(name).unwrap();
            assert_eq!(experiment.name, name);
            assert_eq!(experiment.plan(&Rates::default()).unwrap().len(), runs, "{name}");
            let again = toml::to_string(&experiment).unwrap();
            assert_eq!(Experiment::parse(&again, name).unwrap(), experiment, "{again}");
        }
    }

    #[test]
    fn architectures_are_named_in_cells_and_in_further_trainings() {
        let text = "name = \"x\"\ndatasets = [\"synth\"]\ncells = [\"wide\", \"deep\"]\nseq-lens = [4]\nseeds = [1]\n\
            lr = 0.1\n[[architectures]]\nname = \"wide\"\nencoder = \"conv3x8,max-pool,1024\"\ncore = \"rnn:64:32\"\n\
            [[also]]\ncell = \"wide\"\nseq-len = 7\nhead = [16]\n\
            [[also]]\nencoder = \"250\"\ncore = \"rnn:128:256\"\nhead = \"32\"\nseq-len = 4\n";
        let plan = Experiment::parse(text, "x.toml").unwrap().plan(&Rates::default()).unwrap();
        let found: Vec<(&str, String)> =
            plan.iter().map(|run| (&run.title[..], run.settings.architecture.name())).collect();
        let name = |name: &str| name.to_owned();
        assert_eq!(
            found,
            [
                ("wide-4", name("conv3x8-max-pool-dense1024-rnn64:32")),
                ("Deep-4", name("deep")),
                ("wide-7", name("conv3x8-max-pool-dense1024-rnn64:32-head16")),
                ("dense250-rnn128:256-head32-4", name("dense250-rnn128:256-head32")),
            ]
        );
        assert_eq!(plan[3].folder, "synth/dense250-rnn128_256-head32-4-seed1");
        for (from, to, word) in [
            ("name = \"wide\"", "name = \"deep\"", "preset"),
            ("cells = [\"wide\"", "cells = [\"wild\"", "wild"),
            ("[[architectures]]", "[train]\ncore = \"rnn:1:1\"\n[[architectures]]", "[train]"),
        ] {
            let changed = Experiment::parse(&text.replace(from, to), "x.toml").unwrap();
            let error = changed.plan(&Rates::default()).unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn rates_by_cell_are_those_of_the_cells() {
        let text = PRESETS[0].1.replace("lr = 5e-4", "lr = { shallow = 1e-4, deep = 2e-4 }");
        let experiment = Experiment::parse(&text, "x.toml").unwrap();
        for run in experiment.plan(&Rates::default()).unwrap() {
            let want = if run.settings.cell == "deep" { 2e-4 } else { 1e-4 };
            assert_eq!(run.settings.lr, want, "{}", run.title);
        }
        let missing = Experiment::parse(&text.replace(", deep = 2e-4", ""), "x.toml").unwrap();
        let error = missing.plan(&Rates::default()).unwrap_err();
        assert!(error.is::<UsageError>() && error.to_string().contains("deep"), "{error}");
        let draft = Experiment::by_name("draft").unwrap().plan(&Rates::default()).unwrap();
        let rate = |title: &str| draft.iter().find(|run| run.title == title).map(|run| run.settings.lr);
        assert_eq!(
            (rate("Shallow-7"), rate("Deep-7"), rate("Deep-7 (SGD)")),
            (Some(1e-4), Some(2e-4), Some(0.01))
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_refused() {
        let error = Experiment::by_name("/dev/zero").unwrap_err();
        assert!(format!("{error:#}").contains("a device"), "{error:#}");
    }

    #[test]
    fn invalid_experiments_are_refused_by_name() {
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
            assert!(error.downcast_ref::<UsageError>().is_some() && !line.contains('\n'), "{line}");
            assert!(line.contains(word) || word == "deep-4" && line.contains("shallow-4"), "{word}: {line}");
        }
    }
}

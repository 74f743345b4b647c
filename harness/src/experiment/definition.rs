//! An experiment as described by a TOML file. The presets are such files.

use super::parts::{ExperimentPart, Selection};
use super::rates::Search;
use crate::error::UsageError;
use crate::io::file;
use crate::measure::settings::Measure;
use crate::run::architecture::NamedArchitecture;
use crate::run::settings::PartialSettings;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// Names of the presets and their files.
pub const PRESETS: [(&str, &str); 5] = [
    ("quick", include_str!("presets/quick.toml")),
    ("draft", include_str!("presets/draft.toml")),
    ("full", include_str!("presets/full.toml")),
    ("final-quick", include_str!("presets/final-quick.toml")),
    ("final", include_str!("presets/final.toml")),
];

/// The largest experiment file.
const MAX_BYTES: u64 = 1 << 20;

/// The report of an experiment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportKind {
    /// That of the draft: shares over the steps, the checks of heatmaps.
    #[default]
    Draft,
    /// That of the finished thesis: the majority problem in folds.
    Final,
}

/// An experiment as described by a TOML file: every architecture at every length with every seed on every
/// data set, in every fold; or several such grids, as `parts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Experiment {
    /// The name of the results.
    pub name: String,
    /// The report that is written.
    #[serde(default)]
    pub report: ReportKind,
    /// Data sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<String>,
    /// Names of presets or of `architectures`; the suffix `-sd` gives them stationary dropout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<String>,
    /// Sequence lengths T.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seq_lens: Vec<usize>,
    /// Number of folds, each of which is tested once; none to use the halves of the data sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// Whether a majority problem is drawn before it is divided into folds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaky: bool,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// The learning rate, a table of rates by cell, or `"search"`.
    pub lr: Rate,
    /// Parts with lists of their own, instead of those above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ExperimentPart>,
    /// The runs that are chosen; files always hold the whole experiment.
    #[serde(skip)]
    pub selection: Selection,
    /// Settings that all trainings share.
    #[serde(default)]
    pub train: PartialSettings,
    /// Further trainings, whose settings override `train`; on every data set and with every seed unless they
    /// name one.
    #[serde(default)]
    pub also: Vec<PartialSettings>,
    /// Options of the learning rate search.
    #[serde(default)]
    pub search: Search,
    /// Architectures other than the presets, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<NamedArchitecture>,
    /// The measurements on each network.
    #[serde(default)]
    pub measure: Measure,
}

/// A learning rate, or a search for one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, a table of numbers by cell, or \"search\"")]
pub enum Rate {
    /// The same for all trainings.
    Fixed(f64),
    /// One for each cell, such as `{ shallow = 1e-4, deep = 2e-4 }`.
    ByCell(BTreeMap<String, f64>),
    /// The best on the held-out training samples, for each cell and T.
    Search(Keyword),
}

/// The keyword in place of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keyword {
    /// See [`super::search`].
    Search,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        match text {
            "search" => Ok(Rate::Search(Keyword::Search)),
            number => {
                number.parse().map(Rate::Fixed).map_err(|_| "it must be a number or `search`".to_owned())
            }
        }
    }
}

impl Experiment {
    /// A preset, or the experiment of a TOML file.
    ///
    /// # Errors
    /// [`UsageError`] that names the file and the key that is unknown, missing or mistyped.
    pub fn by_name(name: &str) -> Result<Experiment> {
        if let Some((name, text)) = PRESETS.iter().find(|(preset, _)| *preset == name) {
            return Experiment::parse(text, name);
        }
        let path = Path::new(name);
        let names = PRESETS.map(|(name, _)| name).join(", ");
        let is_file = path.extension().is_some() || path.exists();
        ensure!(
            is_file,
            UsageError(format!(
                "{name}: unknown command or experiment; give {names}, a TOML file, or see --help"
            ))
        );
        Experiment::read(path)
    }

    /// The experiment of a TOML file.
    ///
    /// # Errors
    /// If it cannot be read or is too large, or [`UsageError`] if it is not an experiment.
    pub fn read(path: &Path) -> Result<Experiment> {
        let name = path.display().to_string();
        let bytes = file::read(path, MAX_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            UsageError(format!("{name}: is not UTF-8 text ({error}), expected the TOML of an experiment"))
        })?;
        Experiment::parse(&text, &name)
    }

    pub(super) fn parse(text: &str, name: &str) -> Result<Experiment> {
        let one_line = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = toml::from_str(text);
        Ok(found.map_err(|error| UsageError(format!("{name}: {}", one_line(error.to_string()))))?)
    }
}

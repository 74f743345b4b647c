//! Settings from a file or the command line, each optional, and how they complete each other.

use super::{DropoutProfile, InitialName, OptimiserName, PoolName, Range, Settings, parse_range, resized};
use crate::error::UsageError;
use crate::io::file;
use crate::run::architecture::{STATIONARY_SUFFIX, Setting, check_name, file_name, without_suffix};
use anyhow::Result;
use clap::Args;
use model::{Architecture, Core, EncoderLayer, PoolKind};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The largest settings file.
const MAX_BYTES: u64 = 1 << 20;

/// Settings from a file or the command line; each is optional.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PartialSettings {
    /// Preset that the architecture starts from: shallow, deep, deepv2, convdeep [default: deep], or of the finished
    /// thesis final-shallow, final-deep, final-deepv2, final-convdeep, r-lstm, convr-lstm, convplus-deep,
    /// convplus-r-lstm; with --encoder and --core any other name; with the suffix -sd it has stationary dropout
    #[arg(long, value_name = "NAME")]
    pub cell: Option<String>,
    /// Layers of the encoder, comma-separated: a width for a dense layer, conv5x24, conv5x24+ with lateral
    /// connections, max-pool, sum-pool; or none
    #[arg(long, value_name = "LAYERS")]
    pub encoder: Option<Setting<Vec<EncoderLayer>>>,
    /// Recurrent core: rnn:COMBINE:RECURRENT, the widths of its two layers, or r-lstm:CELLS
    #[arg(long, value_name = "CORE")]
    pub core: Option<Setting<Core>>,
    /// Widths of the hidden head layers, comma-separated; or none
    #[arg(long, value_name = "WIDTHS")]
    pub head: Option<Setting<Vec<usize>>>,
    /// Sequence length T; must divide the image columns [default: 7]
    #[arg(long, value_name = "T")]
    pub seq_len: Option<usize>,
    /// mnist, fashion-mnist, kmnist, synth, one of these with -maj (the majority problem), or the name of a folder
    /// [default: synth]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Join training and test half and divide them into N stratified folds; needs --fold
    #[arg(long, value_name = "N")]
    pub folds: Option<usize>,
    /// The fold that is tested, from 0; the others are trained on
    #[arg(long, value_name = "I")]
    pub fold: Option<usize>,
    /// Draw the majority problem before the division into folds, as the thesis did: images recur in both parts
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub leaky: Option<bool>,
    /// Epochs [default: 6]
    #[arg(long, value_name = "N")]
    pub epochs: Option<u64>,
    /// Batch size [default: 50]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Learning rate [default: 5e-4]
    #[arg(long, value_name = "X")]
    pub lr: Option<f32>,
    /// Optimiser [default: adam]
    #[arg(long, value_enum, value_name = "NAME")]
    pub optimiser: Option<OptimiserName>,
    /// Momentum of SGD [default: 0.9]
    #[arg(long, value_name = "X")]
    pub momentum: Option<f32>,
    /// Drop probability [default: that of the profile: 0.5, without an encoder 0; final 0.2]
    #[arg(long, value_name = "P")]
    pub dropout: Option<f32>,
    /// Where units are dropped [default: draft]
    #[arg(long, value_enum, value_name = "NAME")]
    pub dropout_profile: Option<DropoutProfile>,
    /// Drop the same units at every step of a sample; a cell named deep-sd is deep with this setting
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub stationary: Option<bool>,
    /// Spread of the initial weights [default: draft]
    #[arg(long, value_enum, value_name = "NAME")]
    pub initial_values: Option<InitialName>,
    /// Seed of initial parameters, sample order and dropout [default: 1]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Training samples held out for validation [default: a twelfth]
    #[arg(long, value_name = "N")]
    pub validation: Option<usize>,
    /// Use only the first N training samples, including those held out
    #[arg(long, value_name = "N")]
    pub limit_train: Option<usize>,
    /// Use only the first N test samples
    #[arg(long, value_name = "N")]
    pub limit_test: Option<usize>,
    /// Range that pixels are scaled to, LOW,HIGH [default: -1,1]
    #[arg(long, value_name = "LOW,HIGH", value_parser = parse_range, allow_hyphen_values = true)]
    pub input_range: Option<Range>,
    /// Kind of all pools of the encoder
    #[arg(long, value_enum, value_name = "KIND")]
    pub pool: Option<PoolName>,
    /// Width of the combine layer, over that of the core
    #[arg(long, value_name = "N")]
    pub combine: Option<usize>,
    /// Width of the recurrent layer, over that of the core
    #[arg(long, value_name = "N")]
    pub recurrent: Option<usize>,
    /// Train with a softmax that sees one more logit, which is constantly 0: the logit of the true class is then pushed
    /// above 0
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub zero_logit: Option<bool>,
}

impl PartialSettings {
    /// These settings over those of a TOML file.
    ///
    /// # Errors
    /// If the file cannot be read, or has an unknown or mistyped key; the message names it.
    pub fn over_file(self, path: Option<&Path>) -> Result<PartialSettings> {
        let Some(path) = path else { return Ok(self) };
        let name = path.display();
        let bytes = file::read(path, MAX_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            UsageError(format!("{name}: is not UTF-8 text ({error}), expected TOML settings"))
        })?;
        let file: PartialSettings = toml::from_str(&text).map_err(|error| {
            let place = error.span().map_or(String::new(), |span| {
                let before = text.get(..span.start).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                format!(" line {line}, {:?}:", text.lines().nth(line - 1).unwrap_or_default())
            });
            UsageError(format!("{name}:{place} {}", one_line(error.message())))
        })?;
        Ok(self.over(file))
    }

    /// These settings; missing ones are taken from `below`.
    pub fn over(self, below: PartialSettings) -> PartialSettings {
        PartialSettings {
            cell: self.cell.or(below.cell),
            encoder: self.encoder.or(below.encoder),
            core: self.core.or(below.core),
            head: self.head.or(below.head),
            seq_len: self.seq_len.or(below.seq_len),
            dataset: self.dataset.or(below.dataset),
            folds: self.folds.or(below.folds),
            fold: self.fold.or(below.fold),
            leaky: self.leaky.or(below.leaky),
            epochs: self.epochs.or(below.epochs),
            batch: self.batch.or(below.batch),
            lr: self.lr.or(below.lr),
            optimiser: self.optimiser.or(below.optimiser),
            momentum: self.momentum.or(below.momentum),
            dropout: self.dropout.or(below.dropout),
            dropout_profile: self.dropout_profile.or(below.dropout_profile),
            stationary: self.stationary.or(below.stationary),
            initial_values: self.initial_values.or(below.initial_values),
            seed: self.seed.or(below.seed),
            validation: self.validation.or(below.validation),
            limit_train: self.limit_train.or(below.limit_train),
            limit_test: self.limit_test.or(below.limit_test),
            input_range: self.input_range.or(below.input_range),
            pool: self.pool.or(below.pool),
            combine: self.combine.or(below.combine),
            recurrent: self.recurrent.or(below.recurrent),
            zero_logit: self.zero_logit.or(below.zero_logit),
        }
    }

    /// The settings of a run, as options would give them.
    pub fn of(settings: Settings) -> PartialSettings {
        let Settings { cell, architecture, .. } = settings;
        // A preset differs from its definition only in its pools and the widths of its core.
        let is_preset = Architecture::preset(&cell).is_ok();
        let (combine, recurrent) = match architecture.core {
            Core::Rnn { combine, recurrent } => (Some(combine), Some(recurrent)),
            Core::RLstm { .. } => (None, None),
        };
        let pool = architecture.encoder.iter().find_map(|layer| match layer {
            EncoderLayer::Pool(PoolKind::Max) => Some(PoolName::Max),
            EncoderLayer::Pool(PoolKind::Sum) => Some(PoolName::Sum),
            _ => None,
        });
        let is_described = cell == file_name(&architecture);
        let Architecture { encoder, core, head } = architecture;
        PartialSettings {
            cell: (is_preset || !is_described).then_some(cell),
            encoder: (!is_preset).then_some(Setting::Value(encoder)),
            core: (!is_preset).then_some(Setting::Value(core)),
            head: (!is_preset).then_some(Setting::Value(head)),
            seq_len: Some(settings.seq_len),
            dataset: Some(settings.dataset),
            folds: settings.folds,
            fold: settings.fold,
            leaky: Some(settings.leaky).filter(|_| settings.folds.is_some()),
            epochs: Some(settings.epochs),
            batch: Some(settings.batch),
            lr: Some(settings.lr),
            optimiser: Some(settings.optimiser),
            momentum: Some(settings.momentum),
            dropout: Some(settings.dropout),
            dropout_profile: Some(settings.dropout_profile),
            stationary: Some(settings.stationary),
            initial_values: Some(settings.initial_values),
            seed: Some(settings.seed),
            validation: settings.validation,
            limit_train: settings.limit_train,
            limit_test: settings.limit_test,
            input_range: Some(settings.input_range),
            pool: pool.filter(|_| is_preset),
            combine: combine.filter(|_| is_preset),
            recurrent: recurrent.filter(|_| is_preset),
            zero_logit: Some(settings.zero_logit),
        }
    }

    /// Adds the defaults and checks what can be checked without data.
    ///
    /// # Errors
    /// [`UsageError`] that names the setting, its value and what is allowed.
    pub fn complete(self) -> Result<Settings> {
        let stationary = self.is_stationary()?;
        let (cell, architecture) = self.architecture()?;
        let dropout_profile = self.dropout_profile.unwrap_or_default();
        let settings = Settings {
            cell,
            seq_len: self.seq_len.unwrap_or(7),
            dataset: self.dataset.unwrap_or_else(|| "synth".to_owned()),
            folds: self.folds,
            fold: self.fold,
            leaky: self.leaky.unwrap_or(false),
            epochs: self.epochs.unwrap_or(6),
            batch: self.batch.unwrap_or(50),
            lr: self.lr.unwrap_or(5e-4),
            optimiser: self.optimiser.unwrap_or(OptimiserName::Adam),
            momentum: self.momentum.unwrap_or(0.9),
            dropout: self.dropout.unwrap_or(dropout_profile.policy(&architecture).rate),
            dropout_profile,
            stationary,
            initial_values: self.initial_values.unwrap_or_default(),
            architecture,
            seed: self.seed.unwrap_or(1),
            validation: self.validation,
            limit_train: self.limit_train,
            limit_test: self.limit_test,
            input_range: self.input_range.unwrap_or(Range(-1.0, 1.0)),
            zero_logit: self.zero_logit.unwrap_or(false),
        };
        settings.check()?;
        Ok(settings)
    }

    /// Whether a sample has the same dropout mask at every step: `stationary`, or a cell with the suffix `-sd`.
    fn is_stationary(&self) -> Result<bool, UsageError> {
        let named = self.cell.as_deref().is_some_and(|cell| without_suffix(cell) != cell);
        match (named, self.stationary) {
            (true, Some(false)) => Err(UsageError(format!(
                "--stationary false: the cell {} has stationary dropout by its name; leave out {STATIONARY_SUFFIX}",
                self.cell.as_deref().unwrap_or_default()
            ))),
            (named, setting) => Ok(named || setting.unwrap_or(false)),
        }
    }

    /// The architecture and its name, without the suffix of stationary dropout.
    ///
    /// It starts from the preset `cell`, or Deep; encoder, core and head replace its parts. A `cell` that is not a preset
    /// names an architecture of which encoder and core are given.
    fn architecture(&self) -> Result<(String, Architecture), UsageError> {
        let refuse = |error: String| UsageError(format!("--cell: {error}"));
        let encoder = self.encoder.as_ref().map(Setting::get).transpose()?;
        let core = self.core.as_ref().map(Setting::get).transpose()?;
        let head = self.head.as_ref().map(Setting::get).transpose()?;
        let is_preset = encoder.is_none() && core.is_none() && head.is_none();
        let cell = without_suffix(self.cell.as_deref().unwrap_or("deep"));
        let preset = Architecture::preset(cell);
        let own_name = preset.is_err();
        let base = match preset {
            Ok(preset) => preset,
            Err(error) => {
                let (Some(encoder), Some(core)) = (&encoder, core) else {
                    return Err(refuse(format!("{error}; any other name needs --encoder and --core")));
                };
                check_name(cell).map_err(refuse)?;
                Architecture { encoder: encoder.clone(), core, head: Vec::new() }
            }
        };
        let parts = Architecture {
            encoder: encoder.unwrap_or(base.encoder),
            core: core.unwrap_or(base.core),
            head: head.unwrap_or(base.head),
        };
        let has_pool = parts.encoder.iter().any(|layer| matches!(layer, EncoderLayer::Pool(_)));
        if self.pool.is_some() && !has_pool {
            return Err(UsageError(format!(
                "--pool: the encoder of {cell} has no pool; leave the option out"
            )));
        }
        let architecture = resized(parts, self.pool, self.combine, self.recurrent)
            .map_err(|error| UsageError(format!("--combine, --recurrent: {error}")))?;
        let name = if own_name || is_preset { cell.to_owned() } else { file_name(&architecture) };
        Ok((name, architecture))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;

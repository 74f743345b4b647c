//! Settings of a training: defaults, overridden by an optional TOML file, overridden by the command line.

use super::architecture::{Setting, check_name, file_name};
use crate::error::UsageError;
use crate::io::bounds::{BATCH, EPOCHS, SEQ_LEN, bounded};
use crate::io::file;
use crate::io::pair::pair;
use anyhow::Result;
use clap::{Args, ValueEnum};
use model::train::{DropoutPolicy, Optimiser, TrainOptions};
use model::{Architecture, Core, EncoderLayer, InitialValues, ModelError, PoolKind, Task};
use serde::{Deserialize, Deserializer, Serialize};
use std::path::Path;

/// The optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserName {
    /// Adam, β₁ 0.9, β₂ 0.999, ε 1e-8
    Adam,
    /// SGD with momentum
    Sgd,
}

/// Pooling of convolutional encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolName {
    /// Maximum of the window
    Max,
    /// Sum of the window
    Sum,
}

/// Where units are dropped, and how many unless `dropout` says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropoutProfile {
    /// Behind dense encoder layers and in front of the head, 0.5; nothing without an encoder
    #[default]
    Draft,
    /// On the inputs of the core too
    DraftCode,
    /// On the input of the recurrent layer too, 0.2, for every cell
    Final,
}

impl DropoutProfile {
    /// The policy for an architecture.
    pub fn policy(self, architecture: &Architecture) -> DropoutPolicy {
        match self {
            DropoutProfile::Draft => DropoutPolicy::draft(architecture),
            DropoutProfile::DraftCode => DropoutPolicy::draft_code(architecture),
            DropoutProfile::Final => DropoutPolicy::finished(),
        }
    }
}

/// The spread of the initial weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialName {
    /// σ = 0.1
    #[default]
    Draft,
    /// σ² = 1 / inputs of the unit
    Final,
}

impl From<InitialName> for InitialValues {
    fn from(name: InitialName) -> InitialValues {
        match name {
            InitialName::Draft => InitialValues::Draft,
            InitialName::Final => InitialValues::Final,
        }
    }
}

/// Settings from a file or the command line; each is optional.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PartialSettings {
    /// Preset that the architecture starts from: shallow, deep, deepv2, convdeep [default: deep], or of the finished
    /// thesis final-shallow, final-deep, final-deepv2, final-convdeep, r-lstm, convr-lstm, convplus-deep,
    /// convplus-r-lstm; with --encoder and --core any other name
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
    /// mnist, fashion-mnist, kmnist, synth or the name of a folder [default: synth]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
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

/// `[low, high]` of the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range(pub f32, pub f32);

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Range, D::Error> {
        pair(from).map(|[low, high]| Range(low, high))
    }
}

/// Parses `-1,1`.
///
/// # Errors
/// If the text is not two numbers.
pub fn parse_range(text: &str) -> Result<Range, String> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[low, high]) if low.is_finite() && high.is_finite() => Ok(Range(low, high)),
        _ => Err("it must be LOW,HIGH, such as -1,1".to_owned()),
    }
}

/// Complete settings of one training; `run.json` holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "StoredSettings")]
#[allow(missing_docs)] // each is documented in `PartialSettings`
pub struct Settings {
    /// Name of the architecture in folders and files: that of a preset, that of an entry of
    /// `[[architectures]]`, or a description.
    pub cell: String,
    pub architecture: Architecture,
    pub seq_len: usize,
    pub dataset: String,
    pub epochs: u64,
    pub batch: usize,
    pub lr: f32,
    pub optimiser: OptimiserName,
    pub momentum: f32,
    pub dropout: f32,
    pub dropout_profile: DropoutProfile,
    pub initial_values: InitialName,
    pub seed: u64,
    pub validation: Option<usize>,
    pub limit_train: Option<usize>,
    pub limit_test: Option<usize>,
    pub input_range: Range,
    pub zero_logit: bool,
}

/// Settings as `run.json` and checkpoints store them. Those without an architecture have a preset, a kind of pool and two
/// widths.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StoredSettings {
    cell: String,
    architecture: Option<Architecture>,
    seq_len: usize,
    dataset: String,
    epochs: u64,
    batch: usize,
    lr: f32,
    optimiser: OptimiserName,
    momentum: f32,
    dropout: f32,
    seed: u64,
    validation: Option<usize>,
    limit_train: Option<usize>,
    limit_test: Option<usize>,
    input_range: Range,
    pool: Option<PoolName>,
    combine: Option<usize>,
    recurrent: Option<usize>,
    #[serde(default)]
    zero_logit: bool,
    #[serde(default)]
    dropout_profile: DropoutProfile,
    #[serde(default)]
    initial_values: InitialName,
}

impl TryFrom<StoredSettings> for Settings {
    type Error = ModelError;

    fn try_from(stored: StoredSettings) -> Result<Settings, ModelError> {
        let StoredSettings { pool, combine, recurrent, .. } = stored;
        let architecture = match stored.architecture {
            Some(architecture) => architecture,
            None => resized(Architecture::preset(&stored.cell)?, pool, combine, recurrent)?,
        };
        Ok(Settings {
            cell: stored.cell,
            architecture,
            seq_len: stored.seq_len,
            dataset: stored.dataset,
            epochs: stored.epochs,
            batch: stored.batch,
            lr: stored.lr,
            optimiser: stored.optimiser,
            momentum: stored.momentum,
            dropout: stored.dropout,
            dropout_profile: stored.dropout_profile,
            initial_values: stored.initial_values,
            seed: stored.seed,
            validation: stored.validation,
            limit_train: stored.limit_train,
            limit_test: stored.limit_test,
            input_range: stored.input_range,
            zero_logit: stored.zero_logit,
        })
    }
}

/// An architecture with other pools and widths of the core.
fn resized(
    mut architecture: Architecture,
    pool: Option<PoolName>,
    new_combine: Option<usize>,
    new_recurrent: Option<usize>,
) -> Result<Architecture, ModelError> {
    match &mut architecture.core {
        Core::Rnn { combine, recurrent } => {
            *combine = new_combine.unwrap_or(*combine);
            *recurrent = new_recurrent.unwrap_or(*recurrent);
        }
        Core::RLstm { .. } => {
            if let Some(width) = new_combine.or(new_recurrent) {
                let (what, expected) =
                    ("combine or recurrent", "left out: the core has neither; its cells are r-lstm:CELLS");
                return Err(ModelError::Range { what, found: width as f64, expected });
            }
        }
    }
    match pool {
        Some(pool) => Ok(architecture.with_pools(pool.into())),
        None => Ok(architecture),
    }
}

impl From<PoolName> for PoolKind {
    fn from(name: PoolName) -> PoolKind {
        match name {
            PoolName::Max => PoolKind::Max,
            PoolName::Sum => PoolKind::Sum,
        }
    }
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
            epochs: self.epochs.or(below.epochs),
            batch: self.batch.or(below.batch),
            lr: self.lr.or(below.lr),
            optimiser: self.optimiser.or(below.optimiser),
            momentum: self.momentum.or(below.momentum),
            dropout: self.dropout.or(below.dropout),
            dropout_profile: self.dropout_profile.or(below.dropout_profile),
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
            cell: (!is_described).then_some(cell),
            encoder: (!is_preset).then_some(Setting::Value(encoder)),
            core: (!is_preset).then_some(Setting::Value(core)),
            head: (!is_preset).then_some(Setting::Value(head)),
            seq_len: Some(settings.seq_len),
            dataset: Some(settings.dataset),
            epochs: Some(settings.epochs),
            batch: Some(settings.batch),
            lr: Some(settings.lr),
            optimiser: Some(settings.optimiser),
            momentum: Some(settings.momentum),
            dropout: Some(settings.dropout),
            dropout_profile: Some(settings.dropout_profile),
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
        let (cell, architecture) = self.architecture()?;
        let dropout_profile = self.dropout_profile.unwrap_or_default();
        let settings = Settings {
            cell,
            seq_len: self.seq_len.unwrap_or(7),
            dataset: self.dataset.unwrap_or_else(|| "synth".to_owned()),
            epochs: self.epochs.unwrap_or(6),
            batch: self.batch.unwrap_or(50),
            lr: self.lr.unwrap_or(5e-4),
            optimiser: self.optimiser.unwrap_or(OptimiserName::Adam),
            momentum: self.momentum.unwrap_or(0.9),
            dropout: self.dropout.unwrap_or(dropout_profile.policy(&architecture).rate),
            dropout_profile,
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

    /// The architecture and its name.
    ///
    /// It starts from the preset `cell`, or Deep; encoder, core and head replace its parts. A `cell` that is not a preset
    /// names an architecture of which encoder and core are given.
    fn architecture(&self) -> Result<(String, Architecture), UsageError> {
        let refuse = |error: String| UsageError(format!("--cell: {error}"));
        let encoder = self.encoder.as_ref().map(Setting::get).transpose()?;
        let core = self.core.as_ref().map(Setting::get).transpose()?;
        let head = self.head.as_ref().map(Setting::get).transpose()?;
        let is_preset = encoder.is_none() && core.is_none() && head.is_none();
        let cell = self.cell.as_deref().unwrap_or("deep");
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
        let architecture = resized(parts, self.pool, self.combine, self.recurrent)
            .map_err(|error| UsageError(format!("--combine, --recurrent: {error}")))?;
        let name = if own_name || is_preset { cell.to_owned() } else { file_name(&architecture) };
        Ok((name, architecture))
    }
}

/// The largest settings file.
const MAX_BYTES: u64 = 1 << 20;

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Settings {
    /// Checks what can be checked without data.
    ///
    /// # Errors
    /// [`UsageError`] that names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), UsageError> {
        let refuse = |text: String| Err(UsageError(text));
        bounded("--batch", self.batch, BATCH)?;
        bounded("--seq-len", self.seq_len, SEQ_LEN)?;
        bounded("--epochs", self.epochs, EPOCHS)?;
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return refuse(format!("--lr is {}; it must be a positive number such as 5e-4", self.lr));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse(format!("--momentum is {}; it must be at least 0 and below 1", self.momentum));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!("--dropout is {}; it must be at least 0 and below 1", self.dropout));
        }
        Ok(())
    }

    /// An error of the model as a usage error that names the option.
    pub fn usage_error(&self, error: ModelError) -> UsageError {
        let option = match error {
            ModelError::SequenceLength { seq_len, .. } => format!("--seq-len {seq_len}: "),
            ModelError::Range { what: "low" | "high", .. } => "--input-range: ".to_owned(),
            ModelError::LayerOrder { .. } => "--encoder: ".to_owned(),
            _ => String::new(),
        };
        UsageError(format!("{option}{error}"))
    }

    /// Optimiser, batch, seed and dropout.
    pub fn train_options(&self) -> TrainOptions {
        let dropout = DropoutPolicy { rate: self.dropout, ..self.dropout_profile.policy(&self.architecture) };
        TrainOptions { optimiser: self.optimiser(), batch: self.batch, seed: self.seed, dropout }
    }

    /// The preset whose architecture this is, whatever its name.
    pub fn preset(&self) -> Option<&'static str> {
        let name = self.architecture.name();
        Architecture::names().find(|preset| *preset == name)
    }

    /// The task: shape of the input, sequence length, classes and pixel range.
    pub fn task(&self, rows: usize, cols: usize, classes: usize) -> Task {
        let Range(low, high) = self.input_range;
        Task { rows, cols, seq_len: self.seq_len, classes, low, high, zero_logit: self.zero_logit }
    }

    /// The optimiser.
    pub fn optimiser(&self) -> Optimiser {
        match self.optimiser {
            OptimiserName::Adam => Optimiser::Adam { lr: self.lr },
            OptimiserName::Sgd => Optimiser::Sgd { lr: self.lr, momentum: self.momentum },
        }
    }

    /// `Deep-7`: the name of a preset or of a named architecture, else a description of the layers.
    pub fn title(&self) -> String {
        let own_name =
            Architecture::names().all(|name| name != self.cell) && self.cell != file_name(&self.architecture);
        let name = if own_name { self.cell.clone() } else { self.architecture.title() };
        format!("{name}-{}", self.seq_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_given_as_options_are_the_same_settings() {
        let default = PartialSettings::default;
        for partial in [
            default(),
            PartialSettings {
                cell: Some("convdeep".to_owned()),
                pool: Some(PoolName::Sum),
                combine: Some(48),
                ..default()
            },
            PartialSettings {
                encoder: text_of("conv3x4,sum-pool,24"),
                core: Some(Setting::Text("rnn:16:8".to_owned())),
                ..default()
            },
            PartialSettings {
                cell: Some("mine".to_owned()),
                encoder: text_of("250"),
                core: Some(Setting::Text("rnn:16:8".to_owned())),
                seed: Some(u64::MAX),
                limit_train: Some(5),
                ..default()
            },
        ] {
            let settings = partial.complete().unwrap();
            assert_eq!(PartialSettings::of(settings.clone()).complete().unwrap(), settings);
        }
    }

    fn text_of(text: &str) -> Option<Setting<Vec<EncoderLayer>>> {
        Some(Setting::Text(text.to_owned()))
    }

    #[test]
    fn the_command_line_overrides_the_file_and_the_file_the_defaults() {
        let file: PartialSettings = toml::from_str("cell = \"shallow\"\nseq-len = 4\nepochs = 9").unwrap();
        let line = PartialSettings { epochs: Some(2), ..PartialSettings::default() };
        let settings = line.over(file).complete().unwrap();
        assert_eq!((settings.cell.as_str(), settings.seq_len, settings.epochs), ("shallow", 4, 2));
        assert_eq!((settings.batch, settings.dropout), (50, 0.0));
    }

    #[test]
    fn an_unknown_or_mistyped_key_is_refused_by_name() {
        for (text, name) in [("epoch = 3", "epoch"), ("batch = \"many\"", "batch")] {
            let error = toml::from_str::<PartialSettings>(text).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn parts_replace_those_of_the_preset_and_name_the_architecture() {
        let complete = |text: &str| toml::from_str::<PartialSettings>(text).unwrap().complete().unwrap();
        let named = |text: &str| {
            let settings = complete(text);
            (settings.cell.clone(), settings.title(), settings.dropout)
        };
        let other = "encoder = \"250\"\ncore = \"rnn:128:256\"\nhead = [32]\n";
        assert_eq!(named("seq-len = 4"), ("deep".to_owned(), "Deep-4".to_owned(), 0.5));
        let (cell, title) =
            ("dense250-rnn128_256-head32".to_owned(), "dense250-rnn128:256-head32-7".to_owned());
        assert_eq!(named(other), (cell.clone(), title.clone(), 0.5));
        assert_eq!(named(&format!("cell = \"convdeep\"\n{other}")), (cell, title, 0.5));
        assert_eq!(
            named(&format!("cell = \"mine\"\n{other}")),
            ("mine".to_owned(), "mine-7".to_owned(), 0.5)
        );
        let (title, dropout) = ("rnn48:24-7".to_owned(), 0.0);
        let narrow = "cell = \"shallow\"\ncombine = 48\nrecurrent = 24";
        assert_eq!(named(narrow), ("shallow".to_owned(), title, dropout));
        assert_eq!(named("encoder = [{ dense = 512 }]").0, "deep");
        let sum = complete("cell = \"convdeep\"\npool = \"sum\"");
        assert!(sum.title().contains("sum-pool") && sum.preset().is_none());
        assert_eq!(
            complete("encoder = \"none\"\ncore = \"rnn:768:128\"\nhead = []").preset(),
            Some("shallow")
        );
    }

    #[test]
    fn profiles_say_where_and_how_much_is_dropped() {
        let complete = |text: &str| toml::from_str::<PartialSettings>(text).unwrap().complete().unwrap();
        let policy = |text: &str| complete(text).train_options().dropout;
        assert_eq!(policy("cell = \"deep\""), DropoutPolicy::draft(&Architecture::preset("deep").unwrap()));
        let code = policy("cell = \"deep\"\ndropout-profile = \"draft-code\"");
        assert!(code.combine && !code.recurrent && code.rate == 0.5);
        assert_eq!(policy("cell = \"shallow\"\ndropout-profile = \"draft-code\"").rate, 0.0);
        assert_eq!(policy("cell = \"shallow\"\ndropout-profile = \"final\""), DropoutPolicy::finished());
        assert_eq!(policy("dropout-profile = \"final\"\ndropout = 0.4").rate, 0.4);
        let values = complete("initial-values = \"final\"\nzero-logit = true");
        assert_eq!((values.initial_values, values.zero_logit), (InitialName::Final, true));
        assert!(values.task(28, 28, 10).zero_logit);
    }

    #[test]
    fn settings_without_an_architecture_are_read() {
        let text = r#"{"cell":"convdeep","seq-len":4,"dataset":"synth","epochs":2,"batch":50,"lr":0.0005,
            "optimiser":"adam","momentum":0.9,"dropout":0.5,"seed":1,"validation":null,"limit-train":null,
            "limit-test":null,"input-range":[-1.0,1.0],"pool":"sum","combine":48,"recurrent":24}"#;
        let stored: Settings = serde_json::from_str(text).unwrap();
        let line =
            "cell = \"convdeep\"\nseq-len = 4\nepochs = 2\npool = \"sum\"\ncombine = 48\nrecurrent = 24";
        assert_eq!(stored, toml::from_str::<PartialSettings>(line).unwrap().complete().unwrap());
        let again = serde_json::to_string(&stored).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&again).unwrap(), stored, "{again}");
        let error = serde_json::from_str::<Settings>(&text.replace("convdeep", "lstm")).unwrap_err();
        assert!(error.to_string().contains("lstm"), "{error}");
    }

    #[test]
    fn invalid_settings_are_refused() {
        for partial in [
            PartialSettings { batch: Some(0), ..PartialSettings::default() },
            PartialSettings { lr: Some(f32::NAN), ..PartialSettings::default() },
            PartialSettings { dropout: Some(1.0), ..PartialSettings::default() },
            PartialSettings { cell: Some("lstm".to_owned()), ..PartialSettings::default() },
            PartialSettings { core: Some(Setting::Text("lstm:3".to_owned())), ..PartialSettings::default() },
        ] {
            let error = partial.complete().unwrap_err();
            assert!(error.downcast_ref::<UsageError>().is_some(), "{error}");
        }
    }
}

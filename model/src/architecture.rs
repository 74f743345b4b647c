//! The architecture of a network as data: encoder, core and head; presets, names, and the syntax of the
//! command line.

use crate::error::ModelError;
use kernels::pool::PoolKind;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The widest layer; the largest of the presets has 768 units.
const MAX_UNITS: usize = 1 << 16;
/// The largest filter.
const MAX_FILTER: usize = 255;
/// The most dense and convolutional layers of an encoder, and the most layers of a head.
const MAX_LAYERS: usize = 16;

/// The architecture of a network: an encoder on the image of a step, a recurrent core over the steps, and a
/// head on the core's last output.
///
/// ```
/// use model::Architecture;
/// let text = r#"{"encoder": [{"dense": 256}], "core": {"rnn": {"combine": 128, "recurrent": 64}}, "head": [32]}"#;
/// let architecture: Architecture = serde_json::from_str(text)?;
/// assert_eq!(architecture.name(), "dense256-rnn128:64-head32");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Layers on `x_t`; without any the core reads the pixels.
    pub encoder: Vec<EncoderLayer>,
    /// The recurrent core.
    pub core: Core,
    /// Widths of the hidden layers between the core's last output and the logits.
    pub head: Vec<usize>,
}

/// One layer of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EncoderLayer {
    /// Dense layer with relu, and its number of outputs.
    Dense(usize),
    /// A SAME convolution with stride 1, relu.
    Conv {
        /// Rows and columns of the filter, an odd number.
        size: usize,
        /// Output channels.
        channels: usize,
        /// Whether the layer also sees its own output of the step before, by a filter of the same size.
        #[serde(default)]
        lateral: bool,
    },
    /// A 2×2 pool with stride 2 after a convolution.
    Pool(#[serde(with = "PoolName")] PoolKind),
}

/// [`PoolKind`] in JSON and TOML.
#[derive(Serialize, Deserialize)]
#[serde(remote = "PoolKind", rename_all = "kebab-case")]
enum PoolName {
    Max,
    Sum,
}

/// The recurrent core, which maps the encoded steps to one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Core {
    /// A relu layer on `[e_t, r_t]`, and a relu layer on its output that gives `r_{t+1}`.
    Rnn {
        /// Width of the layer on `[e_t, r_t]`.
        combine: usize,
        /// Width of `r_t`; without parameters if there is only one step.
        recurrent: usize,
    },
    /// An LSTM whose candidate is a relu layer on `[e_t, h_{t−1}]`, without a squashing function of its state.
    RLstm {
        /// Cells: width of state and output.
        cells: usize,
    },
}

impl EncoderLayer {
    /// A convolution without lateral connections.
    pub fn conv(size: usize, channels: usize) -> EncoderLayer {
        EncoderLayer::Conv { size, channels, lateral: false }
    }
}

impl Core {
    /// Width of the output that the head reads.
    pub fn width(&self) -> usize {
        match *self {
            Core::Rnn { combine, .. } => combine,
            Core::RLstm { cells } => cells,
        }
    }
}

impl Architecture {
    /// Names of the architectures of the draft.
    pub const PRESETS: [&str; 4] = ["shallow", "deep", "deepv2", "convdeep"];
    /// Names of the architectures of the finished thesis; [`Architecture::preset`] knows both.
    pub const FINAL_PRESETS: [&str; 8] = [
        "final-shallow",
        "final-deep",
        "final-deepv2",
        "final-convdeep",
        "r-lstm",
        "convr-lstm",
        "convplus-deep",
        "convplus-r-lstm",
    ];

    /// The names of all presets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::PRESETS.into_iter().chain(Self::FINAL_PRESETS)
    }

    /// An architecture with its widths, of the draft (sections 4.3, 4.4) or of the finished thesis.
    ///
    /// # Errors
    /// [`ModelError::UnknownPreset`] if no preset has that name.
    pub fn preset(name: &str) -> Result<Architecture, ModelError> {
        use EncoderLayer::{Dense, Pool};
        let (encoder, combine, head) = match name {
            "shallow" => (vec![], 768, vec![]),
            "deep" => (vec![Dense(512)], 256, vec![64]),
            "deepv2" => (vec![Dense(512), Dense(256)], 128, vec![64]),
            "convdeep" => {
                let pool = Pool(PoolKind::Max);
                (vec![EncoderLayer::conv(5, 24), pool, EncoderLayer::conv(3, 48), pool], 256, vec![128])
            }
            _ => {
                let known = || Self::names().collect::<Vec<_>>().join(", ");
                let unknown = || ModelError::UnknownPreset { found: name.to_owned(), known: known() };
                return Self::final_preset(name).ok_or_else(unknown);
            }
        };
        Ok(Architecture { encoder, core: Core::Rnn { combine, recurrent: 128 }, head })
    }

    fn final_preset(name: &str) -> Option<Architecture> {
        use EncoderLayer::{Conv, Dense, Pool};
        let pool = Pool(PoolKind::Sum);
        let conv = |size, channels, lateral| Conv { size, channels, lateral };
        let convolutions = |lateral| vec![conv(5, 24, lateral), pool, conv(3, 32, lateral), pool, Dense(128)];
        let of = |encoder, core, head| Some(Architecture { encoder, core, head });
        let rnn = Core::Rnn { combine: 128, recurrent: 256 };
        match name {
            "final-shallow" => of(vec![], Core::Rnn { combine: 256, recurrent: 256 }, vec![]),
            "final-deep" => of(vec![Dense(256)], rnn, vec![32]),
            "final-deepv2" => of(vec![Dense(128), Dense(256)], rnn, vec![32]),
            "final-convdeep" => of(convolutions(false), rnn, vec![32]),
            "r-lstm" => of(vec![Dense(256)], Core::RLstm { cells: 72 }, vec![]),
            "convr-lstm" => of(convolutions(false), Core::RLstm { cells: 96 }, vec![]),
            "convplus-deep" => of(convolutions(true), rnn, vec![32]),
            "convplus-r-lstm" => of(convolutions(true), Core::RLstm { cells: 96 }, vec![]),
            _ => None,
        }
    }

    /// The preset's name, or else a description such as `dense256-rnn128:256-head32`.
    pub fn name(&self) -> String {
        let preset = |name: &&str| Architecture::preset(name).is_ok_and(|preset| preset == *self);
        Self::names().find(preset).map_or_else(|| self.describe(), str::to_owned)
    }

    /// The name as the thesis prints it, or else the description.
    pub fn title(&self) -> String {
        let name = self.name();
        match name.as_str() {
            "shallow" => "Shallow".to_owned(),
            "deep" => "Deep".to_owned(),
            "deepv2" => "DeepV2".to_owned(),
            "convdeep" => "ConvDeep".to_owned(),
            "final-shallow" => "Shallow (final)".to_owned(),
            "final-deep" => "Deep (final)".to_owned(),
            "final-deepv2" => "DeepV2 (final)".to_owned(),
            "final-convdeep" => "ConvDeep (final)".to_owned(),
            "r-lstm" => "R-LSTM".to_owned(),
            "convr-lstm" => "ConvR-LSTM".to_owned(),
            "convplus-deep" => "Conv⁺Deep".to_owned(),
            "convplus-r-lstm" => "Conv⁺R-LSTM".to_owned(),
            _ => name,
        }
    }

    fn describe(&self) -> String {
        let mut parts: Vec<String> = self.encoder.iter().map(EncoderLayer::to_string).collect();
        parts.push(self.core.to_string());
        if !self.head.is_empty() {
            let widths: Vec<String> = self.head.iter().map(usize::to_string).collect();
            parts.push(format!("head{}", widths.join(":")));
        }
        parts.join("-")
    }

    /// The same architecture with pools of one kind.
    pub fn with_pools(mut self, kind: PoolKind) -> Architecture {
        for layer in &mut self.encoder {
            if let EncoderLayer::Pool(pool) = layer {
                *pool = kind;
            }
        }
        self
    }

    /// The architecture of a model file without the key `architecture`, which has a preset's name and a kind
    /// of pool: the preset's layers with the widths of the tensors. If the name is not a preset's, the layers
    /// come from the tensors, too, with a pool after every convolution.
    ///
    /// `shape` gives the shape of the tensor of a name. If a tensor is missing, its layer keeps the preset's
    /// width, and [`Network::from_tensors`](crate::Network::from_tensors) reports the missing tensor.
    pub fn from_shapes<'a>(
        preset: &str,
        pool: PoolKind,
        shape: impl Fn(&str) -> Option<&'a [usize]>,
    ) -> Architecture {
        // Each of a layer's tensors has its width.
        let width = |layer: &str| {
            let last = |part: &str| shape(&format!("{layer}.{part}")).and_then(|shape| shape.last().copied());
            last("weight").or_else(|| last("bias"))
        };
        let known = Architecture::preset(preset).map(|preset| preset.with_pools(pool));
        let mut found = known.unwrap_or_else(|_| {
            let weights = (0..).map_while(|i| shape(&format!("encoder.{i}.weight")));
            let layers = weights.flat_map(|shape| match *shape {
                [size, _, _, channels] => {
                    vec![EncoderLayer::conv(size, channels), EncoderLayer::Pool(pool)]
                }
                _ => vec![EncoderLayer::Dense(shape.last().copied().unwrap_or(1))],
            });
            let heads = (0..).take_while(|i| shape(&format!("head.{i}.weight")).is_some()).count();
            Architecture {
                encoder: layers.collect(),
                core: Core::Rnn { combine: 1, recurrent: 1 },
                head: vec![1; heads.saturating_sub(1)],
            }
        });
        let with_parameters =
            found.encoder.iter_mut().filter(|layer| !matches!(layer, EncoderLayer::Pool(_)));
        for (i, layer) in with_parameters.enumerate() {
            let name = format!("encoder.{i}");
            let Some(found) = width(&name) else { continue };
            match layer {
                EncoderLayer::Dense(units) => *units = found,
                EncoderLayer::Conv { size, channels, .. } => {
                    *channels = found;
                    let first = shape(&format!("{name}.weight")).and_then(|shape| shape.first());
                    *size = first.copied().unwrap_or(*size);
                }
                EncoderLayer::Pool(_) => unreachable!("pools have been left out"),
            }
        }
        match &mut found.core {
            Core::Rnn { combine, recurrent } => {
                *combine = width("combine").unwrap_or(*combine);
                *recurrent = width("recurrent").unwrap_or(*recurrent);
            }
            Core::RLstm { cells } => *cells = width("candidate").unwrap_or(*cells),
        }
        for (i, units) in found.head.iter_mut().enumerate() {
            *units = width(&format!("head.{i}")).unwrap_or(*units);
        }
        found
    }

    /// Checks the order and the sizes of the layers.
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        let with_parameters = self.encoder.iter().filter(|layer| !matches!(layer, EncoderLayer::Pool(_)));
        at_most("the number of encoder layers", with_parameters.count(), MAX_LAYERS)?;
        at_most("the number of head layers", self.head.len(), MAX_LAYERS)?;
        let mut before = None;
        for (layer, &this) in self.encoder.iter().enumerate() {
            check_layer(&this)?;
            check_order(before, this).map_err(|problem| ModelError::LayerOrder { layer, problem })?;
            before = Some(this);
        }
        self.head.iter().copied().try_for_each(check_width)?;
        match self.core {
            Core::Rnn { combine, recurrent } => [combine, recurrent].into_iter().try_for_each(check_width),
            Core::RLstm { cells } => check_width(cells),
        }
    }
}

fn check_layer(layer: &EncoderLayer) -> Result<(), ModelError> {
    match *layer {
        EncoderLayer::Dense(units) => check_width(units),
        EncoderLayer::Conv { size, channels, .. } => {
            check_width(channels)?;
            at_most("the size of a filter", size, MAX_FILTER)?;
            if size.is_multiple_of(2) {
                let (what, expected) = ("the size of a filter", "odd");
                return Err(ModelError::Range { what, found: size as f64, expected });
            }
            Ok(())
        }
        EncoderLayer::Pool(_) => Ok(()),
    }
}

fn check_order(before: Option<EncoderLayer>, layer: EncoderLayer) -> Result<(), &'static str> {
    use EncoderLayer::{Conv, Dense, Pool};
    match (before, layer) {
        (Some(Dense(_)), Conv { .. }) => Err("a convolution behind a dense layer; convolutions come first"),
        (Some(Conv { .. }), Pool(_)) => Ok(()),
        (_, Pool(_)) => Err("a pool without a convolution in front of it; a pool follows a convolution"),
        _ => Ok(()),
    }
}

fn check_width(width: usize) -> Result<(), ModelError> {
    if width == 0 {
        return Err(ModelError::Zero { what: "a layer's width" });
    }
    at_most("a layer's width", width, MAX_UNITS)
}

pub(crate) fn at_most(what: &'static str, found: usize, most: usize) -> Result<(), ModelError> {
    if found > most { Err(ModelError::TooLarge { what, found, most }) } else { Ok(()) }
}

impl fmt::Display for EncoderLayer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            EncoderLayer::Dense(units) => write!(f, "dense{units}"),
            EncoderLayer::Conv { size, channels, lateral } => {
                write!(f, "conv{size}x{channels}{}", if *lateral { "+" } else { "" })
            }
            EncoderLayer::Pool(PoolKind::Max) => write!(f, "max-pool"),
            EncoderLayer::Pool(PoolKind::Sum) => write!(f, "sum-pool"),
        }
    }
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Core::Rnn { combine, recurrent } => write!(f, "rnn{combine}:{recurrent}"),
            Core::RLstm { cells } => write!(f, "r-lstm{cells}"),
        }
    }
}

/// One layer of the command line: `256` (or `dense256`), `conv5x24`, `conv5x24+` (lateral), `max-pool`, `sum-pool`.
impl FromStr for EncoderLayer {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let layer = match text.trim() {
            "max-pool" => Some(EncoderLayer::Pool(PoolKind::Max)),
            "sum-pool" => Some(EncoderLayer::Pool(PoolKind::Sum)),
            text => match text.strip_prefix("conv") {
                Some(sizes) => sizes.split_once('x').and_then(|(size, channels)| {
                    let (channels, lateral) =
                        channels.strip_suffix('+').map_or((channels, false), |channels| (channels, true));
                    let (size, channels) = (size.parse().ok()?, channels.parse().ok()?);
                    Some(EncoderLayer::Conv { size, channels, lateral })
                }),
                None => text.strip_prefix("dense").unwrap_or(text).parse().ok().map(EncoderLayer::Dense),
            },
        };
        let expected =
            "a width such as 256, or conv5x24 (conv5x24+ with lateral connections), max-pool or sum-pool";
        layer.ok_or_else(|| ModelError::Syntax { what: "encoder layer", found: text.to_owned(), expected })
    }
}

/// A core of the command line: `rnn:128:256`, the widths of combine and recurrent, or `r-lstm:72`, the cells.
impl FromStr for Core {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let sizes =
            |name| text.trim().strip_prefix(name).map(|sizes| sizes.strip_prefix(':').unwrap_or(sizes));
        let rnn = |sizes: &str| {
            let (combine, recurrent) = sizes.split_once(':')?;
            Some(Core::Rnn { combine: combine.parse().ok()?, recurrent: recurrent.parse().ok()? })
        };
        let r_lstm = |cells: &str| Some(Core::RLstm { cells: cells.parse().ok()? });
        let core = sizes("rnn").and_then(rnn).or_else(|| sizes("r-lstm").and_then(r_lstm));
        let expected = "rnn:COMBINE:RECURRENT such as rnn:128:256, or r-lstm:CELLS such as r-lstm:72";
        core.ok_or_else(|| ModelError::Syntax { what: "core", found: text.to_owned(), expected })
    }
}

/// The layers of a comma-separated list such as `conv5x24,max-pool,128`; an empty list has none.
///
/// # Errors
/// [`ModelError::Syntax`] with the first entry that is not a layer.
pub fn parse_encoder(text: &str) -> Result<Vec<EncoderLayer>, ModelError> {
    entries(text).map(str::parse).collect()
}

/// The widths of a comma-separated list such as `64,32`; an empty list has none.
///
/// # Errors
/// [`ModelError::Syntax`] with the first entry that is not a width.
pub fn parse_head(text: &str) -> Result<Vec<usize>, ModelError> {
    let width = |text: &str| {
        let (what, found, expected) = ("head layer", text.to_owned(), "a width such as 32");
        text.trim().parse().map_err(|_| ModelError::Syntax { what, found, expected })
    };
    entries(text).map(width).collect()
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(move |_| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_and_everything_else_have_names() {
        for name in Architecture::names() {
            assert_eq!(Architecture::preset(name).unwrap().name(), name);
        }
        let other = Architecture { head: vec![], ..Architecture::preset("convdeep").unwrap() };
        assert_eq!(other.title(), "conv5x24-max-pool-conv3x48-max-pool-rnn256:128");
        assert_eq!(Architecture::preset("deepv2").unwrap().title(), "DeepV2");
        let error = Architecture::preset("lstm").unwrap_err().to_string();
        assert!(error.contains("lstm") && error.contains("deepv2"), "{error}");
    }

    #[test]
    fn json_goes_out_and_comes_back_and_unknown_keys_are_refused_by_name() {
        let text = r#"{"encoder":[{"conv":{"size":5,"channels":24,"lateral":false}},{"pool":"sum"},{"dense":128}],"core":{"rnn":{"combine":128,"recurrent":256}},"head":[32]}"#;
        let architecture: Architecture = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&architecture).unwrap(), text);
        let refused = |text: &str| serde_json::from_str::<Architecture>(text).unwrap_err().to_string();
        for (from, to) in [("lateral", "sideways"), ("\"sum\"", "\"mean\""), ("rnn", "gru"), ("head", "tail")]
        {
            let error = refused(&text.replace(from, to));
            assert!(error.contains(to.trim_matches('"')), "{error}");
        }
        let error = refused(&text.replace("\"recurrent\"", "\"cells\""));
        assert!(error.contains("cells"), "{error}");
    }

    #[test]
    fn forms_of_the_command_line() {
        let layers = parse_encoder("conv5x24, sum-pool,conv3x32,max-pool,dense128,64").unwrap();
        let names: Vec<String> = layers.iter().map(EncoderLayer::to_string).collect();
        assert_eq!(names.join(" "), "conv5x24 sum-pool conv3x32 max-pool dense128 dense64");
        assert_eq!("rnn:128:256".parse(), Ok(Core::Rnn { combine: 128, recurrent: 256 }));
        assert_eq!("rnn128:256".parse(), Ok(Core::Rnn { combine: 128, recurrent: 256 }));
        assert_eq!("r-lstm:72".parse(), Ok(Core::RLstm { cells: 72 }));
        let lateral = EncoderLayer::Conv { size: 5, channels: 24, lateral: true };
        assert_eq!(lateral.to_string().parse(), Ok(lateral));
        assert_eq!(serde_json::to_string(&Core::RLstm { cells: 72 }).unwrap(), r#"{"r-lstm":{"cells":72}}"#);
        assert_eq!((parse_encoder(""), parse_head("64,32")), (Ok(vec![]), Ok(vec![64, 32])));
        let refused = [
            parse_encoder("256,").map(drop),
            parse_encoder("conv5").map(drop),
            parse_encoder("conv5x24,pool").map(drop),
            "rnn:128".parse::<Core>().map(drop),
            "lstm:3:4".parse::<Core>().map(drop),
            parse_head("32,x").map(drop),
        ];
        for (found, culprit) in refused.into_iter().zip(["\"\"", "conv5", "pool", "rnn:128", "lstm", "x"]) {
            let error = found.unwrap_err().to_string();
            assert!(error.contains(culprit) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        use EncoderLayer::{Dense, Pool};
        let pool = Pool(PoolKind::Max);
        let conv = EncoderLayer::conv(3, 2);
        for (encoder, culprit) in [
            (vec![pool], "layer 0: a pool"),
            (vec![conv, pool, pool], "layer 2: a pool"),
            (vec![Dense(3), pool], "layer 1: a pool"),
            (vec![conv, Dense(3), conv], "layer 2: a convolution behind"),
            (vec![EncoderLayer::conv(4, 2)], "odd"),
            (vec![EncoderLayer::conv(257, 2)], "255"),
            (vec![Dense(0)], "width is 0"),
            (vec![Dense(1 << 17)], "65536"),
            (vec![Dense(1); 17], "17"),
        ] {
            let architecture = Architecture { encoder, ..Architecture::preset("deep").unwrap() };
            let error = architecture.check().unwrap_err().to_string();
            assert!(error.contains(culprit), "{error}");
        }
        let encoder = vec![conv, conv, pool, Dense(3), Dense(4)];
        assert_eq!(Architecture { encoder, ..Architecture::preset("deep").unwrap() }.check(), Ok(()));
    }

    #[test]
    fn shapes_of_tensors_give_the_widths() {
        let shapes = [
            ("encoder.0.weight", vec![7, 7, 1, 4]),
            ("encoder.1.bias", vec![6]),
            ("combine.weight", vec![40, 12]),
            ("head.0.weight", vec![12, 5]),
            ("head.1.weight", vec![5, 3]),
        ];
        let shape = |name: &str| shapes.iter().find(|(n, _)| *n == name).map(|(_, shape)| &shape[..]);
        let found = Architecture::from_shapes("convdeep", PoolKind::Sum, shape);
        assert_eq!(found.name(), "conv7x4-sum-pool-conv3x6-sum-pool-rnn12:128-head5");
        let found = Architecture::from_shapes("mine", PoolKind::Max, shape);
        assert_eq!(found.name(), "conv7x4-max-pool-rnn12:1-head5");
    }
}

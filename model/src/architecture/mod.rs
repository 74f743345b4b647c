//! The architecture of a network as data: encoder, core and head.

mod presets;
mod shapes;
mod syntax;

pub use syntax::{parse_encoder, parse_head};

use crate::error::ModelError;
use kernels::pool::PoolKind;
use serde::{Deserialize, Serialize};

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
    /// The same architecture with pools of one kind.
    pub fn with_pools(mut self, kind: PoolKind) -> Architecture {
        for layer in &mut self.encoder {
            if let EncoderLayer::Pool(pool) = layer {
                *pool = kind;
            }
        }
        self
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_width_is_allowed_and_the_next_one_is_not() {
        assert!(check_width(MAX_UNITS).is_ok() && check_width(1).is_ok());
        assert!(check_width(MAX_UNITS + 1).is_err() && check_width(0).is_err());
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
}

//! The syntax of the command line: layers, cores and widths as text.

use super::{Core, EncoderLayer};
use crate::error::ModelError;
use kernels::pool::PoolKind;
use std::fmt;
use std::str::FromStr;

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
}

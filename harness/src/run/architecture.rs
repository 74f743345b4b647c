//! Settings of an architecture: the layers as options and TOML values, and named architectures.

use crate::error::UsageError;
use model::{Architecture, Core, EncoderLayer, parse_encoder, parse_head};
use serde::{Deserialize, Deserializer, Serialize};
use std::str::FromStr;

/// The layers of an encoder: `conv5x24,max-pool,128`, or in TOML a list such as `[{ dense = 128 }]` too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EncoderSetting(pub Vec<EncoderLayer>);

/// A core: `rnn:128:256`, or in TOML a table such as `{ rnn = { combine = 128, recurrent = 256 } }` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CoreSetting(pub Core);

/// The widths of the hidden head layers: `64,32`, or in TOML a list such as `[64, 32]` too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct HeadSetting(pub Vec<usize>);

/// The word for no layers.
const NONE: &str = "none";

impl FromStr for EncoderSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<EncoderSetting, String> {
        if text.trim() == NONE {
            return Ok(EncoderSetting(Vec::new()));
        }
        parse_encoder(text).map(EncoderSetting).map_err(|error| error.to_string())
    }
}

impl FromStr for CoreSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<CoreSetting, String> {
        text.parse().map(CoreSetting).map_err(|error: model::ModelError| error.to_string())
    }
}

impl FromStr for HeadSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<HeadSetting, String> {
        if text.trim() == NONE {
            return Ok(HeadSetting(Vec::new()));
        }
        parse_head(text).map(HeadSetting).map_err(|error| error.to_string())
    }
}

/// A value of a settings file, as text or as a structure.
fn text_or<'de, D, S, T>(source: D, wrap: fn(S) -> T) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    S: serde::de::DeserializeOwned,
    T: FromStr<Err = String>,
{
    let value = toml::Value::deserialize(source)?;
    match value.as_str() {
        Some(text) => text.parse().map_err(serde::de::Error::custom),
        None => value.try_into().map(wrap).map_err(|error: toml::de::Error| {
            serde::de::Error::custom(error.message().lines().next().unwrap_or_default())
        }),
    }
}

impl<'de> Deserialize<'de> for EncoderSetting {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<EncoderSetting, D::Error> {
        text_or(source, EncoderSetting)
    }
}

impl<'de> Deserialize<'de> for CoreSetting {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<CoreSetting, D::Error> {
        text_or(source, CoreSetting)
    }
}

impl<'de> Deserialize<'de> for HeadSetting {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<HeadSetting, D::Error> {
        text_or(source, HeadSetting)
    }
}

/// An architecture with a name, as an entry of `[[architectures]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NamedArchitecture {
    /// The name by which `cells` and `cell` refer to it.
    pub name: String,
    /// Layers of the encoder; none by default.
    #[serde(default = "no_encoder")]
    pub encoder: EncoderSetting,
    /// The core.
    pub core: CoreSetting,
    /// Widths of the hidden head layers; none by default.
    #[serde(default)]
    pub head: HeadSetting,
}

fn no_encoder() -> EncoderSetting {
    EncoderSetting(Vec::new())
}

impl NamedArchitecture {
    /// Checks the names of a list: usable as folder names, no preset's, each once.
    ///
    /// # Errors
    /// [`UsageError`] that names the entry.
    pub fn check(all: &[NamedArchitecture]) -> Result<(), UsageError> {
        for (i, NamedArchitecture { name, .. }) in all.iter().enumerate() {
            check_name(name).map_err(|error| UsageError(format!("[[architectures]] {error}")))?;
            if Architecture::PRESETS.contains(&name.as_str()) {
                return Err(UsageError(format!(
                    "[[architectures]] {name} is the name of a preset; choose another"
                )));
            }
            if all[..i].iter().any(|other| other.name == *name) {
                return Err(UsageError(format!("[[architectures]] {name} is listed twice")));
            }
        }
        Ok(())
    }
}

/// Checks a name that becomes part of folder names.
///
/// # Errors
/// If it is empty, begins with a dot, or has characters other than letters, digits, `-`, `_`, `+` and `.`.
pub fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_+.".contains(c);
    if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(allowed) {
        return Err(format!("name {name:?}: use letters, digits, -, _, + and ., not beginning with . or -"));
    }
    Ok(())
}

/// The name of an architecture in folder and file names.
pub fn file_name(architecture: &Architecture) -> String {
    architecture.name().replace(':', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_structure_mean_the_same() {
        let text = "name = \"a\"\nencoder = \"conv5x24,sum-pool,128\"\ncore = \"rnn:128:256\"\nhead = \"32\"";
        let structure = "name = \"a\"\nhead = [32]\n\
            encoder = [{ conv = { size = 5, channels = 24 } }, { pool = \"sum\" }, { dense = 128 }]\n\
            core = { rnn = { combine = 128, recurrent = 256 } }";
        let [text, structure] =
            [text, structure].map(|text| toml::from_str::<NamedArchitecture>(text).unwrap());
        assert_eq!(text, structure);
        let again = toml::to_string(&text).unwrap();
        assert_eq!(toml::from_str::<NamedArchitecture>(&again).unwrap(), text, "{again}");
        assert_eq!("none".parse(), Ok(EncoderSetting(vec![])));
    }

    #[test]
    fn invalid_entries_and_names_are_refused() {
        for (line, word) in [
            ("core = \"lstm:3\"", "lstm:3"),
            ("core = \"rnn:1:2\"\nencoder = \"conv5\"", "conv5"),
            ("core = \"rnn:1:2\"\nencoder = [{ gru = 5 }]", "gru"),
            ("core = \"rnn:1:2\"\nwidth = 5", "width"),
            ("", "core"),
        ] {
            let error = toml::from_str::<NamedArchitecture>(&format!("name = \"a\"\n{line}")).unwrap_err();
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        let of = |name: &str| NamedArchitecture {
            name: name.to_owned(),
            encoder: no_encoder(),
            core: CoreSetting(Core::Rnn { combine: 1, recurrent: 1 }),
            head: HeadSetting::default(),
        };
        for (names, word) in
            [(&["deep"][..], "preset"), (&["a", "b", "a"], "twice"), (&["../a"], "../a"), (&[""], "\"\"")]
        {
            let all: Vec<NamedArchitecture> = names.iter().map(|name| of(name)).collect();
            let error = NamedArchitecture::check(&all).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}

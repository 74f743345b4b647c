//! Settings of an architecture: the layers as options and TOML values, and named architectures.

use crate::error::UsageError;
use model::{Architecture, Core, EncoderLayer, ModelError, parse_encoder, parse_head};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use std::convert::Infallible;
use std::str::FromStr;

/// A part of an architecture: as text, such as `conv5x24,max-pool,128`, `rnn:128:256` or `64,32`; or in TOML as a
/// structure, such as `[{ dense = 128 }]`, `{ rnn = { combine = 128, recurrent = 256 } }` or `[64, 32]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Setting<T> {
    /// Text of an option or of a file.
    Text(String),
    /// A structure of a file.
    Value(T),
}

/// A type that is a part of an architecture.
pub trait Part: Clone + DeserializeOwned {
    /// The option that sets it.
    const OPTION: &'static str;

    /// Parses the text of an option.
    ///
    /// # Errors
    /// [`ModelError`] that names the unknown part.
    fn parse(text: &str) -> Result<Self, ModelError>;
}

impl Part for Vec<EncoderLayer> {
    const OPTION: &'static str = "--encoder";

    fn parse(text: &str) -> Result<Self, ModelError> {
        if is_none(text) { Ok(Vec::new()) } else { parse_encoder(text) }
    }
}

impl Part for Core {
    const OPTION: &'static str = "--core";

    fn parse(text: &str) -> Result<Self, ModelError> {
        text.parse()
    }
}

impl Part for Vec<usize> {
    const OPTION: &'static str = "--head";

    fn parse(text: &str) -> Result<Self, ModelError> {
        if is_none(text) { Ok(Vec::new()) } else { parse_head(text) }
    }
}

fn is_none(text: &str) -> bool {
    text.trim() == "none"
}

impl<T: Part> Setting<T> {
    /// The part.
    ///
    /// # Errors
    /// [`UsageError`] that names the option and the unknown part.
    pub fn get(&self) -> Result<T, UsageError> {
        match self {
            Setting::Text(text) => {
                T::parse(text).map_err(|error| UsageError(format!("{}: {error}", T::OPTION)))
            }
            Setting::Value(value) => Ok(value.clone()),
        }
    }
}

impl<T> FromStr for Setting<T> {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Setting<T>, Infallible> {
        Ok(Setting::Text(text.to_owned()))
    }
}

impl<'de, T: Part> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Setting<T>, D::Error> {
        let value = toml::Value::deserialize(source)?;
        if let Some(text) = value.as_str() {
            return T::parse(text).map(|_| Setting::Text(text.to_owned())).map_err(D::Error::custom);
        }
        let found = value.try_into().map(Setting::Value);
        found.map_err(|error: toml::de::Error| {
            D::Error::custom(error.message().lines().next().unwrap_or_default())
        })
    }
}

/// An architecture with a name, as an entry of `[[architectures]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NamedArchitecture {
    /// The name by which `cells` and `cell` refer to it.
    pub name: String,
    /// Layers of the encoder; none by default.
    #[serde(default = "no_layers")]
    pub encoder: Setting<Vec<EncoderLayer>>,
    /// The core.
    pub core: Setting<Core>,
    /// Widths of the hidden head layers; none by default.
    #[serde(default = "no_layers")]
    pub head: Setting<Vec<usize>>,
}

fn no_layers<T>() -> Setting<Vec<T>> {
    Setting::Value(Vec::new())
}

impl NamedArchitecture {
    /// Checks the names of a list: usable as folder names, no preset's, each once.
    ///
    /// # Errors
    /// [`UsageError`] that names the entry.
    pub fn check(all: &[NamedArchitecture]) -> Result<(), UsageError> {
        for (i, NamedArchitecture { name, .. }) in all.iter().enumerate() {
            check_name(name).map_err(|error| UsageError(format!("[[architectures]] {error}")))?;
            if without_suffix(name) != name {
                return Err(UsageError(format!(
                    "[[architectures]] {name} ends with {STATIONARY_SUFFIX}, which `cells` adds for stationary dropout; \
                     leave it out"
                )));
            }
            if Architecture::names().any(|preset| preset == name) {
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

/// The end of a cell's name that sets stationary dropout: the same units are dropped at every step of a sample.
pub const STATIONARY_SUFFIX: &str = "-sd";

/// The name of a cell without [`STATIONARY_SUFFIX`].
pub fn without_suffix(cell: &str) -> &str {
    cell.strip_suffix(STATIONARY_SUFFIX).unwrap_or(cell)
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
        let parts = |named: &NamedArchitecture| {
            (named.encoder.get().unwrap(), named.core.get().unwrap(), named.head.get().unwrap())
        };
        let [text, structure] =
            [text, structure].map(|text| toml::from_str::<NamedArchitecture>(text).unwrap());
        assert_eq!(parts(&text), parts(&structure));
        for named in [text, structure] {
            let again = toml::to_string(&named).unwrap();
            assert_eq!(toml::from_str::<NamedArchitecture>(&again).unwrap(), named, "{again}");
        }
        assert_eq!(Setting::<Vec<EncoderLayer>>::Text("none".to_owned()).get().unwrap(), []);
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
            encoder: no_layers(),
            core: Setting::Value(Core::Rnn { combine: 1, recurrent: 1 }),
            head: no_layers(),
        };
        for (names, word) in [
            (&["deep"][..], "preset"),
            (&["mine-sd"], "-sd"),
            (&["a", "b", "a"], "twice"),
            (&["../a"], "../a"),
            (&[""], "\"\""),
        ] {
            let all: Vec<NamedArchitecture> = names.iter().map(|name| of(name)).collect();
            let error = NamedArchitecture::check(&all).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}

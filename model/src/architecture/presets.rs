//! The named architectures of the draft and of the finished thesis, and what any architecture is called.

use super::{Architecture, Core, EncoderLayer};
use crate::error::ModelError;
use kernels::pool::PoolKind;

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
}

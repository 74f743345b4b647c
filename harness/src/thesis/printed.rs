//! Numbers printed in the thesis.

use crate::run::settings::{OptimiserName, Settings};

/// Table 4.2: hyper-parameters.
pub const HYPER_PARAMETERS: [(&str, &str); 4] =
    [("optimiser", "Adam"), ("epochs", "200"), ("drop probability", "0.5"), ("batch size", "50")];

/// Sequence lengths of Tables 4.1 and 4.3.
pub const LENGTHS: [usize; 4] = [1, 4, 7, 14];

/// Table 4.1: rows and columns of a step of a 28×28 image.
pub const DIMENSIONS: [[usize; 2]; 4] = [[28, 28], [28, 7], [28, 4], [28, 2]];

/// Table 4.3: variables of each preset by [`LENGTHS`].
pub const VARIABLES: [(&str, [usize; 4]); 4] = [
    ("shallow", [610_570, 355_722, 291_210, 248_202]),
    ("deep", [550_346, 314_954, 271_946, 243_274]),
    ("deepv2", [575_050, 306_890, 263_882, 235_210]),
    ("convdeep", [647_594, 283_178, 197_162, 197_162]),
];

/// Table 4.4: the accuracy that a network must reach before its heatmaps are evaluated.
pub fn criterion(set: &str) -> Option<f64> {
    match set {
        "mnist" => Some(0.98),
        "fashion-mnist" => Some(0.85),
        _ => None,
    }
}

/// Table 4.5: test accuracy on MNIST of the network of a preset, trained with Adam as Table 4.2 says.
pub fn accuracy(set: &str, settings: &Settings) -> Option<f64> {
    if settings.optimiser != OptimiserName::Adam {
        return None;
    }
    match (set, settings.preset()?, settings.seq_len) {
        ("mnist", "shallow", 1) => Some(0.9813),
        ("mnist", "shallow", 4) => Some(0.9830),
        ("mnist", "shallow", 7) => Some(0.9807),
        ("mnist", "deep", 1) => Some(0.9788),
        ("mnist", "deep", 4) => Some(0.9861),
        ("mnist", "deep", 7) => Some(0.9852),
        _ => None,
    }
}

/// The figure that shows a preset.
pub fn figure(preset: &str) -> &'static str {
    match preset {
        "shallow" | "deep" => "4.4",
        _ => "4.5",
    }
}

/// Share of each step, digit 1 of MNIST, T = 7.
struct Shares {
    /// Where it is printed.
    source: &'static str,
    pixels: [f64; 7],
    /// The shares, by the name of the architecture.
    networks: [(&'static str, [f64; 7]); 2],
}

const SHARES_OF_ONES: [Shares; 2] = [
    Shares {
        source: "draft, read off Figure 4.9",
        pixels: [0.0, 0.010, 0.118, 0.632, 0.228, 0.012, 0.0],
        networks: [
            ("shallow", [0.0, 0.003, 0.020, 0.095, 0.170, 0.288, 0.422]),
            ("deep", [0.0, 0.006, 0.048, 0.507, 0.268, 0.090, 0.081]),
        ],
    },
    Shares {
        source: "finished thesis",
        pixels: [0.0, 0.007, 0.113, 0.649, 0.214, 0.017, 0.0],
        networks: [
            ("rnn256:256", [0.0, 0.0, 0.006, 0.054, 0.176, 0.330, 0.433]),
            ("dense256-rnn128:256-head32", [0.009, 0.021, 0.069, 0.439, 0.295, 0.098, 0.069]),
        ],
    },
];

/// A printed share of each step, and where it is printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrintedShare {
    /// Where it is printed.
    pub source: &'static str,
    /// Share of each step of the network.
    pub network: [f64; 7],
    /// Share of each step of the pixels.
    pub pixels: [f64; 7],
}

/// The printed share of each step of a network, by the name of its architecture.
pub fn share(set: &str, class: usize, seq_len: usize, architecture: &str) -> Option<PrintedShare> {
    let known = set == "mnist" && class == 1 && seq_len == 7;
    SHARES_OF_ONES.iter().filter(|_| known).find_map(|Shares { source, pixels, networks }| {
        let (_, network) = networks.iter().find(|(name, _)| *name == architecture)?;
        Some(PrintedShare { source, network: *network, pixels: *pixels })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::run::settings::PartialSettings;

    #[test]
    fn printed_numbers_belong_to_one_architecture() {
        let source = |name: &str| share("mnist", 1, 7, name).map(|share| share.source);
        assert_eq!(source("deep"), Some("draft, read off Figure 4.9"));
        assert_eq!(source("rnn256:256"), Some("finished thesis"));
        assert_eq!((source("rnn48:24"), share("mnist", 2, 7, "deep")), (None, None));
        let accuracy = |seq_len: usize, optimiser: OptimiserName| {
            let (seq_len, optimiser) = (Some(seq_len), Some(optimiser));
            let settings = PartialSettings { seq_len, optimiser, ..PartialSettings::default() };
            accuracy("mnist", &settings.complete().unwrap())
        };
        assert_eq!(accuracy(7, OptimiserName::Adam), Some(0.9852));
        assert_eq!(accuracy(14, OptimiserName::Adam), None);
        assert_eq!(accuracy(7, OptimiserName::Sgd), None);
        for shares in SHARES_OF_ONES {
            for share in shares.networks.iter().map(|(_, share)| share).chain([&shares.pixels]) {
                assert!((share.iter().sum::<f64>() - 1.0).abs() < 5e-3, "{share:?}");
            }
        }
    }
}

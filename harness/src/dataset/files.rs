//! The four files of a data set, and the names of data sets.

use crate::io::idx::Kind;
use anyhow::ensure;

/// The four files of a data set, without `.gz`: training images and labels, test images and labels.
pub const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];
/// What each of [`FILES`] holds.
pub const KINDS: [Kind; 4] = [Kind::Images, Kind::Labels, Kind::Images, Kind::Labels];

/// Data sets that have a name of their own and the folder torchvision keeps them in.
pub(super) const KNOWN: [(&str, Option<&str>); 4] = [
    ("mnist", Some("MNIST/raw")),
    ("fashion-mnist", Some("FashionMNIST/raw")),
    ("kmnist", Some("KMNIST/raw")),
    ("synth", None),
];
/// The usual spelling of a data set's name: `FashionMNIST` is `fashion-mnist`; unknown names stay as they are.
///
/// # Errors
/// If `name` is no plain folder name.
pub fn usual_name(name: &str) -> anyhow::Result<String> {
    ensure!(
        !matches!(name, "" | "." | "..") && !name.contains(['/', '\\']),
        "{name:?} is no data set name; give the name of a folder and say where that is with --data-dir"
    );
    Ok(match name.to_ascii_lowercase().replace('_', "-").as_str() {
        "mnist" => "mnist",
        "fashion-mnist" | "fashionmnist" | "fashion" => "fashion-mnist",
        "kmnist" | "kuzushiji-mnist" => "kmnist",
        "synth" => "synth",
        _ => name,
    }
    .to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelt_in_their_usual_way() {
        assert_eq!(usual_name("Fashion_MNIST").unwrap(), "fashion-mnist");
        assert_eq!(usual_name("MNIST").unwrap(), "mnist");
        assert_eq!(usual_name("My_Set").unwrap(), "My_Set");
        assert!(usual_name("../x").is_err() && usual_name("..").is_err() && usual_name("").is_err());
    }
}

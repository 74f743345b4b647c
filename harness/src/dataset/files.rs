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
/// The kind of each of [`FILES`].
pub const KINDS: [Kind; 4] = [Kind::Images, Kind::Labels, Kind::Images, Kind::Labels];

/// Known data sets and the folder that torchvision keeps them in.
pub(super) const KNOWN: [(&str, Option<&str>); 4] = [
    ("mnist", Some("MNIST/raw")),
    ("fashion-mnist", Some("FashionMNIST/raw")),
    ("kmnist", Some("KMNIST/raw")),
    ("synth", None),
];
/// The canonical name of a data set: `FashionMNIST` is `fashion-mnist`; unknown names stay as they are.
///
/// # Errors
/// If `name` is not a plain folder name.
pub fn canonical_name(name: &str) -> anyhow::Result<String> {
    ensure!(
        !matches!(name, "" | "." | "..") && !name.contains(['/', '\\']),
        "{name:?} is not a data set name; give the name of a folder, and its parent folder with --data-dir"
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
    fn names_become_canonical() {
        assert_eq!(canonical_name("Fashion_MNIST").unwrap(), "fashion-mnist");
        assert_eq!(canonical_name("MNIST").unwrap(), "mnist");
        assert_eq!(canonical_name("My_Set").unwrap(), "My_Set");
        assert!(
            canonical_name("../x").is_err() && canonical_name("..").is_err() && canonical_name("").is_err()
        );
    }
}

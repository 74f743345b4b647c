//! A data set: a training and a test half.

use super::files::{self, MASK_FILES};
use super::locate::{Located, SearchPath};
use super::maj;
use super::published::published;
use super::split::{Split, SplitSha256};
use crate::io::hash;
use anyhow::{Context, bail, ensure};
use serde::Serialize;
use std::path::Path;

/// Checksums of the files a run has seen.
#[derive(Clone, Debug, Serialize)]
pub struct DataSha256 {
    /// Training half.
    pub train: SplitSha256,
    /// Test half.
    pub test: SplitSha256,
}

/// A training and a test half of the same shape.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Canonical name.
    pub name: String,
    /// Training samples.
    pub train: Split,
    /// Test samples.
    pub test: Split,
    /// Height of every image.
    pub rows: usize,
    /// Width of every image.
    pub cols: usize,
    /// Number of classes: the largest label of either half + 1, at least 2.
    pub classes: usize,
}

impl Dataset {
    /// Finds the data set `name`, decompresses it if necessary and maps it.
    ///
    /// Folders are searched as [`SearchPath::new`] says. `synth` and `synth-maj` are generated in the cache folder if they are
    /// not found. Of another majority problem that is not found, such as `mnist-maj`, the samples are composed of the images
    /// of `mnist`; they are those of `harness data maj --from mnist`.
    ///
    /// # Errors
    /// If the set is not found, or a file is invalid. The message names the file and what to do.
    pub fn open(name: &str, data_dir: Option<&Path>) -> anyhow::Result<Self> {
        let name = files::canonical_name(name)?;
        let places = SearchPath::new(data_dir)?;
        let located = match places.find(&name) {
            Some(located) => located,
            // An incomplete set is not replaced by a generated one.
            None if name == "synth" && places.find_some(&name).is_none() => places.generate_synth()?,
            None if name == "synth-maj" && places.find_some(&name).is_none() => {
                places.generate_synth_maj()?
            }
            None => {
                let base = name.strip_suffix(maj::SUFFIX).filter(|_| places.find_some(&name).is_none());
                return match base.filter(|base| places.find(base).is_some()) {
                    Some(base) => Self::open(base, data_dir)?.majority(),
                    None => Err(places.not_found(&name)),
                };
            }
        };
        Self::map(&places, &located).with_context(|| format!("cannot open the data set {name}"))
    }

    /// Maps the data set whose four files are directly in `folder`.
    ///
    /// # Errors
    /// If a file is missing or invalid.
    pub fn open_folder(folder: &Path) -> anyhow::Result<Self> {
        let places = SearchPath::new(None)?;
        let located = SearchPath::in_folder(folder)?;
        Self::map(&places, &located).with_context(|| format!("cannot open the data set {}", located.name))
    }

    fn map(places: &SearchPath, located: &Located) -> anyhow::Result<Self> {
        let [train_images, train_labels, test_images, test_labels] = places.unpack(located)?;
        let masks = MASK_FILES.map(|file| Some(located.folder.join(file)).filter(|path| path.exists()));
        let train = Split::open(&train_images, &train_labels, masks[0].as_deref())?;
        let test = Split::open(&test_images, &test_labels, masks[1].as_deref())?;
        ensure!(
            train.has_masks() == test.has_masks(),
            "{}: only one of {} is there; generate the set again",
            located.folder.display(),
            MASK_FILES.join(", ")
        );
        let (rows, cols) = (train.rows(), train.cols());
        ensure!(
            (test.rows(), test.cols()) == (rows, cols),
            "{}: images of {}x{}, expected {rows}x{cols} as in {}; take both from the same data set",
            test_images.display(),
            test.rows(),
            test.cols(),
            train_images.display()
        );
        if published(&located.name).is_some() {
            check_labels(&train)?;
            check_labels(&test)?;
        }
        let largest = train.labels().iter().chain(test.labels()).max().copied().unwrap_or(0);
        let classes = (usize::from(largest) + 1).max(2);
        Ok(Self { name: located.name.clone(), train, test, rows, cols, classes })
    }

    /// The majority problem of these halves, with its default seed; nothing is copied.
    ///
    /// # Errors
    /// If it cannot be drawn from this set.
    pub fn majority(&self) -> anyhow::Result<Self> {
        let [train, test] = maj::majority(&[self.train.clone(), self.test.clone()], maj::DEFAULT_SEED)
            .with_context(|| self.name.clone())?;
        let (rows, cols) = (train.rows(), train.cols());
        let name = format!("{}{}", self.name, maj::SUFFIX);
        Ok(Self { name, train, test, rows, cols, classes: self.classes })
    }

    /// As [`Split::unchanged`], of both halves.
    ///
    /// # Errors
    /// If a file was modified or truncated since.
    pub fn unchanged(&self) -> anyhow::Result<()> {
        self.train.unchanged()?;
        self.test.unchanged()
    }

    /// Checksums of the four unpacked files; reads them whole.
    pub fn sha256(&self) -> DataSha256 {
        DataSha256 { train: self.train.sha256(), test: self.test.sha256() }
    }

    /// Whether this is the published set `name`, by its labels, not by its name.
    pub fn is_published(&self, name: &str) -> bool {
        published(name).is_some_and(|files| {
            let is =
                |half: &Split, i: usize| files[i].sha256 == half.label_bytes().map(hash::sha256).as_deref();
            is(&self.test, 3) && is(&self.train, 1)
        })
    }
}

/// The number of classes of every known data set; for other sets it follows from the labels.
const CLASSES: u8 = 10;

fn check_labels(half: &Split) -> anyhow::Result<()> {
    let Some(i) = half.labels().iter().position(|&label| label >= CLASSES) else { return Ok(()) };
    bail!(
        "{}: label {i} is {}, expected 0 to {}; the file is damaged, fetch it again",
        half.labels_path().display(),
        half.label(i),
        CLASSES - 1
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dataset::files::FILES;

    /// Images of `size`×1 pixels, as many as there are `labels`.
    fn write_half(dir: &Path, files: [&str; 2], size: u32, labels: &[u8]) {
        let n = (labels.len() as u32).to_be_bytes();
        let images = [
            &[0, 0, 8, 3][..],
            &n,
            &size.to_be_bytes(),
            &[0, 0, 0, 1],
            &vec![7; size as usize * labels.len()],
        ];
        std::fs::write(dir.join(files[0]), images.concat()).unwrap();
        std::fs::write(dir.join(files[1]), [&[0, 0, 8, 1][..], &n, labels].concat()).unwrap();
    }

    fn complaint(root: &Path) -> String {
        let message = format!("{:#}", Dataset::open("tiny", Some(root)).unwrap_err());
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn a_data_set_opens_with_its_sizes() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("tiny");
        std::fs::create_dir(&dir).unwrap();
        write_half(&dir, [FILES[0], FILES[1]], 3, &[0, 1, 4]);
        write_half(&dir, [FILES[2], FILES[3]], 3, &[6, 2]);
        let set = Dataset::open("tiny", Some(root.path())).unwrap();
        assert_eq!((set.rows, set.cols, set.classes, set.name.as_str()), (3, 1, 7, "tiny"));
        assert_eq!((set.train.len(), set.test.len(), set.train.label(2)), (3, 2, 4));
        assert_eq!(*set.train.image(2), [7, 7, 7]);
        assert!(!set.is_published("mnist") && !set.train.is_empty());
        assert_eq!(set.test.sha256().labels, hash::sha256(&[0, 0, 8, 1, 0, 0, 0, 2, 6, 2]));
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&set);
    }

    #[test]
    fn halves_of_different_shapes_are_errors() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("tiny");
        std::fs::create_dir(&dir).unwrap();
        write_half(&dir, [FILES[0], FILES[1]], 3, &[0, 1]);
        write_half(&dir, [FILES[2], FILES[3]], 4, &[0]);
        assert!(complaint(root.path()).contains("images of 4x1, expected 3x1"));
        write_half(&dir, [FILES[2], FILES[3]], 3, &[0]);
        std::fs::write(dir.join(FILES[3]), [0, 0, 8, 1, 0, 0, 0, 2, 0, 0]).unwrap();
        assert!(complaint(root.path()).contains("2 labels, expected 1"));
    }

    #[test]
    fn the_synthetic_set_opens_and_is_not_mnist() {
        let root = tempfile::tempdir().unwrap();
        crate::dataset::synth::write(&root.path().join("synth"), 3, 200, 50).unwrap();
        let set = Dataset::open("synth", Some(root.path())).unwrap();
        assert_eq!((set.rows, set.cols, set.classes, set.train.len()), (28, 28, 10, 200));
        assert!(!set.is_published("mnist"));
    }
}

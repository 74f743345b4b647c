//! One half of a data set.

use crate::io::hash;
use crate::io::idx::{Idx, Kind};
use anyhow::ensure;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// One half of a data set, memory-mapped; a clone shares the mapping.
///
/// If a file is truncated while it is open, the process ends with an error message, see [`crate::io::map`].
#[derive(Clone, Debug)]
pub struct Split {
    images: Arc<Idx>,
    labels: Arc<Idx>,
}

/// SHA-256 of the two unpacked files of a [`Split`], in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitSha256 {
    /// Of the file of images.
    pub images: String,
    /// Of the file of labels.
    pub labels: String,
}

impl Split {
    /// Maps two unpacked files and checks that they belong together.
    ///
    /// # Errors
    /// As [`Idx::open`]; or if the numbers of images and labels differ.
    pub fn open(images: &Path, labels: &Path) -> anyhow::Result<Self> {
        let images = Idx::open(images, Kind::Images)?;
        let labels = Idx::open(labels, Kind::Labels)?;
        let (n_images, n_labels) = (images.header().count, labels.header().count);
        ensure!(
            n_images == n_labels,
            "{}: {n_labels} labels, expected {n_images} as {} has that many images; take both from the same data set",
            labels.path().display(),
            images.path().display()
        );
        Ok(Self { images: Arc::new(images), labels: Arc::new(labels) })
    }

    /// Number of samples, at least 1.
    pub fn len(&self) -> usize {
        self.images.header().count
    }

    /// Always false: an empty half is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height of an image.
    pub fn rows(&self) -> usize {
        self.images.header().rows
    }

    /// Width of an image.
    pub fn cols(&self) -> usize {
        self.images.header().cols
    }

    /// Pixels of sample `i`, `[rows, cols]`.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn image(&self, i: usize) -> &[u8] {
        let pixels = self.rows() * self.cols();
        &self.images.items()[i * pixels..][..pixels]
    }

    /// Class of sample `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn label(&self, i: usize) -> u8 {
        self.labels()[i]
    }

    /// Classes of all samples.
    pub fn labels(&self) -> &[u8] {
        self.labels.items()
    }

    /// The whole file of labels.
    pub(super) fn label_bytes(&self) -> &[u8] {
        self.labels.bytes()
    }

    /// Path of the images.
    pub fn images_path(&self) -> &Path {
        self.images.path()
    }

    /// Path of the labels.
    pub fn labels_path(&self) -> &Path {
        self.labels.path()
    }

    /// Checks that neither file has changed since it was opened, so that results are valid.
    ///
    /// # Errors
    /// If one was modified or truncated since.
    pub fn unchanged(&self) -> anyhow::Result<()> {
        self.images.unchanged()?;
        self.labels.unchanged()
    }

    /// Checksums of the two unpacked files; reads them whole.
    pub fn sha256(&self) -> SplitSha256 {
        SplitSha256 { images: hash::sha256(self.images.bytes()), labels: hash::sha256(self.labels.bytes()) }
    }
}

//! One half of a data set: mapped files, or samples put together from images of other splits.

use super::files::BLOCKS;
use crate::io::hash;
use crate::io::idx::{IMAGES_MAGIC, Idx, Kind, LABELS_MAGIC};
use anyhow::ensure;
use serde::Serialize;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// One half of a data set; a clone shares the mapping.
///
/// If a file is truncated while it is open, the process ends with an error message, see [`crate::io::map`].
#[derive(Clone, Debug)]
pub struct Split(Arc<Content>);

#[derive(Debug)]
enum Content {
    Files(Box<Files>),
    Composed(Composed),
}

/// The mapped files of a half; only a majority problem has masks.
#[derive(Debug)]
struct Files {
    images: Idx,
    labels: Idx,
    masks: Option<Idx>,
}

/// Samples put together from images of other splits; no pixel is copied before it is read.
#[derive(Debug)]
struct Composed {
    parts: Vec<Split>,
    composition: Composition,
}

/// Which images a composed split shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    /// Images side by side in a sample.
    pub blocks: usize,
    /// `[N, blocks]`: images of all parts, counted from the first part on.
    pub sources: Vec<u32>,
    /// `[N]`: class of each sample.
    pub labels: Vec<u8>,
    /// `[N]`: which blocks hold the majority; empty for other problems.
    pub masks: Vec<[bool; BLOCKS]>,
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
    /// Maps unpacked files and checks that they belong together; a majority problem has `masks`.
    ///
    /// # Errors
    /// As [`Idx::open`]; or if the numbers of images, labels and masks differ, or a mask does not mark two of three blocks.
    pub fn open(images: &Path, labels: &Path, masks: Option<&Path>) -> anyhow::Result<Self> {
        let images = Idx::open(images, Kind::Images)?;
        let labels = Idx::open(labels, Kind::Labels)?;
        let masks = masks.map(|path| Idx::open(path, Kind::Masks)).transpose()?;
        let n_images = images.header().count;
        for (file, what) in [(Some(&labels), "labels"), (masks.as_ref(), "masks")] {
            let Some(file) = file else { continue };
            let found = file.header().count;
            ensure!(
                found == n_images,
                "{}: {found} {what}, expected {n_images} as {} has that many images; take both from the same data set",
                file.path().display(),
                images.path().display()
            );
        }
        if let Some(masks) = &masks {
            let (name, blocks, cols) = (masks.path().display(), masks.header().cols, images.header().cols);
            ensure!(blocks == BLOCKS, "{name}: masks of {blocks} blocks, expected {BLOCKS}");
            ensure!(
                cols.is_multiple_of(BLOCKS),
                "{}: images of {cols} columns are not {BLOCKS} blocks of equal width, as {name} says",
                images.path().display()
            );
            let wrong = masks.items().chunks_exact(BLOCKS).position(|mask| {
                mask.iter().any(|&bit| bit > 1)
                    || mask.iter().map(|&bit| usize::from(bit)).sum::<usize>() != 2
            });
            if let Some(i) = wrong {
                anyhow::bail!(
                    "{name}: mask {i} does not mark two blocks out of three; generate the set again"
                );
            }
        }
        Ok(Self(Arc::new(Content::Files(Box::new(Files { images, labels, masks })))))
    }

    /// Puts samples together from images of `parts`, which have one size. Nothing is copied.
    ///
    /// # Panics
    /// If the parts differ in size or there are none, or the lengths of the composition do not agree.
    pub(super) fn compose(parts: &[Split], composition: Composition) -> Self {
        let size = |split: &Split| (split.rows(), split.cols());
        assert!(parts.iter().all(|part| size(part) == size(&parts[0])), "parts of several image sizes");
        let Composition { blocks, sources, labels, masks } = &composition;
        assert_eq!(sources.len(), labels.len() * blocks, "one label to {blocks} images");
        assert!(masks.is_empty() || masks.len() == labels.len(), "{} masks", masks.len());
        let total: usize = parts.iter().map(Split::len).sum();
        assert!(sources.iter().all(|&source| (source as usize) < total), "an image beyond {total}");
        Self(Arc::new(Content::Composed(Composed { parts: parts.to_vec(), composition })))
    }

    /// Number of samples, at least 1.
    pub fn len(&self) -> usize {
        self.labels().len()
    }

    /// Always false: an empty half is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height of an image.
    pub fn rows(&self) -> usize {
        match &*self.0 {
            Content::Files(files) => files.images.header().rows,
            Content::Composed(composed) => composed.parts[0].rows(),
        }
    }

    /// Width of an image.
    pub fn cols(&self) -> usize {
        match &*self.0 {
            Content::Files(files) => files.images.header().cols,
            Content::Composed(composed) => composed.parts[0].cols() * composed.composition.blocks,
        }
    }

    /// Pixels of sample `i`, `[rows, cols]`.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn image(&self, i: usize) -> Cow<'_, [u8]> {
        match &*self.0 {
            Content::Files(files) => {
                let pixels = files.images.header().rows * files.images.header().cols;
                Cow::Borrowed(&files.images.items()[i * pixels..][..pixels])
            }
            Content::Composed(_) => {
                let mut image = vec![0; self.rows() * self.cols()];
                self.runs(i, |at, bytes| image[at..at + bytes.len()].copy_from_slice(bytes));
                Cow::Owned(image)
            }
        }
    }

    /// Calls `visit` with each run of pixels of sample `i` that lies together in memory, and with its place in the image.
    /// The order is that of the sources, not of the image.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn runs(&self, i: usize, mut visit: impl FnMut(usize, &[u8])) {
        let Content::Composed(Composed { parts, composition }) = &*self.0 else {
            return visit(0, &self.image(i));
        };
        let (cols, blocks) = (parts[0].cols(), composition.blocks);
        for (block, &source) in composition.sources[i * blocks..][..blocks].iter().enumerate() {
            let (part, at) = part_of(parts, source as usize);
            let image = part.image(at);
            for (row, pixels) in image.chunks_exact(cols).enumerate() {
                visit((row * blocks + block) * cols, pixels);
            }
        }
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
        match &*self.0 {
            Content::Files(files) => files.labels.items(),
            Content::Composed(composed) => &composed.composition.labels,
        }
    }

    /// Which blocks of sample `i` hold its majority; none if this is no majority problem.
    ///
    /// # Panics
    /// If `i` is not below [`Split::len`].
    pub fn mask(&self, i: usize) -> Option<[bool; BLOCKS]> {
        match &*self.0 {
            Content::Files(files) => files.masks.as_ref().map(|masks| {
                let mask = &masks.items()[i * BLOCKS..][..BLOCKS];
                std::array::from_fn(|block| mask[block] == 1)
            }),
            Content::Composed(Composed { composition, .. }) if composition.masks.is_empty() => None,
            Content::Composed(Composed { composition, .. }) => Some(composition.masks[i]),
        }
    }

    /// Whether this is a majority problem, which has masks.
    pub fn has_masks(&self) -> bool {
        self.mask(0).is_some()
    }

    /// Which images a composed split shows; none of mapped files.
    pub fn composition(&self) -> Option<&Composition> {
        match &*self.0 {
            Content::Files(_) => None,
            Content::Composed(composed) => Some(&composed.composition),
        }
    }

    /// The whole file of labels, if there is one and it labels single images.
    pub(super) fn label_bytes(&self) -> Option<&[u8]> {
        match &*self.0 {
            Content::Files(files) if files.masks.is_none() => Some(files.labels.bytes()),
            Content::Files(_) | Content::Composed(_) => None,
        }
    }

    /// Path of the labels; of a composed split, that of its first part.
    pub fn labels_path(&self) -> &Path {
        match &*self.0 {
            Content::Files(files) => files.labels.path(),
            Content::Composed(composed) => composed.parts[0].labels_path(),
        }
    }

    /// Checks that no file has changed since it was opened, so that results are valid.
    ///
    /// # Errors
    /// If one was modified or truncated since.
    pub fn unchanged(&self) -> anyhow::Result<()> {
        match &*self.0 {
            Content::Files(files) => {
                files.images.unchanged()?;
                files.labels.unchanged()?;
                files.masks.as_ref().map_or(Ok(()), Idx::unchanged)
            }
            Content::Composed(composed) => composed.parts.iter().try_for_each(Split::unchanged),
        }
    }

    /// Checksums of the two unpacked files, reading them whole; of a composed split, those of the files that would hold it.
    pub fn sha256(&self) -> SplitSha256 {
        match &*self.0 {
            Content::Files(files) => SplitSha256 {
                images: hash::sha256(files.images.bytes()),
                labels: hash::sha256(files.labels.bytes()),
            },
            Content::Composed(_) => SplitSha256 {
                images: hash::sha256_of(|put| {
                    put(&self.images_header());
                    (0..self.len()).for_each(|i| put(&self.image(i)));
                }),
                labels: hash::sha256_of(|put| {
                    put(&self.labels_header());
                    put(self.labels());
                }),
            },
        }
    }

    /// First bytes of the IDX file of images that holds this split.
    pub(super) fn images_header(&self) -> Vec<u8> {
        [IMAGES_MAGIC, self.len() as u32, self.rows() as u32, self.cols() as u32]
            .map(u32::to_be_bytes)
            .concat()
    }

    /// First bytes of the IDX file of labels that holds this split.
    pub(super) fn labels_header(&self) -> Vec<u8> {
        [LABELS_MAGIC, self.len() as u32].map(u32::to_be_bytes).concat()
    }
}

/// The part that holds image `at` of all parts, and its place in that part.
fn part_of(parts: &[Split], mut at: usize) -> (&Split, usize) {
    for part in parts {
        if at < part.len() {
            return (part, at);
        }
        at -= part.len();
    }
    unreachable!("`Split::compose` refuses sources beyond the last part")
}

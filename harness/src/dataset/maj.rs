//! The majority problem: two images of one class and one of another, side by side in random order.
//!
//! The class of the two is the label; a mask marks their positions. Each sample of a split yields one sample:
//! itself, one more of its class and one of another class, both drawn with replacement from the same split.
//!
//! Every sample has its own generator, seeded by (seed, split, index), so the bytes depend on neither the number of threads
//! nor the machine.

use super::files::{BLOCKS, FILES, MASK_FILES};
use super::split::{Composition, Split};
use super::synth::Random;
use crate::io::atomic::AtomicFile;
use crate::io::folder;
use crate::io::idx::MASKS_MAGIC;
use anyhow::{Context, bail, ensure};
use std::io::Write;
use std::path::Path;

/// The suffix of a majority problem's name, after the name of its base set.
pub const SUFFIX: &str = "-maj";
/// The default seed.
pub const DEFAULT_SEED: u64 = 1;

/// The split that is drawn; it distinguishes the generators. 0 to 15 are used elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Of the training half.
    Train,
    /// Of the test half.
    Test,
    /// Of the training part of a fold.
    FoldTrain(usize),
    /// Of the test part of a fold.
    FoldTest(usize),
}

impl Part {
    fn purpose(self) -> u64 {
        match self {
            Part::Train => 16,
            Part::Test => 17,
            Part::FoldTrain(fold) => 32 + 2 * fold as u64,
            Part::FoldTest(fold) => 33 + 2 * fold as u64,
        }
    }
}

/// The orders of three images.
const ORDERS: [[usize; BLOCKS]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Draws one sample of the majority problem from each of `members`, whose images are all members.
///
/// - `labels` class of every image, of which `members` are indices
///
/// # Errors
/// If the members are all of one class.
pub fn draw(labels: &[u8], members: &[u32], seed: u64, part: Part) -> anyhow::Result<Composition> {
    let mut by_class = members.to_vec();
    by_class.sort_by_key(|&i| labels[i as usize]);
    let mut range_of = [(0, 0); 256];
    let mut from = 0;
    for equals in by_class.chunk_by(|&i, &j| labels[i as usize] == labels[j as usize]) {
        range_of[usize::from(labels[equals[0] as usize])] = (from, from + equals.len());
        from += equals.len();
    }
    let mut found = Composition { blocks: BLOCKS, ..Composition::default() };
    for (index, &own) in members.iter().enumerate() {
        let label = labels[own as usize];
        let (start, end) = range_of[usize::from(label)];
        let others = by_class.len() - (end - start);
        ensure!(
            others > 0,
            "all {} samples have class {label}; the majority problem needs a second class",
            members.len()
        );
        let mut random = Random::new(seed, part.purpose(), index as u64);
        let same = by_class[start + random.below((end - start) as u64) as usize];
        let at = random.below(others as u64) as usize;
        let other = by_class[if at < start { at } else { at + (end - start) }];
        let order = ORDERS[random.below(ORDERS.len() as u64) as usize];
        let images = [own, same, other];
        found.sources.extend(order.map(|image| images[image]));
        found.labels.push(label);
        // The third of the images is the one of another class.
        found.masks.push(order.map(|image| image != 2));
    }
    Ok(found)
}

/// The majority problem of a training and a test half, each drawn from its own images.
///
/// # Errors
/// If a half has one class only, is a majority problem already, or is too wide for an IDX header.
pub fn majority(halves: &[Split; 2], seed: u64) -> anyhow::Result<[Split; 2]> {
    let of = |half: &Split, part: Part, name: &str| {
        check(half)?;
        let members: Vec<u32> = (0..half.len() as u32).collect();
        let composition =
            draw(half.labels(), &members, seed, part).with_context(|| format!("{name} half"))?;
        Ok::<Split, anyhow::Error>(Split::compose(std::slice::from_ref(half), composition))
    };
    Ok([of(&halves[0], Part::Train, "training")?, of(&halves[1], Part::Test, "test")?])
}

/// Checks that these images can be the base of a majority problem.
pub(super) fn check(half: &Split) -> anyhow::Result<()> {
    ensure!(!half.has_masks(), "the set is a majority problem already; name the set of single images");
    let cols = half.cols().checked_mul(BLOCKS).filter(|&cols| u32::try_from(cols).is_ok());
    ensure!(cols.is_some(), "three images of {} columns are too wide for an IDX file", half.cols());
    Ok(())
}

/// Writes a training and a test half into `folder`: four IDX files and two of masks.
///
/// All files are written before the first is renamed, so an error leaves the earlier files unchanged and no
/// new ones.
///
/// # Errors
/// If a half has no masks, or a file cannot be written.
pub fn write(folder: &Path, halves: &[Split; 2]) -> anyhow::Result<()> {
    ensure!(halves.iter().all(Split::has_masks), "a half of the majority problem lacks its masks");
    folder::create(folder)?;
    let folder_in_the_way =
        FILES.iter().chain(&MASK_FILES).map(|file| folder.join(file)).find(|path| path.is_dir());
    if let Some(path) = folder_in_the_way {
        bail!("{}: is a folder, expected a file or none; remove it or choose another folder", path.display());
    }
    let mut drafts = Vec::new();
    let mut put = |name: &str, pieces: &mut dyn Iterator<Item = Vec<u8>>| {
        let path = folder.join(name);
        let mut draft = AtomicFile::open(&path)?;
        for piece in pieces {
            draft.write_all(&piece).with_context(|| AtomicFile::unfinished(&path))?;
        }
        drafts.push(draft);
        anyhow::Ok(())
    };
    for (half, i) in halves.iter().zip([0, 1]) {
        let images = (0..half.len()).map(|sample| half.image(sample).into_owned());
        put(FILES[2 * i], &mut std::iter::once(half.images_header()).chain(images))?;
        put(FILES[2 * i + 1], &mut [half.labels_header(), half.labels().to_vec()].into_iter())?;
        let header = [MASKS_MAGIC, half.len() as u32, BLOCKS as u32].map(u32::to_be_bytes).concat();
        let masks = (0..half.len()).filter_map(|sample| half.mask(sample)).flatten().map(u8::from).collect();
        put(MASK_FILES[i], &mut [header, masks].into_iter())?;
    }
    drafts.into_iter().try_for_each(AtomicFile::commit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;
    use crate::dataset::synth;
    use crate::io::hash::sha256;
    use std::collections::HashSet;
    use std::fs;

    /// A set of `rows`×`cols` images whose pixels encode their sample, half and position.
    fn write_set(folder: &Path, rows: u32, cols: u32, labels: [&[u8]; 2]) {
        fs::create_dir_all(folder).unwrap();
        for (half, labels) in labels.into_iter().enumerate() {
            let n = labels.len() as u32;
            let pixels = (0..n * rows * cols).map(|i| (i * 7 + i / 256 + half as u32 * 101) as u8);
            let header = [0x803, n, rows, cols].map(u32::to_be_bytes).concat();
            fs::write(folder.join(FILES[2 * half]), header.into_iter().chain(pixels).collect::<Vec<u8>>())
                .unwrap();
            let header = [0x801, n].map(u32::to_be_bytes).concat();
            fs::write(folder.join(FILES[2 * half + 1]), [&header[..], labels].concat()).unwrap();
        }
    }

    fn digits(folder: &Path, train: usize, test: usize) -> Dataset {
        synth::write(folder, 5, train, test).unwrap();
        Dataset::open_folder(folder).unwrap()
    }

    fn bytes(folder: &Path) -> Vec<Vec<u8>> {
        FILES.iter().chain(&MASK_FILES).map(|file| fs::read(folder.join(file)).unwrap()).collect()
    }

    /// Block `block` of a sample, as a plain image.
    fn block_of(image: &[u8], cols: usize, block: usize) -> Vec<u8> {
        image.chunks_exact(BLOCKS * cols).flat_map(|row| row[block * cols..][..cols].to_vec()).collect()
    }

    #[test]
    fn each_sample_holds_two_of_its_class_and_one_of_another_from_its_own_half() {
        let dir = tempfile::tempdir().unwrap();
        let base = digits(&dir.path().join("digits"), 300, 80);
        let halves = [base.train.clone(), base.test.clone()];
        for (half, maj) in halves.iter().zip(majority(&halves, 3).unwrap()) {
            let composition = maj.composition().unwrap().clone();
            assert_eq!((maj.len(), maj.rows(), maj.cols()), (half.len(), 28, 84));
            assert_eq!(maj.labels(), half.labels());
            for i in 0..maj.len() {
                let mask = maj.mask(i).unwrap();
                assert_eq!(mask.iter().filter(|&&bit| bit).count(), 2);
                let sources = &composition.sources[i * BLOCKS..][..BLOCKS];
                for (block, &source) in sources.iter().enumerate() {
                    assert_eq!(half.label(source as usize) == maj.label(i), mask[block]);
                    assert_eq!(block_of(&maj.image(i), 28, block), *half.image(source as usize));
                }
                let own = (0..BLOCKS).any(|block| mask[block] && sources[block] == i as u32);
                assert!(own, "sample {i} does not hold itself");
            }
        }
    }

    #[test]
    fn places_partners_and_other_classes_are_drawn_uniformly() {
        let labels: Vec<u8> = (0..6000).map(|i| (i % 10) as u8).collect();
        let members: Vec<u32> = (0..6000).collect();
        let found = draw(&labels, &members, 1, Part::Train).unwrap();
        for block in 0..BLOCKS {
            let minority = found.masks.iter().filter(|mask| !mask[block]).count();
            assert!((1850..2150).contains(&minority), "block {block}: {minority}");
            let own = (0..6000).filter(|&i| found.sources[i * BLOCKS + block] == i as u32).count();
            assert!((1850..2150).contains(&own), "block {block}: {own}");
        }
        let others = found.masks.iter().enumerate().map(|(i, mask)| {
            let block = mask.iter().position(|&bit| !bit).unwrap();
            usize::from(labels[found.sources[i * BLOCKS + block] as usize])
        });
        let counts = others.fold([0; 10], |mut counts, class| {
            counts[class] += 1;
            counts
        });
        assert!(counts.iter().all(|count| (520..680).contains(count)), "{counts:?}");
        let distinct: HashSet<u32> = found.sources.iter().copied().collect();
        assert_eq!(distinct.len(), 6000);
    }

    #[test]
    fn a_seed_has_one_set_of_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let base = digits(&dir.path().join("digits"), 60, 30);
        let halves = [base.train.clone(), base.test.clone()];
        let of = |seed: u64, name: &str| {
            let folder = dir.path().join(name);
            write(&folder, &majority(&halves, seed).unwrap()).unwrap();
            bytes(&folder)
        };
        let first = of(1, "a");
        assert_eq!(first, of(1, "b"));
        let other = of(2, "c");
        assert_ne!(first[0], other[0]);
        assert_eq!(first[1], other[1], "labels are those of the base");
        assert_eq!(sha256(&first.concat()), GOLDEN, "the samples of a seed must never change");
    }

    const GOLDEN: &str = "0ede3806ede89e1d29a3c93dca1b2cb7d13852c9026ac872b3a14ad028ba35bf";

    #[test]
    fn a_written_set_opens_with_the_same_content() {
        let dir = tempfile::tempdir().unwrap();
        // Neither square nor 28 columns wide.
        write_set(&dir.path().join("narrow"), 4, 5, [&[0, 1, 1, 3, 0, 3], &[1, 0, 0, 3]]);
        let base = Dataset::open_folder(&dir.path().join("narrow")).unwrap();
        let drawn = majority(&[base.train, base.test], 9).unwrap();
        write(&dir.path().join("narrow-maj"), &drawn).unwrap();
        let opened = Dataset::open("narrow-maj", Some(dir.path())).unwrap();
        assert_eq!(
            (opened.rows, opened.cols, opened.classes, opened.name.as_str()),
            (4, 15, 4, "narrow-maj")
        );
        for (written, found) in drawn.iter().zip([&opened.train, &opened.test]) {
            assert_eq!(written.sha256(), found.sha256());
            assert!(found.composition().is_none() && found.has_masks());
            for i in 0..found.len() {
                assert_eq!(written.image(i), found.image(i));
                assert_eq!(written.mask(i), found.mask(i));
            }
        }
    }

    #[test]
    fn sets_that_cannot_be_a_base_are_refused_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        write_set(&path("one-class"), 2, 2, [&[0, 1], &[4, 4, 4]]);
        write_set(&path("fine"), 2, 2, [&[0, 1], &[1, 0]]);
        let halves = |name: &str| Dataset::open_folder(&path(name)).map(|set| [set.train, set.test]);
        let message = format!("{:#}", majority(&halves("one-class").unwrap(), 1).unwrap_err());
        assert_eq!(
            message,
            "test half: all 3 samples have class 4; the majority problem needs a second class"
        );
        let drawn = majority(&halves("fine").unwrap(), 1).unwrap();
        let message = majority(&drawn, 1).unwrap_err().to_string();
        assert!(message.contains("a majority problem already"), "{message}");
        fs::remove_file(path("fine").join(FILES[1])).unwrap();
        let message = format!("{:#}", halves("fine").unwrap_err());
        assert!(message.contains("lacks train-labels-idx1-ubyte"), "{message}");
        let message = format!("{:#}", halves("nowhere").unwrap_err());
        assert!(message.contains("nowhere: no such folder"), "{message}");
        // There is a folder at the path of the last file: nothing is replaced.
        fs::create_dir_all(path("out").join(MASK_FILES[1]).join("x")).unwrap();
        let message = write(&path("out"), &drawn).unwrap_err().to_string();
        assert!(message.contains("is a folder"), "{message}");
        let left: Vec<_> =
            fs::read_dir(path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [MASK_FILES[1]]);
    }

    #[test]
    fn a_mask_file_that_does_not_fit_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let base = digits(&dir.path().join("digits"), 20, 10);
        let out = dir.path().join("out");
        write(&out, &majority(&[base.train, base.test], 1).unwrap()).unwrap();
        let path = out.join(MASK_FILES[0]);
        let sound = fs::read(&path).unwrap();
        let complaint = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            format!("{:#}", Dataset::open_folder(&out).unwrap_err())
        };
        let with = |at: usize, byte: u8| {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            bytes
        };
        let blank = [&sound[..12], &[0; 60]].concat();
        assert!(complaint(&blank).contains("mask 0 does not mark two blocks"));
        assert!(complaint(&with(12, 7)).contains("mask 0"));
        assert!(complaint(&with(3, 1)).contains("found magic"));
        assert!(complaint(&with(7, 19)).contains("72 bytes, expected 69"));
        assert!(
            complaint(&[&[0, 0, 8, 2, 0, 0, 0, 19, 0, 0, 0, 3], &sound[12..69]].concat())
                .contains("19 masks")
        );
        let two = [&[0, 0, 8, 2, 0, 0, 0, 20, 0, 0, 0, 2], &[1; 40][..]].concat();
        assert!(complaint(&two).contains("masks of 2 blocks"));
        fs::remove_file(&path).unwrap();
        let message = format!("{:#}", Dataset::open_folder(&out).unwrap_err());
        assert!(message.contains("only one of"), "{message}");
    }
}

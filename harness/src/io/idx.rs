//! IDX files: a magic number, big-endian sizes, then plain bytes.
//!
//! ```text
//! images  00 00 08 03 · count · rows · cols · count × rows × cols pixels
//! labels  00 00 08 01 · count ·               count labels
//! masks   00 00 08 02 · count · blocks ·      count × blocks bytes, 0 or 1
//! ```
//! The third byte is the type of the items: bytes, or integers of another width whose values fit into a byte.
//!
//! A header may claim anything, so nothing is mapped before the claim equals the size of the file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::map::Map;
use anyhow::{Context, bail, ensure};

/// First word of a file of images: bytes in three dimensions.
pub const IMAGES_MAGIC: u32 = 0x803;
/// First word of a file of labels: bytes in one dimension.
pub const LABELS_MAGIC: u32 = 0x801;
/// First word of a file of masks: bytes in two dimensions.
pub const MASKS_MAGIC: u32 = 0x802;

/// Whether a file that starts with these bytes holds images or labels.
pub fn is_images_or_labels(start: &[u8]) -> bool {
    matches!(start, [0, 0, 0x08..=0x0e, 1 | 3])
}

/// The content of an IDX file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `count × rows × cols` pixels.
    Images,
    /// `count` class numbers.
    Labels,
    /// `count × blocks` bytes, 1 where a block holds the majority.
    Masks,
}

impl Kind {
    fn magic(self) -> u32 {
        match self {
            Self::Images => IMAGES_MAGIC,
            Self::Labels => LABELS_MAGIC,
            Self::Masks => MASKS_MAGIC,
        }
    }

    fn header_len(self) -> usize {
        match self {
            Self::Images => 16,
            Self::Labels => 8,
            Self::Masks => 12,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Labels => "labels",
            Self::Masks => "masks",
        }
    }
}

/// The type of the items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Bytes.
    U8,
    /// Signed bytes.
    I8,
    /// 16 bits, signed.
    I16,
    /// 32 bits, signed.
    I32,
}

impl Type {
    /// The type of this number in a header, if it is an integer.
    fn of(number: u8) -> Option<Type> {
        Some(match number {
            0x08 => Type::U8,
            0x09 => Type::I8,
            0x0b => Type::I16,
            0x0c => Type::I32,
            _ => return None,
        })
    }

    fn width(self) -> usize {
        match self {
            Type::U8 | Type::I8 => 1,
            Type::I16 => 2,
            Type::I32 => 4,
        }
    }

    /// An item as a number.
    fn value(self, bytes: &[u8]) -> i64 {
        let number = bytes.iter().fold(0i64, |number, &byte| number << 8 | i64::from(byte));
        match self {
            Type::U8 => number,
            Type::I8 => i64::from(number as i8),
            Type::I16 => i64::from(number as i16),
            Type::I32 => i64::from(number as i32),
        }
    }
}

/// The sizes a file claims; `rows` and `cols` are 1 for labels, 1 and the number of blocks for masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of content.
    pub kind: Kind,
    /// The type of its items.
    pub items: Type,
    /// How many items.
    pub count: usize,
    /// Height of an image.
    pub rows: usize,
    /// Width of an image.
    pub cols: usize,
    /// Size of the whole file in bytes, header included.
    pub file_len: u64,
}

impl Header {
    /// Reads the header of a `kind` file from the start of `source`; `path` is named in errors.
    ///
    /// # Errors
    /// If it is truncated, of another kind, empty, or claims an impossible size.
    pub fn read(source: impl Read, kind: Kind, path: &Path) -> anyhow::Result<Self> {
        let (file, what, need) = (path.display(), kind.name(), kind.header_len());
        let mut bytes = Vec::with_capacity(need);
        let read = source.take(need as u64).read_to_end(&mut bytes);
        let got = read.with_context(|| format!("{file}: cannot read the IDX header"))?;
        ensure!(
            got == need,
            "{file}: {got} bytes, but the header of an IDX file of {what} has {need}; fetch or unpack the file again"
        );
        let word =
            |i: usize| bytes[4 * i..4 * i + 4].iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
        let integers = Type::of(bytes[2]).filter(|_| word(0) & !0xff00 == kind.magic() & !0xff00);
        match (word(0), kind) {
            _ if integers.is_some() => {}
            (magic, _) if magic >> 16 == 0x1f8b => {
                bail!("{file}: is compressed by gzip; rename it to {file}.gz")
            }
            (0x0d01..=0x0eff, _) => bail!(
                "{file}: holds floating-point numbers, expected IDX {what} of integers from 0 to 255; convert it: `a.astype('uint8')`"
            ),
            (0x0801..=0x0cff, Kind::Labels) if bytes[3] == 2 => bail!(
                "{file}: has several numbers a sample, expected one label; keep the column of the classes: `a[:, 0].astype('uint8')`"
            ),
            (LABELS_MAGIC, Kind::Images) | (IMAGES_MAGIC, Kind::Labels) => bail!(
                "{file}: found magic {:#05x}, expected {:#05x} ({what}); images and labels seem swapped, rename the files",
                word(0),
                kind.magic()
            ),
            (magic, kind) => bail!(
                "{file}: found magic {magic:#010x}, expected {:#05x} (IDX {what} of bytes); this is another kind of file",
                kind.magic()
            ),
        }
        let (rows, cols) = match kind {
            Kind::Images => (word(2), word(3)),
            Kind::Labels => (1, 1),
            Kind::Masks => (1, word(2)),
        };
        let count = word(1);
        ensure!(
            count > 0 && rows > 0 && cols > 0,
            "{file}: empty ({count} items of {rows}x{cols}); a data set needs at least one sample in each half"
        );
        let items = integers.unwrap_or(Type::U8);
        let content = u64::from(count).checked_mul(u64::from(rows) * u64::from(cols));
        let content = content.and_then(|n| n.checked_mul(items.width() as u64));
        let file_len =
            content.and_then(|n| n.checked_add(need as u64)).filter(|&n| isize::try_from(n).is_ok());
        let Some(file_len) = file_len else {
            bail!(
                "{file}: claims {count} items of {rows}x{cols}, more than any file holds; the header is damaged, fetch it again"
            );
        };
        Ok(Self { kind, items, count: count as usize, rows: rows as usize, cols: cols as usize, file_len })
    }
}

/// Integers as bytes.
fn converted(content: &[u8], items: Type, path: &Path) -> anyhow::Result<Vec<u8>> {
    let byte = |(i, bytes)| {
        let value = items.value(bytes);
        u8::try_from(value).ok().with_context(|| {
            format!(
                "{}: item {i} is {value}, expected integers from 0 to 255; convert or leave out such samples",
                path.display()
            )
        })
    };
    content.chunks_exact(items.width()).enumerate().map(byte).collect()
}

/// The content of one IDX file, mapped read-only.
#[derive(Debug)]
pub struct Idx {
    path: PathBuf,
    header: Header,
    map: Map,
    /// The items, where the file does not hold them as bytes.
    converted: Option<Vec<u8>>,
}

impl Idx {
    /// Maps the unpacked file at `path` after checking that it is as long as its header says.
    ///
    /// A file that is truncated while it is mapped ends the process with an error message, see [`Map`]. Files that this crate writes
    /// are replaced by renaming, which leaves a mapping intact.
    ///
    /// # Errors
    /// If the file cannot be read, is not a `kind` file, or has another length than its header claims.
    pub fn open(path: &Path, kind: Kind) -> anyhow::Result<Self> {
        let name = path.display();
        // Checked before opening: opening a pipe would block until it has a writer.
        let meta = std::fs::metadata(path).with_context(|| format!("{name}: cannot open"))?;
        ensure!(meta.is_file(), "{name}: not a file, expected IDX {}; remove or rename it", kind.name());
        let file = File::open(path).with_context(|| format!("{name}: cannot open"))?;
        let header = Header::read(&file, kind, path)?;
        let found = file.metadata().with_context(|| format!("{name}: cannot read its size"))?.len();
        let Header { count, rows, cols, file_len, .. } = header;
        ensure!(
            found == file_len,
            "{name}: {found} bytes, expected {file_len} for {count} items of {rows}x{cols}; the file is damaged, fetch or unpack it again"
        );
        let map = Map::new(file, file_len as usize, path);
        let map = map.with_context(|| format!("{name}: cannot map {file_len} bytes into memory"))?;
        let converted = match header.items {
            Type::U8 => None,
            items => Some(converted(&map.bytes()[kind.header_len()..], items, path)?),
        };
        Ok(Self { path: path.to_path_buf(), header, map, converted })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its checked sizes.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All items, contiguous.
    pub fn items(&self) -> &[u8] {
        match &self.converted {
            Some(items) => items,
            None => &self.map.bytes()[self.header.kind.header_len()..],
        }
    }

    /// The whole file, header included.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// Checks that the file has not changed since it was opened, so that results are valid.
    ///
    /// # Errors
    /// If it was written to or shortened since.
    pub fn unchanged(&self) -> anyhow::Result<()> {
        self.map.unchanged().with_context(|| self.path.display().to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn complaint(bytes: &[u8], kind: Kind) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let message = format!("{:#}", Idx::open(&path, kind).unwrap_err());
        assert!(message.contains("file: ") && !message.contains('\n'), "{message}");
        message
    }

    fn header(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_be_bytes()).collect()
    }

    #[test]
    fn a_whole_file_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("images");
        let content = [header(&[IMAGES_MAGIC, 2, 1, 3]), vec![1, 2, 3, 4, 5, 6]].concat();
        std::fs::write(&path, &content).unwrap();
        let idx = Idx::open(&path, Kind::Images).unwrap();
        assert_eq!(idx.items(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(idx.bytes(), content);
        assert_eq!((idx.header().count, idx.header().rows, idx.header().cols), (2, 1, 3));
    }

    #[test]
    fn integers_of_every_width_are_read_if_they_fit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels");
        for (number, width) in [(0x09u32, 1), (0x0b, 2), (0x0c, 4)] {
            let items = |value: i32| value.to_be_bytes()[4 - width..].to_vec();
            let magic = header(&[number << 8 | 1, 3]);
            std::fs::write(&path, [magic.clone(), items(7), items(0), items(127)].concat()).unwrap();
            let idx = Idx::open(&path, Kind::Labels).unwrap();
            assert_eq!((idx.items(), idx.bytes().len()), (&[7, 0, 127][..], 8 + 3 * width));
            let negative = complaint(&[magic.clone(), items(7), items(-1), items(0)].concat(), Kind::Labels);
            assert!(negative.contains("item 1 is -1") && negative.contains("0 to 255"), "{negative}");
            assert!(complaint(&[magic, items(7)].concat(), Kind::Labels).contains("expected"));
        }
        let images = [header(&[0x0c03, 1, 1, 2]), header(&[255, 256])].concat();
        assert!(complaint(&images, Kind::Images).contains("item 1 is 256"));
        assert!(complaint(&header(&[0x0d01, 1, 0]), Kind::Labels).contains("floating-point"));
        assert!(complaint(&header(&[0x0c02, 1, 8, 0]), Kind::Labels).contains("several numbers a sample"));
    }

    #[test]
    fn a_wrong_magic_is_named() {
        let message = complaint(&header(&[0x1f8b_0800, 1, 1, 1]), Kind::Images);
        assert!(message.contains("gzip") && message.contains("file.gz"), "{message}");
        let message = complaint(&header(&[0x8950_4e47, 1, 1, 1]), Kind::Images);
        assert!(message.contains("0x89504e47") && message.contains("0x803"), "{message}");
    }

    #[test]
    fn swapped_images_and_labels_are_named() {
        assert!(complaint(&header(&[LABELS_MAGIC, 1, 0, 0]), Kind::Images).contains("swapped"));
        assert!(complaint(&header(&[IMAGES_MAGIC, 1]), Kind::Labels).contains("swapped"));
    }

    #[test]
    fn a_length_other_than_claimed_is_an_error() {
        assert!(complaint(b"", Kind::Labels).contains("0 bytes"));
        assert!(complaint(&[0, 0, 8, 3, 0], Kind::Images).contains("5 bytes"));
        let cut = complaint(&[header(&[LABELS_MAGIC, 3]), vec![1, 2]].concat(), Kind::Labels);
        assert!(cut.contains("10 bytes, expected 11"), "{cut}");
        let long = complaint(&[header(&[LABELS_MAGIC, 1]), vec![1, 2]].concat(), Kind::Labels);
        assert!(long.contains("10 bytes, expected 9"), "{long}");
    }

    #[test]
    fn a_claim_beyond_the_file_is_an_error() {
        assert!(
            complaint(&header(&[IMAGES_MAGIC, 60_000, 28, 28]), Kind::Images).contains("expected 47040016")
        );
        assert!(
            complaint(&header(&[IMAGES_MAGIC, u32::MAX, u32::MAX, u32::MAX]), Kind::Images)
                .contains("more than any")
        );
    }

    #[test]
    fn an_empty_set_and_a_folder_are_errors() {
        assert!(complaint(&header(&[LABELS_MAGIC, 0]), Kind::Labels).contains("empty"));
        assert!(complaint(&header(&[IMAGES_MAGIC, 4, 0, 28]), Kind::Images).contains("empty"));
        let dir = tempfile::tempdir().unwrap();
        assert!(Idx::open(dir.path(), Kind::Images).unwrap_err().to_string().contains("not a file"));
    }
}

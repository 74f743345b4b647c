//! NumPy's `.npy` and `.npz`: arrays in, explanations out.
//!
//! Written out here because it is small and both ends must be strict: a header may claim any shape, so sizes are
//! multiplied with care and compared with the file before anything is allocated; and an `.npz` is a zip of stored
//! entries without dates, so the same arrays give the same bytes.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// A header of a plain array takes about 120 bytes; NumPy itself refuses above 10,000.
const LONGEST_HEADER: usize = 10_000;

/// What the header of an array says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Reads images `[N, rows, cols]` of float32 in C order.
///
/// # Errors
/// One line that names the file if it is not such an array, if its size is not what the header promises, or if a value
/// is not finite.
pub fn read_images(path: &Path) -> Result<(Vec<f32>, [usize; 3])> {
    let name = path.display();
    let (header, mut reader, rest) = open(path)?;
    ensure!(
        header.descr == "<f4",
        "{name}: holds {}, expected little-endian float32: save `a.astype('<f4')`",
        kind(&header.descr)
    );
    let &[n, rows, cols] = header.shape.as_slice() else {
        bail!(
            "{name}: has shape {:?}, expected [N, rows, cols]: save `a.reshape(-1, rows, cols)`",
            header.shape
        );
    };
    let mut values = vec![0f32; values_in(path, &header, rest, 4)?];
    reader
        .read_exact(bytemuck::cast_slice_mut(&mut values))
        .with_context(|| format!("{name}: cannot be read"))?;
    values
        .iter_mut()
        .for_each(|v| *v = f32::from_bits(u32::from_le(v.to_bits())));
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        let (image, row, col) = (i / (rows * cols), i / cols % rows, i % cols);
        bail!(
            "{name}: value [{image}, {row}, {col}] is {}, expected finite numbers: replace or drop that image",
            values[i]
        );
    }
    Ok((values, [n, rows, cols]))
}

/// Reads labels `[N]` of int64, int32 or uint8.
///
/// # Errors
/// One line that names the file if it is not such an array or its size is not what the header promises.
pub fn read_labels(path: &Path) -> Result<Vec<i64>> {
    let name = path.display();
    let (header, mut reader, rest) = open(path)?;
    let decode: (usize, fn(&[u8]) -> i64) = match header.descr.as_str() {
        "<i8" => (8, |b| {
            i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
        }),
        "<i4" => (4, |b| {
            i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        }),
        "|u1" | "<u1" => (1, |b| i64::from(b[0])),
        other => bail!(
            "{name}: holds {}, expected int64, int32 or uint8: save `y.astype('<i8')`",
            kind(other)
        ),
    };
    ensure!(
        header.shape.len() == 1,
        "{name}: has shape {:?}, expected [N], one label a sample: save `y.ravel()`, or `y.argmax(1)` if it is one-hot",
        header.shape
    );
    let mut bytes = vec![0; decode.0 * values_in(path, &header, rest, decode.0)?];
    reader
        .read_exact(&mut bytes)
        .with_context(|| format!("{name}: cannot be read"))?;
    Ok(bytes.chunks_exact(decode.0).map(decode.1).collect())
}

/// Writes `data` as a float32 array of this shape, in C order.
///
/// # Errors
/// If the file cannot be written.
///
/// # Panics
/// If `data` does not fill `shape`.
pub fn write_f32(path: &Path, shape: &[usize], data: &[f32]) -> Result<()> {
    let array = encode("<f4", shape, data.iter().map(|v| v.to_le_bytes()));
    super::write_atomically(path, |file| Ok(file.write_all(&array)?))
}

/// Writes explanations as Quantus takes them: `x_batch`, `y_batch` and `a_batch` in one `.npz`.
///
/// - `shape` `[N, rows, cols]` of both `x_batch`, the inputs, and `a_batch`, the relevance
/// - `y_batch` `[N]` the labels
///
/// # Errors
/// If the file cannot be written, or an array exceeds the 4 GiB that such a zip can hold.
///
/// # Panics
/// If an array does not fill its shape.
pub fn write_npz(
    path: &Path,
    shape: [usize; 3],
    x_batch: &[f32],
    y_batch: &[i64],
    a_batch: &[f32],
) -> Result<()> {
    let floats = |data: &[f32]| encode("<f4", &shape, data.iter().map(|v| v.to_le_bytes()));
    let entries = [
        ("x_batch.npy", floats(x_batch)),
        (
            "y_batch.npy",
            encode("<i8", &shape[..1], y_batch.iter().map(|v| v.to_le_bytes())),
        ),
        ("a_batch.npy", floats(a_batch)),
    ];
    super::write_atomically(path, |file| zip(file, &entries))
}

/// The header, the reader at the first value, and the number of bytes from there to the end of the file.
fn open(path: &Path) -> Result<(Header, impl Read, u64)> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("{name}: cannot be opened"))?;
    let size = file
        .metadata()
        .with_context(|| format!("{name}: has no size"))?
        .len();
    let mut reader = BufReader::new(file);
    let not_npy =
        || format!("{name}: is not a NumPy array: expected a file written by `numpy.save`");
    let mut start = [0; 10];
    reader.read_exact(&mut start).with_context(not_npy)?;
    ensure!(start.starts_with(MAGIC), not_npy());
    let mut length = usize::from(u16::from_le_bytes([start[8], start[9]]));
    let mut before = start.len();
    match start[6] {
        1 => {}
        2 | 3 => {
            let mut high = [0; 2];
            reader.read_exact(&mut high).with_context(not_npy)?;
            length |= usize::from(u16::from_le_bytes(high)) << 16;
            before += high.len();
        }
        version => bail!(
            "{name}: is NumPy format {version}, expected 1, 2 or 3: save it again with `numpy.save`"
        ),
    }
    ensure!(
        length <= LONGEST_HEADER && (before + length) as u64 <= size,
        "{name}: announces a header of {length} bytes in a file of {size}, expected less: the file is damaged"
    );
    let mut text = vec![0; length];
    reader
        .read_exact(&mut text)
        .with_context(|| format!("{name}: cannot be read"))?;
    let header = std::str::from_utf8(&text)
        .ok()
        .and_then(parse)
        .with_context(|| format!("{name}: has a header that is not a plain array's: save one array of numbers with `numpy.save`"))?;
    ensure!(
        !header.fortran_order,
        "{name}: is in Fortran order, expected C order: save `numpy.ascontiguousarray(a)`"
    );
    Ok((header, reader, size - (before + length) as u64))
}

/// Number of values of an array, once the file is known to hold just them.
fn values_in(path: &Path, header: &Header, rest: u64, width: usize) -> Result<usize> {
    let name = path.display();
    let count = header
        .shape
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n));
    let bytes = count.and_then(|count| count.checked_mul(width));
    ensure!(
        bytes.is_some_and(|bytes| bytes as u64 == rest),
        "{name}: has shape {:?} of {width} bytes each but {rest} bytes of data: the file is cut off or damaged, save it again",
        header.shape
    );
    ensure!(
        count != Some(0),
        "{name}: has shape {:?}, expected at least one value",
        header.shape
    );
    count.with_context(|| format!("{name}: has shape {:?}, which is too large", header.shape))
}

/// The name of a type as people know it.
fn kind(descr: &str) -> String {
    let known = match descr.trim_start_matches(['<', '>', '|', '=']) {
        "f8" => "float64",
        "f4" => "float32",
        "f2" => "float16",
        "i8" => "int64",
        "i4" => "int32",
        "i2" => "int16",
        "i1" => "int8",
        "u8" => "uint64",
        "u4" => "uint32",
        "u2" => "uint16",
        "u1" => "uint8",
        "b1" => "bool",
        _ => return format!("'{descr}'"),
    };
    format!(
        "{}{known} ('{descr}')",
        if descr.starts_with('>') {
            "big-endian "
        } else {
            ""
        }
    )
}

/// The dictionary of a plain array: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 28, 28), }` in any order.
fn parse(text: &str) -> Option<Header> {
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    while !rest.is_empty() {
        let (key, value) = quoted(rest)?;
        let value = value.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => {
                let (name, rest) = quoted(value)?;
                descr = Some(name.to_string());
                rest
            }
            "fortran_order" => {
                let word = value
                    .find(|c: char| !c.is_ascii_alphabetic())
                    .unwrap_or(value.len());
                fortran_order = match &value[..word] {
                    "True" => Some(true),
                    "False" => Some(false),
                    _ => return None,
                };
                &value[word..]
            }
            "shape" => {
                let (inside, rest) = value.strip_prefix('(')?.split_once(')')?;
                let inside = inside.trim();
                let sizes = inside
                    .strip_suffix(',')
                    .unwrap_or(inside)
                    .split(',')
                    .map(str::trim);
                let sizes = sizes
                    .filter(|_| !inside.is_empty())
                    .map(|n| n.trim_end_matches('L').parse().ok());
                shape = Some(sizes.collect::<Option<Vec<usize>>>()?);
                rest
            }
            _ => return None,
        };
        rest = rest.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(Header {
        descr: descr?,
        fortran_order: fortran_order?,
        shape: shape?,
    })
}

/// The text between the quotes at the start, and what follows them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// An array as `numpy.save` writes it: format 1.0, the values at a multiple of 64 bytes.
fn encode<const W: usize>(
    descr: &str,
    shape: &[usize],
    values: impl ExactSizeIterator<Item = [u8; W]>,
) -> Vec<u8> {
    assert_eq!(
        values.len(),
        shape.iter().product::<usize>(),
        "{} values in an array of shape {shape:?}",
        values.len()
    );
    let sizes: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let sizes = if shape.len() == 1 {
        sizes.trim_end()
    } else {
        sizes.trim_end_matches(", ")
    };
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let before = MAGIC.len() + 4;
    let length = (before + text.len() + 1).next_multiple_of(64) - before;
    let mut bytes = Vec::with_capacity(before + length + W * values.len());
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = length - 1).bytes());
    bytes.extend(values.flatten());
    bytes
}

/// A zip of stored entries, all dated 1980-01-01, the earliest date that a zip knows.
fn zip(file: &mut dyn Write, entries: &[(&str, Vec<u8>)]) -> Result<()> {
    let too_large = "an .npz without zip64 holds at most 4 GiB: explain fewer samples at a time";
    let mut directory = Vec::new();
    let mut offset = 0u32;
    for (name, content) in entries {
        let size = u32::try_from(content.len()).context(too_large)?;
        let mut crc = flate2::Crc::new();
        crc.update(content);
        // What the entry and its line in the directory share: version needed, flags, method 0 (stored), time, date.
        let mut common = Vec::new();
        [20u16, 0, 0, 0, 0x0021]
            .iter()
            .for_each(|field| common.extend(field.to_le_bytes()));
        [crc.sum(), size, size]
            .iter()
            .for_each(|field| common.extend(field.to_le_bytes()));
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);

        file.write_all(b"PK\x03\x04")?;
        file.write_all(&common)?;
        file.write_all(name.as_bytes())?;
        file.write_all(content)?;

        directory.extend(b"PK\x01\x02");
        directory.extend(20u16.to_le_bytes());
        directory.extend(&common);
        directory.extend([0; 10]); // no comment, disk 0, no attributes
        directory.extend(offset.to_le_bytes());
        directory.extend(name.bytes());

        let written = 4 + common.len() + name.len();
        offset = offset
            .checked_add(size)
            .and_then(|at| at.checked_add(written as u32))
            .context(too_large)?;
    }
    file.write_all(&directory)?;
    let count = (entries.len() as u16).to_le_bytes();
    file.write_all(b"PK\x05\x06\0\0\0\0")?;
    file.write_all(&count)?;
    file.write_all(&count)?;
    file.write_all(&(directory.len() as u32).to_le_bytes())?;
    file.write_all(&offset.to_le_bytes())?;
    Ok(file.write_all(&[0; 2])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn with_header(text: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.bytes());
        bytes.extend(data);
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        let (_dir, path) = file(bytes);
        let text = format!("{:#}", read_images(&path).unwrap_err());
        assert!(text.contains("a.npy") && !text.contains('\n'), "{text}");
        text
    }

    #[test]
    fn images_come_back_as_written() {
        let (_dir, path) = file(&[]);
        let values = [0.0, -0.0, 1.5, f32::MIN_POSITIVE, 1e-40, -7.0];
        write_f32(&path, &[1, 2, 3], &values).unwrap();
        let (read, shape) = read_images(&path).unwrap();
        assert_eq!(shape, [1, 2, 3]);
        assert_eq!(read.map_bits(), values.to_vec().map_bits());
    }

    trait Bits {
        fn map_bits(&self) -> Vec<u32>;
    }

    impl Bits for Vec<f32> {
        fn map_bits(&self) -> Vec<u32> {
            self.iter().map(|v| v.to_bits()).collect()
        }
    }

    #[test]
    fn the_header_is_the_one_numpy_writes() {
        let bytes = encode("<f4", &[1, 2, 3], [[0u8; 4]; 6].into_iter());
        assert_eq!(bytes.len(), 128 + 24);
        assert!(
            bytes[10..]
                .starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }   ")
        );
        assert_eq!(bytes[127], b'\n');
        let one = encode("<i8", &[2], [[0u8; 8]; 2].into_iter());
        assert!(
            one[10..].starts_with(b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }")
        );
    }

    #[test]
    fn headers_of_other_writers_are_understood() {
        let expected = Header {
            descr: "<f4".into(),
            fortran_order: false,
            shape: vec![3, 28],
        };
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 28), }  \n",
            "{\"shape\":(3,28),\"fortran_order\":False,\"descr\":\"<f4\"}",
            "{ 'shape' : (3L, 28L,) , 'descr' : '<f4' , 'fortran_order' : False }",
        ] {
            assert_eq!(parse(text).as_ref(), Some(&expected), "{text}");
        }
        for text in [
            "",
            "{",
            "{}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
            "{'shape': (-1,)}",
            "é",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_an_image_array_is_refused_in_one_line() {
        let of = |descr: &str, order: &str, shape: &str, data: usize| {
            let text =
                format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
            refusal(&with_header(&text, &vec![0; data]))
        };
        assert!(
            of("<f8", "False", "(1, 2, 2)", 32)
                .contains("holds float64 ('<f8'), expected little-endian float32")
        );
        assert!(of(">f4", "False", "(1, 2, 2)", 16).contains("holds big-endian float32"));
        assert!(of("<f4", "True", "(1, 2, 2)", 16).contains("Fortran order, expected C order"));
        assert!(
            of("<f4", "False", "(2, 2)", 16).contains("shape [2, 2], expected [N, rows, cols]")
        );
        assert!(of("<f4", "False", "(1, 2, 2)", 15).contains("but 15 bytes of data"));
        assert!(of("<f4", "False", "(1, 2, 2)", 17).contains("but 17 bytes of data"));
        assert!(of("<f4", "False", "(0, 2, 2)", 0).contains("expected at least one value"));
        assert!(
            of("<f4", "False", "(9223372036854775807, 9, 9)", 4).contains("but 4 bytes of data")
        );
        assert!(refusal(b"").contains("is not a NumPy array"));
        assert!(refusal(b"\x89PNG......").contains("is not a NumPy array"));
        assert!(refusal(b"\x93NUMPY\x02\0\xff\xff\xff\xff").contains("announces a header of"));
        assert!(
            refusal(&with_header(&"(".repeat(9000), &[]))
                .contains("header that is not a plain array's")
        );
    }

    #[test]
    fn a_value_that_is_not_finite_is_named() {
        let (_dir, path) = file(&[]);
        let mut values = [0.5; 12];
        values[9] = f32::NAN;
        write_f32(&path, &[2, 2, 3], &values).unwrap();
        let text = read_images(&path).unwrap_err().to_string();
        assert!(text.contains("value [1, 1, 0] is NaN"), "{text}");
    }

    #[test]
    fn labels_of_each_width_are_read() {
        let read = |bytes: Vec<u8>| {
            let (_dir, path) = file(&bytes);
            read_labels(&path)
        };
        let labels = [3i64, 0, 255];
        assert_eq!(
            read(encode("<i8", &[3], labels.iter().map(|v| v.to_le_bytes()))).unwrap(),
            labels
        );
        assert_eq!(
            read(encode(
                "<i4",
                &[3],
                labels.iter().map(|v| (*v as i32).to_le_bytes())
            ))
            .unwrap(),
            labels
        );
        assert_eq!(
            read(encode("|u1", &[3], labels.iter().map(|v| [*v as u8]))).unwrap(),
            labels
        );
        let text = read(encode("<f4", &[1], [[0u8; 4]].into_iter()))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("holds float32 ('<f4'), expected int64, int32 or uint8"),
            "{text}"
        );
        let text = read(encode("<i8", &[1, 1], [[0u8; 8]].into_iter()))
            .unwrap_err()
            .to_string();
        assert!(text.contains("has shape [1, 1], expected [N]"), "{text}");
    }

    #[test]
    fn the_same_arrays_give_the_same_npz() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = dir.path().join(name);
            write_npz(&path, [2, 1, 2], &[1.0, 2.0, 3.0, 4.0], &[7, 8], &[0.0; 4]).unwrap();
            std::fs::read(path).unwrap()
        };
        let bytes = write("a.npz");
        assert_eq!(bytes, write("b.npz"));
        assert!(bytes.starts_with(b"PK\x03\x04"));
    }
}

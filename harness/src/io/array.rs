//! Reads `.npy` arrays, and writes arrays that are in memory; [`super::export`] writes larger ones in parts.
//!
//! `ndarray-npy` parses the format. An untrusted header may claim any length and any shape, so both are compared with the
//! size of the file before anything is allocated.

use super::export::Export;
use super::file;
use anyhow::{Context, Result, bail, ensure};
use model::{byte_scale, scale_bytes};
use ndarray_npy::npy::header::{Header, ParseHeaderError, ReadHeaderError};
use ndarray_npy::{ReadableElement, WritableElement};
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use zip::ZipArchive;

/// A header of a plain array takes about 120 bytes; NumPy itself refuses above 10,000.
const MAX_HEADER: usize = 10_000;
/// The header of a plain array has two opening brackets, or three with a type such as `<M8[ns]`. The time of
/// the library's parser at least doubles with each level of nesting: it takes half a minute for ten braces
/// and a long text.
const MAX_BRACKETS: usize = 3;

/// A file whose header is read.
struct Opened {
    header: Header,
    descr: String,
    /// at the first value
    file: Box<dyn Read>,
    /// number of bytes from there to the end
    rest: u64,
}

/// Reads images `[N, rows, cols]` of float32 in C order.
///
/// # Errors
/// One line that names the file if it is not such an array, if its size differs from the header, or if a
/// value is not finite.
pub fn read_images(path: &Path) -> Result<(Vec<f32>, [usize; 3])> {
    images(path, open(path)?)
}

/// As [`read_images`]; bytes are scaled so that 0 is `low` and 255 is `high`. Of an `.npz`, the array `x_batch` is read.
///
/// # Errors
/// As [`read_images`].
pub fn read_pixels(path: &Path, [low, high]: [f32; 2]) -> Result<(Vec<f32>, [usize; 3])> {
    let mut opened = open_array(path, "x_batch")?;
    if !matches!(opened.descr.as_str(), "|u1" | "<u1") {
        return images(path, opened);
    }
    opened.header.type_descriptor = u8::type_descriptor();
    let shape = image_shape(path, &opened.header.shape)?;
    let bytes: Vec<u8> = values(path, opened)?;
    let mut pixels = vec![0.0; bytes.len()];
    scale_bytes(&bytes, &byte_scale(low, high), &mut pixels);
    Ok((pixels, shape))
}

/// The shape of images, which may have one channel.
fn image_shape(path: &Path, shape: &[usize]) -> Result<[usize; 3]> {
    match *shape {
        [n, rows, cols] | [n, 1, rows, cols] => Ok([n, rows, cols]),
        _ => bail!(
            "{}: has shape {shape:?}, expected [N, rows, cols]: save `a.reshape(-1, rows, cols)`",
            path.display()
        ),
    }
}

fn images(path: &Path, opened: Opened) -> Result<(Vec<f32>, [usize; 3])> {
    let name = path.display();
    ensure!(
        opened.descr == "<f4",
        "{name}: holds {}, expected little-endian float32: save `a.astype('<f4')`",
        kind(&opened.descr)
    );
    let [n, rows, cols] = image_shape(path, &opened.header.shape)?;
    let values: Vec<f32> = values(path, opened)?;
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        let (image, row, col) = (i / (rows * cols), i / cols % rows, i % cols);
        bail!(
            "{name}: value [{image}, {row}, {col}] is {}, expected finite numbers: replace or drop that image",
            values[i]
        );
    }
    Ok((values, [n, rows, cols]))
}

/// Reads rows `[N, C]` of float32 in C order.
///
/// # Errors
/// One line that names the file if it is not such an array, or if its size is not what the header promises.
pub fn read_rows(path: &Path) -> Result<(Vec<f32>, [usize; 2])> {
    let name = path.display();
    let opened = open(path)?;
    ensure!(
        opened.descr == "<f4",
        "{name}: holds {}, expected little-endian float32: save `a.astype('<f4')`",
        kind(&opened.descr)
    );
    let &[n, c] = opened.header.shape.as_slice() else {
        bail!("{name}: has shape {:?}, expected [N, C]: save `a.reshape(-1, C)`", opened.header.shape);
    };
    Ok((values(path, opened)?, [n, c]))
}

/// Reads labels `[N]` of int64, int32 or uint8.
///
/// # Errors
/// One line that names the file if it is not such an array or its size differs from the header.
pub fn read_labels(path: &Path) -> Result<Vec<i64>> {
    let mut opened = open_array(path, "label")?;
    match opened.descr.as_str() {
        "<i8" => labels::<i64>(path, opened),
        "<i4" => labels::<i32>(path, opened),
        "|u1" | "<u1" => {
            // A byte has no endianness; the library accepts this spelling only.
            opened.header.type_descriptor = u8::type_descriptor();
            labels::<u8>(path, opened)
        }
        other => bail!(
            "{}: holds {}, expected int64, int32 or uint8: save `y.astype('<i8')`",
            path.display(),
            kind(other)
        ),
    }
}

/// Writes `data` as a float32 array of this shape, in C order.
///
/// # Errors
/// If the file cannot be written.
///
/// # Panics
/// If `data` does not fill `shape`.
pub fn write_f32(path: &Path, shape: &[usize], data: &[f32]) -> Result<()> {
    let mut npy = Export::npy(path)?;
    let mut array = npy.array("", shape)?;
    array.push(data)?;
    array.end();
    npy.finish()
}

/// Opens an `.npy` file.
fn open(path: &Path) -> Result<Opened> {
    let (file, size) = file::open(path)?;
    parse(path, file, size)
}

/// Opens an `.npy` file, or an array of an `.npz` file.
fn open_array(path: &Path, array: &str) -> Result<Opened> {
    let name = path.display();
    let (mut file, _) = file::open(path)?;
    let mut start = Vec::new();
    file.by_ref().take(4).read_to_end(&mut start).with_context(|| format!("{name}: cannot be read"))?;
    if start != b"PK\x03\x04" {
        return open(path);
    }
    let damaged = || format!("{name}: is not a whole .npz file: save it again with `numpy.savez`");
    let mut zip = ZipArchive::new(file).with_context(damaged)?;
    let entry = format!("{array}.npy");
    if zip.index_for_name(&entry).is_none() {
        let names: Vec<&str> = zip.file_names().map(|name| name.trim_end_matches(".npy")).collect();
        bail!("{name}: has the arrays {}, expected {array}: save it as a .npy file", names.join(", "));
    }
    let mut content = Vec::new();
    let entry = zip.by_name(&entry).with_context(|| {
        format!("{name}: {array} cannot be read; save it with `numpy.savez`, not compressed")
    })?;
    // A stored entry is not larger than the file, and a larger claim is not believed. Its checksum is compared when its end
    // is read, which is behind the last byte.
    let most = entry.size().saturating_add(1);
    entry.take(most).read_to_end(&mut content).with_context(damaged)?;
    let size = content.len() as u64;
    parse(path, Cursor::new(content), size)
}

/// Checks that a header is short and flat, and parses it.
fn parse(path: &Path, mut file: impl Read + Seek + 'static, size: u64) -> Result<Opened> {
    let name = path.display();
    let not_npy = || format!("{name}: is not a NumPy array: expected a file written by `numpy.save`");
    let not_plain = || {
        format!(
            "{name}: has a header that is not a plain array's: save one array of numbers with `numpy.save`"
        )
    };

    let mut start = Vec::new();
    file.by_ref().take(MAX_HEADER as u64 + 12).read_to_end(&mut start).with_context(not_npy)?;
    let text = announced(&start);
    ensure!(
        text.len() <= MAX_HEADER && text.end <= start.len(),
        "{name}: announces a header of {} bytes in a file of {size}, expected less: the file is damaged",
        text.len()
    );
    let brackets = start[text.clone()].iter().filter(|c| b"([{".contains(c)).count();
    ensure!(brackets <= MAX_BRACKETS, not_plain());
    let header = match Header::from_reader(&mut start.as_slice()) {
        Ok(header) => header,
        Err(ReadHeaderError::Io(error)) => return Err(error).with_context(not_npy),
        Err(ReadHeaderError::Parse(ParseHeaderError::MagicString)) => bail!(not_npy()),
        Err(ReadHeaderError::Parse(ParseHeaderError::Version { major, minor })) => {
            let version = if minor == 0 { major.to_string() } else { format!("{major}.{minor}") };
            bail!("{name}: is NumPy format {version}, expected 1, 2 or 3: save it again with `numpy.save`")
        }
        // The parser's message has several lines.
        Err(ReadHeaderError::Parse(_)) => bail!(not_plain()),
    };
    let descr = header.type_descriptor.as_string().with_context(not_plain)?.clone();
    ensure!(
        !header.layout.is_fortran(),
        "{name}: is in Fortran order, expected C order: save `numpy.ascontiguousarray(a)`"
    );
    let first = text.end as u64;
    file.seek(SeekFrom::Start(first)).with_context(|| format!("{name}: cannot be read"))?;
    Ok(Opened { header, descr, file: Box::new(file), rest: size.saturating_sub(first) })
}

/// The range of the header text, by the length in front of it, which the library would allocate without a
/// check.
///
/// Empty if the library refuses the file before it reads the length.
fn announced(start: &[u8]) -> Range<usize> {
    match start.strip_prefix(b"\x93NUMPY") {
        Some(&[1, _, a, b, ..]) => 10..10 + usize::from(u16::from_le_bytes([a, b])),
        Some(&[2 | 3, _, a, b, c, d, ..]) => 12..12 + u32::from_le_bytes([a, b, c, d]) as usize,
        _ => 0..0,
    }
}

/// The labels of an array with one label per sample.
fn labels<T: ReadableElement + Into<i64>>(path: &Path, opened: Opened) -> Result<Vec<i64>> {
    ensure!(
        opened.header.shape.len() == 1,
        "{}: has shape {:?}, expected [N], one label per sample: save `y.ravel()`, or `y.argmax(1)` if it is one-hot",
        path.display(),
        opened.header.shape
    );
    Ok(values::<T>(path, opened)?.into_iter().map(Into::into).collect())
}

/// The values of an array, after checking that the file holds exactly as many.
fn values<T: ReadableElement>(path: &Path, opened: Opened) -> Result<Vec<T>> {
    let name = path.display();
    let Opened { header: Header { shape, type_descriptor, .. }, file, rest, .. } = opened;
    let width = size_of::<T>();
    let count = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let count = count.filter(|count| count.checked_mul(width).is_some_and(|bytes| bytes as u64 == rest));
    let count = count.with_context(|| {
        format!(
            "{name}: has shape {shape:?} of {width} bytes each but {rest} bytes of data: the file is cut off or damaged, save it again"
        )
    })?;
    ensure!(count > 0, "{name}: has shape {shape:?}, expected at least one value");
    let room = Vec::<T>::new().try_reserve_exact(count);
    room.with_context(|| format!("{name}: {rest} bytes do not fit into the memory; give fewer samples"))?;
    T::read_to_end_exact_vec(file, &type_descriptor, count).with_context(|| format!("{name}: cannot be read"))
}

/// The NumPy name of a type.
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
    format!("{}{known} ('{descr}')", if descr.starts_with('>') { "big-endian " } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::ArrayView;
    use ndarray_npy::WriteNpyExt;

    fn encode<A: WritableElement>(shape: &[usize], data: &[A]) -> Vec<u8> {
        let mut bytes = Vec::new();
        ArrayView::from_shape(shape, data).unwrap().write_npy(&mut bytes).unwrap();
        bytes
    }

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn with_header(text: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
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
    fn the_header_is_one_that_numpy_reads() {
        let bytes = encode(&[1, 2, 3], &[0f32; 6]);
        assert_eq!(bytes.len(), 128 + 24);
        assert!(bytes.starts_with(
            b"\x93NUMPY\x01\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3)}"
        ));
        assert_eq!(bytes[127], b'\n');
        let one = encode(&[2], &[0i64; 2]);
        assert!(one[10..].starts_with(b"{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}"));
    }

    #[test]
    fn headers_of_other_writers_are_understood() {
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 2), }  \n",
            "{\"shape\":(1,1,2),\"fortran_order\":False,\"descr\":\"<f4\"}\n",
            "{ 'shape' : (1, 1, 2,) , 'descr' : '<f4' , 'fortran_order' : False }\n",
        ] {
            let (_dir, path) = file(&with_header(text, &[0; 8]));
            assert_eq!(read_images(&path).unwrap(), (vec![0.0; 2], [1, 1, 2]), "{text}");
        }
        for text in [
            "",
            "\n",
            "{\n",
            "{}\n",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}\n",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 1, 1)}\n",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616, 1, 1)}\n",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1, 1, 1)}\n",
            "é\n",
        ] {
            assert!(
                refusal(&with_header(text, &[0; 4])).contains("header that is not a plain array's"),
                "{text}"
            );
        }
    }

    #[test]
    fn every_format_of_numpy_is_read() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1)}\n";
        let of = |major: u8, minor: u8| {
            let mut bytes = b"\x93NUMPY".to_vec();
            bytes.extend([major, minor]);
            let length = (text.len() as u32).to_le_bytes();
            bytes.extend(if major == 1 { &length[..2] } else { &length });
            bytes.extend(text.bytes());
            bytes.extend(2.5f32.to_le_bytes());
            bytes
        };
        for major in 1..=3 {
            let (_dir, path) = file(&of(major, 0));
            assert_eq!(read_images(&path).unwrap(), (vec![2.5], [1, 1, 1]));
        }
        assert!(refusal(&of(4, 0)).contains("is NumPy format 4, expected 1, 2 or 3"));
        assert!(refusal(&of(1, 7)).contains("is NumPy format 1.7, expected 1, 2 or 3"));
    }

    #[test]
    fn files_other_than_image_arrays_are_refused_in_one_line() {
        let of = |descr: &str, order: &str, shape: &str, data: usize| {
            let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
            refusal(&with_header(&text, &vec![0; data]))
        };
        assert!(
            of("<f8", "False", "(1, 2, 2)", 32)
                .contains("holds float64 ('<f8'), expected little-endian float32")
        );
        assert!(of(">f4", "False", "(1, 2, 2)", 16).contains("holds big-endian float32"));
        assert!(of("<f4", "True", "(1, 2, 2)", 16).contains("Fortran order, expected C order"));
        assert!(of("<f4", "False", "(2, 2)", 16).contains("shape [2, 2], expected [N, rows, cols]"));
        assert!(of("<f4", "False", "(1, 2, 2)", 15).contains("but 15 bytes of data"));
        assert!(of("<f4", "False", "(1, 2, 2)", 17).contains("but 17 bytes of data"));
        assert!(of("<f4", "False", "(0, 2, 2)", 0).contains("expected at least one value"));
        assert!(of("<f4", "False", "(9223372036854775807, 9, 9)", 4).contains("but 4 bytes of data"));
        assert!(refusal(b"").contains("is not a NumPy array"));
        assert!(refusal(b"\x89PNG......").contains("is not a NumPy array"));
        assert!(refusal(b"\x93NUMPY\x02\0\xff\xff\xff\xff").contains("announces a header of"));
        assert!(refusal(b"\x93NUMPY\x02\0\xff").contains("is not a NumPy array"));
        for deep in ["(", "[", "{", "[[{'a':"] {
            let text = format!("{}\n", deep.repeat(9000 / deep.len()));
            assert!(refusal(&with_header(&text, &[])).contains("header that is not a plain array's"));
        }
        assert!(
            of("<M8[ns]", "False", "(1, 2, 2)", 32)
                .contains("holds '<M8[ns]', expected little-endian float32")
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
        assert_eq!(read(encode(&[3], &labels)).unwrap(), labels);
        assert_eq!(read(encode(&[3], &labels.map(|v| v as i32))).unwrap(), labels);
        assert_eq!(read(encode(&[3], &labels.map(|v| v as u8))).unwrap(), labels);
        let ordered = "{'descr': '<u1', 'fortran_order': False, 'shape': (3,)}\n";
        assert_eq!(read(with_header(ordered, &[3, 0, 255])).unwrap(), labels);
        let text = read(encode(&[1], &[0f32])).unwrap_err().to_string();
        assert!(text.contains("holds float32 ('<f4'), expected int64, int32 or uint8"), "{text}");
        let text = read(encode(&[1, 1], &[0i64])).unwrap_err().to_string();
        assert!(text.contains("has shape [1, 1], expected [N]"), "{text}");
    }

    #[test]
    fn one_wrong_bit_in_an_npz_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        let mut npz = Export::npz(&path).unwrap();
        let mut array = npz.array("x_batch", &[2, 3, 3]).unwrap();
        array.push(&[0.5f32; 18]).unwrap();
        array.end();
        npz.finish().unwrap();
        assert!(read_pixels(&path, [0.0, 1.0]).is_ok());
        let mut bytes = std::fs::read(&path).unwrap();
        let value = 0.5f32.to_le_bytes().repeat(18);
        let at = bytes.windows(72).position(|part| part == value).unwrap();
        bytes[at + 71] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let text = format!("{:#}", read_pixels(&path, [0.0, 1.0]).unwrap_err());
        assert!(text.contains("is not a whole .npz file"), "{text}");
    }
}

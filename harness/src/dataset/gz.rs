//! Files compressed by gzip.

use crate::io::file::plain_file;
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

/// The first bytes of a gzip file.
pub const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Whether `path` is a `.gz` file.
pub fn is_gz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Whether a file begins as a gzip file does.
///
/// # Errors
/// If it cannot be read.
pub fn is_packed(path: &Path) -> io::Result<bool> {
    Ok(BufReader::with_capacity(MAGIC.len(), File::open(path)?).fill_buf()?.starts_with(&MAGIC))
}

/// Reads `path`, decompressed if it ends in `.gz`. A file that has that name and holds plain bytes, as some browsers save
/// one, is read as it is.
///
/// # Errors
/// If it is not a regular file or cannot be opened.
pub fn reader(path: &Path) -> io::Result<Box<dyn Read>> {
    plain_file(path)?;
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let packed = is_gz(path) && file.fill_buf()?.starts_with(&MAGIC);
    Ok(if packed { Box::new(Members(Some(GzDecoder::new(file)))) } else { Box::new(file) })
}

/// The members of a gzip file one after the other. Zeros behind the last one are padding, as tapes and some servers add
/// it; anything else is an error.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let n = decoder.read(bytes)?;
            if n > 0 || bytes.is_empty() {
                return Ok(n);
            }
            self.0 = self.0.take().map(GzDecoder::into_inner).map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// The next member, if the file has not ended.
fn next_member<R: BufRead>(mut file: R) -> io::Result<Option<GzDecoder<R>>> {
    let mut padded = false;
    loop {
        let bytes = file.fill_buf()?;
        match bytes.iter().position(|&byte| byte != 0) {
            None if bytes.is_empty() => return Ok(None),
            None => {
                padded = true;
                let n = bytes.len();
                file.consume(n);
            }
            // A member follows the last one directly, not padding.
            Some(0) if !padded && is_member(bytes) => {
                return Ok(Some(GzDecoder::new(file)));
            }
            Some(at) => {
                let text = format!(
                    "trailing data behind the compressed content, which begins with byte {:#04x}",
                    bytes[at]
                );
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            }
        }
    }
}

/// Whether a member begins here. Of one that begins with the last byte of the buffer, the decoder reads the rest.
fn is_member(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) || bytes == &MAGIC[..1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::testing::pack;
    use std::fs;

    fn read(name: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let mut content = Vec::new();
        reader(&path)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn members_follow_each_other_and_zeros_are_padding() {
        let (one, two) = (pack(b"one"), pack(b"two"));
        assert_eq!(read("a.gz", &one).unwrap(), b"one");
        assert_eq!(read("a.gz", &[&one[..], &two].concat()).unwrap(), b"onetwo");
        for zeros in [1, 2, 511, 200_000] {
            assert_eq!(
                read("a.gz", &[&one[..], &two, &vec![0; zeros]].concat()).unwrap(),
                b"onetwo",
                "{zeros}"
            );
        }
    }

    #[test]
    fn other_bytes_behind_the_last_member_are_named_as_such() {
        let one = pack(b"one");
        for tail in [&b"x"[..], b"\0\0x", b"<html>", b"\0\x1f\x8b"] {
            let error = read("a.gz", &[&one[..], tail].concat()).unwrap_err();
            assert!(error.to_string().contains("trailing data"), "{tail:?}: {error}");
        }
        let half = &one[..one.len() - 6];
        assert_eq!(read("a.gz", half).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn plain_bytes_under_the_name_of_a_packed_file_are_read() {
        assert_eq!(read("a.gz", b"plain").unwrap(), b"plain");
        assert_eq!(read("a.gz", b"").unwrap(), b"");
    }
}

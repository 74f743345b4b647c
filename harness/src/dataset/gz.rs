//! Files compressed by gzip.

use crate::io::file::plain_file;
use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// Whether `path` is a `.gz` file.
pub fn is_gz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Reads `path`, decompressed if it ends in `.gz`.
///
/// # Errors
/// If it is not a regular file or cannot be opened.
pub fn reader(path: &Path) -> io::Result<Box<dyn Read>> {
    plain_file(path)?;
    let file = BufReader::with_capacity(1 << 16, File::open(path)?);
    Ok(if is_gz(path) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

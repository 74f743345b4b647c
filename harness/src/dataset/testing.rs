//! Small data sets for tests.
#![allow(clippy::unwrap_used)]

use super::files::FILES;
use super::synth;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes as a gzip file.
pub fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A synthetic set of gz files at `<root>/<folder>`.
pub fn packed_set(root: &Path, folder: &str) -> PathBuf {
    let dir = root.join(folder);
    synth::write(&dir, 1, 9, 4).unwrap();
    for file in FILES {
        let bytes = fs::read(dir.join(file)).unwrap();
        fs::write(dir.join(format!("{file}.gz")), pack(&bytes)).unwrap();
        fs::remove_file(dir.join(file)).unwrap();
    }
    dir
}

//! The fuzz targets. The ordinary tests run each for a second (`tests/fuzz.rs`), libFuzzer for any time
//! (`tests/fuzz/`).
//!
//! A reader gets mutated valid files. It must not panic or allocate more memory than the file's size allows,
//! and its error must be one line; accepted files must be consistent.

mod change;
mod files;
mod shapes;
mod texts;

pub use change::Change;
pub use files::{IDX, MODEL, NPY};
pub use shapes::shapes;
pub use texts::{EXPERIMENT, SETTINGS};

use std::io::Write;
use std::path::Path;

/// A reader of untrusted files.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Name of the format.
    pub name: &'static str,
    /// A small valid file.
    pub sound: fn() -> Vec<u8>,
    /// Mutates a file in a way that depends on the format.
    pub change: fn(&mut Vec<u8>, Change),
    read: fn(&Path) -> anyhow::Result<()>,
}

impl Reader {
    /// Passes these bytes to the reader; returns whether it accepted them.
    ///
    /// # Panics
    /// If the reader panics, accepts an inconsistent file, or its error has more than one line.
    pub fn takes(&self, bytes: &[u8]) -> bool {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("space for a small file");
        let error = match (self.read)(file.path()) {
            Ok(()) => return true,
            Err(error) => harness::io::show::format_error(&error),
        };
        assert!(!error.contains('\n'), "{error}");
        false
    }

    /// A valid file after mutations.
    pub fn spoilt(&self, changes: &[Change]) -> Vec<u8> {
        let mut file = (self.sound)();
        changes.iter().for_each(|&change| (self.change)(&mut file, change));
        file
    }

    /// The next file for a fuzzer that mutates files: a mutation, or sometimes a valid file.
    pub fn mutated(&self, file: &[u8], seed: u32) -> Vec<u8> {
        let change = change::drawn(seed);
        if file.len() < 2 || seed.is_multiple_of(256) {
            return self.spoilt(if seed.is_multiple_of(2) { &[] } else { std::slice::from_ref(&change) });
        }
        let mut file = file.to_vec();
        (self.change)(&mut file, change);
        file
    }
}

//! What is fuzzed, written once: by the ordinary tests for a second each (`tests/fuzz.rs`), by libFuzzer for as long as
//! one likes (`tests/fuzz/`).
//!
//! A reader is fed sound files after changes. Readers must not panic nor take memory beyond the file's, and refuse in one
//! line; what they take must be consistent.

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

/// A reader of files from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Of what.
    pub name: &'static str,
    /// A small file that it takes.
    pub sound: fn() -> Vec<u8>,
    /// Changes a file where it matters.
    pub change: fn(&mut Vec<u8>, Change),
    read: fn(&Path) -> anyhow::Result<()>,
}

impl Reader {
    /// Has these bytes read; whether they were taken.
    ///
    /// # Panics
    /// If the reader does, takes what is not consistent, or says more than a line.
    pub fn takes(&self, bytes: &[u8]) -> bool {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(bytes).expect("room for a small file");
        let error = match (self.read)(file.path()) {
            Ok(()) => return true,
            Err(error) => harness::error::format_error(&error),
        };
        assert!(!error.contains('\n'), "{error}");
        false
    }

    /// A sound file after changes.
    pub fn spoilt(&self, changes: &[Change]) -> Vec<u8> {
        let mut file = (self.sound)();
        changes.iter().for_each(|&change| (self.change)(&mut file, change));
        file
    }

    /// Another file, as a fuzzer that mutates files asks for: a change, or now and then a sound file.
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

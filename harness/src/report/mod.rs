//! What a command leaves behind: one output format a file.
//!
//! Pictures ([`picture`], [`panel`]) are PNG, curves ([`curve`], [`share`]) and drawings ([`cell`], [`root_point`]) SVG,
//! arrays ([`npy`], [`export`]) NumPy's formats and tables ([`table`]) text, JSON or CSV; a [`page`] holds them together.
//! The same values give the same bytes, and a file appears whole or not at all ([`draft`]).

pub mod cell;
pub mod colormap;
pub mod curve;
pub mod draft;
pub mod export;
pub mod npy;
pub mod page;
pub mod panel;
pub mod picture;
pub mod root_point;
pub mod share;
pub mod table;

use anyhow::{Context, Result};
use draft::Draft;
use std::io::Write;
use std::path::Path;

/// Writes `path` through `fill`, atomically: an error or a crash on the way leaves the old file, or none, in place.
///
/// # Errors
/// If the folder is missing or not writable, the disk is full, or `fill` fails.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut draft = Draft::open(path)?;
    fill(&mut draft).with_context(|| Draft::unfinished(path))?;
    draft.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_atomically(&path, |w| Ok(w.write_all(b"old")?)).unwrap();
        let failed = write_atomically(&path, |w| {
            w.write_all(b"new, and ")?;
            anyhow::bail!("stop")
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomically(&dir.path().join("no/a.txt"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("a.txt: cannot be created; check that its folder exists"));
    }
}

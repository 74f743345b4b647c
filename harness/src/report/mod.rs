//! What a command leaves behind: one output format a file.
//!
//! Pictures ([`picture`], [`panel`]) are PNG, curves ([`curve`], [`share`]) and drawings ([`cell`], [`root_point`]) SVG,
//! arrays ([`npy`]) NumPy's formats and tables ([`table`]) text, JSON or CSV; a [`page`] holds them together. The same values give the same bytes, and a file appears whole or not at all.

pub mod cell;
pub mod colormap;
pub mod curve;
pub mod npy;
pub mod page;
pub mod panel;
pub mod picture;
pub mod root_point;
pub mod share;
pub mod table;

use anyhow::{Context, Result};
use atomic_write_file::AtomicWriteFile;
use std::io::{BufWriter, IntoInnerError, Write};
use std::path::Path;

/// Writes `path` through `fill`, atomically: an error or a crash on the way leaves the old file, or none, in place.
///
/// # Errors
/// If the folder is missing or not writable, the disk is full, or `fill` fails.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let file = AtomicWriteFile::open(path).with_context(|| {
        format!("{}: cannot be created; check that its folder exists and is writable", path.display())
    })?;
    let mut writer = BufWriter::new(file);
    fill(&mut writer).with_context(|| format!("{}: not written, nothing was replaced", path.display()))?;
    writer.into_inner().map_err(IntoInnerError::into_error).and_then(AtomicWriteFile::commit).with_context(
        || format!("{}: could not be completed; check the space left on the disk", path.display()),
    )
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

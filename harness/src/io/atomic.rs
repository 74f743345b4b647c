//! Atomic writes: a file appears under its name only when it is complete.

use anyhow::{Context, Result, ensure};
use atomic_write_file::AtomicWriteFile;
use std::io::{self, BufWriter, IntoInnerError, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file being written. It appears under `path` when it is committed, and is removed if it is dropped before.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    file: BufWriter<AtomicWriteFile>,
    /// Offset of the next byte.
    at: u64,
    /// Whether a write has failed. Later writes are discarded.
    failed: bool,
}

impl AtomicFile {
    /// Begins a new file for `path`; an existing one stays until the commit.
    ///
    /// # Errors
    /// If the folder is missing or not writable.
    pub fn open(path: &Path) -> Result<AtomicFile> {
        let file = AtomicWriteFile::open(path).with_context(|| {
            format!("{}: cannot be created; check that its folder exists and is writable", path.display())
        })?;
        Ok(AtomicFile { path: path.to_path_buf(), file: BufWriter::new(file), at: 0, failed: false })
    }

    /// The context of an error while writing.
    pub fn unfinished(path: &Path) -> String {
        format!("{}: not written, nothing was replaced", path.display())
    }

    /// Moves the file to its name and replaces an existing one.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn commit(self) -> Result<()> {
        ensure!(!self.failed, AtomicFile::unfinished(&self.path));
        let written = self.file.into_inner().map_err(IntoInnerError::into_error);
        written.and_then(AtomicWriteFile::commit).with_context(|| {
            format!("{}: could not be completed; check the space left on the disk", self.path.display())
        })
    }

    /// Runs `act`, unless a write has failed before.
    ///
    /// The first failure is returned. Later calls succeed without effect: a zip writer closes itself when it is dropped
    /// and would report a second failure on stderr.
    fn unless_failed<T>(
        &mut self,
        discarded: T,
        act: impl FnOnce(&mut BufWriter<AtomicWriteFile>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.failed {
            return Ok(discarded);
        }
        let done = act(&mut self.file);
        self.failed = done.is_err();
        done
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.unless_failed(bytes.len(), |file| file.write(bytes))?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_failed((), BufWriter::flush)
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let discarded = if let SeekFrom::Start(at) = to { at } else { self.at };
        self.at = self.unless_failed(discarded, |file| file.seek(to))?;
        Ok(self.at)
    }
}

/// Writes `path` through `fill`, atomically: an error or a crash leaves the old file, or none, in place.
///
/// # Errors
/// If the folder is missing or not writable, the disk is full, or `fill` fails.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut file = AtomicFile::open(path)?;
    fill(&mut file).with_context(|| AtomicFile::unfinished(path))?;
    file.commit()
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

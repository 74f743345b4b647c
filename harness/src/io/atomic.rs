//! A file that has no name before it is complete.

use anyhow::{Context, Result, ensure};
use atomic_write_file::AtomicWriteFile;
use std::io::{self, BufWriter, IntoInnerError, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What is written so far of a file that takes its place under `path` when it is committed, and leaves no trace when it
/// is dropped before.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: BufWriter<AtomicWriteFile>,
    /// Where the next byte goes.
    at: u64,
    /// Whether a write has failed. What is still written goes nowhere.
    lost: bool,
}

impl Draft {
    /// A new file for `path`, beside what may be there.
    ///
    /// # Errors
    /// If the folder is missing or not writable.
    pub fn open(path: &Path) -> Result<Draft> {
        let file = AtomicWriteFile::open(path).with_context(|| {
            format!("{}: cannot be created; check that its folder exists and is writable", path.display())
        })?;
        Ok(Draft { path: path.to_path_buf(), file: BufWriter::new(file), at: 0, lost: false })
    }

    /// What an error on the way means for the file.
    pub fn unfinished(path: &Path) -> String {
        format!("{}: not written, nothing was replaced", path.display())
    }

    /// Gives the file its name, in place of the one that may have had it.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn commit(self) -> Result<()> {
        ensure!(!self.lost, Draft::unfinished(&self.path));
        let written = self.file.into_inner().map_err(IntoInnerError::into_error);
        written.and_then(AtomicWriteFile::commit).with_context(|| {
            format!("{}: could not be completed; check the space left on the disk", self.path.display())
        })
    }

    /// What `act` does, unless something has failed before.
    ///
    /// The first failure is handed on. What comes behind it succeeds and goes nowhere: a zip that is given up still
    /// closes itself when it is dropped, and would say on stderr that this fails too.
    fn unless_lost<T>(
        &mut self,
        nowhere: T,
        act: impl FnOnce(&mut BufWriter<AtomicWriteFile>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.lost {
            return Ok(nowhere);
        }
        let done = act(&mut self.file);
        self.lost = done.is_err();
        done
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.unless_lost(bytes.len(), |file| file.write(bytes))?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_lost((), BufWriter::flush)
    }
}

impl Seek for Draft {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let nowhere = if let SeekFrom::Start(at) = to { at } else { self.at };
        self.at = self.unless_lost(nowhere, |file| file.seek(to))?;
        Ok(self.at)
    }
}

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

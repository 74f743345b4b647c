//! A run's folder: opened before the computing starts, never overwritten without being asked.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// What to do with a folder that holds a run already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Keep,
    /// Go on with it.
    Resume,
    /// Delete the run's own files first.
    Overwrite,
}

impl Existing {
    /// From the flags of a command.
    pub fn from_flags(resume: bool, overwrite: bool) -> Existing {
        match (resume, overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Keep,
        }
    }
}

/// Files that a run writes.
pub const FILES: [&str; 5] =
    ["run.json", "metrics.csv", "last.safetensors", "best.safetensors", "resume.safetensors"];

/// Makes the folder of a run, or opens the one that is there.
///
/// # Errors
/// If a run is there and `existing` says to keep it, or the folder cannot be written.
pub fn open(folder: &Path, existing: Existing) -> Result<()> {
    let name = folder.display();
    std::fs::create_dir_all(folder).with_context(|| format!("{name}: the run folder cannot be made"))?;
    let found = FILES.iter().map(|file| folder.join(file)).find(|file| file.exists());
    match (found, existing) {
        (Some(file), Existing::Keep) => {
            bail!(
                "{name}: holds a run already ({}); choose another --out, --resume or --overwrite",
                file.display()
            )
        }
        (Some(_), Existing::Overwrite) => {
            for file in FILES.iter().map(|file| folder.join(file)).filter(|file| file.exists()) {
                std::fs::remove_file(&file)
                    .with_context(|| format!("{}: cannot be removed", file.display()))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Refuses a file that is there, unless it may be replaced.
///
/// # Errors
/// If the file exists and `overwrite` is not set.
pub fn refuse_existing(file: &Path, overwrite: bool) -> Result<()> {
    if file.exists() && !overwrite {
        bail!("{}: is there already; choose another name or --overwrite", file.display());
    }
    Ok(())
}

/// `runs/<name>`, or the first of `runs/<name>-2`, `-3`, … that is not there.
pub fn free(name: &str) -> PathBuf {
    let at = |n: usize| match n {
        1 => PathBuf::from("runs").join(name),
        n => PathBuf::from("runs").join(format!("{name}-{n}")),
    };
    (1..).map(at).find(|path| !path.exists()).unwrap_or_else(|| at(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_only_overwritten_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), Existing::Keep).unwrap();
        std::fs::write(folder.path().join("metrics.csv"), "epoch\n").unwrap();
        std::fs::write(folder.path().join("mine.txt"), "notes").unwrap();
        let error = open(folder.path(), Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
        open(folder.path(), Existing::Resume).unwrap();
        assert!(folder.path().join("metrics.csv").exists());
        open(folder.path(), Existing::Overwrite).unwrap();
        assert!(!folder.path().join("metrics.csv").exists());
        assert!(folder.path().join("mine.txt").exists(), "a stranger's file stays");
    }
}

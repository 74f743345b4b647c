//! The folder of a run: opened before the computation starts, locked by one process at a time, never overwritten without
//! `--overwrite`.

use crate::io::atomic::is_unfinished as is_unfinished_file;
use crate::io::folder;
use crate::io::lock::{self, Lock};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Handling of a folder that already holds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Keep it: an error.
    Keep,
    /// Continue the run.
    Resume,
    /// Delete the files of the run first.
    Overwrite,
}

impl Existing {
    /// The choice made by `--resume` and `--overwrite`.
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

/// The folder of a run, locked by this process.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    lock: Lock,
}

impl RunFolder {
    /// Creates the folder of a run, or opens an existing one.
    ///
    /// # Errors
    /// If it holds a run and `existing` is [`Existing::Keep`], if another process is using it, or if it cannot be
    /// written.
    pub fn open(path: &Path, existing: Existing) -> Result<RunFolder> {
        // Before anything is written to the folder.
        if existing == Existing::Keep {
            refuse_run(path)?;
        }
        folder::create(path)?;
        let lock = lock::hold(path)?;
        match existing {
            // Again, under the lock: another process may have finished a run here in between.
            Existing::Keep => refuse_run(path)?,
            Existing::Resume => {}
            Existing::Overwrite => {
                for file in FILES.iter().map(|file| path.join(file)).filter(|file| file.exists()) {
                    remove(&file)?;
                }
            }
        }
        Ok(RunFolder { path: path.to_owned(), lock })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the folder still belongs to this process: see [`Lock::check`].
    ///
    /// # Errors
    /// If another process took it over.
    pub fn check(&self) -> Result<()> {
        self.lock.check()
    }

    /// The path of a file in the folder.
    pub fn join(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Removes temporary files such as `.run.json.x7Ab2K` of a process that was killed while it wrote.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn tidy(&self) -> Result<()> {
        let is_unfinished = |name: &str| {
            let rest = name.strip_prefix('.').unwrap_or_default();
            let tails = FILES.iter().filter_map(|file| rest.strip_prefix(file));
            is_unfinished_file(name) || tails.into_iter().any(|tail| tail.len() == 7 && tail.starts_with('.'))
        };
        let entries = fs::read_dir(&self.path);
        let entries = entries.with_context(|| format!("{}: cannot be read", self.path.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(is_unfinished) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// The first file of a run that exists.
    pub fn found(&self) -> Option<PathBuf> {
        found(&self.path)
    }
}

fn found(folder: &Path) -> Option<PathBuf> {
    FILES.iter().map(|file| folder.join(file)).find(|file| file.exists())
}

/// Checks that a folder holds no run.
///
/// # Errors
/// If it does; the line names the file.
pub fn refuse_run(folder: &Path) -> Result<()> {
    let Some(file) = found(folder) else { return Ok(()) };
    bail!(
        "{}: already holds a run ({}); choose another --out, --resume or --overwrite",
        folder.display(),
        file.display()
    )
}

fn remove(file: &Path) -> Result<()> {
    fs::remove_file(file).with_context(|| format!("{}: cannot be removed", file.display()))
}

/// The longest name of a folder made from other names, in bytes.
const MAX_NAME: usize = 120;

/// A name of a file as the name of one folder: letters, digits, `-`, `_`, `+` and `.`, not beginning with a dot. Names of
/// experiments and data sets come from outside.
fn folder_name(name: &str) -> String {
    let mut found = String::new();
    for c in name.chars().map(|c| if c.is_alphanumeric() || "-_+.".contains(c) { c } else { '-' }) {
        if found.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        found.push(if found.is_empty() && c == '.' { '-' } else { c });
    }
    found
}

/// `runs/<name>`, or the first of `runs/<name>-2`, `-3`, … that does not exist.
pub fn free(name: &str) -> PathBuf {
    let name = folder_name(name);
    let at = |n: usize| match n {
        1 => PathBuf::from("runs").join(&name),
        n => PathBuf::from("runs").join(format!("{name}-{n}")),
    };
    (1..).map(at).find(|path| !path.exists()).unwrap_or_else(|| at(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_a_file_is_one_folder_under_runs() {
        assert_eq!(free("quick-synth_2+x.5"), Path::new("runs/quick-synth_2+x.5"));
        for (name, folder) in [
            ("../up", "runs/-.-up"),
            ("/abs-synth", "runs/-abs-synth"),
            (".hidden", "runs/-hidden"),
            ("\u{1b}[31mx\n-größe", "runs/--31mx--größe"),
        ] {
            assert_eq!(free(name), Path::new(folder), "{name:?}");
        }
        assert_eq!(free(&"ö".repeat(300)), Path::new("runs").join("ö".repeat(60)));
    }

    #[test]
    fn a_run_is_overwritten_only_with_the_option() {
        let folder = tempfile::tempdir().unwrap();
        let open = |existing| RunFolder::open(folder.path(), existing);
        open(Existing::Keep).unwrap();
        fs::write(folder.path().join("metrics.csv"), "epoch\n").unwrap();
        fs::write(folder.path().join("mine.txt"), "notes").unwrap();
        let error = open(Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("--resume"), "{error}");
        open(Existing::Resume).unwrap();
        assert!(folder.path().join("metrics.csv").exists());
        open(Existing::Overwrite).unwrap();
        assert!(!folder.path().join("metrics.csv").exists());
        assert!(folder.path().join("mine.txt").exists(), "other files stay");
    }

    #[test]
    fn a_second_owner_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        for existing in [Existing::Keep, Existing::Resume, Existing::Overwrite] {
            let first = RunFolder::open(folder.path(), existing).unwrap();
            let error = RunFolder::open(folder.path(), existing).unwrap_err().to_string();
            assert!(error.contains("another process is using it"), "{error}");
            drop(first);
        }
        RunFolder::open(folder.path(), Existing::Resume).unwrap();
    }

    #[test]
    fn temporary_files_of_a_killed_process_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".resume.safetensors.x7Ab2K", ".mine.safetensors.x7Ab2K", ".run.json-old"] {
            fs::write(folder.path().join(name), "part").unwrap();
        }
        RunFolder::open(folder.path(), Existing::Resume).unwrap().tidy().unwrap();
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".mine.safetensors.x7Ab2K", ".run.json-old", "lock"]);
    }

    #[test]
    fn a_read_only_folder_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut mode = fs::metadata(folder.path()).unwrap().permissions();
        mode.set_readonly(true);
        fs::set_permissions(folder.path(), mode).unwrap();
        let error = RunFolder::open(folder.path(), Existing::Resume).unwrap_err().to_string();
        assert!(error.contains("read-only"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

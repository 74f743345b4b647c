//! Compares files with the published ones.
//!
//! The content is compared: the same file compressed by another program has another checksum, so a `.gz` other than the
//! published one is decompressed as a stream.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::files::FILES;
use super::gz::{is_gz, reader};
use super::published::{PUBLISHED, Published, published};
use crate::io::file::plain_file;
use crate::io::hash::digests;

/// The published data set that a file of test labels is part of.
pub fn name_of_labels(path: &Path) -> Option<&'static str> {
    const ENOUGH: u64 = 1 << 20;
    let of = |source: io::Result<Box<dyn Read>>| {
        source.and_then(|s| digests(s.take(ENOUGH))).ok().map(|(_, sha)| sha)
    };
    let content = of(reader(path));
    let packed = is_gz(path)
        .then(|| of(plain_file(path).and_then(|_| Ok(Box::new(File::open(path)?) as _))))
        .flatten();
    let is = |known: Option<&str>, found: &Option<String>| known.is_some() && known == found.as_deref();
    let set =
        PUBLISHED.iter().find(|(_, files)| is(files[3].sha256, &content) || is(files[3].gz_sha256, &packed));
    set.map(|(name, _)| *name)
}

/// The result of comparing one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The file is the published one.
    Ok,
    /// The file differs: it is another file, or damaged.
    Differs,
    /// No checksum of the file is known.
    Unknown,
    /// The file does not exist.
    Missing,
}

impl State {
    /// One lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Differs => "differs",
            Self::Unknown => "unknown",
            Self::Missing => "missing",
        }
    }
}

/// The result for one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Its name, without `.gz`.
    pub file: &'static str,
    /// Its path.
    #[serde(serialize_with = "crate::io::show::serialize_optional_path")]
    pub path: Option<PathBuf>,
    /// Whether it is the published one.
    pub state: State,
    /// SHA-256 of its content; of the `.gz` if that is the published file.
    pub sha256: Option<String>,
    /// What was compared.
    pub note: String,
}

/// Compares the files of the data set `name`, given in the order of [`FILES`], with the published ones.
pub fn verify(name: &str, files: &[Option<PathBuf>; 4]) -> Vec<FileReport> {
    let known = published(name);
    let compare = |i: usize| {
        let (state, sha256, note) = match &files[i] {
            None => (State::Missing, None, "plain or .gz".to_owned()),
            Some(path) => verify_file(name, path, known.map(|files| &files[i])).unwrap_or_else(|error| {
                let what =
                    if error.kind() == io::ErrorKind::UnexpectedEof { "truncated" } else { "cannot be read" };
                (State::Differs, None, format!("{what}: {error}"))
            }),
        };
        FileReport { file: FILES[i], path: files[i].clone(), state, sha256, note }
    };
    (0..FILES.len()).map(compare).collect()
}

/// Whether the set `name` is generated on the machine itself.
fn is_generated(name: &str) -> bool {
    matches!(name, "synth" | "synth-maj")
}

/// Whether the file at `path` is the `known` one of the set `name`: the result, its SHA-256, and what was compared.
pub(super) fn verify_file(
    name: &str,
    path: &Path,
    known: Option<&Published>,
) -> io::Result<(State, Option<String>, String)> {
    if let Some(expected) = known.and_then(|known| known.gz_sha256).filter(|_| is_gz(path)) {
        plain_file(path)?;
        let (_, found) = digests(File::open(path)?)?;
        if found == expected {
            return Ok((State::Ok, Some(found), "the published gz".to_owned()));
        }
    }
    let (md5, sha256) = digests(reader(path)?)?;
    let (state, note) = match known {
        Some(Published { sha256: Some(expected), md5: expected_md5, .. }) => {
            let same = sha256 == *expected && expected_md5.is_none_or(|expected| expected == md5);
            match (same, is_gz(path)) {
                (true, _) if is_generated(name) => (State::Ok, "the default set".to_owned()),
                (true, true) => {
                    (State::Ok, "the published content, compressed by another program".to_owned())
                }
                (true, false) => (State::Ok, "the published content".to_owned()),
                (false, _) if is_generated(name) => {
                    (State::Differs, "not drawn with the default seed and sizes".to_owned())
                }
                (false, _) => (State::Differs, format!("expected sha256 {expected}")),
            }
        }
        Some(_) if is_gz(path) => {
            (State::Unknown, "not the published gz; its content has no known checksum".to_owned())
        }
        Some(_) => (State::Unknown, "a checksum is known for the published gz only".to_owned()),
        None => (State::Unknown, "no published data set has this name".to_owned()),
    };
    Ok((state, Some(sha256), note))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn missing_unknown_and_different_files_are_distinguished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILES[0]);
        std::fs::write(&path, b"abc").unwrap();
        let cut = dir.path().join("t10k-images-idx3-ubyte.gz");
        std::fs::write(&cut, [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
        let files = [Some(path), None, Some(cut), None];
        let states = |name: &str| verify(name, &files).iter().map(|report| report.state).collect::<Vec<_>>();
        assert_eq!(states("mnist"), [State::Differs, State::Missing, State::Differs, State::Missing]);
        assert_eq!(states("kmnist")[0], State::Unknown);
        assert_eq!(states("mine")[..2], [State::Unknown, State::Missing]);
        assert!(verify("mnist", &files)[2].note.contains("truncated"));
    }
}

//! Whether files are the published ones.
//!
//! What counts is the content: the same file packed by another program has another checksum, so a `.gz` that is not the
//! published one is unpacked in a stream and judged by what comes out.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use md5::Md5;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::locate::FILES;
use super::unpack::{is_gz, reader};

/// What is known of one published file; checksums in hex.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// MD5 of the unpacked file, as others publish it.
    pub md5: Option<&'static str>,
    /// SHA-256 of the unpacked file, computed from one that has that MD5.
    pub sha256: Option<&'static str>,
    /// SHA-256 of the published `.gz`.
    pub gz_sha256: Option<&'static str>,
}

const fn known(md5: &'static str, sha256: &'static str, gz: &'static str) -> Published {
    Published { md5: Some(md5), sha256: Some(sha256), gz_sha256: Some(gz) }
}

const fn only_gz(gz: &'static str) -> Published {
    Published { md5: None, sha256: None, gz_sha256: Some(gz) }
}

const fn drawn(sha256: &'static str) -> Published {
    Published { md5: None, sha256: Some(sha256), gz_sha256: None }
}

const PUBLISHED: [(&str, [Published; 4]); 4] = [
    (
        "mnist",
        [
            known(
                "6bbc9ace898e44ae57da46a324031adb",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            known(
                "a25bea736e30d166cdddb491f175f624",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            known(
                "2646ac647ad5339dbf082846283269ea",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            known(
                "27ae3e4e09519cfbb04c329615203637",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ],
    ),
    (
        "fashion-mnist",
        [
            known(
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            known(
                "9018921c3c673c538a1fc5bad174d6f9",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            known(
                "8181f5470baa50b63fa0f6fddb340f0a",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            known(
                "15d484375f8d13e6eb1aabb0c3f46965",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ],
    ),
    (
        "kmnist",
        [
            only_gz("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
            only_gz("e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
            only_gz("edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            only_gz("20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ],
    ),
    (
        "synth",
        [
            drawn("83cbfd86fa21e26b4373ceb14db08ab10121d819f14c25eafe7fccc5112a2a3b"),
            drawn("182283ac3a6c8948267beffa41b01f0c7f4e0484d39a15c631f59eed17c77d5b"),
            drawn("345683185de2020d75c689087bcaabe9f427e94e973d84c3b25b68959152e4fa"),
            drawn("3e1af7735862d7c96b260bce5a062b57a0104b0ef5299797a97bbc8205cd33ff"),
        ],
    ),
];

/// What is known of the data set `name`, in the order of [`FILES`]; for `synth` it is the set of default seed and sizes.
pub fn published(name: &str) -> Option<&'static [Published; 4]> {
    PUBLISHED.iter().find(|set| set.0 == name).map(|set| &set.1)
}

/// SHA-256 in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// MD5 and SHA-256 of all that `source` gives, in hex.
fn digests(mut source: impl Read) -> io::Result<(String, String)> {
    let (mut md5, mut sha256, mut block) = (Md5::new(), Sha256::new(), vec![0; 1 << 16]);
    loop {
        match source.read(&mut block)? {
            0 => return Ok((hex(&md5.finalize()), hex(&sha256.finalize()))),
            n => {
                md5.update(&block[..n]);
                sha256.update(&block[..n]);
            }
        }
    }
}

/// The published data set that a file of test labels belongs to.
pub fn name_of_labels(path: &Path) -> Option<&'static str> {
    const ENOUGH: u64 = 1 << 20;
    let of = |source: io::Result<Box<dyn Read>>| {
        source.and_then(|s| digests(s.take(ENOUGH))).ok().map(|(_, sha)| sha)
    };
    let content = of(reader(path));
    let packed =
        is_gz(path).then(|| of(File::open(path).map(|file| Box::new(file) as Box<dyn Read>))).flatten();
    let is = |known: Option<&str>, found: &Option<String>| known.is_some() && known == found.as_deref();
    let set =
        PUBLISHED.iter().find(|(_, files)| is(files[3].sha256, &content) || is(files[3].gz_sha256, &packed));
    set.map(|(name, _)| *name)
}

/// What became of comparing one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is the published file.
    Ok,
    /// It is another one, or damaged.
    Differs,
    /// There is nothing to compare it with.
    Unknown,
    /// It is not there.
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
    /// Where it is.
    pub path: Option<PathBuf>,
    /// Whether it is the published one.
    pub state: State,
    /// SHA-256 of its content; of the packed file where that alone is the published one.
    pub sha256: Option<String>,
    /// How that was found.
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
                    if error.kind() == io::ErrorKind::UnexpectedEof { "cut short" } else { "cannot be read" };
                (State::Differs, None, format!("{what}: {error}"))
            }),
        };
        FileReport { file: FILES[i], path: files[i].clone(), state, sha256, note }
    };
    (0..FILES.len()).map(compare).collect()
}

/// Whether the file at `path` is the `known` one of the set `name`: the result, its SHA-256, and how that was found.
pub(super) fn verify_file(
    name: &str,
    path: &Path,
    known: Option<&Published>,
) -> io::Result<(State, Option<String>, String)> {
    if let Some(expected) = known.and_then(|known| known.gz_sha256).filter(|_| is_gz(path)) {
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
                (true, _) if name == "synth" => (State::Ok, "the default set".to_owned()),
                (true, true) => (State::Ok, "the published content, packed by another program".to_owned()),
                (true, false) => (State::Ok, "the published content".to_owned()),
                (false, _) if name == "synth" => {
                    (State::Differs, "not drawn with the default seed and sizes".to_owned())
                }
                (false, _) => (State::Differs, format!("expected sha256 {expected}")),
            }
        }
        Some(_) if is_gz(path) => {
            (State::Unknown, "not the published gz; its content has no known checksum".to_owned())
        }
        Some(_) => (State::Unknown, "a checksum is known of the published gz only".to_owned()),
        None => (State::Unknown, "nothing is published under this name".to_owned()),
    };
    Ok((state, Some(sha256), note))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        let (md5, sha) = digests(&b"abc"[..]).unwrap();
        assert_eq!(md5, "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(sha, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256(b"abc"), sha);
    }

    #[test]
    fn every_published_checksum_has_its_length() {
        for file in PUBLISHED.iter().flat_map(|set| &set.1) {
            assert!(file.md5.is_none_or(|hex| hex.len() == 32));
            assert!([file.sha256, file.gz_sha256].iter().flatten().all(|hex| hex.len() == 64));
        }
    }

    #[test]
    fn missing_unknown_and_different_files_are_told_apart() {
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
        assert!(verify("mnist", &files)[2].note.contains("cut short"));
    }
}

//! Finds data sets: the folders searched and the layouts accepted.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::files::{FILES, KNOWN, MASK_FILES, canonical_name};
use super::published::{how_to_download, is_published};
use super::split::Split;
use super::{checksum, maj, synth};
use crate::io::atomic::{check_folder, random_name};
use crate::io::idx;
use crate::io::output::note;
use crate::io::show::shown;

/// Environment variable that names a folder to search, after `--data-dir`.
pub const DATA_DIR_ENV: &str = "RELEVANCE_DATA_DIR";
/// Files of other names that an error lists.
const MAX_MISNAMED: usize = 8;
/// A data set whose four files exist, compressed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Name in its canonical spelling.
    pub name: String,
    /// The folder that holds the files.
    pub folder: PathBuf,
    /// The files in the order of [`FILES`]; `.gz` files are compressed.
    pub files: [PathBuf; 4],
}

/// The folders to search, in order.
#[derive(Clone, Debug)]
pub struct SearchPath {
    roots: Vec<PathBuf>,
    cache: Option<PathBuf>,
}

impl SearchPath {
    /// `data_dir`, then [`DATA_DIR_ENV`], `./data`, and the cache folder `$XDG_CACHE_HOME/relevance` or
    /// `~/.cache/relevance`.
    ///
    /// # Errors
    /// If `data_dir` is not a folder.
    pub fn new(data_dir: Option<&Path>) -> anyhow::Result<Self> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let xdg = var("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let cache =
            xdg.or_else(|| var("HOME").map(|home| home.join(".cache"))).map(|dir| dir.join("relevance"));
        Self::with(data_dir, var(DATA_DIR_ENV), cache)
    }

    pub(super) fn with(
        data_dir: Option<&Path>,
        env: Option<PathBuf>,
        cache: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        if let Some(dir) = data_dir {
            ensure!(
                dir.is_dir(),
                "--data-dir {}: no such folder; name the one that holds the data sets",
                dir.display()
            );
        }
        let mut roots: Vec<PathBuf> = Vec::new();
        let all = [data_dir.map(Path::to_path_buf), env, Some(PathBuf::from("data")), cache.clone()];
        for root in all.into_iter().flatten() {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        Ok(Self { roots, cache })
    }

    /// The folders in search order.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The folder for files that can be recreated: decompressed files and the synthetic set.
    ///
    /// # Errors
    /// If neither `XDG_CACHE_HOME` nor `HOME` is set, or the folder cannot be created or written.
    pub fn cache(&self) -> anyhow::Result<&Path> {
        let cache = self.cache.as_deref().context("there is no cache folder; set XDG_CACHE_HOME or HOME")?;
        fs::create_dir_all(cache).and_then(|()| check_folder(cache)).with_context(|| {
            format!(
                "{}: the cache folder cannot be written; set XDG_CACHE_HOME to a folder that can, or generate the set \
                 with harness data synth --out DIR/synth and give --data-dir DIR",
                shown(cache)
            )
        })?;
        Ok(cache)
    }

    /// The folders that may hold the data set `name`, in search order.
    fn candidates<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        self.roots.iter().flat_map(move |root| {
            let torchvision = KNOWN.iter().find(|known| known.0 == name).and_then(|known| known.1);
            let inside = [Some(name), torchvision].into_iter().flatten().map(|folder| root.join(folder));
            // A root that holds the files itself matches any name, unless the files are those of another known set.
            let itself =
                Some(root.clone()).filter(|root| published_set_in(root).is_none_or(|found| found == name));
            inside.chain(itself)
        })
    }

    /// The first folder that has all four files of the set `name` (in its canonical spelling).
    pub fn find(&self, name: &str) -> Option<Located> {
        self.candidates(name).find_map(|folder| located(name, &folder))
    }

    /// The set whose files are right in `folder`, named after what it holds, else after the folder.
    ///
    /// # Errors
    /// If a file is missing.
    pub(super) fn in_folder(folder: &Path) -> anyhow::Result<Located> {
        let shown = folder.display();
        let named = folder.canonicalize().with_context(|| format!("{shown}: no such folder"))?;
        let name = named.file_name().and_then(|name| name.to_str()).unwrap_or("data");
        let lacking = FILES.iter().zip(files_in(folder)).filter(|(_, file)| file.is_none());
        let lacking: Vec<&str> = lacking.map(|(name, _)| *name).collect();
        let found = located(published_set_in(folder).unwrap_or(name), folder);
        found.with_context(|| format!("{shown} lacks {}, plain or .gz", lacking.join(", ")))
    }

    /// The first folder with the most of the four files: to report which are missing.
    pub fn find_some(&self, name: &str) -> Option<(PathBuf, [Option<PathBuf>; 4])> {
        let all: Vec<_> = self.candidates(name).map(|dir| (files_in(&dir), dir)).collect();
        let count = |files: &[Option<PathBuf>; 4]| files.iter().flatten().count();
        let most = all.iter().map(|(files, _)| count(files)).max().filter(|&most| most > 0)?;
        all.into_iter().find(|(files, _)| count(files) == most).map(|(files, dir)| (dir, files))
    }

    /// The error for a set that was not found: the folders searched, the files expected and how to get them.
    pub fn not_found(&self, name: &str) -> anyhow::Error {
        let roots: Vec<_> = self.roots.iter().map(|root| root.join(name).display().to_string()).collect();
        let missing = self.find_some(name).map_or_else(String::new, |(dir, files)| {
            let missing: Vec<_> =
                FILES.iter().zip(&files).filter(|(_, file)| file.is_none()).map(|(n, _)| *n).collect();
            format!("; {} lacks {}", dir.display(), missing.join(", "))
        });
        let misnamed: String = self
            .candidates(name)
            .map(|folder| (misnamed(&folder), folder))
            .filter(|(names, _)| !names.is_empty())
            .map(|(names, folder)| format!("; {} holds {}, rename them", folder.display(), names.join(", ")))
            .collect();
        let others: String = self
            .roots
            .iter()
            .filter_map(|root| Some((root, published_set_in(root)?)))
            .map(|(root, set)| format!("; {} itself holds {set}", root.display()))
            .collect();
        let download = match (is_published(name), name.strip_suffix(maj::SUFFIX)) {
            (true, _) => format!("download it: {}, ", how_to_download(name)),
            (false, Some(base)) => format!("generate it: harness data maj --from {base}, "),
            (false, None) => String::new(),
        };
        anyhow!(
            "no data set {name:?} in {} (nor as torchvision keeps it){missing}{misnamed}{others}; put {}, each plain or .gz, into one of these, \
             give another folder with --data-dir or {DATA_DIR_ENV}, {download}or generate a set without a download: harness data synth",
            roots.join(", "),
            FILES.join(", "),
        )
    }

    /// Every data set in every folder, in search order; of two with one name, the first is opened.
    pub fn list(&self) -> Vec<Located> {
        let mut found: Vec<Located> = Vec::new();
        let mut add = |set: Option<Located>| {
            let set = set.filter(|set| found.iter().all(|other| other.folder != set.folder));
            found.extend(set);
        };
        for root in &self.roots {
            let mut folders: Vec<PathBuf> =
                fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path()).collect();
            folders.sort();
            for folder in folders {
                if let Some(name) =
                    folder.file_name().and_then(|n| n.to_str()).filter(|n| !n.starts_with('.'))
                {
                    add(canonical_name(name).ok().and_then(|name| located(&name, &folder)));
                }
            }
            for (name, torchvision) in KNOWN {
                add(torchvision.and_then(|folder| located(name, &root.join(folder))));
            }
            let own_name = published_set_in(root).or_else(|| root.file_name().and_then(|name| name.to_str()));
            add(own_name.and_then(|name| located(name, root)));
        }
        found
    }

    /// Generates the synthetic set with its default seed and sizes in the cache folder.
    ///
    /// The folder appears under its name only when it is complete, so several processes may do this at once.
    ///
    /// # Errors
    /// If there is no cache folder or it cannot be written.
    pub fn generate_synth(&self) -> anyhow::Result<Located> {
        self.generate("synth", |folder| {
            synth::write(folder, synth::DEFAULT_SEED, synth::DEFAULT_TRAIN, synth::DEFAULT_TEST)
        })
    }

    /// Generates the majority problem of the synthetic set, both with their default seeds, into the cache folder.
    ///
    /// The synthetic set is generated anew, so that the bytes do not depend on which one is found.
    ///
    /// # Errors
    /// As [`SearchPath::generate_synth`].
    pub fn generate_synth_maj(&self) -> anyhow::Result<Located> {
        self.generate("synth-maj", |folder| {
            let digits = folder.join("synth");
            synth::write(&digits, synth::DEFAULT_SEED, synth::DEFAULT_TRAIN, synth::DEFAULT_TEST)?;
            let [a, b, c, d] = FILES.map(|file| digits.join(file));
            let halves = [Split::open(&a, &b, None)?, Split::open(&c, &d, None)?];
            maj::write(folder, &maj::majority(&halves, maj::DEFAULT_SEED)?)?;
            fs::remove_dir_all(&digits).with_context(|| format!("{}: cannot be removed", digits.display()))
        })
    }

    /// Has `write` fill a folder of the cache, which appears under `name` when it is complete.
    fn generate(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Located> {
        let cache = self.cache()?;
        let target = cache.join(name);
        note!("generating the data set {name} in {} (once)", target.display());
        let unfinished = Unfinished(cache.join(format!(".{name}-{}", random_name())));
        write(&unfinished.0)?;
        let renamed = fs::rename(&unfinished.0, &target);
        match (located(name, &target), renamed) {
            (Some(set), _) => Ok(set),
            (None, Err(error)) => Err(error).with_context(|| {
                format!("{}: cannot be replaced; remove it and try again", target.display())
            }),
            (None, Ok(())) => bail!("{}: was removed while it was generated; try again", target.display()),
        }
    }
}

/// A folder that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // An error is ignored: nothing else can be done.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The four files in `folder`; an uncompressed one is preferred. Any directory entry with the name counts; a
/// folder or a device is refused when it is opened.
fn files_in(folder: &Path) -> [Option<PathBuf>; 4] {
    FILES.map(|file| file_in(folder, file))
}

/// One of the four files, under either spelling of its name, packed or not.
pub(super) fn file_in(folder: &Path, file: &str) -> Option<PathBuf> {
    let dotted = dotted(file);
    let names = [file.to_owned(), format!("{file}.gz"), format!("{dotted}.gz"), dotted];
    names.into_iter().map(|name| folder.join(name)).find(|path| path.exists())
}

/// The other spelling of a file's name, as some archives have it: `train-images.idx3-ubyte`.
fn dotted(file: &str) -> String {
    file.replacen("-idx", ".idx", 1)
}

/// Names of files in a folder that hold images or labels but have neither spelling of a name.
fn misnamed(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_known = |name: &str| {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        FILES.iter().chain(&MASK_FILES).any(|file| plain == *file || plain == dotted(file))
    };
    let is_idx = |path: &PathBuf| {
        let mut start = Vec::new();
        let read = super::gz::reader(path).and_then(|source| source.take(4).read_to_end(&mut start));
        read.is_ok() && idx::is_images_or_labels(&start)
    };
    let names =
        entries.filter(is_idx).filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.filter(|name| !is_known(name)).collect();
    names.sort();
    names.truncate(MAX_MISNAMED);
    names
}

/// The published set whose files are directly in `folder`. A majority problem has the labels of the set it was drawn from.
fn published_set_in(folder: &Path) -> Option<&'static str> {
    let labelled = files_in(folder)[3].as_deref().and_then(checksum::name_of_labels)?;
    if !MASK_FILES.iter().any(|file| folder.join(file).exists()) {
        return Some(labelled);
    }
    KNOWN.iter().map(|known| known.0).find(|name| name.strip_suffix(maj::SUFFIX) == Some(labelled))
}

fn located(name: &str, folder: &Path) -> Option<Located> {
    let [Some(a), Some(b), Some(c), Some(d)] = files_in(folder) else {
        return None;
    };
    Some(Located { name: name.to_owned(), folder: folder.to_path_buf(), files: [a, b, c, d] })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dataset::testing::{pack, packed_set};

    fn places(data_dir: &Path, cache: &Path) -> SearchPath {
        SearchPath::with(Some(data_dir), None, Some(cache.to_path_buf())).unwrap()
    }

    #[test]
    fn each_layout_is_found_in_search_order() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        packed_set(cache.path(), "mnist");
        let places = places(root.path(), cache.path());
        assert_eq!(places.find("mnist").unwrap().folder, cache.path().join("mnist"));
        packed_set(root.path(), "MNIST/raw");
        assert_eq!(places.find("mnist").unwrap().folder, root.path().join("MNIST/raw"));
        packed_set(root.path(), "mnist");
        assert_eq!(places.find("mnist").unwrap().folder, root.path().join("mnist"));
        let flat = SearchPath::with(Some(&root.path().join("mnist")), None, None).unwrap();
        assert_eq!(flat.find("anything").unwrap().folder, root.path().join("mnist"));
        assert_eq!(places.list().len(), 3);
    }

    #[test]
    fn a_missing_set_names_the_folders_searched() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = places(root.path(), cache.path());
        assert!(places.find("nix").is_none());
        let message = places.not_found("nix").to_string();
        for part in
            [root.path().to_str().unwrap(), cache.path().to_str().unwrap(), FILES[2], "harness data synth"]
        {
            assert!(message.contains(part), "{message}");
        }
        fs::remove_file(packed_set(root.path(), "nix").join("t10k-labels-idx1-ubyte.gz")).unwrap();
        assert!(places.not_found("nix").to_string().contains("lacks t10k-labels-idx1-ubyte;"));
        let other = root.path().join("other");
        synth::write(&other, synth::DEFAULT_SEED, 1, synth::DEFAULT_TEST).unwrap();
        let flat = SearchPath::with(Some(&other), None, None).unwrap();
        assert!(flat.find("synth").is_some() && flat.find("mnist").is_none());
        assert!(flat.not_found("mnist").to_string().contains("itself holds synth"));
        assert!(SearchPath::with(Some(&root.path().join("none")), None, None).is_err());
    }

    #[test]
    fn either_spelling_of_a_name_is_found_packed_or_not() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = places(root.path(), cache.path());
        let dir = packed_set(root.path(), "dots");
        for file in FILES {
            fs::rename(
                dir.join(format!("{file}.gz")),
                dir.join(format!("{}.gz", file.replace("-idx", ".idx"))),
            )
            .unwrap();
        }
        let plain = places.unpack(&places.find("dots").unwrap()).unwrap();
        assert_eq!(Split::open(&plain[0], &plain[1], None).unwrap().len(), 9);
        synth::write(&root.path().join("plain"), 1, 9, 4).unwrap();
        for file in FILES {
            let at = |name: &str| root.path().join("plain").join(name);
            fs::rename(at(file), at(&file.replace("-idx", ".idx"))).unwrap();
        }
        let found = places.find("plain").unwrap().files;
        assert_eq!(found[0], root.path().join("plain/train-images.idx3-ubyte"));
        assert!(
            checksum::verify("plain", &found.map(Some))
                .iter()
                .all(|file| file.state != checksum::State::Missing)
        );
    }

    #[test]
    fn files_of_other_names_are_listed_with_what_to_do() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = root.path().join("other");
        synth::write(&dir, 1, 9, 4).unwrap();
        for (i, file) in FILES.iter().enumerate() {
            fs::rename(dir.join(file), dir.join(format!("file{i}.bin"))).unwrap();
        }
        fs::write(dir.join("notes.txt"), "no data").unwrap();
        let message = places(root.path(), cache.path()).not_found("other").to_string();
        assert!(
            message.contains("holds file0.bin, file1.bin, file2.bin, file3.bin, rename them"),
            "{message}"
        );
        assert!(!message.contains("notes"), "{message}");
        let packed = pack(&fs::read(dir.join("file0.bin")).unwrap());
        fs::write(dir.join(format!("{}.GZ", FILES[0])), packed).unwrap();
        let message = places(root.path(), cache.path()).not_found("other").to_string();
        assert!(message.contains("file3.bin, train-images-idx3-ubyte.GZ, rename them"), "{message}");
    }

    #[test]
    fn a_cache_that_cannot_be_written_names_the_variable() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "x").unwrap();
        let places = SearchPath::with(None, None, Some(file.join("relevance"))).unwrap();
        let message = format!("{:#}", places.generate_synth().unwrap_err());
        for part in ["XDG_CACHE_HOME", "--data-dir", "relevance"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_synthetic_set_is_generated_completely() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = places(root.path(), cache.path());
        let set = places.generate_synth().unwrap();
        assert_eq!(places.find("synth"), Some(set.clone()));
        assert_eq!(places.generate_synth().unwrap(), set, "a second process that finishes later is harmless");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
        let reports = checksum::verify("synth", &set.files.map(Some));
        assert!(reports.iter().all(|report| report.state == checksum::State::Ok), "{reports:?}");
    }

    /// A majority problem has the labels of the set it was drawn from, and is still told from it.
    #[test]
    fn the_synthetic_majority_problem_is_generated_completely_and_found_by_its_own_name() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = places(root.path(), cache.path());
        let set = places.generate_synth_maj().unwrap();
        assert_eq!(places.find("synth-maj"), Some(set.clone()));
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&set.folder).unwrap().count(), FILES.len() + MASK_FILES.len());
        let reports = checksum::verify("synth-maj", &set.files.clone().map(Some));
        assert!(reports.iter().all(|report| report.state == checksum::State::Ok), "{reports:?}");
        let flat = SearchPath::with(Some(&set.folder), None, None).unwrap();
        assert!(flat.find("synth").is_none() && flat.find("mnist").is_none());
        assert_eq!(flat.find("synth-maj").unwrap().folder, set.folder);
        assert_eq!(SearchPath::in_folder(&set.folder).unwrap().name, "synth-maj");
    }
}

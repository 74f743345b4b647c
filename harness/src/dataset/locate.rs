//! Where data sets are: the places searched, the layouts accepted, and the unpacking of `.gz`.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, anyhow, bail, ensure};
use atomic_write_file::AtomicWriteFile;
use flate2::bufread::MultiGzDecoder;

use super::idx::{Header, Kind};
use super::{checksum, synth};

/// Environment variable that names a folder to search, after `--data-dir`.
pub const DATA_DIR_ENV: &str = "RELEVANCE_DATA_DIR";
/// The four files of a data set, without `.gz`: training images and labels, test images and labels.
pub const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];
/// What each of [`FILES`] holds.
pub const KINDS: [Kind; 4] = [Kind::Images, Kind::Labels, Kind::Images, Kind::Labels];

/// Data sets that have a name of their own and the folder torchvision keeps them in.
const KNOWN: [(&str, Option<&str>); 4] = [
    ("mnist", Some("MNIST/raw")),
    ("fashion-mnist", Some("FashionMNIST/raw")),
    ("kmnist", Some("KMNIST/raw")),
    ("synth", None),
];
/// Deflate cannot shrink data further than this.
const MOST_PACKED: u64 = 1032;

/// The usual spelling of a data set's name: `FashionMNIST` is `fashion-mnist`; unknown names stay as they are.
///
/// # Errors
/// If `name` is no plain folder name.
pub fn usual_name(name: &str) -> anyhow::Result<String> {
    ensure!(
        !matches!(name, "" | "." | "..") && !name.contains(['/', '\\']),
        "{name:?} is no data set name; give the name of a folder and say where that is with --data-dir"
    );
    Ok(match name.to_ascii_lowercase().replace('_', "-").as_str() {
        "mnist" => "mnist",
        "fashion-mnist" | "fashionmnist" | "fashion" => "fashion-mnist",
        "kmnist" | "kuzushiji-mnist" => "kmnist",
        "synth" => "synth",
        _ => name,
    }
    .to_owned())
}

/// A data set whose four files are there, packed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Name in its usual spelling.
    pub name: String,
    /// The folder that holds the files.
    pub folder: PathBuf,
    /// The files in the order of [`FILES`]; one that ends in `.gz` is packed.
    pub files: [PathBuf; 4],
}

/// The folders that are searched, in order.
#[derive(Clone, Debug)]
pub struct Places {
    roots: Vec<PathBuf>,
    cache: Option<PathBuf>,
}

impl Places {
    /// `data_dir`, then [`DATA_DIR_ENV`], `./data`, and the cache folder `$XDG_CACHE_HOME/relevance` or
    /// `~/.cache/relevance`.
    ///
    /// # Errors
    /// If `data_dir` is no folder.
    pub fn new(data_dir: Option<&Path>) -> anyhow::Result<Self> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let xdg = var("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let cache =
            xdg.or_else(|| var("HOME").map(|home| home.join(".cache"))).map(|dir| dir.join("relevance"));
        Self::with(data_dir, var(DATA_DIR_ENV), cache)
    }

    fn with(data_dir: Option<&Path>, env: Option<PathBuf>, cache: Option<PathBuf>) -> anyhow::Result<Self> {
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

    /// The folders searched, first one first.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The folder for what can be made again: unpacked files and the synthetic set.
    ///
    /// # Errors
    /// If neither `XDG_CACHE_HOME` nor `HOME` is set.
    pub fn cache(&self) -> anyhow::Result<&Path> {
        self.cache.as_deref().context("there is no cache folder; set XDG_CACHE_HOME or HOME")
    }

    /// The folders that may hold the data set `name`, first one first.
    fn candidates<'a>(&'a self, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        self.roots.iter().flat_map(move |root| {
            let torchvision = KNOWN.iter().find(|known| known.0 == name).and_then(|known| known.1);
            let inside = [Some(name), torchvision].into_iter().flatten().map(|folder| root.join(folder));
            // A root that itself holds a set takes any name, but not that of another set.
            let itself = Some(root.clone()).filter(|root| own_set(root).is_none_or(|found| found == name));
            inside.chain(itself)
        })
    }

    /// The first place that has all four files of the set `name` (in its usual spelling).
    pub fn find(&self, name: &str) -> Option<Located> {
        self.candidates(name).find_map(|folder| located(name, &folder))
    }

    /// The first place that has all, else any, of the files: for a report on what is missing.
    pub fn find_some(&self, name: &str) -> Option<(PathBuf, [Option<PathBuf>; 4])> {
        let all: Vec<_> = self.candidates(name).map(|dir| (files_in(&dir), dir)).collect();
        let count = |files: &[Option<PathBuf>; 4]| files.iter().flatten().count();
        let most = all.iter().map(|(files, _)| count(files)).max().filter(|&most| most > 0)?;
        all.into_iter().find(|(files, _)| count(files) == most).map(|(files, dir)| (dir, files))
    }

    /// Says where the set `name` was looked for, what is wanted and how to get it.
    pub fn not_found(&self, name: &str) -> anyhow::Error {
        let roots: Vec<_> = self.roots.iter().map(|root| root.join(name).display().to_string()).collect();
        let missing = self.find_some(name).map_or_else(String::new, |(dir, files)| {
            let missing: Vec<_> =
                FILES.iter().zip(&files).filter(|(_, file)| file.is_none()).map(|(n, _)| *n).collect();
            format!("; {} lacks {}", dir.display(), missing.join(", "))
        });
        let others: String = self
            .roots
            .iter()
            .filter_map(|root| Some((root, own_set(root)?)))
            .map(|(root, set)| format!("; {} itself holds {set}", root.display()))
            .collect();
        anyhow!(
            "no data set {name:?} in {} (nor as torchvision keeps it){missing}{others}; put {}, each plain or .gz, into one of these, \
             name another place with --data-dir or {DATA_DIR_ENV}, or draw a set without a download: harness data synth",
            roots.join(", "),
            FILES.join(", "),
        )
    }

    /// Every data set in every place, in search order; of two with one name, the first is the one that opens.
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
                    add(usual_name(name).ok().and_then(|name| located(&name, &folder)));
                }
            }
            for (name, torchvision) in KNOWN {
                add(torchvision.and_then(|folder| located(name, &root.join(folder))));
            }
            let own_name = own_set(root).or_else(|| root.file_name().and_then(|name| name.to_str()));
            add(own_name.and_then(|name| located(name, root)));
        }
        found
    }

    /// Draws the synthetic set with its default seed and sizes into the cache folder.
    ///
    /// The folder appears under its name only when it is complete, so several processes may do this at once.
    ///
    /// # Errors
    /// If there is no cache folder or it cannot be written.
    pub fn draw_synth(&self) -> anyhow::Result<Located> {
        /// Sets apart the folders of threads that draw at once.
        static DRAWINGS: AtomicU32 = AtomicU32::new(0);
        let cache = self.cache()?;
        let target = cache.join("synth");
        eprintln!("drawing the synthetic data set into {} (once)", target.display());
        let unfinished = Unfinished(cache.join(format!(
            ".synth-{}-{}",
            std::process::id(),
            DRAWINGS.fetch_add(1, Ordering::Relaxed)
        )));
        synth::write(&unfinished.0, synth::DEFAULT_SEED, synth::DEFAULT_TRAIN, synth::DEFAULT_TEST)?;
        let renamed = fs::rename(&unfinished.0, &target);
        match (located("synth", &target), renamed) {
            (Some(set), _) => Ok(set),
            (None, Err(error)) => Err(error).with_context(|| {
                format!("{}: cannot be replaced; remove it and try again", target.display())
            }),
            (None, Ok(())) => bail!("{}: vanished as soon as it was drawn; try again", target.display()),
        }
    }

    /// Paths of the four plain files; those that are packed are unpacked first, once.
    ///
    /// Beside the `.gz` if that folder takes files, else into `unpacked/<name>-<key>` in the cache folder, where the key
    /// stands for path, size and age of the packed files.
    ///
    /// # Errors
    /// If a packed file is damaged, claims more than it can hold, or nothing can be written.
    pub fn unpack(&self, set: &Located) -> anyhow::Result<[PathBuf; 4]> {
        let mut plain = set.files.clone();
        for (i, gz) in set.files.iter().enumerate().filter(|(_, path)| is_gz(path)) {
            plain[i] = self.unpack_file(set, gz, FILES[i], KINDS[i])?;
        }
        Ok(plain)
    }

    fn unpack_file(&self, set: &Located, gz: &Path, file: &str, kind: Kind) -> anyhow::Result<PathBuf> {
        // Asked of the mode bits too: the superuser could write into a folder that is meant to stay as it is.
        let read_only = fs::metadata(&set.folder).is_ok_and(|meta| meta.permissions().readonly());
        if !read_only {
            let beside = set.folder.join(file);
            match AtomicWriteFile::open(&beside) {
                Ok(to) => return unpack_into(gz, kind, to, &beside).map(|()| beside),
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                    ) => {}
                Err(e) => {
                    return Err(e).with_context(|| format!("{}: cannot be written", beside.display()));
                }
            }
        }
        let cache = self.cache().with_context(|| format!("cannot unpack beside {}", gz.display()))?;
        let folder = cache.join("unpacked").join(format!("{}-{}", set.name, key(&set.files)?));
        let target = folder.join(file);
        if !target.is_file() {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            let to = AtomicWriteFile::open(&target)
                .with_context(|| format!("{}: cannot be written", target.display()))?;
            unpack_into(gz, kind, to, &target)?;
        }
        Ok(target)
    }
}

/// A folder that is removed unless it was renamed.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing more can be done about what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether `path` is read through gzip.
pub fn is_gz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Reads `path`, unpacked on the way if it ends in `.gz`.
///
/// # Errors
/// If it cannot be opened.
pub fn reader(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = BufReader::with_capacity(1 << 16, File::open(path)?);
    Ok(if is_gz(path) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// The four files in `folder`; a plain one is preferred to a packed one.
fn files_in(folder: &Path) -> [Option<PathBuf>; 4] {
    FILES.map(|file| {
        [folder.join(file), folder.join(format!("{file}.gz"))].into_iter().find(|path| path.is_file())
    })
}

/// Which published set the files right in `folder` are.
fn own_set(folder: &Path) -> Option<&'static str> {
    files_in(folder)[3].as_deref().and_then(checksum::name_of_labels)
}

fn located(name: &str, folder: &Path) -> Option<Located> {
    let [Some(a), Some(b), Some(c), Some(d)] = files_in(folder) else {
        return None;
    };
    Some(Located { name: name.to_owned(), folder: folder.to_path_buf(), files: [a, b, c, d] })
}

/// Tells packed files from others, and from what was there before them.
fn key(files: &[PathBuf; 4]) -> anyhow::Result<String> {
    let mut all = String::new();
    for path in files.iter().filter(|path| is_gz(path)) {
        let meta = path.canonicalize().and_then(|full| Ok((fs::metadata(&full)?, full)));
        let (meta, full) = meta.with_context(|| format!("{}: cannot be read", path.display()))?;
        all += &format!("{full:?} {} {:?}\n", meta.len(), meta.modified().ok());
    }
    Ok(checksum::sha256(all.as_bytes())[..12].to_owned())
}

/// Unpacks `gz` into `to`, which appears as `target` only if all is well.
fn unpack_into(gz: &Path, kind: Kind, mut to: AtomicWriteFile, target: &Path) -> anyhow::Result<()> {
    let name = gz.display();
    let reading = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            anyhow!("{name}: cut short, the packed data ends too early; fetch it again")
        }
        _ => anyhow!("{name}: cannot unpack ({e}); fetch it again"),
    };
    let packed_len = fs::metadata(gz).with_context(|| format!("{name}: cannot be read"))?.len();
    let mut from = reader(gz).with_context(|| format!("{name}: cannot be opened"))?;
    let mut head = Vec::new();
    (&mut from).take(16).read_to_end(&mut head).map_err(reading)?;
    let Header { file_len, .. } = Header::read(head.as_slice(), kind, gz)?;
    ensure!(
        file_len / MOST_PACKED <= packed_len,
        "{name}: claims {file_len} bytes, more than {packed_len} packed bytes can hold; the header is damaged, fetch it again"
    );
    // One byte more than expected shows that there is too much, and reaching the end checks the gzip checksum.
    let mut content = head.as_slice().chain(from).take(file_len.saturating_add(1));
    let (mut found, mut block) = (0, vec![0; 1 << 16]);
    loop {
        let n = content.read(&mut block).map_err(reading)?;
        if n == 0 {
            break;
        }
        found += n as u64;
        to.write_all(&block[..n]).with_context(|| format!("{}: cannot be written", target.display()))?;
    }
    ensure!(
        found == file_len,
        "{name}: unpacks to {} bytes, expected {file_len}; it is damaged, fetch it again",
        if found > file_len { format!("more than {file_len}") } else { found.to_string() }
    );
    to.commit().with_context(|| format!("{}: cannot be written", target.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dataset::Split;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A synthetic set of gz files at `<root>/<folder>`.
    fn packed_set(root: &Path, folder: &str) -> PathBuf {
        let dir = root.join(folder);
        synth::write(&dir, 1, 9, 4).unwrap();
        for file in FILES {
            let bytes = fs::read(dir.join(file)).unwrap();
            fs::write(dir.join(format!("{file}.gz")), pack(&bytes)).unwrap();
            fs::remove_file(dir.join(file)).unwrap();
        }
        dir
    }

    fn places(data_dir: &Path, cache: &Path) -> Places {
        Places::with(Some(data_dir), None, Some(cache.to_path_buf())).unwrap()
    }

    #[test]
    fn names_are_spelt_in_their_usual_way() {
        assert_eq!(usual_name("Fashion_MNIST").unwrap(), "fashion-mnist");
        assert_eq!(usual_name("MNIST").unwrap(), "mnist");
        assert_eq!(usual_name("My_Set").unwrap(), "My_Set");
        assert!(usual_name("../x").is_err() && usual_name("..").is_err() && usual_name("").is_err());
    }

    #[test]
    fn each_layout_is_found_and_the_first_place_wins() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        packed_set(cache.path(), "mnist");
        let places = places(root.path(), cache.path());
        assert_eq!(places.find("mnist").unwrap().folder, cache.path().join("mnist"));
        packed_set(root.path(), "MNIST/raw");
        assert_eq!(places.find("mnist").unwrap().folder, root.path().join("MNIST/raw"));
        packed_set(root.path(), "mnist");
        assert_eq!(places.find("mnist").unwrap().folder, root.path().join("mnist"));
        let flat = Places::with(Some(&root.path().join("mnist")), None, None).unwrap();
        assert_eq!(flat.find("anything").unwrap().folder, root.path().join("mnist"));
        assert_eq!(places.list().len(), 3);
    }

    #[test]
    fn what_is_not_found_says_where_it_was_sought() {
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
        let flat = Places::with(Some(&other), None, None).unwrap();
        assert!(flat.find("synth").is_some() && flat.find("mnist").is_none());
        assert!(flat.not_found("mnist").to_string().contains("itself holds synth"));
        assert!(Places::with(Some(&root.path().join("none")), None, None).is_err());
    }

    #[test]
    fn a_gz_is_unpacked_once_beside_itself() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = packed_set(root.path(), "tiny");
        let places = places(root.path(), cache.path());
        let plain = places.unpack(&places.find("tiny").unwrap()).unwrap();
        assert_eq!(plain, FILES.map(|file| dir.join(file)));
        assert_eq!(Split::open(&plain[0], &plain[1]).unwrap().len(), 9);
        fs::remove_file(dir.join("train-images-idx3-ubyte.gz")).unwrap();
        assert_eq!(places.unpack(&places.find("tiny").unwrap()).unwrap(), plain);
    }

    #[test]
    fn a_gz_in_a_read_only_folder_is_unpacked_once_into_the_cache() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = packed_set(root.path(), "tiny");
        fs::set_permissions(&dir, Permissions::from_mode(0o555)).unwrap();
        let places = places(root.path(), cache.path());
        let set = places.find("tiny").unwrap();
        let plain = places.unpack(&set).unwrap();
        assert!(plain.iter().all(|path| path.starts_with(cache.path().join("unpacked"))));
        let before = fs::metadata(&plain[0]).unwrap().modified().unwrap();
        assert_eq!(places.unpack(&set).unwrap(), plain);
        assert_eq!(fs::metadata(&plain[0]).unwrap().modified().unwrap(), before);
        assert_eq!(places.list().len(), 1, "the unpacked files are no second set");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4);
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_damaged_gz_is_an_error_and_leaves_nothing_behind() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = packed_set(root.path(), "tiny");
        let places = places(root.path(), cache.path());
        let gz = dir.join("train-images-idx3-ubyte.gz");
        let whole = fs::read(&gz).unwrap();
        let plain = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1], &[5u8, 6][..]].concat();
        let endless = [&[0, 0, 8, 3][..], &[0, 255, 255, 255, 0, 0, 1, 0, 0, 0, 1, 0]].concat();
        let mut flipped = whole.clone();
        let crc = flipped.len() - 8;
        flipped[crc] ^= 1;
        for (bytes, complaint) in [
            (whole[..whole.len() / 2].to_vec(), "cut short"),
            (whole[..whole.len() - 4].to_vec(), "cut short"),
            (flipped, "cannot unpack"),
            (b"no gzip at all".to_vec(), "cannot unpack"),
            (pack(&plain[..17]), "unpacks to 17 bytes, expected 18"),
            (pack(&[&plain[..], &[0; 1000]].concat()), "more than 18"),
            (pack(&endless), "packed bytes can hold"),
            (pack(b""), "0 bytes"),
        ] {
            fs::write(&gz, bytes).unwrap();
            let message = format!("{:#}", places.unpack(&places.find("tiny").unwrap()).unwrap_err());
            assert!(
                message.contains(complaint) && message.contains("train-images"),
                "{complaint}: {message}"
            );
            assert!(!message.contains('\n'));
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 4, "{complaint}");
        }
    }

    #[test]
    fn the_synthetic_set_is_drawn_whole() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = places(root.path(), cache.path());
        let set = places.draw_synth().unwrap();
        assert_eq!(places.find("synth"), Some(set.clone()));
        assert_eq!(places.draw_synth().unwrap(), set, "a second process that comes late is harmless");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
        let reports = checksum::verify("synth", &set.files.map(Some));
        assert!(reports.iter().all(|report| report.state == checksum::State::Ok), "{reports:?}");
    }
}

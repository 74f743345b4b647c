//! How a file is written: it appears under its name only when it is complete.
//!
//! - A plain file, or none: written under no name, or a short random one, beside its target, then renamed. The mode of an
//!   existing file is kept, a new one has that of the umask.
//! - A symbolic link is written through: its target is replaced, the link stays.
//! - A character device or a pipe is not replaced: the complete content is written into it.
//! - A folder, a socket or a block device is refused.
//!
//! [`check_target`] finds out before a computation what would only fail after it.

use super::show::shown;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::libc;
use nix::unistd::linkat;
use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufWriter, ErrorKind, IntoInnerError, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Links that are followed before a chain of them is called endless.
const MAX_LINKS: usize = 40;
/// Begins the name of an unfinished file; 16 random hexadecimal digits follow.
pub(super) const PREFIX: &str = ".unfinished-";

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// A plain file, or none, under this name, which is no link.
    File { path: PathBuf, exists: bool },
    /// A character device or a pipe.
    Stream,
}

impl Target {
    fn of(path: &Path) -> Result<Target> {
        let name = shown(path);
        ensure!(path.file_name().is_some(), "{name}: is not the name of a file");
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => bail!("{name}: is a folder; choose the name of a file"),
            Ok(meta) if is_written_into(path, &meta) => Ok(Target::Stream),
            Ok(meta) if !meta.is_file() => {
                bail!("{name}: is a block device or a socket; choose the name of a file")
            }
            Ok(_) => {
                let path = fs::canonicalize(path).with_context(|| format!("{name}: cannot be resolved"))?;
                Ok(Target::File { path, exists: true })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Target::File { path: end_of_links(path)?, exists: false })
            }
            Err(error) => Err(error).with_context(|| format!("{name}: cannot be written")),
        }
    }
}

/// Whether a file is written into rather than replaced. An open file of a process, such as `/dev/stdout`, may be a plain
/// one: the process that opened it would not see a replacement.
fn is_written_into(path: &Path, meta: &fs::Metadata) -> bool {
    let kind = meta.file_type();
    let open_file = || {
        let absolute = std::path::absolute(path).unwrap_or_default();
        ["/dev/fd/", "/dev/std", "/proc/"].iter().any(|from| absolute.to_string_lossy().starts_with(from))
    };
    kind.is_char_device() || kind.is_fifo() || kind.is_file() && open_file()
}

/// Whether a path is that of a character device or a pipe, which is written into.
pub fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| is_written_into(path, &meta))
}

/// The missing file that a link, or a chain of them, leads to; the path itself if it is no link.
fn end_of_links(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().map_or(next.clone(), |folder| folder.join(&next));
    }
    bail!("{}: is a chain of links without an end", shown(&path))
}

/// Checks that `path` can be written, before anything is computed: an existing file or a dangling link needs `overwrite`,
/// its folder must exist and be writable, and its name must not be too long.
///
/// # Errors
/// One line that names the path and what to do.
pub fn check_target(path: &Path, overwrite: bool) -> Result<()> {
    let name = shown(path);
    let (target, exists) = match Target::of(path)? {
        Target::Stream => return Ok(()),
        Target::File { path, exists } => (path, exists),
    };
    ensure!(!exists || overwrite, "{name}: already exists; choose another name or --overwrite");
    let is_link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    ensure!(
        !is_link || overwrite,
        "{name}: is a link to {}, which does not exist; choose another name, or --overwrite to create it",
        shown(&target)
    );
    let folder = folder_of(&target);
    let meta = fs::metadata(folder);
    ensure!(
        meta.is_ok_and(|meta| meta.is_dir()),
        "{name}: cannot be created; check that its folder exists and is writable"
    );
    // An attempt, since mode bits do not tell about read-only file systems. It leaves nothing behind.
    Temporary::create(folder).map(drop).with_context(|| unwritable(path))
}

/// Checks that files can be created in a folder; it leaves nothing behind.
///
/// # Errors
/// The system's.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    Temporary::create(folder).map(drop)
}

fn unwritable(path: &Path) -> String {
    format!("{}: cannot be created; check that its folder exists and is writable", shown(path))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What to do about an error of writing: advice on space only where space is short.
pub fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC) => "; check the space left on the disk",
        Some(Errno::EDQUOT) => "; check your disk quota",
        _ => "",
    }
}

/// A random text of 16 characters that no other process has.
pub fn random_name() -> String {
    // The keys come from the system's random numbers, and are different for each call.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Whether a name is that of an unfinished file, left by a process that was killed.
pub fn is_unfinished(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An unfinished file in a folder. It is removed when dropped.
#[derive(Debug)]
struct Temporary {
    file: File,
    folder: PathBuf,
    /// Its name, if it has one.
    path: Option<PathBuf>,
}

impl Temporary {
    /// Without a name, where the file system and `/proc` allow that: then a killed process leaves nothing behind.
    fn create(folder: &Path) -> io::Result<Temporary> {
        let options = |flags| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o666).custom_flags(flags);
            options
        };
        if let Ok(file) = options(libc::O_TMPFILE).open(folder)
            && fs::symlink_metadata(link_of(&file)).is_ok()
        {
            return Ok(Temporary { file, folder: folder.to_owned(), path: None });
        }
        loop {
            let path = folder.join(format!("{PREFIX}{}", random_name()));
            match options(0).create_new(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                file => {
                    return file.map(|file| Temporary { file, folder: folder.to_owned(), path: Some(path) });
                }
            }
        }
    }

    /// Takes mode and owner of the file that is replaced.
    fn resemble(&self, old: &Path) -> io::Result<()> {
        let meta = fs::metadata(old)?;
        // Only the superuser may give files away.
        let _ = fchown(&self.file, Some(meta.uid()), Some(meta.gid()));
        self.file.set_permissions(Permissions::from_mode(meta.mode() & 0o7777))
    }

    /// Moves the file to its name; an existing one is replaced.
    fn rename(mut self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        while self.path.is_none() {
            let path = self.folder.join(format!("{PREFIX}{}", random_name()));
            let link = link_of(&self.file);
            match linkat(AT_FDCWD, link.as_str(), AT_FDCWD, &path, AtFlags::AT_SYMLINK_FOLLOW) {
                Ok(()) => self.path = Some(path),
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(path) = &self.path {
            fs::rename(path, to)?;
            self.path = None;
        }
        // The name is durable once the folder is; some file systems cannot sync one.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Another error is being returned.
            let _ = fs::remove_file(path);
        }
    }
}

fn link_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A file being written. It appears under its path when it is committed, and is removed if it is dropped before.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    target: Target,
    temporary: Temporary,
    /// Writes into a second handle of the temporary file.
    file: BufWriter<File>,
    /// Offset of the next byte.
    at: u64,
    /// Whether a write has failed. Later writes are discarded.
    failed: bool,
}

impl AtomicFile {
    /// Starts a new file for `path`; an existing one stays until the commit.
    ///
    /// # Errors
    /// If the folder is missing or not writable, or `path` is a folder, a socket or a block device.
    pub fn open(path: &Path) -> Result<AtomicFile> {
        let target = Target::of(path)?;
        let folder = match &target {
            Target::File { path, .. } => folder_of(path).to_owned(),
            // Content for a stream is complete before its first byte is sent.
            Target::Stream => std::env::temp_dir(),
        };
        let temporary = Temporary::create(&folder).with_context(|| match target {
            Target::File { .. } => unwritable(path),
            Target::Stream => {
                format!("{}: no temporary file; set TMPDIR to a writable folder", shown(&folder))
            }
        })?;
        if let Target::File { path, exists: true } = &target {
            temporary.resemble(path).with_context(|| unwritable(path))?;
        }
        let file = temporary.file.try_clone().with_context(|| unwritable(path))?;
        Ok(AtomicFile {
            path: path.to_owned(),
            target,
            temporary,
            file: BufWriter::new(file),
            at: 0,
            failed: false,
        })
    }

    /// The context of write errors.
    pub fn unfinished(path: &Path) -> String {
        format!("{}: not written, nothing was replaced", shown(path))
    }

    /// Moves the file to its name and replaces an existing one; or writes it into a device or a pipe.
    ///
    /// # Errors
    /// If the disk is full, or the reader of a pipe has gone.
    pub fn commit(self) -> Result<()> {
        let AtomicFile { path, target, temporary, file, failed, .. } = self;
        ensure!(!failed, AtomicFile::unfinished(&path));
        let written = file.into_inner().map_err(IntoInnerError::into_error);
        let done = written.and_then(|file| match target {
            Target::File { path, .. } => temporary.rename(&path),
            Target::Stream => send(file, &path),
        });
        done.map_err(|error| {
            let context = format!("{}: could not be completed{}", shown(&path), advice(&error));
            anyhow::Error::new(error).context(context)
        })
    }

    /// Runs `act`, unless a write has failed before.
    ///
    /// The first failure is returned. Later calls succeed without effect: a zip writer closes itself when it is dropped
    /// and would report a second failure on stderr.
    fn unless_failed<T>(
        &mut self,
        discarded: T,
        act: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.failed {
            return Ok(discarded);
        }
        let done = act(&mut self.file);
        self.failed = done.is_err();
        done
    }
}

/// Copies a complete file into a device or a pipe.
fn send(mut file: File, path: &Path) -> io::Result<()> {
    file.rewind()?;
    // Neither created nor truncated: it exists, and may be the stdout that others write to as well.
    let mut stream = OpenOptions::new().append(true).open(path)?;
    io::copy(&mut file, &mut stream).map(drop)
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
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::symlink;

    fn put(path: &Path, bytes: &[u8]) -> Result<()> {
        write_atomically(path, |w| Ok(w.write_all(bytes)?))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        put(&path, b"old").unwrap();
        let failed = write_atomically(&path, |w| {
            w.write_all(b"new")?;
            bail!("interrupted")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("a.txt"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.txt"], "nothing else is left");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomically(&dir.path().join("no/a.txt"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("a.txt: cannot be created"));
    }

    #[test]
    fn modes_are_kept_and_new_files_have_that_of_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let (new, plain) = (dir.path().join("new"), dir.path().join("plain"));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        put(&new, b"x").unwrap();
        File::create(&plain).unwrap();
        assert_eq!(mode(&new), mode(&plain));
        fs::set_permissions(&plain, Permissions::from_mode(0o640)).unwrap();
        put(&plain, b"y").unwrap();
        assert_eq!(mode(&plain), 0o640);
    }

    #[test]
    fn a_link_is_written_through_and_a_dangling_one_needs_overwrite() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("inner")).unwrap();
        symlink("inner/file", at("link")).unwrap();
        symlink("link", at("second")).unwrap();
        let error = check_target(&at("second"), false).unwrap_err().to_string();
        assert!(error.contains("is a link to") && error.contains("--overwrite"), "{error}");
        check_target(&at("second"), true).unwrap();
        for content in [b"one", b"two"] {
            put(&at("second"), content).unwrap();
            assert_eq!(fs::read(at("inner/file")).unwrap(), content);
            assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
            assert_eq!(names(&at("inner")), ["file"]);
        }
        symlink("round", at("round")).unwrap();
        assert!(put(&at("round"), b"x").is_err());
    }

    #[test]
    fn a_pipe_is_written_into_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        check_target(&path, false).unwrap();
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || fs::read(path).unwrap())
        };
        let content = vec![7; 300_000];
        put(&path, &content).unwrap();
        assert!(reader.join().unwrap() == content);
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_folder_and_a_socket_are_refused_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, word) in [(dir.path(), "folder"), (&socket, "socket"), (Path::new(".."), "name of a file")]
        {
            for result in [put(path, b"x"), check_target(path, true)] {
                let text = format!("{:#}", result.unwrap_err());
                assert!(text.contains(word) && !text.contains('\n'), "{text}");
            }
        }
        assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
    }

    #[test]
    fn a_name_may_be_as_long_as_the_file_system_allows() {
        let dir = tempfile::tempdir().unwrap();
        for length in [247, 248, 254, 255] {
            let path = dir.path().join("n".repeat(length));
            check_target(&path, false).unwrap();
            put(&path, b"x").unwrap();
        }
        let long = dir.path().join("n".repeat(256));
        let text = format!("{:#}", check_target(&long, false).unwrap_err());
        assert!(text.contains("too long") && !text.contains("disk"), "{text}");
    }

    #[test]
    fn advice_on_space_is_given_where_space_is_short() {
        let of = |errno: Errno| advice(&io::Error::from_raw_os_error(errno as i32));
        assert!(of(Errno::ENOSPC).contains("space") && of(Errno::EDQUOT).contains("quota"));
        for errno in [Errno::ENOENT, Errno::ENAMETOOLONG, Errno::EPERM, Errno::EXDEV] {
            assert_eq!(of(errno), "");
        }
    }

    #[test]
    fn names_of_unfinished_files_are_random_and_recognised() {
        let names: std::collections::BTreeSet<String> = (0..100).map(|_| random_name()).collect();
        assert_eq!(names.len(), 100);
        assert!(names.iter().all(|name| is_unfinished(&format!("{PREFIX}{name}"))));
        assert!(!is_unfinished(".unfinished-business") && !is_unfinished("a.npy"));
    }
}

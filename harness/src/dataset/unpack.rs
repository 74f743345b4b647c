//! Decompresses `.gz` files once, next to them or into the cache folder.

use std::fs::{self};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};

use super::files::{FILES, KINDS};
use super::gz::{is_gz, is_packed, reader};
use super::locate::{Located, SearchPath};
use crate::io::atomic::{AtomicFile, advice};
use crate::io::file::plain_file;
use crate::io::hash::sha256;
use crate::io::idx::{Header, Kind};

/// The highest compression ratio of deflate.
const MAX_RATIO: u64 = 1032;

impl SearchPath {
    /// Paths of the four decompressed files; `.gz` files are decompressed first, once.
    ///
    /// Next to the `.gz` if that folder is writable, else into `unpacked/<name>-<key>` in the cache folder,
    /// where the key is a hash of path, size and modification time of the `.gz` files.
    ///
    /// # Errors
    /// If a `.gz` file is damaged, claims an impossible size, or no file can be written.
    pub fn unpack(&self, set: &Located) -> anyhow::Result<[PathBuf; 4]> {
        let mut plain = set.files.clone();
        for (i, gz) in set.files.iter().enumerate().filter(|(_, path)| is_gz(path)) {
            plain[i] = self.unpack_file(set, gz, FILES[i], KINDS[i])?;
        }
        Ok(plain)
    }

    fn unpack_file(&self, set: &Located, gz: &Path, file: &str, kind: Kind) -> anyhow::Result<PathBuf> {
        // The mode bits count even for the superuser, who could write into a read-only folder.
        let read_only = fs::metadata(&set.folder).is_ok_and(|meta| meta.permissions().readonly());
        if !read_only {
            let beside = set.folder.join(file);
            match AtomicFile::open(&beside) {
                Ok(to) => return unpack_into(gz, kind, to, &beside).map(|()| beside),
                Err(e) if is_read_only(&e) => {}
                Err(e) => return Err(e),
            }
        }
        let cache = self.cache().with_context(|| format!("cannot unpack next to {}", gz.display()))?;
        let folder = cache.join("unpacked").join(format!("{}-{}", set.name, key(&set.files)?));
        let target = folder.join(file);
        if !target.is_file() {
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot create the folder {}", folder.display()))?;
            unpack_into(gz, kind, AtomicFile::open(&target)?, &target)?;
        }
        Ok(target)
    }
}

/// Whether a file cannot be created because of its folder.
fn is_read_only(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem))
}

/// A key for the `.gz` files, which changes when they change.
fn key(files: &[PathBuf; 4]) -> anyhow::Result<String> {
    let mut all = String::new();
    for path in files.iter().filter(|path| is_gz(path)) {
        let meta = path.canonicalize().and_then(|full| Ok((fs::metadata(&full)?, full)));
        let (meta, full) = meta.with_context(|| format!("{}: cannot be read", path.display()))?;
        all += &format!("{full:?} {} {:?}\n", meta.len(), meta.modified().ok());
    }
    Ok(sha256(all.as_bytes())[..12].to_owned())
}

/// Decompresses `gz` into `to`, which appears as `target` only if the content is valid.
fn unpack_into(gz: &Path, kind: Kind, mut to: AtomicFile, target: &Path) -> anyhow::Result<()> {
    let name = gz.display();
    let reading = |e: io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            anyhow!("{name}: truncated, the compressed data ends too early; fetch it again")
        }
        _ => anyhow!("{name}: cannot unpack ({e}); fetch it again"),
    };
    let compressed_len = plain_file(gz).with_context(|| format!("{name}: cannot be read"))?;
    let mut from = reader(gz).with_context(|| format!("{name}: cannot be opened"))?;
    let mut head = Vec::new();
    (&mut from).take(16).read_to_end(&mut head).map_err(reading)?;
    let is_plain = !is_packed(gz)?;
    let header = Header::read(head.as_slice(), kind, gz);
    let header = if is_plain {
        header.with_context(|| {
            format!("{name}: cannot unpack, it is neither a gzip file nor a plain IDX file; fetch it again")
        })
    } else {
        header
    };
    let Header { file_len, .. } = header?;
    ensure!(
        file_len / MAX_RATIO <= compressed_len,
        "{name}: claims {file_len} bytes, more than {compressed_len} compressed bytes can hold; the header is damaged, fetch it again"
    );
    // One byte more than expected detects a longer file; reaching the end checks the gzip checksum.
    let mut content = head.as_slice().chain(from).take(file_len.saturating_add(1));
    let (mut found, mut block) = (0, vec![0; 1 << 16]);
    loop {
        let n = content.read(&mut block).map_err(reading)?;
        if n == 0 {
            break;
        }
        found += n as u64;
        to.write_all(&block[..n]).map_err(|error| {
            let context = format!("{}{}", AtomicFile::unfinished(target), advice(&error));
            anyhow::Error::new(error).context(context)
        })?;
    }
    ensure!(
        found == file_len,
        "{name}: unpacks to {} bytes, expected {file_len}; it is damaged, fetch it again",
        if found > file_len { format!("more than {file_len}") } else { found.to_string() }
    );
    to.commit()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dataset::Split;
    use crate::dataset::testing::{pack, packed_set};
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn places(data_dir: &Path, cache: &Path) -> SearchPath {
        SearchPath::with(Some(data_dir), None, Some(cache.to_path_buf())).unwrap()
    }

    #[test]
    fn padding_and_plain_bytes_are_taken_and_trailing_data_is_named() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = places(root.path(), cache.path());
        for (name, tail) in [("padded", &[0u8; 512][..]), ("stray", b"x")] {
            let gz = packed_set(root.path(), name).join("train-labels-idx1-ubyte.gz");
            fs::write(&gz, [&fs::read(&gz).unwrap()[..], tail].concat()).unwrap();
            let done = places.unpack(&places.find(name).unwrap()).map_err(|error| format!("{error:#}"));
            match name {
                "padded" => assert!(done.is_ok(), "{done:?}"),
                _ => assert!(done.unwrap_err().contains("trailing data")),
            }
        }
        let dir = root.path().join("misnamed");
        crate::dataset::synth::write(&dir, 1, 9, 4).unwrap();
        fs::rename(dir.join(FILES[0]), dir.join(format!("{}.gz", FILES[0]))).unwrap();
        let plain = places.unpack(&places.find("misnamed").unwrap()).unwrap();
        assert_eq!(Split::open(&plain[0], &plain[1], None).unwrap().len(), 9);
    }

    #[test]
    fn a_gz_is_unpacked_once_beside_itself() {
        let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = packed_set(root.path(), "tiny");
        let places = places(root.path(), cache.path());
        let plain = places.unpack(&places.find("tiny").unwrap()).unwrap();
        assert_eq!(plain, FILES.map(|file| dir.join(file)));
        assert_eq!(Split::open(&plain[0], &plain[1], None).unwrap().len(), 9);
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
        assert_eq!(places.list().len(), 1, "the decompressed files are not a second set");
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
            (whole[..whole.len() / 2].to_vec(), "truncated"),
            (whole[..whole.len() - 4].to_vec(), "truncated"),
            (flipped, "cannot unpack"),
            (b"no gzip at all".to_vec(), "cannot unpack"),
            (pack(&plain[..17]), "unpacks to 17 bytes, expected 18"),
            (pack(&[&plain[..], &[0; 1000]].concat()), "more than 18"),
            (pack(&endless), "compressed bytes can hold"),
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
}

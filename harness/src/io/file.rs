//! Checks on input files before they are opened.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The size of a regular file. Folders, pipes and devices are refused: opening a pipe would block until it has a
/// writer, and a device may be endless.
///
/// # Errors
/// If it does not exist or is not a regular file.
pub fn plain_file(path: &Path) -> io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    let what = if meta.is_dir() { "a folder" } else { "a device, pipe or socket" };
    let wrong = || io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, expected a file"));
    if meta.is_file() { Ok(meta.len()) } else { Err(wrong()) }
}

/// The largest file of a run or a reproduction, such as its heatmaps.
pub const OF_A_RUN: u64 = 1 << 32;

/// Opens a regular file, and gives its size.
///
/// # Errors
/// One line that names the file.
pub fn open(path: &Path) -> Result<(File, u64)> {
    let opened = plain_file(path).and_then(|size| Ok((File::open(path)?, size)));
    opened.with_context(|| format!("{}: cannot be opened", path.display()))
}

/// Reads a regular file of at most `max` bytes that holds UTF-8 text.
///
/// # Errors
/// One line that names the file.
pub fn read_text(path: &Path, max: u64) -> Result<String> {
    String::from_utf8(read(path, max)?).with_context(|| format!("{}: is no text", path.display()))
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// One line that names the file.
pub fn read(path: &Path, max: u64) -> Result<Vec<u8>> {
    let name = path.display();
    let size = plain_file(path).with_context(|| format!("{name}: cannot be read"))?;
    ensure!(size <= max, "{name}: holds {size} bytes, expected at most {max}; is it the right file?");
    std::fs::read(path).with_context(|| format!("{name}: cannot be read"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_or_a_device_is_refused_before_it_blocks_or_fills_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&pipe, Path::new("/dev/zero"), dir.path()] {
            for error in [open(path).map(drop), read(path, 9).map(drop), read_text(path, 9).map(drop)] {
                let text = format!("{:#}", error.unwrap_err());
                assert!(
                    text.contains("expected a file") && text.contains(&*path.to_string_lossy()),
                    "{text}"
                );
            }
        }
        let file = dir.path().join("a");
        std::fs::write(&file, b"caf\xe9").unwrap();
        assert_eq!(open(&file).unwrap().1, 4);
        assert!(read(&file, 3).unwrap_err().to_string().contains("holds 4 bytes, expected at most 3"));
        assert!(format!("{:#}", read_text(&file, 4).unwrap_err()).contains("is no text"));
    }
}

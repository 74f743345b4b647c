//! Memory-mapped files, and a SIGBUS handler for files that are truncated while mapped: the only `unsafe` of this crate.
//!
//! A mapping shares its pages with the file. If another process truncates the file, or the disk fails, the next read of
//! a missing page raises SIGBUS, which would end this process without a message. A handler finds the address among the
//! mapped files, prints the name of the file in one line, and exits with status 1. Nothing needs to be saved then:
//! finished files are complete, and unfinished ones have no name yet.
//!
//! A truncated file reads as zeros within its last page, without a signal. [`Map::unchanged`] detects that, and writes to
//! the file; it is called before results are used.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use memmap2::{Mmap, MmapOptions};
use nix::errno::Errno;
use nix::libc::{c_int, c_void, siginfo_t};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use signal_hook::low_level;

/// The error message: what happened to a file, and the remedy.
const CHANGED: &str = "was truncated or modified while it was in use; restore it and run again, train and reproduce with --resume";

/// A file mapped read-only and known to the SIGBUS handler, or read into memory where it cannot be mapped.
#[derive(Debug)]
pub struct Map {
    content: Content,
    file: File,
    state: State,
}

#[derive(Debug)]
enum Content {
    Mapped {
        bytes: Mmap,
        place: &'static AtomicPtr<Mapped>,
    },
    /// Of a file on a file system that maps none.
    Read(Vec<u8>),
}

/// The length and modification time of the file, which show a change.
type State = (u64, Option<SystemTime>);

/// The data of a mapping that the handler needs.
struct Mapped {
    start: usize,
    end: usize,
    line: Box<[u8]>,
}

/// Maximal number of mapped files; a data set has four.
const MAX_MAPPINGS: usize = 256;
/// The mappings, for the handler, which may neither lock nor allocate.
static MAPPED: [AtomicPtr<Mapped>; MAX_MAPPINGS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_MAPPINGS];
/// Calls of the handler. After the first one, entries are no longer freed, since the handler may be reading them.
static FAULTS: AtomicUsize = AtomicUsize::new(0);
/// Whether a thread is already reporting the fault.
static REPORTED: AtomicBool = AtomicBool::new(false);

impl Map {
    /// Maps the first `len` bytes of `file`, at `path`; the caller has checked that it has as many.
    ///
    /// # Errors
    /// If the system refuses, or too many files are mapped.
    pub fn new(file: File, len: usize, path: &Path) -> Result<Map> {
        static HANDLER: OnceLock<Result<(), Errno>> = OnceLock::new();
        HANDLER.get_or_init(install).context("the handler of SIGBUS cannot be installed")?;
        let state = state(&file)?;
        // SAFETY: the mapping is private to this value and read-only, no slice of it outlives `self`, and a `u8` has no
        // invalid value. Another process can still write into the file, so that later reads see other pixels, which
        // `unchanged` detects; or truncate it, so that a read raises SIGBUS, from which `on_bus_error` does not return.
        // It is a copy-on-write mapping: some file systems have no shared ones.
        let mapped = unsafe { MmapOptions::new().len(len).map_copy_read_only(&file) };
        let Ok(bytes) = mapped else {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, 0)?;
            return Ok(Map { content: Content::Read(bytes), file, state });
        };
        let start = bytes.as_ptr() as usize;
        let line = format!("error: {}: {CHANGED}\n", path.display()).into_bytes().into_boxed_slice();
        let mapped = Box::into_raw(Box::new(Mapped { start, end: start + len, line }));
        let free = |place: &&AtomicPtr<Mapped>| {
            place.compare_exchange(ptr::null_mut(), mapped, SeqCst, SeqCst).is_ok()
        };
        let place = MAPPED.iter().find(free);
        if place.is_none() {
            release(mapped);
        }
        let place = place.with_context(|| format!("{MAX_MAPPINGS} files are mapped already"))?;
        Ok(Map { content: Content::Mapped { bytes, place }, file, state })
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Mapped { bytes, .. } => bytes,
            Content::Read(bytes) => bytes,
        }
    }

    /// Checks that the file has been neither truncated nor modified since it was mapped.
    ///
    /// # Errors
    /// If it has.
    pub fn unchanged(&self) -> Result<()> {
        ensure!(state(&self.file)? == self.state, CHANGED);
        Ok(())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        let Content::Mapped { place, .. } = &self.content else { return };
        let mapped = place.swap(ptr::null_mut(), SeqCst);
        // A running handler may have read the pointer before the swap; a later one finds null.
        if FAULTS.load(SeqCst) == 0 {
            release(mapped);
        }
    }
}

fn state(file: &File) -> io::Result<State> {
    let meta = file.metadata()?;
    Ok((meta.len(), meta.modified().ok()))
}

/// Frees the entry allocated by `Map::new`.
fn release(mapped: *mut Mapped) {
    // SAFETY: `mapped` is from `Box::into_raw`, and its one `Map` releases it once, when no handler can see it.
    drop(unsafe { Box::from_raw(mapped) });
}

/// Installs the handler.
fn install() -> Result<(), Errno> {
    // On the alternate signal stack, as std does it, in case the thread's own stack overflowed.
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_bus_error), flags, SigSet::empty());
    // SAFETY: `on_bus_error` only does async-signal-safe operations: atomics, write, exit and restoring the
    // default.
    unsafe { sigaction(Signal::SIGBUS, &action) }.map(drop)
}

/// Ends the process with an error message if the faulting address is in a mapped file, else as SIGBUS does by default.
extern "C" fn on_bus_error(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    FAULTS.fetch_add(1, SeqCst);
    // SAFETY: with `SA_SIGINFO` the system passes a `siginfo_t` that is valid as long as the handler runs.
    let info = unsafe { &*info };
    // SAFETY: the kernel sets the address of a SIGBUS; if a process sent the signal (`si_code` ≤ 0), it is not read.
    let address = (info.si_code > 0).then(|| unsafe { info.si_addr() } as usize);
    let Some(mapped) = address.and_then(find) else {
        // The process ends in this call.
        let _ = low_level::emulate_default_handler(Signal::SIGBUS as c_int);
        low_level::abort();
    };
    if REPORTED.swap(true, SeqCst) {
        // Another thread is reporting and about to exit: this one faults again until it has.
        return;
    }
    let _ = nix::unistd::write(io::stderr(), &mapped.line);
    low_level::exit(1);
}

/// The mapping that holds an address; for the handler only.
fn find(address: usize) -> Option<&'static Mapped> {
    let all = MAPPED.iter().map(|place| place.load(SeqCst));
    // SAFETY: a non-null pointer is from `Map::new`, complete before it was stored, and not freed once `FAULTS` counts.
    let mut all = all.filter_map(|mapped| unsafe { mapped.as_ref() });
    all.find(|mapped| (mapped.start..mapped.end).contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, Map) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let map = Map::new(file.reopen().unwrap(), bytes.len(), file.path()).unwrap();
        (file, map)
    }

    #[test]
    fn a_dropped_map_frees_its_entry() {
        for _ in 0..2 * MAX_MAPPINGS {
            let (_file, map) = file(b"one");
            assert_eq!(map.bytes(), b"one");
        }
    }

    #[test]
    fn an_address_is_found_in_its_own_map_only() {
        let (two, map) = file(b"two");
        let start = map.bytes().as_ptr() as usize;
        for address in [start, start + 2] {
            let line = String::from_utf8_lossy(&find(address).unwrap().line).into_owned();
            assert!(
                line.contains(&two.path().display().to_string()) && line.ends_with("--resume\n"),
                "{line}"
            );
        }
        assert!(find(start + 3).is_none() && find(0).is_none());
    }

    #[test]
    fn a_file_truncated_by_a_byte_is_detected() {
        let (three, map) = file(b"three");
        map.unchanged().unwrap();
        three.as_file().set_len(4).unwrap();
        assert!(map.unchanged().unwrap_err().to_string().contains("was truncated"));
    }
}

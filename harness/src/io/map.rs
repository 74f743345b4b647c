//! Files in memory, and what becomes of a process whose file is shortened: the only `unsafe` of this crate.
//!
//! A mapping shares its pages with the file. Where another process cuts the file off, or the disk fails, the next read
//! of a lost page raises SIGBUS, which would end this process without a word. So a handler looks the address up among
//! the mapped files, says in one line which it was, and exits with status 1. Nothing can be saved at that point, and
//! nothing needs to be: what is finished is in its place, and what is not has no name yet.
//!
//! Within the page of its new end a shortened file reads as zeros, without a signal. For that and for files that are
//! written to there is [`Map::unchanged`], asked before results count.

use std::fs::File;
use std::io;
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

/// What befell a file, and what to do.
const CHANGED: &str = "was shortened or written to while it was in use; put it back and run again, train and reproduce with --resume";

/// A file's content, mapped read-only, for which the handler of SIGBUS answers.
#[derive(Debug)]
pub struct Map {
    bytes: Mmap,
    file: File,
    state: State,
    place: &'static AtomicPtr<Mapped>,
}

/// By what a change of the file is noticed: its length and when it was last written to.
type State = (u64, Option<SystemTime>);

/// What the handler knows of a mapping.
struct Mapped {
    start: usize,
    end: usize,
    line: Box<[u8]>,
}

/// Files that can be mapped at once; a data set has four.
const PLACES: usize = 256;
/// The mappings, for the handler: it may neither lock nor allocate.
static MAPPED: [AtomicPtr<Mapped>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];
/// Calls of the handler. After the first one nothing is freed that it may be looking at.
static FAULTS: AtomicUsize = AtomicUsize::new(0);
/// Whether a thread is on its way to end the process.
static TOLD: AtomicBool = AtomicBool::new(false);

impl Map {
    /// Maps the first `len` bytes of `file`, which is called `path`; the caller has seen that it has as many.
    ///
    /// # Errors
    /// If the system refuses, or as many files are mapped as there are places.
    pub fn new(file: File, len: usize, path: &Path) -> Result<Map> {
        static HANDLER: OnceLock<Result<(), Errno>> = OnceLock::new();
        HANDLER.get_or_init(install).context("the handler of SIGBUS cannot be set")?;
        let state = state(&file)?;
        // SAFETY: the mapping is private to this value and read-only, no slice of it outlives `self`, and a `u8` has no
        // invalid value. Another process can still write into the file, so that later reads see other pixels, which
        // `unchanged` tells; or shorten it, so that a read raises SIGBUS, from which `on_bus_error` does not return.
        let bytes = unsafe { MmapOptions::new().len(len).map(&file) }?;
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
        let place = place.with_context(|| format!("{PLACES} files are mapped already"))?;
        Ok(Map { bytes, file, state, place })
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file has neither been shortened nor written to since it was mapped.
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
        let mapped = self.place.swap(ptr::null_mut(), SeqCst);
        // A handler that runs may have taken the pointer before it went; one that comes later finds null.
        if FAULTS.load(SeqCst) == 0 {
            release(mapped);
        }
    }
}

fn state(file: &File) -> io::Result<State> {
    let meta = file.metadata()?;
    Ok((meta.len(), meta.modified().ok()))
}

/// Frees what `Map::new` made.
fn release(mapped: *mut Mapped) {
    // SAFETY: `mapped` is from `Box::into_raw`, and its one `Map` hands it in once, when no handler can see it.
    drop(unsafe { Box::from_raw(mapped) });
}

/// Sets the handler.
fn install() -> Result<(), Errno> {
    // On the stack for signals, as std does it, in case the thread's own is what is wrong.
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_bus_error), flags, SigSet::empty());
    // SAFETY: `on_bus_error` keeps to what a handler may do: atomics, write, exit and restoring the default.
    unsafe { sigaction(Signal::SIGBUS, &action) }.map(drop)
}

/// Ends the process with a line if the address that cannot be read is a mapped file's, else as SIGBUS does.
extern "C" fn on_bus_error(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    FAULTS.fetch_add(1, SeqCst);
    // SAFETY: with `SA_SIGINFO` the system hands in a `siginfo_t` that is valid as long as the handler runs.
    let info = unsafe { &*info };
    // SAFETY: of a SIGBUS the system fills the address in; where a process sent it (`si_code` ≤ 0), it is not asked for.
    let address = (info.si_code > 0).then(|| unsafe { info.si_addr() } as usize);
    let Some(mapped) = address.and_then(find) else {
        // The process ends in here.
        let _ = low_level::emulate_default_handler(Signal::SIGBUS as c_int);
        low_level::abort();
    };
    if TOLD.swap(true, SeqCst) {
        // Another thread has said so and is about to exit: this one comes back at once, until it has.
        return;
    }
    let _ = nix::unistd::write(io::stderr(), &mapped.line);
    low_level::exit(1);
}

/// The mapping that holds an address; for the handler only.
fn find(address: usize) -> Option<&'static Mapped> {
    let all = MAPPED.iter().map(|place| place.load(SeqCst));
    // SAFETY: what is not null is from `Map::new`, complete before it was stored, and not freed once `FAULTS` counts.
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
    fn a_place_is_free_again_once_its_map_is_gone() {
        for _ in 0..2 * PLACES {
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
    fn a_file_that_is_shortened_by_a_byte_is_told() {
        let (three, map) = file(b"three");
        map.unchanged().unwrap();
        three.as_file().set_len(4).unwrap();
        assert!(map.unchanged().unwrap_err().to_string().contains("was shortened"));
    }
}

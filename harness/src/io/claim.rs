//! A claim on a folder, for file systems whose `flock` does not reach every machine: a file `claim-N` with a heartbeat.
//!
//! Creating a file that must not exist is atomic on every shared file system. The claim with the highest number is the
//! valid one; the next one may be created when it says that it was released, or when its heartbeat (its modification time)
//! is a minute old. So exactly one process follows a dead one, and numbers never fall. All times are those of the file
//! system's clock: heartbeats and the present are both written, so clocks of machines need not agree.

use super::atomic::{PREFIX, random_name};
use super::busy::Busy;
use super::show::shown;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Names of claims are this and a number.
const NAME: &str = "claim-";
/// What a claim says after its release.
const RELEASED: &str = "released\n";
/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(10);
/// A claim without a sign of life for this long is that of a dead process.
pub const STALE: Duration = Duration::from_secs(60);

/// A valid claim; its heart beats on a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    next: PathBuf,
    stop: Arc<(Mutex<bool>, Condvar)>,
    lost: Arc<AtomicBool>,
    heart: Option<JoinHandle<()>>,
}

/// A claim that is there.
struct Found {
    number: u64,
    text: String,
    beat: SystemTime,
}

impl Claim {
    /// Claims a folder. With `locked`, this process has the `flock` of the folder, so a claim of this machine is of a
    /// dead process.
    ///
    /// # Errors
    /// [`Busy`] if another process has a live claim; or if the folder cannot be written.
    pub fn take(folder: &Path, locked: bool) -> Result<Claim> {
        Claim::with_times(folder, locked, [BEAT, STALE])
    }

    /// As [`Claim::take`], with another time between heartbeats, and another one after which a claim is stale.
    fn with_times(folder: &Path, locked: bool, [beat, stale]: [Duration; 2]) -> Result<Claim> {
        let name = shown(folder).to_string();
        let unwritable = || format!("{name}: cannot be claimed");
        let busy = |by: &str, beat| Busy { folder: name.clone(), by: by.to_owned(), lingers: true, beat };
        let here = machine();
        let highest = highest(folder).with_context(unwritable)?;
        if let Some(Found { text, beat, .. }) = &highest
            && text != RELEASED
            && !(locked && text.lines().nth(1) == Some(&here[1]))
        {
            let age = now(folder).with_context(unwritable)?.duration_since(*beat).unwrap_or_default();
            if age < stale {
                let by = text.lines().next().unwrap_or_default();
                bail!(busy(&format!(" ({by}, last sign of life {} s ago)", age.as_secs()), Some(*beat)));
            }
        }
        let number = highest.map_or(1, |found| found.number + 1);
        let at = |number: u64| folder.join(format!("{NAME}{number}"));
        let path = at(number);
        let mut file = match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(busy("", None)),
            Err(error) => return Err(error).with_context(unwritable),
        };
        file.write_all(format!("{}\n{}\n", here[0], here[1]).as_bytes()).with_context(unwritable)?;
        file.sync_all().with_context(unwritable)?;
        // Others may have come and gone since the folder was read: then theirs is the valid one.
        for number in numbers(folder).with_context(unwritable)? {
            match number.cmp(&number_of(&path)) {
                std::cmp::Ordering::Greater => {
                    let _ = fs::remove_file(&path);
                    bail!(busy("", None));
                }
                // An old claim that cannot be removed does no harm.
                std::cmp::Ordering::Less => drop(fs::remove_file(at(number))),
                std::cmp::Ordering::Equal => {}
            }
        }
        let mut claim =
            Claim { next: at(number + 1), path, stop: Arc::default(), lost: Arc::default(), heart: None };
        let (stop, lost) = (Arc::clone(&claim.stop), Arc::clone(&claim.lost));
        let [path, next] = [&claim.path, &claim.next].map(PathBuf::clone);
        let heart = move || {
            let Ok(mut stopped) = stop.0.lock() else { return };
            while !*stopped {
                if next.exists() || !is_alive(&path) {
                    lost.store(true, Ordering::SeqCst);
                    return;
                }
                let Ok((again, _)) = stop.1.wait_timeout(stopped, beat) else { return };
                stopped = again;
            }
        };
        let heart = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(heart);
        claim.heart = Some(heart.context("the thread of a heartbeat cannot be started")?);
        Ok(claim)
    }

    /// Whether a process has a live claim on `folder`. The present is that of this machine: nothing is written.
    pub fn is_live(folder: &Path) -> bool {
        let found = highest(folder).ok().flatten().filter(|found| found.text != RELEASED);
        found.is_some_and(|found| found.beat.elapsed().unwrap_or_default() < STALE)
    }

    /// Checks that the claim is still the valid one.
    ///
    /// # Errors
    /// If another process took over.
    pub fn check(&self) -> Result<()> {
        let lost = self.lost.load(Ordering::SeqCst) || self.next.exists();
        ensure!(
            !lost,
            "{}: another process took over after {} s without a sign of life of this one; it continues the run",
            shown(&self.path),
            STALE.as_secs()
        );
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Ok(mut stop) = self.stop.0.lock() {
            *stop = true;
        }
        self.stop.1.notify_all();
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
        // Where this fails, the claim becomes stale.
        let file = File::options().write(true).open(&self.path);
        let _ = file.and_then(|mut file| {
            file.write_all(RELEASED.as_bytes())?;
            file.set_len(RELEASED.len() as u64)
        });
    }
}

/// Gives a sign of life; false if the claim is gone.
fn is_alive(path: &Path) -> bool {
    match File::options().write(true).open(path) {
        // The time is set by the server, not from the clock of this machine. A failure is repeated at the next beat.
        Ok(file) => drop(futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)),
        Err(error) if error.kind() == ErrorKind::NotFound => return false,
        Err(_) => {}
    }
    true
}

/// Host and process for people, and the kernel that runs here.
fn machine() -> [String; 2] {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let host = line("/proc/sys/kernel/hostname");
    [format!("process {} on {host}", nix::unistd::getpid()), line("/proc/sys/kernel/random/boot_id")]
}

fn number_of(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(NAME).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The numbers of the claims in a folder.
fn numbers(folder: &Path) -> std::io::Result<Vec<u64>> {
    let all = fs::read_dir(folder)?.flatten().map(|entry| number_of(&entry.path()));
    Ok(all.filter(|&number| number > 0).collect())
}

/// The claim with the highest number.
fn highest(folder: &Path) -> std::io::Result<Option<Found>> {
    let Some(number) = numbers(folder)?.into_iter().max() else { return Ok(None) };
    let path = folder.join(format!("{NAME}{number}"));
    let beat = fs::metadata(&path)?.modified()?;
    Ok(Some(Found { number, text: fs::read_to_string(&path)?, beat }))
}

/// The present by the clock of the file system: the modification time of a new file.
fn now(folder: &Path) -> std::io::Result<SystemTime> {
    let path = folder.join(format!("{PREFIX}{}", random_name()));
    let now = File::options().write(true).create_new(true).open(&path).and_then(|file| file.metadata());
    fs::remove_file(&path)?;
    now?.modified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const SHORT: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(600)];

    #[test]
    fn many_threads_claim_a_folder_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..60 {
                        let Ok(claim) = Claim::with_times(folder.path(), false, SHORT) else {
                            std::thread::sleep(Duration::from_millis(1));
                            continue;
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two owners");
                        std::thread::yield_now();
                        claim.check().unwrap();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(done.into_inner() > 6);
        assert!(numbers(folder.path()).unwrap().len() <= 2);
    }

    #[test]
    fn a_live_claim_stays_and_a_dead_one_is_followed_by_exactly_one() {
        let folder = tempfile::tempdir().unwrap();
        let take = || Claim::with_times(folder.path(), false, SHORT);
        let live = take().unwrap();
        std::thread::sleep(2 * SHORT[1]);
        let error = take().unwrap_err();
        let busy = error.downcast_ref::<Busy>().expect("busy");
        assert!(busy.by.contains("process ") && busy.beat.is_some() && busy.lingers, "{error}");
        drop(live);
        // A process that is killed does not release its claim.
        let dead = folder.path().join(format!("{NAME}9"));
        fs::copy("/proc/sys/kernel/hostname", &dead).unwrap();
        assert!(take().is_err(), "its last sign of life is recent");
        std::thread::sleep(2 * SHORT[1]);
        let taken: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            all.into_iter().filter_map(|one| one.join().unwrap().ok()).collect()
        });
        assert_eq!(taken.len(), 1);
        assert_eq!(numbers(folder.path()).unwrap(), [10]);
    }

    #[test]
    fn whoever_is_followed_notices_it() {
        let folder = tempfile::tempdir().unwrap();
        let claim = Claim::with_times(folder.path(), false, SHORT).unwrap();
        claim.check().unwrap();
        fs::copy("/proc/sys/kernel/hostname", folder.path().join(format!("{NAME}2"))).unwrap();
        let error = claim.check().unwrap_err().to_string();
        assert!(error.contains("took over"), "{error}");
    }

    /// Only with the lock of the machine: then no live process of this machine can have the claim.
    #[test]
    fn a_claim_of_a_dead_process_of_this_machine_is_followed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let text = machine().join("\n");
        let mut file =
            File::options().write(true).create_new(true).open(folder.path().join("claim-1")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        assert!(Claim::with_times(folder.path(), false, SHORT).is_err());
        Claim::with_times(folder.path(), true, SHORT).unwrap();
    }
}

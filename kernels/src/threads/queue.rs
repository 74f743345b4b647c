//! The queue of a team: a caller announces a job in parts, workers claim them.
//!
//! Its threads, atomics and clock are those of [`super::sync`], so that `model` runs the same code on every interleaving.

use super::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Instant, SPIN_TIME, SPINS, Thread, UnsafeCell, current, park,
    spin_loop, yield_now,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the caller may wait for a part before that counts as a stall, if this is also at least a quarter
/// of its working time.
const STALL: Duration = Duration::from_micros(100);
/// Initial backoff: after a stall the caller works alone for this many lengths of the stall.
const BACKOFF: u64 = 16;
/// Maximum backoff, if stalls continue.
const MAX_BACKOFF: u64 = 64;
/// A stall that follows within this many of its lengths after the last one doubles the backoff.
const STALLS_AGAIN: u64 = 64;
/// After this many announcements in a row without a claim by a worker, the no-worker penalty applies: waking
/// workers then takes the caller's own core.
const MAX_UNANSWERED: usize = 8;
/// The no-worker penalty: the length of the stall that this counts as.
const NO_WORKER_PENALTY: Duration = Duration::from_millis(1);
/// Maximum number of parts of a split.
pub(super) const MAX_PARTS: usize = u16::MAX as usize;

/// A borrowed job, without its lifetime.
type Job = *const (dyn Fn(usize) + Sync);

/// One split at a time: announced by a caller, claimed part by part.
pub(super) struct WorkQueue {
    /// The number of the announcement, its parts, and the next part: 32, 16 and 16 bits.
    word: AtomicU64,
    /// Parts of the present announcement that are finished.
    finished: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    /// A caller uses the queue; any other one works alone.
    taken: AtomicBool,
    panicked: AtomicBool,
    closed: AtomicBool,
    /// The end of the backoff, in nanoseconds since `start`: until then the caller works alone.
    alone_until: AtomicU64,
    /// The backoff, in lengths of the last stall.
    backoff: AtomicU64,
    /// Announcements in a row of which the caller computed all parts itself.
    unanswered: AtomicUsize,
    start: Instant,
    workers: Vec<Worker>,
}

#[derive(Default)]
struct Worker {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

// SAFETY: `job` is written by the one caller that uses the queue while no worker may read it: workers read
// it only between the claim of a part and the count of that part as finished, and the caller does not
// leave before all are. The job itself is `Sync`.
unsafe impl Sync for WorkQueue {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for WorkQueue {}

impl std::fmt::Debug for WorkQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkQueue of {} workers", self.workers.len())
    }
}

impl WorkQueue {
    pub fn new(workers: usize) -> Self {
        WorkQueue {
            word: AtomicU64::new(0),
            finished: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            taken: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            alone_until: AtomicU64::new(0),
            backoff: AtomicU64::new(BACKOFF),
            unanswered: AtomicUsize::new(0),
            start: Instant::now(),
            workers: (0..workers).map(|_| Worker::default()).collect(),
        }
    }

    /// Ends the loops of all workers.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.wake(usize::MAX);
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Computes all parts, at most [`MAX_PARTS`], together with the workers that claim some of them; false if
    /// the caller must work alone.
    pub fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) -> bool {
        debug_assert!(parts <= MAX_PARTS);
        let alone_until = self.alone_until.load(Ordering::Relaxed);
        if alone_until > 0 && self.nanos() < alone_until {
            return false;
        }
        if self.taken.swap(true, Ordering::Acquire) {
            return false;
        }
        self.finished.store(0, Ordering::Relaxed);
        self.panicked.store(false, Ordering::Relaxed);
        // SAFETY: this caller has the queue and no part is claimed, so no worker reads the job;
        // the lifetime may be forgotten because the guard below waits for all parts, and nothing
        // can panic between the announcement and the guard.
        let job_ptr = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(job) };
        // SAFETY: as above.
        self.job.with_mut(|to| unsafe { *to = Some(job_ptr) });
        let number = (self.word.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        let begin = Instant::now();
        self.word.store(number << 32 | (parts as u64) << 16, Ordering::SeqCst);
        let guard = Guard { queue: self, parts, begin };
        self.wake(parts - 1);
        let mut claimed = 0;
        while let Some(part) = self.claim() {
            let _counted = Counted(&self.finished);
            job(part);
            claimed += 1;
        }
        drop(guard);
        let unanswered = if claimed == parts { self.unanswered.load(Ordering::Relaxed) + 1 } else { 0 };
        self.unanswered.store(unanswered % MAX_UNANSWERED, Ordering::Relaxed);
        if unanswered == MAX_UNANSWERED {
            self.back_off(NO_WORKER_PENALTY);
        }
        assert!(!self.panicked.load(Ordering::Relaxed), "a kernel panicked on another thread");
        true
    }

    /// Decides after a wait whether the caller works alone for a while.
    fn note_wait(&self, worked: Duration, waited: Duration) {
        if waited >= STALL && waited >= worked / 4 {
            self.back_off(waited);
        }
    }

    /// Lets the caller work alone for some lengths of a stall.
    fn back_off(&self, stall: Duration) {
        let stall = u64::try_from(stall.as_nanos()).unwrap_or(u64::MAX);
        let (now, last) = (self.nanos(), self.alone_until.load(Ordering::Relaxed));
        // The stall follows shortly after the last one: there is no core for the workers.
        let again = last > 0 && now.saturating_sub(last) < stall.saturating_mul(STALLS_AGAIN);
        let backoff = if again { self.backoff.load(Ordering::Relaxed) * 2 } else { BACKOFF };
        let backoff = backoff.min(MAX_BACKOFF);
        self.backoff.store(backoff, Ordering::Relaxed);
        self.alone_until.store(now.saturating_add(stall.saturating_mul(backoff)), Ordering::Relaxed);
    }

    /// Claims the next part of the present announcement.
    fn claim(&self) -> Option<usize> {
        let mut word = self.word.load(Ordering::SeqCst);
        loop {
            let (next, parts) = (word & 0xffff, word >> 16 & 0xffff);
            if next >= parts {
                return None;
            }
            match self.word.compare_exchange_weak(word, word + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Some(next as usize),
                Err(found) => word = found,
            }
        }
    }

    fn wake(&self, most: usize) {
        for worker in self.workers.iter().take(most) {
            if worker.asleep.swap(false, Ordering::SeqCst)
                && let Some(thread) = worker.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// The loop of a worker.
    pub fn serve(&self, i: usize) {
        let worker = &self.workers[i];
        worker.thread.get_or_init(current);
        let mut idle_since = Instant::now();
        while !self.closed.load(Ordering::SeqCst) {
            if let Some(part) = (0..SPINS).find_map(|_| {
                spin_loop();
                self.claim()
            }) {
                self.work(part);
                idle_since = Instant::now();
            } else if idle_since.elapsed() >= SPIN_TIME {
                // Either the caller's swap comes later and sees the flag, or this one reads what the caller wrote, and the
                // announcement before it is seen below.
                worker.asleep.swap(true, Ordering::SeqCst);
                match self.claim() {
                    Some(part) => self.work(part),
                    None if self.closed.load(Ordering::SeqCst) => {}
                    None => park(),
                }
                worker.asleep.store(false, Ordering::SeqCst);
                idle_since = Instant::now();
            }
        }
    }

    fn work(&self, part: usize) {
        let _counted = Counted(&self.finished);
        // SAFETY: the part is claimed and not counted as finished, so the caller is still waiting:
        // the job and its borrows are alive.
        let job = self.job.with(|job| unsafe { (*job).map(|job| &*job) });
        if let Some(job) = job
            && catch_unwind(AssertUnwindSafe(|| job(part))).is_err()
        {
            self.panicked.store(true, Ordering::Relaxed);
        }
    }
}

/// Counts a part as finished, even if its work panics.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Leaves the queue when all parts are finished, even if the caller's part panics.
struct Guard<'a> {
    queue: &'a WorkQueue,
    parts: usize,
    begin: Instant,
}

impl Guard<'_> {
    fn all_finished(&self) -> bool {
        self.queue.finished.load(Ordering::Acquire) == self.parts
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // Parts that the caller did not claim because it panics are not computed, nor waited for.
        while std::thread::panicking() && self.queue.claim().is_some() {
            self.queue.finished.fetch_add(1, Ordering::Release);
        }
        let mut since = None;
        while !self.all_finished() {
            let since = *since.get_or_insert_with(Instant::now);
            let done = (0..SPINS).any(|_| {
                spin_loop();
                self.all_finished()
            });
            if !done && since.elapsed() > STALL / 4 {
                yield_now();
            }
        }
        if let Some(since) = since {
            self.queue.note_wait(since.duration_since(self.begin), since.elapsed());
        }
        self.queue.taken.store(false, Ordering::Release);
    }
}

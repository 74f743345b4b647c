//! How work is split. A kernel's items are independent, so the split never changes a bit.
//!
//! A split is announced in one atomic word; workers that spin, and the caller, claim parts of it,
//! so the caller waits only for parts that another thread has begun. A worker that finds nothing to do
//! spins for a while, then sleeps. Where the operating system preempts a worker in the
//! middle of a part, the caller stalls; it then backs off: it works alone for many times as long, and
//! longer each time that stalls go on, so that threads cost little where there are no cores for them.

use crate::buffer::Buffer;
use crate::layout::STRIP;
use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Multiply-adds that a part must have for another thread to pay off.
const WORTH_A_THREAD: usize = if cfg!(test) { 1 } else { 200_000 };
/// How long a worker looks for work before it sleeps: longer than the gap between two kernels.
const SPIN_TIME: Duration = Duration::from_micros(100);
/// How long the caller may wait for a part before that counts as a stall, if it is a quarter of the
/// time it has worked as well.
const STALL: Duration = Duration::from_micros(100);
/// For how many lengths of a stall the caller works alone after it: at first,
const BACKOFF: u64 = 16;
/// and at most, if stalls go on.
const MAX_BACKOFF: u64 = 64;
/// A stall at most so many of its lengths after the last one doubles the backoff.
const STALLS_AGAIN: u64 = 64;
/// So many announcements in a row of which no worker claimed a part count as a stall, too: waking workers then
/// takes the caller's own core.
const MAX_UNANSWERED: usize = 8;
/// The length of that stall.
const NO_WORKER_PENALTY: Duration = Duration::from_millis(1);
/// Parts of a split that the word has bits for.
const MAX_PARTS: usize = u16::MAX as usize;
/// Tries between two looks at the clock.
const SPINS: usize = 128;

/// The threads that one run may use.
///
/// ```
/// use kernels::Threads;
/// assert_eq!(Threads::new(3)?.count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Threads {
    pool: Option<Arc<ThreadPool>>,
}

impl Threads {
    /// The calling thread only.
    pub fn one() -> Self {
        Self::default()
    }

    /// The calling thread and `count − 1` workers, made now and kept.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn new(count: usize) -> Result<Self, ThreadPoolBuildError> {
        if count <= 1 {
            return Ok(Self::one());
        }
        let queue = Arc::new(WorkQueue::new(count - 1));
        let threads = ThreadPoolBuilder::new()
            .num_threads(count - 1)
            .thread_name(|i| format!("kernels-{}", i + 1))
            .build()?;
        for i in 0..count - 1 {
            let queue = Arc::clone(&queue);
            threads.spawn(move || queue.serve(i));
        }
        Ok(Threads { pool: Some(Arc::new(ThreadPool { queue, count, _threads: threads })) })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.count)
    }

    /// Calls `work` with ranges that cover `0..items`, `cost` multiply-adds in all.
    pub(crate) fn split(&self, items: usize, cost: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        let parts = self.count().min(cost / WORTH_A_THREAD).min(items).clamp(1, MAX_PARTS);
        let (each, more) = (items / parts, items % parts);
        let begin = |i: usize| i * each + i.min(more);
        let range = |i: usize| begin(i)..begin(i + 1);
        match &self.pool {
            Some(pool) if parts > 1 => {
                if !pool.queue.run(parts, &|i| work(range(i))) {
                    work(0..items);
                }
            }
            _ => work(0..items),
        }
    }
}

#[derive(Debug)]
struct ThreadPool {
    queue: Arc<WorkQueue>,
    count: usize,
    _threads: rayon::ThreadPool,
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.queue.closed.store(true, Ordering::SeqCst);
        self.queue.wake(usize::MAX);
    }
}

/// A borrowed job, without its lifetime.
type Job = *const (dyn Fn(usize) + Sync);

/// One split at a time: announced by a caller, claimed part by part.
struct WorkQueue {
    /// The number of the announcement, its parts, and the next part: 32, 16 and 16 bits.
    word: AtomicU64,
    /// Parts of the present announcement that are finished.
    finished: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    /// A caller uses the queue; any other one works alone.
    taken: AtomicBool,
    panicked: AtomicBool,
    closed: AtomicBool,
    /// Nanoseconds since `start` until when the caller works alone.
    alone_until: AtomicU64,
    /// For how many lengths of the last stall that is.
    backoff: AtomicU64,
    /// Announcements of which the caller did all parts itself, one after the other.
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
    fn new(workers: usize) -> Self {
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

    fn nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Does all parts, [`MAX_PARTS`] at most, with the workers that claim them; false if the caller must work alone.
    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) -> bool {
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
        unsafe {
            *self.job.get() = Some(std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(job));
        }
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
        // A stall not long after the last one: there is no processor for the workers.
        let again = last > 0 && now.saturating_sub(last) < stall.saturating_mul(STALLS_AGAIN);
        let backoff = if again { self.backoff.load(Ordering::Relaxed) * 2 } else { BACKOFF };
        let backoff = backoff.min(MAX_BACKOFF);
        self.backoff.store(backoff, Ordering::Relaxed);
        self.alone_until.store(now.saturating_add(stall.saturating_mul(backoff)), Ordering::Relaxed);
    }

    /// The next part of the present announcement, now the claimer's.
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
    fn serve(&self, i: usize) {
        let worker = &self.workers[i];
        worker.thread.get_or_init(thread::current);
        let mut idle_since = Instant::now();
        while !self.closed.load(Ordering::SeqCst) {
            if let Some(part) = (0..SPINS).find_map(|_| {
                std::hint::spin_loop();
                self.claim()
            }) {
                self.work(part);
                idle_since = Instant::now();
            } else if idle_since.elapsed() > SPIN_TIME {
                worker.asleep.store(true, Ordering::SeqCst);
                // Whoever announces after this line sees the flag, what came before is seen here.
                match self.claim() {
                    Some(part) => self.work(part),
                    None if self.closed.load(Ordering::SeqCst) => {}
                    None => thread::park(),
                }
                worker.asleep.store(false, Ordering::SeqCst);
                idle_since = Instant::now();
            }
        }
    }

    fn work(&self, part: usize) {
        let _counted = Counted(&self.finished);
        // SAFETY: the part is claimed and not counted as finished, so the caller is still waiting:
        // the job is there, and what it borrows lives.
        let job = unsafe { (*self.job.get()).map(|job| &*job) };
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

/// Leaves the queue when all parts are finished, even if the caller's own panics.
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
        while thread::panicking() && self.queue.claim().is_some() {
            self.queue.finished.fetch_add(1, Ordering::Release);
        }
        let mut since = None;
        while !self.all_finished() {
            let since = *since.get_or_insert_with(Instant::now);
            let done = (0..SPINS).any(|_| {
                std::hint::spin_loop();
                self.all_finished()
            });
            if !done && since.elapsed() > STALL / 4 {
                thread::yield_now();
            }
        }
        if let Some(since) = since {
            self.queue.note_wait(since.duration_since(self.begin), since.elapsed());
        }
        self.queue.taken.store(false, Ordering::Release);
    }
}

/// Memory of which each part of a split writes its own range.
pub(crate) struct Shared<T>(*mut T);

// SAFETY: a borrowed slice of plain numbers; `slice` requires that ranges do not overlap.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(slice: &mut [T]) -> Self {
        Shared(slice.as_mut_ptr())
    }

    pub fn as_ptr(&self) -> *mut T {
        self.0
    }

    /// # Safety
    /// The range lies in the slice that it was made of, which is still borrowed, and no other part of the
    /// split uses it.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // that is what it is for
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<Buffer>> = Cell::default();
}

/// Lends `work` a buffer of `len` floats of unspecified content that this thread keeps; it begins with a
/// cache line.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // A call inside another one finds the next buffer of the stack.
    let mut stack = SCRATCH.take();
    let mut buffer = stack.pop().unwrap_or_default();
    SCRATCH.set(stack);
    if buffer.len() < len {
        buffer = Buffer::zeroed(len);
    }
    // Tests lend the last lines, behind which they see what reaches too far.
    let from = if cfg!(test) { (buffer.len() - len) / STRIP * STRIP } else { 0 };
    let result = work(&mut buffer[from..][..len]);
    let mut stack = SCRATCH.take();
    stack.push(buffer);
    SCRATCH.set(stack);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_item_is_done_once_whatever_the_count() {
        for count in [1, 2, 3, 7, 128] {
            let threads = Threads::new(count).expect("threads");
            for items in [0, 1, 2, 5, 50, 300] {
                let done = Mutex::new(vec![0; items]);
                threads.split(items, usize::MAX, &|range| {
                    let mut done = done.lock().expect("no panic before");
                    range.for_each(|i| done[i] += 1);
                });
                assert!(done.into_inner().expect("no panic").iter().all(|&n| n == 1));
            }
        }
    }

    #[test]
    fn workers_wake_up_and_splits_inside_splits_are_done() {
        let threads = Threads::new(4).expect("threads");
        for pause in [0, 1, 3, 0, 0, 2] {
            thread::sleep(Duration::from_millis(pause));
            let sum = AtomicUsize::new(0);
            threads.split(10, usize::MAX, &|outer| {
                threads.split(100, usize::MAX, &|inner| {
                    sum.fetch_add(outer.len() * inner.len(), Ordering::Relaxed);
                });
            });
            assert_eq!(sum.into_inner(), 1000);
        }
    }

    #[test]
    fn many_callers_share_one_pool() {
        let threads = Threads::new(3).expect("threads");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let sum = AtomicUsize::new(0);
                        threads.split(9, usize::MAX, &|range| {
                            sum.fetch_add(range.sum::<usize>(), Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 36);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_on_any_thread_reaches_the_caller_and_the_pool_goes_on() {
        let threads = Threads::new(3).expect("threads");
        for bad in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                threads.split(3, usize::MAX, &|range| {
                    thread::sleep(Duration::from_millis(2));
                    assert!(!range.contains(&bad), "part {bad}");
                });
            }));
            assert!(caught.is_err());
            let sum = AtomicUsize::new(0);
            threads.split(50, usize::MAX, &|range| {
                sum.fetch_add(range.len(), Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 50);
        }
    }
}

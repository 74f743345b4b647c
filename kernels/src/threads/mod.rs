//! How work is split between threads. The items of a kernel are independent, so the split never changes a
//! bit.
//!
//! A split is announced in one atomic word; workers that spin, and the caller, claim parts of it, so the
//! caller waits only for parts that another thread has begun. A worker that finds nothing to do spins for a
//! while, then sleeps. Where the operating system preempts a worker in the middle of a part, the caller
//! stalls; it then backs off: it works alone for many times the length of the stall, and longer after each
//! further stall, so that threads cost little if there are no free cores for them.

#[cfg(test)]
mod model;
#[allow(clippy::duplicate_mod, reason = "`model` compiles it with other threads and atomics")]
mod queue;
mod sync;

use crate::buffer::Buffer;
use crate::layout::STRIP;
use queue::{MAX_PARTS, WorkQueue};
use rayon::{ThreadPoolBuildError, ThreadPoolBuilder};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// Multiply-adds that a part must have before it pays to use another thread.
const WORTH_A_THREAD: usize = if cfg!(test) { 1 } else { 200_000 };

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

    /// Number of threads.
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
        self.queue.close();
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

    /// The same from element `first` on.
    pub fn from(&self, first: usize) -> Self {
        Shared(self.0.wrapping_add(first))
    }

    /// # Safety
    /// The range lies in the slice that it was made of, which is still borrowed, and no other part of the
    /// split uses it.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // the purpose of this type
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<Buffer>> = Cell::default();
}

/// Calls `work` with a buffer of `len` floats of unspecified content. The buffer belongs to this thread and
/// is aligned to a cache line.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // A nested call uses the next buffer of the stack.
    let mut stack = SCRATCH.take();
    let mut buffer = stack.pop().unwrap_or_default();
    SCRATCH.set(stack);
    if buffer.len() < len {
        buffer = Buffer::zeroed(len);
    }
    // In tests the buffer ends at the end of its allocation, so that out-of-bounds accesses are found.
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
    use std::collections::HashSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

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

    /// The threads that work on splits of these callers at once, each with the threads at its position, until `expected` of
    /// each are seen. The parts sleep, so cores are not what limits them.
    fn working(teams: &[Threads], expected: usize) -> Vec<HashSet<thread::ThreadId>> {
        let one = |threads: &Threads| {
            let seen = Mutex::new(HashSet::new());
            // A caller works alone for a while if its workers come late; they are seen in a later split.
            for round in 0..1000 {
                if round >= 30 && seen.lock().expect("no panic").len() >= expected.min(threads.count()) {
                    break;
                }
                threads.split(threads.count(), usize::MAX, &|_| {
                    seen.lock().expect("no panic").insert(thread::current().id());
                    thread::sleep(Duration::from_millis(10));
                });
            }
            seen.into_inner().expect("no panic")
        };
        thread::scope(|scope| {
            let all: Vec<_> = teams.iter().map(|threads| scope.spawn(move || one(threads))).collect();
            all.into_iter().map(|caller| caller.join().expect("no panic")).collect()
        })
    }

    /// Six runs on 64 threads, with far fewer cores.
    #[test]
    fn every_thread_of_every_team_works_and_none_for_another() {
        let teams: Vec<Threads> =
            [11, 11, 11, 11, 10, 10].into_iter().map(|n| Threads::new(n).expect("threads")).collect();
        let seen = working(&teams, 64);
        let all: HashSet<_> = seen.iter().flatten().collect();
        assert_eq!(all.len(), 64);
        assert_eq!(seen.iter().map(HashSet::len).collect::<Vec<_>>(), [11, 11, 11, 11, 10, 10]);
        // One team that six runs share has no more than the five other callers and its own ten.
        let shared = vec![Threads::new(10).expect("threads"); 6];
        let all: HashSet<_> = working(&shared, 1).into_iter().flatten().collect();
        assert!(all.len() <= 15, "{}", all.len());
    }
}

//! A model test of the queue with loom: the same source with loom's threads and atomics runs on every interleaving of its
//! threads up to a number of preemptions, and on every value that a load may return under the memory model of C11. Loom
//! reports data races on the job, deadlocks, and asserts that fail.

mod sync {
    pub use loom::cell::UnsafeCell;
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    pub use loom::thread::{Thread, current, park, yield_now};
    use std::time::Duration;

    /// A worker sleeps as soon as it finds nothing to do.
    pub const SPIN_TIME: Duration = Duration::ZERO;
    pub const SPINS: usize = 1;

    /// A clock that stands still: no stalls.
    #[derive(Clone, Copy, Debug)]
    pub struct Instant;

    impl Instant {
        pub fn now() -> Instant {
            Instant
        }

        pub fn elapsed(&self) -> Duration {
            Duration::ZERO
        }

        pub fn duration_since(&self, _: Instant) -> Duration {
            Duration::ZERO
        }
    }
}

// What only the pool reads, such as its largest number of parts, is not read here.
#[allow(dead_code)]
#[path = "queue.rs"]
#[allow(clippy::duplicate_mod, reason = "with the threads and atomics of this file")]
mod queue;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use queue::WorkQueue;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `test` with a queue and its workers on every interleaving; the workers end afterwards, or loom reports a deadlock.
fn check(workers: usize, preemptions: usize, test: impl Fn(&WorkQueue) + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(move || {
        let queue = Arc::new(WorkQueue::new(workers));
        let serve = |i| {
            let queue = Arc::clone(&queue);
            loom::thread::spawn(move || queue.serve(i))
        };
        let threads: Vec<_> = (0..workers).map(serve).collect();
        test(&queue);
        queue.close();
        for thread in threads {
            thread.join().expect("a worker catches the panics of jobs");
        }
    });
}

/// Announces `parts` parts; each must be done exactly once when the caller goes on.
fn split(queue: &WorkQueue, parts: usize) {
    let done: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
    assert!(queue.run(parts, &|part| {
        done[part].fetch_add(1, Ordering::Relaxed);
    }));
    // What the parts wrote is seen without further ordering.
    assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
}

#[test]
fn a_queue_that_is_dropped_lets_sleeping_and_working_threads_go() {
    check(2, 2, |_| ());
}

#[test]
fn every_part_is_done_once_and_two_announcements_do_not_mix() {
    check(1, 3, |queue| {
        split(queue, 2);
        split(queue, 2);
    });
}

#[test]
fn two_workers_and_the_caller_share_the_parts() {
    check(2, 2, |queue| split(queue, 3));
}

#[test]
fn a_panic_of_a_worker_reaches_the_caller_and_the_queue_goes_on() {
    check(1, 2, |queue| {
        let caller = loom::thread::current().id();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            queue.run(2, &|_| {
                // Not a panic that is printed for every interleaving.
                if loom::thread::current().id() != caller {
                    std::panic::resume_unwind(Box::new("a part"));
                }
            })
        }));
        // The caller may have done both parts itself.
        assert!(caught.is_err() || caught.is_ok_and(|ran| ran));
        split(queue, 2);
    });
}

//! How work is split. A kernel's items are independent, so the split never changes a bit.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// Multiply-adds below which a second thread costs more than it saves.
const WORTH_A_THREAD: usize = if cfg!(test) { 1 } else { 2_000_000 };

/// The threads that one run may use.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    pool: Option<Arc<ThreadPool>>,
}

impl Threads {
    /// The calling thread only.
    pub fn one() -> Self {
        Self::default()
    }

    /// `count` threads, made now and kept.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn new(count: usize) -> Result<Self, ThreadPoolBuildError> {
        if count <= 1 {
            return Ok(Self::one());
        }
        let pool = ThreadPoolBuilder::new().num_threads(count).build()?;
        Ok(Threads { pool: Some(Arc::new(pool)) })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Runs `work` inside the pool, where a split costs a queue operation and no wake-up of the caller.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Calls `work` with ranges that cover `0..items`, `cost` multiply-adds in all.
    pub(crate) fn split(&self, items: usize, cost: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        let parts = self.count().min(cost / WORTH_A_THREAD).min(items).max(1);
        match &self.pool {
            Some(pool) if parts > 1 => pool.install(|| halve(0..parts, items, parts, work)),
            _ => work(0..items),
        }
    }
}

fn halve(span: Range<usize>, items: usize, parts: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    if span.len() == 1 {
        work(span.start * items / parts..span.end * items / parts);
        return;
    }
    let middle = span.start + span.len() / 2;
    rayon::join(
        || halve(span.start..middle, items, parts, work),
        || halve(middle..span.end, items, parts, work),
    );
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Lends `work` a buffer of `len` floats of unspecified content that this thread keeps.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = SCRATCH.take();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = work(&mut buffer[..len]);
    SCRATCH.set(buffer);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_item_is_done_once_whatever_the_count() {
        for count in [1, 2, 3, 7] {
            let threads = Threads::new(count).expect("threads");
            for items in [0, 1, 2, 5, 50] {
                let done = Mutex::new(vec![0; items]);
                threads.split(items, usize::MAX, &|range| {
                    let mut done = done.lock().expect("no panic before");
                    range.for_each(|i| done[i] += 1);
                });
                assert!(done.into_inner().expect("no panic").iter().all(|&n| n == 1));
            }
        }
    }
}

//! The threads, atomics and clock of the queue; `model` has others of the same names.

pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
pub(super) use std::thread::{Thread, current, park, yield_now};
use std::time::Duration;
pub(super) use std::time::Instant;

/// Spin time: how long a worker looks for work before it sleeps; longer than the gap between two kernels.
pub(super) const SPIN_TIME: Duration = Duration::from_micros(100);
/// Attempts between two reads of the clock.
pub(super) const SPINS: usize = 128;

/// A cell whose accesses a model can see.
#[derive(Debug, Default)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Reads through a pointer that is valid as long as nobody writes.
    #[inline(always)]
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    /// Writes through a pointer that is valid as long as nobody else reads or writes.
    #[inline(always)]
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

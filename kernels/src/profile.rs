//! Profiling: a kernel set with a [`Profile`] records each call of a public kernel.
//!
//! A kernel that calls other kernels counts once, as the outermost call: `relevance_conv`, not its
//! convolutions. Without a profile a call costs one branch. FLOP and bytes of a call follow from its shapes:
//! - FLOP are the multiplications, additions and divisions of the formula, two per multiply-add; `exp` and
//!   `√` count as one. A convolution's patches at the edge count in full, as its products compute them.
//! - Bytes are those of the operands, read and written once, as if the caches were empty before the call and
//!   large enough for all operands.

use crate::image::ConvShape;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The calls of the kernels that one caller makes, one after the other.
///
/// ```
/// use kernels::profile::Profile;
/// use kernels::{Epilogue, Init, Kernels, MatMut, MatRef, PackedWeights, gemm};
/// use std::sync::Arc;
/// let profile = Arc::new(Profile::new());
/// let kernels = Kernels::default().profiled(Arc::clone(&profile));
/// let (w, mut y) = (PackedWeights::new(&[1.0; 6], 3, 2)?, [0.0; 2]);
/// let x = MatRef::new(&[1.0; 3], 1, 3);
/// gemm(&kernels, x, w.panels(), Init::Zero, Epilogue::Store, MatMut::new(&mut y, 1, 2))?;
/// let calls = profile.take();
/// assert_eq!((calls[0].name, calls[0].work.flop), ("gemm", 2 * 3 * 2));
/// # Ok::<(), kernels::ShapeError>(())
/// ```
#[derive(Debug)]
pub struct Profile {
    begin: Instant,
    /// Whether a call is running; calls that it makes are part of it.
    inside: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

/// One call of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The kernel.
    pub name: &'static str,
    /// Its sizes, FLOP and bytes.
    pub work: Work,
    /// Start time, counted from the creation of the profile.
    pub start: Duration,
    /// Duration.
    pub took: Duration,
}

/// The work of a call, from the shapes of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The operands' sizes.
    pub shape: Shape,
    /// Floating-point operations.
    pub flop: u64,
    /// Bytes of the operands, read and written once.
    pub bytes: u64,
}

/// Sizes of a call's operands; displayed as a table shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A product `[M, N]` over `K`, and its epilogue.
    Product {
        /// `[M, N, K]`
        sizes: [usize; 3],
        /// `relu`, `ratio`, …; empty if the sums are stored unchanged.
        then: &'static str,
    },
    /// A convolution.
    Conv {
        /// Images.
        images: usize,
        /// Image, filter and channels.
        shape: ConvShape,
        /// As in a product.
        then: &'static str,
    },
    /// A pool.
    Pool {
        /// Images.
        images: usize,
        /// Image rows.
        rows: usize,
        /// Image columns.
        cols: usize,
        /// Channels.
        channels: usize,
    },
    /// Rows of elements.
    Elements {
        /// Rows.
        rows: usize,
        /// Elements per row.
        cols: usize,
    },
}

impl Profile {
    /// A profile without calls.
    pub fn new() -> Self {
        Profile { begin: Instant::now(), inside: AtomicBool::new(false), calls: Mutex::default() }
    }

    /// Time since the creation of the profile, as in [`Call::start`].
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Takes the calls recorded since the last time, in order.
    pub fn take(&self) -> Vec<Call> {
        let mut calls = self.calls.lock().unwrap_or_else(|error| error.into_inner());
        let room = Vec::with_capacity(calls.len());
        std::mem::replace(&mut calls, room)
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::new()
    }
}

/// A running call; it ends when this is dropped.
#[derive(Debug)]
#[must_use = "the call ends where the span is dropped"]
pub struct Span<'a>(Option<Open<'a>>);

#[derive(Debug)]
struct Open<'a> {
    profile: &'a Profile,
    name: &'static str,
    work: Work,
    start: Instant,
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        let Some(Open { profile, name, work, start }) = self.0.take() else { return };
        let took = start.elapsed();
        let start = start.duration_since(profile.begin);
        let mut calls = profile.calls.lock().unwrap_or_else(|error| error.into_inner());
        calls.push(Call { name, work, start, took });
        profile.inside.store(false, Ordering::Relaxed);
    }
}

impl Span<'_> {
    /// Begins a call, if there is a profile and the call is not part of another.
    #[inline]
    pub(crate) fn begin<'a>(
        profile: Option<&'a Profile>,
        name: &'static str,
        work: impl FnOnce() -> Work,
    ) -> Span<'a> {
        let Some(profile) = profile else { return Span(None) };
        if profile.inside.swap(true, Ordering::Relaxed) {
            return Span(None);
        }
        Span(Some(Open { profile, name, work: work(), start: Instant::now() }))
    }
}

impl Work {
    pub(crate) fn new(shape: Shape, flop: usize, bytes: usize) -> Work {
        Work { shape, flop: flop as u64, bytes: bytes as u64 }
    }

    /// `flop` operations on each of `rows × cols` elements, `floats` of them read or written for each.
    pub fn elements([rows, cols]: [usize; 2], flop: usize, floats: usize) -> Work {
        Work::new(Shape::Elements { rows, cols }, flop * rows * cols, 4 * floats * rows * cols)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let then = match self {
            Shape::Product { sizes: [m, n, k], then } => {
                write!(f, "{m}×{n}×{k}")?;
                *then
            }
            Shape::Conv { images, shape, then } => {
                let ConvShape { rows, cols, size, inputs, outputs } = shape;
                write!(f, "{images}×{rows}×{cols}, {size}×{size}, {inputs}→{outputs}")?;
                *then
            }
            Shape::Pool { images, rows, cols, channels } => {
                write!(f, "{images}×{rows}×{cols}×{channels}")?;
                ""
            }
            Shape::Elements { rows: 1, cols } => {
                write!(f, "{cols}")?;
                ""
            }
            Shape::Elements { rows, cols } => {
                write!(f, "{rows}×{cols}")?;
                ""
            }
        };
        if then.is_empty() { Ok(()) } else { write!(f, ", {then}") }
    }
}

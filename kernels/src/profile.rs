//! Where the time goes: a kernel set that carries a [`Profile`] records each call of a public kernel.
//!
//! A kernel that calls others counts once, as the outermost: `relevance_conv`, not its convolutions. Where
//! no profile is carried a call costs one branch. What a call is worth follows from the shapes:
//! - FLOP are the multiplications, additions and divisions of the formula, two a multiply-add; `exp` and
//!   `√` count as one. A convolution's patches at the edge count in full, as its products compute them.
//! - Bytes are those of the operands, read and written once, as if the caches held nothing before and all
//!   during the call.

use crate::image::ConvShape;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The calls of the kernels that one caller makes, one after the other.
///
/// ```
/// use kernels::profile::Profile;
/// use kernels::{Epilogue, Kernels, MatMut, MatRef, Panels, Init, gemm, pack};
/// use std::sync::Arc;
/// let profile = Arc::new(Profile::new());
/// let kernels = Kernels::default().profiled(Arc::clone(&profile));
/// let (w, mut y) = (pack::pack(&[1.0; 6], 3, 2), [0.0; 2]);
/// let (x, w) = (MatRef::new(&[1.0; 3], 1, 3), Panels::new(&w, 3, 2));
/// gemm(&kernels, x, w, Init::Zero, Epilogue::Store, MatMut::new(&mut y, 1, 2))?;
/// let calls = profile.take();
/// assert_eq!((calls[0].name, calls[0].work.flop), ("gemm", 2 * 3 * 2));
/// # Ok::<(), kernels::ShapeError>(())
/// ```
#[derive(Debug)]
pub struct Profile {
    begin: Instant,
    /// A call has begun and not ended; those it makes are part of it.
    inside: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

/// One call of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The kernel.
    pub name: &'static str,
    /// What it had to do.
    pub work: Work,
    /// When it began, counted from the profile's own beginning.
    pub start: Duration,
    /// How long it took.
    pub took: Duration,
}

/// What a call has to do, by its operands' shapes.
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
    /// A product `[M, N]` over `K`, and what happens to its sums.
    Product {
        /// `[M, N, K]`
        sizes: [usize; 3],
        /// `relu`, `ratio`, …; empty where sums are stored as they are.
        then: &'static str,
    },
    /// A convolution of so many images.
    Conv {
        /// Images.
        images: usize,
        /// Image, filter and channels.
        shape: ConvShape,
        /// As in a product.
        then: &'static str,
    },
    /// Pooling of so many images.
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
        /// Elements a row.
        cols: usize,
    },
}

impl Profile {
    /// A profile without a call.
    pub fn new() -> Self {
        Profile { begin: Instant::now(), inside: AtomicBool::new(false), calls: Mutex::default() }
    }

    /// Time since the profile began: what [`Call::start`] counts.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The calls since the last time, in their order.
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

/// A call that has begun; it ends where this is dropped.
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

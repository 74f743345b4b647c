//! Where the time goes: a kernel set that carries a [`Profile`] notes each call of a public kernel.
//!
//! A kernel that calls others counts once, as the outermost: `z_plus_conv`, not its convolutions. Where
//! no profile is carried a call costs one branch. What a call is worth follows from the shapes:
//! - FLOP are the multiplications, additions and divisions of the formula, two a multiply-add; `exp` and
//!   `√` count as one. A convolution's patches at the edge count in full, as its products compute them.
//! - Bytes are those of the operands, read and written once, as if the caches held nothing before and all
//!   during the call.

use crate::conv::max_pool::ConvMaxPoolShape;
use crate::gemm::Init;
use crate::gemm::epilogue::Epilogue;
use crate::pool::PoolShape;
use crate::{ConvShape, Kernels};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
    /// A call is under way; those it makes are part of it.
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
        /// Image, window and channels.
        shape: PoolShape,
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

/// A call under way; it ends where this is dropped.
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

impl Kernels {
    /// The same kernel set, whose calls `profile` notes; for one caller at a time.
    #[must_use]
    pub fn profiled(self, profile: Arc<Profile>) -> Kernels {
        Kernels { profile: Some(profile), ..self }
    }

    /// Notes what happens until the span is dropped as one call, unless it is part of another; also for
    /// what is no kernel's call, such as the packing of many weights.
    #[inline]
    pub fn span(&self, name: &'static str, work: impl FnOnce() -> Work) -> Span<'_> {
        let Some(profile) = self.profile.as_deref() else { return Span(None) };
        if profile.inside.swap(true, Ordering::Relaxed) {
            return Span(None);
        }
        Span(Some(Open { profile, name, work: work(), start: Instant::now() }))
    }
}

impl Work {
    fn new(shape: Shape, flop: usize, bytes: usize) -> Work {
        Work { shape, flop: flop as u64, bytes: bytes as u64 }
    }

    /// `products` products of one shape with weights of their own; `floats` are the other operands.
    pub(crate) fn products(products: usize, sizes: [usize; 3], then: &'static str, floats: usize) -> Work {
        let [m, n, k] = sizes;
        let floats = floats + products * n * k;
        Work::new(Shape::Product { sizes, then }, 2 * products * m * n * k, 4 * floats)
    }

    /// As [`Work::products`], of convolutions.
    pub(crate) fn convs(
        products: usize,
        images: usize,
        shape: &ConvShape,
        then: &'static str,
        floats: usize,
    ) -> Work {
        let weights = shape.patch() * shape.outputs;
        let pixels = images * shape.rows * shape.cols;
        let shape = Shape::Conv { images, shape: *shape, then };
        Work::new(shape, 2 * products * pixels * weights, 4 * (floats + products * weights))
    }

    /// A convolution of `terms` multiply-adds an image, and the max-pool behind it; `x` are the floats of the input.
    pub(crate) fn conv_max_pool(images: usize, shape: &ConvMaxPoolShape, terms: usize, x: usize) -> Work {
        let conv = shape.conv;
        let weights = conv.patch() * conv.outputs;
        let windows = 2 * images * shape.windows() * conv.outputs;
        let shape = Shape::Conv { images, shape: conv, then: "relu, max-pool" };
        Work::new(shape, 2 * images * terms, 4 * (x + weights + windows))
    }

    /// What `products` convolutions do for the winners of a max-pool alone; `x` are the floats of the input.
    pub(crate) fn max_pool(products: usize, images: usize, shape: &ConvMaxPoolShape, x: usize) -> Work {
        let conv = shape.conv;
        let weights = conv.patch() * conv.outputs;
        let windows = images * shape.windows();
        let shape = Shape::Conv { images, shape: conv, then: "argmax" };
        let bytes = 4 * (x + products * weights + 2 * windows * conv.outputs);
        Work::new(shape, 2 * products * windows * weights, bytes)
    }

    /// A pool of `matrices` operands as large as the image, and as many as large as what comes out.
    pub(crate) fn pool(images: usize, shape: PoolShape, matrices: usize) -> Work {
        let pixels = images * shape.rows * shape.cols * shape.channels;
        let pooled = images * shape.out_rows() * shape.out_cols() * shape.channels;
        Work::new(Shape::Pool { images, shape }, pixels, 4 * matrices * (pixels + pooled) + pooled)
    }

    /// `flop` operations on each of `rows × cols` elements, `floats` of them read or written for each.
    pub fn elements([rows, cols]: [usize; 2], flop: usize, floats: usize) -> Work {
        Work::new(Shape::Elements { rows, cols }, flop * rows * cols, 4 * floats * rows * cols)
    }
}

/// What happens to the `sums` of a product, and the floats that are read and written there.
pub(crate) fn ends(init: &Init, epilogue: &Epilogue, sums: usize) -> (&'static str, usize) {
    let before = if matches!(init, Init::Zero) { 0 } else { sums };
    let (then, operands) = match epilogue {
        Epilogue::Store => ("", 0),
        Epilogue::Bias(_) => ("bias", 0),
        Epilogue::BiasRelu(_) => ("relu", 0),
        Epilogue::BiasReluDropout(..) => ("relu, dropout", 0),
        Epilogue::ReluGradient { .. } => ("relu gradient", sums),
        Epilogue::Ratio { .. } => ("ratio", sums),
        Epilogue::Times { .. } => ("times", sums),
    };
    (then, before + operands + sums)
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
            Shape::Pool { images, shape } => {
                let PoolShape { rows, cols, channels, .. } = shape;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::pack::{self, Part};
    use crate::relevance::PackedPart;
    use crate::relevance::z_plus::{z_plus, z_plus_conv};
    use crate::{Conv, MatMut, MatRef, Panels, conv, gemm};

    fn profiled() -> (Arc<Profile>, Kernels) {
        let profile = Arc::new(Profile::new());
        (Arc::clone(&profile), Kernels::default().profiled(profile))
    }

    #[test]
    fn a_rule_counts_once_and_its_products_do_not() {
        let (profile, kernels) = profiled();
        let shape = ConvShape { rows: 2, cols: 3, size: 3, inputs: 2, outputs: 4 };
        let w = pack::pack(&[0.5; 18 * 4], 18, 4);
        let w = Panels::new(&w, 18, 4);
        let part = PackedPart::conv(&shape, w, Part::Positive);
        let (a, mut c) = (vec![1.0; shape.input().len()], vec![0.0; shape.output().len()]);
        let (r_out, mut r_in) = ([1.0; 6 * 4], [0.0; 6 * 2]);
        let (r_out, r_in) = (MatRef::new(&r_out, 6, 4), MatMut::new(&mut r_in, 6, 2));
        z_plus_conv(&kernels, &shape, &a, &part, r_out, r_in, &mut c, &mut [0.0]).expect("fits");
        let mut y = [0.0; 6 * 4];
        let y = MatMut::new(&mut y, 6, 4);
        conv(
            &kernels,
            Conv { shape: &shape, x: &a, images: 1, w, init: Init::Zero, epilogue: Epilogue::Store, y },
        )
        .expect("fits");
        let calls = profile.take();
        let names: Vec<&str> = calls.iter().map(|call| call.name).collect();
        assert_eq!(names, ["z_plus_conv", "conv"]);
        let flop: Vec<u64> = calls.iter().map(|call| call.work.flop).collect();
        assert_eq!(flop, [2 * 2 * 6 * 18 * 4, 2 * 6 * 18 * 4]);
        assert_eq!(calls[1].work.shape.to_string(), "1×2×3, 3×3, 2→4");
        assert!(calls[0].start + calls[0].took <= calls[1].start, "one after the other");
        assert!(profile.take().is_empty(), "taken once");
    }

    #[test]
    fn operands_count_once_each() {
        let (profile, kernels) = profiled();
        let w = pack::pack(&[1.0; 6], 3, 2);
        let w = Panels::new(&w, 3, 2);
        let (x, mut y) = ([1.0; 12], [0.0; 8]);
        let (x, a) = (MatRef::new(&x, 4, 3), MatRef::new(&[1.0; 8], 4, 2));
        let relu = Epilogue::ReluGradient { a, scale: 1.0, guided: false };
        gemm(&kernels, x, w, Init::Accumulate, relu, MatMut::new(&mut y, 4, 2)).expect("fits");
        let part = PackedPart::dense(w, Part::Positive);
        let (mut r_in, mut lost) = ([0.0; 12], [0.0; 4]);
        z_plus(&kernels, x, &part, a, MatMut::new(&mut r_in, 4, 3), &mut lost).expect("fits");
        let calls = profile.take();
        // x, w, then y read and written and a; x and r_in, r_out, both orientations of w.
        let floats = [12 + 6 + 3 * 8, 2 * 12 + 8 + 2 * 6];
        assert_eq!(calls.iter().map(|call| call.work.bytes).collect::<Vec<_>>(), floats.map(|n| 4 * n));
        assert_eq!(calls[0].work.shape.to_string(), "4×2×3, relu gradient");
    }

    #[test]
    fn a_span_of_ones_own_swallows_what_is_called_inside() {
        let (profile, kernels) = profiled();
        {
            let _outer = kernels.span("pack", || Work::elements([1, 10], 0, 2));
            let _inner = kernels.span("softplus_bias", || Work::elements([1, 2], 1, 2));
        }
        drop(Kernels::default().span("pack", || unreachable!("no profile, no work")));
        let calls = profile.take();
        assert_eq!(calls.iter().map(|call| (call.name, call.work.bytes)).collect::<Vec<_>>(), [("pack", 80)]);
    }
}

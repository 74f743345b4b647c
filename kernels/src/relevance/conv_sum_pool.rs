//! Relevance of convolution, relu and sum-pool: the relevance of a window is shared between its pixels, a few images
//! at a time, and the products of the convolution read it from the cache.

use super::EPS;
use super::conv::{BLOCK, Images};
use super::fused::Fused;
use super::packed::{CONV_NAME, PackedRule, products, reads_forward};
use crate::conv::sum_pool::ConvPoolShape;
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::epilogue::relu;
use crate::gemm::problem::{Output, padded_bias};
use crate::layout::{MatMut, MatRef, STRIP, volume};
use crate::pool::sum_pool_absorbed;
use crate::profile::Work;
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// Operands of [`relevance_conv_sum_pool`]; the number of images is the length of `absorbed`.
#[derive(Debug)]
pub struct RelevanceConvSumPool<'a> {
    /// The rule with the convolution's weights: [`PackedRule::conv`].
    pub rule: &'a PackedRule,
    /// Rows and columns of the window.
    pub window: usize,
    /// Padded NHWC input, planes of [`ConvShape::input`](crate::ConvShape::input)
    pub x: &'a [f32],
    /// One value per output. It is copied unless it is padded to whole strips of 16.
    pub bias: &'a [f32],
    /// `[images·pixels, outputs]` the convolution without its bias, written by
    /// [`conv_sum_pool`](crate::conv::sum_pool::conv_sum_pool)
    pub z: &'a [f32],
    /// `[images·windows, outputs]` the pooled outputs
    pub y: MatRef<'a>,
    /// `[images·windows, outputs]` their relevance, in units of the explained logit
    pub r_out: MatRef<'a>,
    /// `[images·pixels, inputs]` relevance of the inputs, overwritten
    pub r_in: MatMut<'a>,
    /// `[images]` the relevance that stabilisers absorb is added
    pub absorbed: &'a mut [f64],
}

/// Redistributes the relevance of the windows of a sum-pool onto the inputs of the convolution in front of it, by any
/// rule.
///
/// A pixel with activation `a = relu(z + bias)` receives `R·a / (y + ε)` of its window's relevance;
/// [`relevance_conv`](super::relevance_conv) redistributes that.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape, or the rule is that of another kind of layer; nothing
/// is written then.
///
/// # Example
/// ```
/// use kernels::relevance::{PackedRule, RelevanceConvSumPool, Rule, relevance_conv_sum_pool};
/// use kernels::{ConvShape, Kernels, MatMut, MatRef, Panels, pack};
/// let kernels = Kernels::default();
/// let shape = ConvShape { rows: 1, cols: 2, size: 1, inputs: 1, outputs: 1 };
/// let w = pack::pack(&[3.0], 1, 1);
/// let rule = &PackedRule::conv(&kernels, &Rule::z_plus(), &shape, Panels::new(&w, 1, 1))?;
/// let (mut r_in, mut absorbed) = ([0.0; 2], [0.0]);
/// relevance_conv_sum_pool(
///     &kernels,
///     RelevanceConvSumPool {
///         rule,
///         window: 2,
///         x: &[1.0, 2.0],
///         bias: &[0.0],
///         z: &[3.0, 6.0],
///         y: MatRef::new(&[9.0], 1, 1),
///         r_out: MatRef::new(&[18.0], 1, 1),
///         r_in: MatMut::new(&mut r_in, 2, 1),
///         absorbed: &mut absorbed,
///     },
/// )?;
/// assert_eq!(r_in, [6.0, 12.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn relevance_conv_sum_pool(kernels: &Kernels, operands: RelevanceConvSumPool) -> Result<(), ShapeError> {
    const NAME: &str = "relevance_conv_sum_pool";
    let RelevanceConvSumPool { rule, window, x, bias, z, y, r_out, mut r_in, absorbed } = operands;
    let (conv, groups) = rule.of_conv(CONV_NAME)?;
    let shape = ConvPoolShape { conv: *conv, window };
    let (images, input, plane) = (absorbed.len(), conv.input(), conv.output());
    let (pixels, products) = (plane.pixels(), products(groups, Vec::len));
    let _span = kernels.span(NAME, || {
        let reads = 2 * conv.inputs + conv.outputs;
        Work::convs(products, images, conv, "", images * pixels * reads)
    });
    let mut room = Vec::new();
    let bias = padded_bias(bias, conv.outputs, &mut room);
    shape.check(NAME)?;
    axis(NAME, "images·plane", "x", x.len(), volume([images, input.len()]))?;
    axis(NAME, "outputs", "bias", bias.len(), conv.outputs.next_multiple_of(STRIP))?;
    axis(NAME, "pixels·outputs", "z", z.len(), volume([images, pixels, conv.outputs]))?;
    axis(NAME, "windows", "y", y.rows, volume([images, shape.windows()]))?;
    axis(NAME, "outputs", "y", y.cols, conv.outputs)?;
    axis(NAME, "windows", "r_out", r_out.rows, y.rows)?;
    axis(NAME, "outputs", "r_out", r_out.cols, conv.outputs)?;
    axis(NAME, "pixels", "r_in", r_in.rows, volume([images, pixels]))?;
    axis(NAME, "inputs", "r_in", r_in.cols, conv.inputs)?;
    let even = images <= 1 || r_in.map.repeats_every(pixels);
    axis(NAME, "pixels (images of equal spacing)", "r_in", if even { r_in.rows } else { 0 }, r_in.rows)?;
    if images == 0 || pixels == 0 {
        return Ok(());
    }
    let all = Windows { shape: &shape, bias, z, y, r_out };
    let (r_in, absorbed) = (Output::of(&mut r_in), Shared::new(absorbed));
    let block = (BLOCK / plane.len().max(1)).clamp(1, images);
    let cost = products * images * pixels * conv.patch() * conv.outputs;
    kernels.threads().split(images, cost, &|range: Range<usize>| {
        let of_image = pixels * conv.outputs;
        with_scratch(block * plane.len() + block * of_image, |scratch| {
            let (c, r) = scratch.split_at_mut(block * plane.len());
            plane.clear_border(c);
            for first in range.clone().step_by(block) {
                let part = first..range.end.min(first + block);
                let r = &mut r[..part.len() * of_image];
                // SAFETY: the parts of a split are different, and the caller has borrowed the sums mutably.
                let absorbed = unsafe { absorbed.slice(part.clone()) };
                all.add_absorbed(part.clone(), absorbed);
                kernels.backend().run(Share { windows: &all, images: part.clone(), r: &mut *r });
                let (x, rows) = (&x[first * input.len()..part.end * input.len()], part.len() * pixels);
                let z = &z[first * of_image..part.end * of_image];
                let layer = Images { shape: conv, reversed: conv.reversed(), a: x, images: part.len() };
                let z = reads_forward(groups).then(|| MatRef::new(z, rows, conv.outputs));
                let r_out = MatRef::new(r, rows, conv.outputs);
                let (r_in, absorbed) = (r_in.starting_at_row(first * pixels), Shared::new(absorbed));
                Fused { layer, groups, z, r_out, r_in, absorbed }.block(kernels, 0..part.len(), c);
            }
        });
    });
    Ok(())
}

/// The windows of a batch.
struct Windows<'a> {
    shape: &'a ConvPoolShape,
    bias: &'a [f32],
    z: &'a [f32],
    y: MatRef<'a>,
    r_out: MatRef<'a>,
}

impl Windows<'_> {
    /// Adds what the stabiliser of the pool absorbs in some images.
    fn add_absorbed(&self, images: Range<usize>, absorbed: &mut [f64]) {
        let windows = self.shape.windows();
        for (image, absorbed) in images.zip(absorbed) {
            for window in image * windows..(image + 1) * windows {
                *absorbed += sum_pool_absorbed(self.y.row(window), self.r_out.row(window), EPS);
            }
        }
    }
}

/// The relevance of the pixels of some images, `[pixels, outputs]`.
struct Share<'a> {
    windows: &'a Windows<'a>,
    images: Range<usize>,
    r: &'a mut [f32],
}

impl Kernel for Share<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Share { windows: Windows { shape, bias, z, y, r_out }, images, r } = self;
        let (conv, size) = (&shape.conv, shape.window);
        let (rows, cols, outputs) = (conv.rows, conv.cols, conv.outputs);
        let (out_rows, out_cols) = (shape.out_rows(), shape.out_cols());
        assert!(
            z.len() >= images.end * rows * cols * outputs
                && r.len() >= images.len() * rows * cols * outputs
                && y.rows >= images.end * shape.windows()
                && r_out.rows >= images.end * shape.windows()
                && bias.len() >= outputs.next_multiple_of(STRIP)
        );
        let eps = simd.splat(EPS);
        for (image, row) in images.clone().flat_map(|image| (0..out_rows).map(move |row| (image, row))) {
            let height = size.min(rows - row * size);
            // Of the images computed here, and of all.
            let local = ((image - images.start) * rows + row * size) * cols;
            let pixel = (image * rows + row * size) * cols;
            for col in 0..out_cols {
                let window = (image * out_rows + row) * out_cols + col;
                let width = size.min(cols - col * size);
                let (y_at, r_at) = (y.map.offset(window), r_out.map.offset(window));
                for n in (0..outputs).step_by(STRIP) {
                    let lanes = STRIP.min(outputs - n);
                    // SAFETY: channels of a window of both, and a whole strip of the bias.
                    let (sum, of_window, bias) = unsafe {
                        (
                            load(simd, y.data.as_ptr().add(y_at + n), lanes),
                            load(simd, r_out.data.as_ptr().add(r_at + n), lanes),
                            simd.load(bias.as_ptr().add(n)),
                        )
                    };
                    let sum = simd.add(sum, eps);
                    for (dy, dx) in (0..height).flat_map(|dy| (0..width).map(move |dx| (dy, dx))) {
                        let at = dy * cols + col * size + dx;
                        // SAFETY: channels of a pixel of the image.
                        unsafe {
                            let z = load(simd, z.as_ptr().add((pixel + at) * outputs + n), lanes);
                            let a = relu(simd, simd.add(z, bias));
                            let share = simd.div(simd.mul(of_window, a), sum);
                            store(simd, r.as_mut_ptr().add((local + at) * outputs + n), lanes, share);
                        }
                    }
                }
            }
        }
    }
}

//! Which pixels of each window are active, and the gradient of the windows spread over them.

use crate::buffer::Buffer;
use crate::conv::pooled::ConvPoolShape;
use crate::error::{ShapeError, axis};
use crate::layout::{MatRef, STRIP, volume};
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// The pixels of each window of each channel whose relu is active: the sum of `2^i` over the indices `i` of these
/// pixels in the window, row-major.
///
/// Only [`conv_sum_pool`](super::conv_sum_pool) writes them, so each pixel is inside its image.
#[derive(Clone, Debug)]
pub struct ActivePixels {
    shape: ConvPoolShape,
    images: usize,
    /// `[images·windows, outputs]`
    pub(super) values: Buffer,
}

/// Rows of the largest window: an f32 holds a bit for each of its pixels.
pub(super) const MAX_WINDOW: usize = 4;

impl ActivePixels {
    /// Those of `images` images. No pixel is active until [`conv_sum_pool`](super::conv_sum_pool) is called.
    ///
    /// # Panics
    /// If the layer's windows have no pixel.
    pub fn new(shape: &ConvPoolShape, images: usize) -> Self {
        let values = Buffer::zeroed(volume([images, shape.windows(), shape.conv.outputs]));
        ActivePixels { shape: *shape, images, values }
    }

    pub(super) fn check(
        &self,
        kernel: &'static str,
        shape: &ConvPoolShape,
        images: usize,
    ) -> Result<(), ShapeError> {
        let windows = if self.shape == *shape { shape.windows() } else { 0 };
        axis(kernel, "windows", "active (of this layer)", windows, shape.windows())?;
        axis(kernel, "images", "active", self.images.min(images), images)
    }
}

/// A window's index of each of its pixels has this bit in [`ActivePixels`].
#[inline(always)]
pub(super) fn bit(index: usize) -> f32 {
    (1u32 << index) as f32
}

/// The gradient of the windows of some images, spread over their active pixels.
pub(super) struct Spread<'a> {
    pub shape: &'a ConvPoolShape,
    pub images: Range<usize>,
    /// Of all images.
    pub active: &'a ActivePixels,
    pub d_h: MatRef<'a>,
    /// Planes of [`ConvShape::output`](crate::ConvShape::output) of these images; their pixels are overwritten.
    pub planes: &'a mut [f32],
}

impl Kernel for Spread<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.shape.window {
            // The usual window is unrolled.
            2 => self.windows(simd, 2),
            window => self.windows(simd, window),
        }
    }
}

impl Spread<'_> {
    #[inline(always)]
    fn windows<S: Simd>(self, simd: S, size: usize) {
        let Spread { shape, images, active, d_h, planes } = self;
        let (conv, plane) = (&shape.conv, shape.conv.output());
        let (out_rows, out_cols, outputs) = (shape.out_rows(), shape.out_cols(), conv.outputs);
        assert!(
            planes.len() >= images.len() * plane.len()
                && active.values.len() >= images.end * shape.windows() * outputs
                && d_h.rows >= images.end * shape.windows()
                && d_h.cols == outputs
        );
        for (image, row) in images.clone().flat_map(|image| (0..out_rows).map(move |row| (image, row))) {
            let top = (image - images.start) * plane.len() + plane.interior() + row * size * plane.line();
            let height = size.min(conv.rows - row * size);
            for col in 0..out_cols {
                let window = (image * out_rows + row) * out_cols + col;
                let width = size.min(conv.cols - col * size);
                let pixel = top + col * size * outputs;
                let d_h_at = d_h.map.offset(window);
                for n in (0..outputs).step_by(STRIP) {
                    let lanes = STRIP.min(outputs - n);
                    // SAFETY: channels of a window of both.
                    let (mut rest, d_h) = unsafe {
                        let active = active.values.as_ptr().add(window * outputs + n);
                        (load(simd, active, lanes), load(simd, d_h.data.as_ptr().add(d_h_at + n), lanes))
                    };
                    // The largest bit first: what is left is smaller than the next one or has it.
                    for dy in (0..size).rev() {
                        for dx in (0..size).rev() {
                            let bit = bit(dy * size + dx);
                            let reached = simd.sub(rest, simd.splat(bit - 0.5));
                            let value = simd.where_positive(reached, d_h);
                            rest = simd.select(reached, simd.sub(rest, simd.splat(bit)), rest);
                            if dy < height && dx < width {
                                let at = pixel + dy * plane.line() + dx * outputs + n;
                                // SAFETY: channels of a pixel inside one of these planes.
                                unsafe { store(simd, planes.as_mut_ptr().add(at), lanes, value) };
                            }
                        }
                    }
                }
            }
        }
    }
}

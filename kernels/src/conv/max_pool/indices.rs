//! The argmax positions of a max-pool, and a gradient or relevance scattered to them.

use crate::buffer::Buffer;
use crate::conv::pooled::ConvPoolShape;
use crate::error::{ShapeError, axis};
use crate::layout::{MatRef, volume};
use crate::profile::{Shape, Work};
use crate::threads::with_scratch;

/// The argmax position in each window of each channel: the index of its pixel in the window, row-major.
///
/// Only [`conv_max_pool`](super::conv_max_pool) writes them, so each index is inside its image.
#[derive(Clone, Debug)]
pub struct MaxIndices {
    shape: ConvPoolShape,
    images: usize,
    /// `[images·windows, outputs]`
    pub(super) values: Buffer,
}

impl MaxIndices {
    /// Argmax indices of `images` images. They are 0, the first pixel of each window, until [`conv_max_pool`](super::conv_max_pool)
    /// is called.
    ///
    /// # Panics
    /// If the layer's windows have no pixel.
    pub fn new(shape: &ConvPoolShape, images: usize) -> Self {
        let values = Buffer::zeroed(volume([images, shape.windows(), shape.conv.outputs]));
        MaxIndices { shape: *shape, images, values }
    }

    /// The indices of the first `images` images, after a check that they belong to this layer.
    pub(crate) fn of(
        &self,
        kernel: &'static str,
        shape: &ConvPoolShape,
        images: usize,
    ) -> Result<&[f32], ShapeError> {
        self.check(kernel, shape, images)?;
        Ok(&self.values[..images * shape.windows() * shape.conv.outputs])
    }

    pub(super) fn check(
        &self,
        kernel: &'static str,
        shape: &ConvPoolShape,
        images: usize,
    ) -> Result<(), ShapeError> {
        let windows = if self.shape == *shape { shape.windows() } else { 0 };
        axis(kernel, "windows", "max_indices (of this layer)", windows, shape.windows())?;
        axis(kernel, "images", "max_indices", self.images.min(images), images)
    }
}

impl ConvPoolShape {
    /// Calls `use_planes` with the gradient or relevance `v` of the windows, scattered to the argmax positions in
    /// padded planes: the operand of the general convolution kernels.
    pub(super) fn with_expanded<R>(
        &self,
        max_indices: &[f32],
        v: &MatRef,
        images: usize,
        use_planes: impl FnOnce(&[f32]) -> R,
    ) -> R {
        with_scratch(images * self.conv.output().len(), |planes| {
            planes.fill(0.0);
            self.expand(max_indices, v, images, planes);
            use_planes(planes)
        })
    }

    fn expand(&self, max_indices: &[f32], v: &MatRef, images: usize, dense: &mut [f32]) {
        let mut pixels = self.conv.output().pixels_mut(dense, images);
        for (window, max_indices) in max_indices.chunks_exact(self.conv.outputs.max(1)).enumerate() {
            for (o, (&index, &v)) in max_indices.iter().zip(v.row(window)).enumerate() {
                if v != 0.0 {
                    pixels.row_mut(self.pixel(window, index as usize))[o] = v;
                }
            }
        }
    }
}

impl Work {
    /// The work of `products` convolutions at the argmax positions of a max-pool only; `x` are the floats of
    /// the input.
    pub(crate) fn max_pool(products: usize, images: usize, shape: &ConvPoolShape, x: usize) -> Work {
        let conv = shape.conv;
        let weights = conv.patch() * conv.outputs;
        let windows = images * shape.windows();
        let shape = Shape::Conv { images, shape: conv, then: "argmax" };
        let bytes = 4 * (x + products * weights + 2 * windows * conv.outputs);
        Work::new(shape, 2 * products * windows * weights, bytes)
    }
}

//! Images with a border of zeros, and the geometry of a convolution.

use crate::error::ShapeError;
use crate::layout::{MatMut, MatRef, Rows, volume};

/// An image without pixels has no rows, but a valid map.
const fn at_least_one(size: usize) -> usize {
    if size == 0 { 1 } else { size }
}

/// An NHWC image with a border of zeros, so that patches at the edge need no special case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Image rows, without the border.
    pub rows: usize,
    /// Image columns, without the border.
    pub cols: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Width of the border on each side.
    pub pad: usize,
}

impl Plane {
    /// Floats of one image with its border; `usize::MAX` on overflow, like all sizes of images.
    pub const fn len(&self) -> usize {
        volume([self.bordered(self.rows), self.line()])
    }

    const fn bordered(&self, size: usize) -> usize {
        size.saturating_add(self.pad).saturating_add(self.pad)
    }

    /// Whether the image has no pixels.
    pub const fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0 || self.channels == 0
    }

    /// Pixels of one image, without the border.
    pub const fn pixels(&self) -> usize {
        volume([self.rows, self.cols])
    }

    /// Floats of one line with its border.
    pub const fn line(&self) -> usize {
        volume([self.bordered(self.cols), self.channels])
    }

    /// Offset of the first pixel inside the border.
    pub const fn interior(&self) -> usize {
        volume([self.pad, self.line()]).saturating_add(volume([self.pad, self.channels]))
    }

    /// Where the pixels of a batch start, counted from the first one.
    pub const fn map(&self) -> Rows {
        Rows {
            width: at_least_one(self.cols),
            height: at_least_one(self.rows),
            step: self.channels,
            line: self.line(),
            image: self.len(),
        }
    }

    /// Images with their border of zeros around `pixels` `[images·rows·cols, channels]`.
    ///
    /// ```
    /// let plane = kernels::Plane { rows: 1, cols: 2, channels: 1, pad: 1 };
    /// let images = plane.padded(&[5.0, 6.0], 1);
    /// assert_eq!(images, [0., 0., 0., 0., 0., 5., 6., 0., 0., 0., 0., 0.]);
    /// ```
    ///
    /// # Panics
    /// If there are more pixels than the images have.
    pub fn padded(&self, pixels: &[f32], images: usize) -> Vec<f32> {
        let mut padded = vec![0.0; volume([images, self.len()])];
        let mut inside = self.pixels_mut(&mut padded, images);
        for (i, pixel) in pixels.chunks_exact(self.channels.max(1)).enumerate() {
            inside.row_mut(i).copy_from_slice(pixel);
        }
        padded
    }

    /// The pixels of `images` images as rows of a matrix `[images·rows·cols, channels]`.
    pub fn pixels_of<'a>(&self, data: &'a [f32], images: usize) -> MatRef<'a> {
        let at = if images == 0 { 0 } else { self.interior() };
        MatRef::mapped(&data[at..], volume([images, self.pixels()]), self.channels, self.map())
    }

    /// The lines of `images` images, without the border, as rows `[images·rows, cols·channels]`.
    pub fn lines_of<'a>(&self, data: &'a [f32], images: usize) -> MatRef<'a> {
        let at = if images == 0 { 0 } else { self.interior() };
        MatRef::mapped(
            &data[at..],
            volume([images, self.rows]),
            volume([self.cols, self.channels]),
            self.line_map(),
        )
    }

    /// The lines of `images` images as rows of a matrix to be written.
    pub fn lines_mut<'a>(&self, data: &'a mut [f32], images: usize) -> MatMut<'a> {
        let at = if images == 0 { 0 } else { self.interior() };
        MatMut::mapped(
            &mut data[at..],
            volume([images, self.rows]),
            volume([self.cols, self.channels]),
            self.line_map(),
        )
    }

    /// Sets the border of images to zero.
    pub(crate) fn clear_border(&self, images: &mut [f32]) {
        let (line, side) = (self.line(), self.pad * self.channels);
        if self.is_empty() || side == 0 {
            return;
        }
        for image in images.chunks_exact_mut(self.len()) {
            let inside = self.pad * line..(self.pad + self.rows) * line;
            image[..inside.start].fill(0.0);
            image[inside.end..].fill(0.0);
            for line in image[inside].chunks_exact_mut(line) {
                line[..side].fill(0.0);
                let end = line.len() - side;
                line[end..].fill(0.0);
            }
        }
    }

    const fn line_map(&self) -> Rows {
        Rows {
            width: at_least_one(self.rows),
            height: usize::MAX,
            step: self.line(),
            line: self.len(),
            image: 0,
        }
    }

    /// The pixels of `images` images as rows of a matrix to be written.
    pub fn pixels_mut<'a>(&self, data: &'a mut [f32], images: usize) -> MatMut<'a> {
        let at = if images == 0 { 0 } else { self.interior() };
        MatMut::mapped(&mut data[at..], volume([images, self.pixels()]), self.channels, self.map())
    }
}

/// A convolution with stride 1 and SAME padding: weights `[size, size, inputs, outputs]` (HWIO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Image rows.
    pub rows: usize,
    /// Image columns.
    pub cols: usize,
    /// Rows and columns of the filter; odd.
    pub size: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

impl ConvShape {
    /// The padded input.
    pub const fn input(&self) -> Plane {
        Plane { rows: self.rows, cols: self.cols, channels: self.inputs, pad: self.size / 2 }
    }

    /// The output with the border that the input gradient needs.
    pub const fn output(&self) -> Plane {
        Plane { rows: self.rows, cols: self.cols, channels: self.outputs, pad: self.size / 2 }
    }

    /// Length of a patch: what one output sums over.
    pub const fn patch(&self) -> usize {
        volume([self.size, self.size, self.inputs])
    }

    /// The transposed convolution, which computes the input gradient: inputs and outputs are exchanged.
    pub const fn reversed(&self) -> ConvShape {
        ConvShape { inputs: self.outputs, outputs: self.inputs, ..*self }
    }

    pub(crate) fn check(&self, kernel: &'static str) -> Result<(), ShapeError> {
        if self.size.is_multiple_of(2) {
            return Err(ShapeError::EvenFilter { kernel, size: self.size });
        }
        let most = isize::MAX as usize / size_of::<f32>();
        if self.input().len().max(self.output().len()) > most {
            return Err(ShapeError::TooLarge { kernel });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn images_of_sizes_that_wrap_around_are_refused() {
        let plane = Plane { rows: 1 << 32, cols: 1 << 32, channels: 1, pad: 1 };
        assert!(!plane.is_empty());
        assert_eq!((plane.len(), plane.pixels()), (usize::MAX, usize::MAX));
        assert!(catch_unwind(|| plane.pixels_of(&[0.0; 4], 1)).is_err());
    }
}

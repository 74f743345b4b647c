//! Shapes: matrices whose rows may be pixels of padded images, packed weights, convolution geometry.

use crate::error::ShapeError;

/// Columns in one strip of a packed matrix: one AVX-512 register, two of AVX2.
pub const STRIP: usize = 16;

/// The product of sizes, or more than any slice has, so that none is mistaken for one that fits.
pub(crate) const fn volume<const N: usize>(sizes: [usize; N]) -> usize {
    let (mut volume, mut i) = (1usize, 0);
    while i < N {
        volume = volume.saturating_mul(sizes[i]);
        i += 1;
    }
    volume
}

/// An image without a pixel has no row, but a map as any other.
const fn at_least_one(size: usize) -> usize {
    if size == 0 { 1 } else { size }
}

/// Where each row of a matrix starts: `offset(i) = image·n + line·y + step·x`, `x` fastest.
///
/// A plain matrix is one endless line; the pixels of padded NHWC images need all three strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Pixels a line.
    pub width: usize,
    /// Lines an image.
    pub height: usize,
    /// Floats from a row to the next one of the same line.
    pub step: usize,
    /// Floats from a line to the next one of the same image.
    pub line: usize,
    /// Floats from an image to the next.
    pub image: usize,
}

impl Rows {
    /// Rows a fixed number of floats apart.
    pub const fn linear(step: usize) -> Self {
        Rows { width: usize::MAX, height: 1, step, line: 0, image: 0 }
    }

    /// Offset of row `i` in floats.
    #[inline(always)]
    pub fn offset(&self, i: usize) -> usize {
        if i < self.width {
            return i * self.step;
        }
        let (pixel, line) = (i % self.width, i / self.width);
        pixel * self.step + (line % self.height) * self.line + (line / self.height) * self.image
    }

    /// Calls `to` with `i` and the offset of row `first + i`, for each `i` below `rows`.
    #[inline(always)]
    pub(crate) fn each_offset(&self, first: usize, rows: usize, mut to: impl FnMut(usize, usize)) {
        let lines = first / self.width;
        let mut x = first % self.width;
        let mut y = lines % self.height;
        let mut image = lines / self.height * self.image;
        let mut done = 0;
        while done < rows {
            let run = (rows - done).min(self.width - x);
            let start = image + y * self.line + x * self.step;
            for i in 0..run {
                to(done + i, start + i * self.step);
            }
            done += run;
            (x, y) = (0, y + 1);
            if y == self.height {
                (y, image) = (0, image + self.image);
            }
        }
    }

    /// The largest offset among rows `0..rows`, `usize::MAX` if it is larger than that; strides are
    /// not negative, so a full line, a full image or the last row has it.
    fn max_offset(&self, rows: usize) -> usize {
        let offset = |i: usize| {
            let (pixel, line) = (i % self.width, i / self.width);
            let image = volume([line / self.height, self.image]);
            let line = volume([line % self.height, self.line]);
            volume([pixel, self.step]).saturating_add(line).saturating_add(image)
        };
        let mut max = offset(rows - 1);
        if rows > self.width {
            let line_start = (rows - 1) / self.width * self.width;
            max = max.max(offset(line_start - 1));
            let lines = rows / self.width;
            if lines > self.height {
                max = max.max(offset(lines / self.height * self.height * self.width - 1));
            }
        }
        max
    }
}

/// A read-only matrix `[rows, cols]`; the floats of a row are adjacent.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) map: Rows,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

/// A matrix `[rows, cols]` that a kernel writes; the floats of a row are adjacent.
#[derive(Debug)]
pub struct MatMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) map: Rows,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

fn check(len: usize, map: &Rows, rows: usize, cols: usize) {
    assert!(map.width > 0 && map.height > 0, "a line needs a pixel and an image a line");
    if rows > 0 && cols > 0 {
        // What fits here is the end of each row: no offset of one can wrap around.
        let need = map.max_offset(rows).saturating_add(cols);
        assert!(need <= len, "a [{rows}, {cols}] matrix needs {need} floats, the slice has {len}");
    }
}

impl<'a> MatRef<'a> {
    /// A row-major matrix over the start of `data`.
    ///
    /// # Panics
    /// If `data` is shorter than `rows · cols`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::mapped(data, rows, cols, Rows::linear(cols))
    }

    /// A matrix whose rows start where `map` says.
    ///
    /// # Panics
    /// If a row reaches beyond `data`.
    pub fn mapped(data: &'a [f32], rows: usize, cols: usize, map: Rows) -> Self {
        check(data.len(), &map, rows, cols);
        MatRef { data, map, rows, cols }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // Without columns a row may start behind the slice.
        let at = if self.cols == 0 { 0 } else { self.map.offset(i) };
        &self.data[at..][..self.cols]
    }
}

impl<'a> MatMut<'a> {
    /// A row-major matrix over the start of `data`.
    ///
    /// # Panics
    /// If `data` is shorter than `rows · cols`.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::mapped(data, rows, cols, Rows::linear(cols))
    }

    /// A matrix whose rows start where `map` says; rows must not overlap.
    ///
    /// # Panics
    /// If a row reaches beyond `data`, or two rows share a float.
    pub fn mapped(data: &'a mut [f32], rows: usize, cols: usize, map: Rows) -> Self {
        check(data.len(), &map, rows, cols);
        if rows == 0 || cols == 0 {
            return MatMut { data, map, rows, cols };
        }
        // The strides of what fits do not wrap around.
        let lines = rows.div_ceil(map.width);
        let line = (map.width.min(rows) - 1) * map.step + cols;
        let image = (map.height.min(lines) - 1) * map.line + line;
        let apart = (rows <= 1 || map.width == 1 || map.step >= cols)
            && (lines <= 1 || map.height == 1 || map.line >= line)
            && (lines <= map.height || map.image >= image);
        assert!(apart, "rows of a matrix to be written overlap: {map:?} with {cols} columns");
        MatMut { data, map, rows, cols }
    }

    /// The same matrix, borrowed for a shorter time.
    pub fn reborrow(&mut self) -> MatMut<'_> {
        MatMut { data: self.data, map: self.map, rows: self.rows, cols: self.cols }
    }

    /// The same matrix, read only.
    pub fn as_ref(&self) -> MatRef<'_> {
        MatRef { data: self.data, map: self.map, rows: self.rows, cols: self.cols }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        let at = if self.cols == 0 { 0 } else { self.map.offset(i) };
        &mut self.data[at..][..self.cols]
    }
}

/// Packed weights `[k, n]`: strips of [`STRIP`] columns, each `k` rows of 16 adjacent floats.
///
/// Columns beyond `n` are zero. Element `(i, j)` stands at `(j / 16)·stride + i·16 + j % 16`.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) stride: usize,
}

/// Floats that packed `[k, n]` weights take; `usize::MAX` if they are more than that.
pub const fn panels_len(k: usize, n: usize) -> usize {
    volume([n.div_ceil(STRIP), k, STRIP])
}

/// Place of element `(i, j)` of packed weights with `k` rows.
pub const fn panel_index(k: usize, i: usize, j: usize) -> usize {
    (j / STRIP) * k * STRIP + i * STRIP + j % STRIP
}

impl<'a> Panels<'a> {
    /// Views `data` as packed `[k, n]` weights.
    ///
    /// # Panics
    /// If `data` has another length than [`panels_len`].
    pub fn new(data: &'a [f32], k: usize, n: usize) -> Self {
        assert_eq!(data.len(), panels_len(k, n), "packed [{k}, {n}] weights");
        Panels { data, k, n, stride: volume([k, STRIP]) }
    }

    /// Rows `from..to` of the same weights.
    ///
    /// # Panics
    /// If `from > to` or `to > k`.
    pub fn rows(&self, from: usize, to: usize) -> Panels<'a> {
        assert!(from <= to && to <= self.k, "rows {from}..{to} of {}", self.k);
        let data = if self.data.is_empty() { self.data } else { &self.data[from * STRIP..] };
        Panels { data, k: to - from, n: self.n, stride: self.stride }
    }

    /// Rows of the packed matrix: what a product sums over.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the packed matrix.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Element `(i, j)`.
    pub fn at(&self, i: usize, j: usize) -> f32 {
        self.data[(j / STRIP) * self.stride + i * STRIP + j % STRIP]
    }
}

/// An NHWC image with a border of zeros, so that a patch at the edge is an ordinary patch.
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
    /// Floats of one image with its border; sizes of images are `usize::MAX` if they are more.
    pub const fn len(&self) -> usize {
        volume([self.bordered(self.rows), self.line()])
    }

    const fn bordered(&self, size: usize) -> usize {
        size.saturating_add(self.pad).saturating_add(self.pad)
    }

    /// Whether the image has no pixel.
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

    /// Offset of the first pixel behind the border.
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

    /// The output with the border that the way back needs.
    pub const fn output(&self) -> Plane {
        Plane { rows: self.rows, cols: self.cols, channels: self.outputs, pad: self.size / 2 }
    }

    /// Length of a patch: what one output sums over.
    pub const fn patch(&self) -> usize {
        volume([self.size, self.size, self.inputs])
    }

    /// The convolution that runs backwards: outputs and inputs change places.
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
    use crate::conv::max_pool::{ConvMaxPoolShape, MaxIndices};
    use crate::pool::{PoolKind, PoolShape, pool};
    use crate::{Conv, Epilogue, Init, Kernels, WeightGradient, conv, conv_weight_gradient, gemm_tn};
    use std::panic::catch_unwind;

    #[test]
    fn max_offset_is_the_largest_offset() {
        for (width, height) in [(1, 1), (3, 1), (3, 2), (1, 4), (usize::MAX, 1)] {
            for (step, line, image) in [(1, 5, 20), (2, 0, 0), (0, 7, 3), (4, 2, 1)] {
                let map = Rows { width, height, step, line, image };
                for rows in 1..40 {
                    let max = (0..rows).map(|i| map.offset(i)).max().unwrap_or(0);
                    assert!(map.max_offset(rows) >= max || width == usize::MAX, "{map:?} {rows}");
                }
            }
        }
    }

    /// Sizes whose product has 64 bits too many, so that what is left of it fits a short slice.
    #[test]
    fn views_of_sizes_that_wrap_around_are_refused() {
        let far = Rows { width: 1, height: 1, step: 0, line: 0, image: 1 << 62 };
        assert!(catch_unwind(|| MatRef::new(&[], 1 << 62, 4)).is_err());
        assert!(catch_unwind(|| MatRef::mapped(&[0.0; 4], 5, 4, far)).is_err());
        assert!(catch_unwind(|| MatRef::mapped(&[0.0; 4], 2, usize::MAX, Rows::linear(1))).is_err());
        assert!(catch_unwind(|| _ = MatMut::new(&mut [], 1 << 62, 4)).is_err());
        assert!(catch_unwind(|| _ = MatMut::mapped(&mut [0.0; 4], 5, 4, far)).is_err());
        assert!(catch_unwind(|| Panels::new(&[], 1 << 60, 16)).is_err());
        let plane = Plane { rows: 1 << 32, cols: 1 << 32, channels: 1, pad: 1 };
        assert!(!plane.is_empty());
        assert_eq!((plane.len(), plane.pixels()), (usize::MAX, usize::MAX));
        assert!(catch_unwind(|| plane.pixels_of(&[0.0; 4], 1)).is_err());
    }

    #[test]
    fn operands_of_sizes_that_wrap_around_are_refused() {
        let kernels = Kernels::default();
        // Three pixels times two thirds of 2⁶⁴: one pixel, whose patch the 5 floats do not have.
        let shape = ConvShape { rows: 1, cols: 3, size: 3, inputs: 1, outputs: 1 };
        let (images, w, mut c) = (usize::MAX / 3 * 2 + 1, [0.0; 144], [7.0]);
        assert_eq!((images.wrapping_mul(3), images.wrapping_mul(shape.input().len())), (1, 5));
        let (w, out) = (Panels::new(&w, 9, 1), MatMut::new(&mut c, 1, 1));
        let found = conv(
            &kernels,
            Conv {
                shape: &shape,
                x: &[1.0; 5],
                images,
                w,
                init: Init::Zero,
                epilogue: Epilogue::Store,
                y: out,
            },
        );
        assert!(found.is_err() && c == [7.0]);
        let shape = ConvShape { rows: 1, cols: 1, size: 1, inputs: 4, outputs: 4 };
        let mut d_w = [7.0; 64];
        assert!(conv_weight_gradient(&kernels, &shape, &[], &[], 1 << 62, &mut d_w).is_err());
        let d_y = MatRef::new(&[1.0], 1, 1);
        assert!(
            gemm_tn(
                &kernels,
                WeightGradient {
                    a: d_y,
                    d_y,
                    accumulate: false,
                    d_w: &mut d_w[..16],
                    rows: 1,
                    first_row: usize::MAX
                }
            )
            .is_err()
        );
        assert_eq!(d_w, [7.0; 64]);
        let shape = ConvMaxPoolShape { conv: shape, window: 1 };
        assert!(catch_unwind(|| MaxIndices::new(&shape, 1 << 62)).is_err());
        let shape = PoolShape { rows: 2, cols: 2, channels: 1, size: 1, kind: PoolKind::Max };
        let (x, y) = (MatRef::new(&[], 0, 1), MatMut::new(&mut [], 0, 1));
        assert!(pool(&kernels, shape, 1 << 62, x, y).is_err());
    }

    #[test]
    fn weights_of_more_than_all_memory_are_no_empty_slice() {
        for (k, n) in [(1 << 60, 1), ((1 << 60) + 1, 1), (17, usize::MAX)] {
            // What the length is without its upper bits.
            let few = n.div_ceil(STRIP).wrapping_mul(k).wrapping_mul(STRIP);
            let data = vec![0.0; few];
            assert!(catch_unwind(|| Panels::new(&data, k, n)).is_err(), "[{k}, {n}]");
        }
    }

    #[test]
    fn weights_without_columns_may_have_any_number_of_rows() {
        assert_eq!(Panels::new(&[], usize::MAX, 0).rows(3, 5).k(), 2);
    }

    #[test]
    fn rows_without_columns_may_start_anywhere() {
        let map = Rows::linear(5);
        assert!(MatRef::mapped(&[], 3, 0, map).row(2).is_empty());
        assert!(MatMut::mapped(&mut [], 3, 0, map).row_mut(2).is_empty());
    }
}

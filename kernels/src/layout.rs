//! Matrices: where the rows of an operand are in memory.

use crate::simd::LANES;

/// Columns in one strip of a packed matrix: one AVX-512 register, two of AVX2.
pub const STRIP: usize = LANES;

/// The product of sizes, saturating: on overflow it is larger than any slice.
pub(crate) const fn volume<const N: usize>(sizes: [usize; N]) -> usize {
    let (mut volume, mut i) = (1usize, 0);
    while i < N {
        volume = volume.saturating_mul(sizes[i]);
        i += 1;
    }
    volume
}

/// Where each row of a matrix starts: `offset(i) = image·n + line·y + step·x`, `x` fastest.
///
/// A plain matrix is a single line of rows; the pixels of padded NHWC images need all three strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Pixels per line.
    pub width: usize,
    /// Lines per image.
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

    /// Whether every block of `rows` rows is spaced as the first one is.
    pub(crate) fn repeats_every(&self, rows: usize) -> bool {
        let lines = rows / self.width;
        self.width == usize::MAX
            || rows.is_multiple_of(self.width)
                && (self.height == usize::MAX || lines.is_multiple_of(self.height))
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
        // Every row ends inside the slice, so no offset of a row wraps around.
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
        // The rows are inside the slice, so the products of strides do not wrap around.
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

/// A read-only matrix in the form of other BLAS libraries: element `(i, j)` is at `i·row_stride +
/// j·col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Strided<'a> {
    /// A matrix `[rows, cols]` with a stride for rows and one for columns.
    ///
    /// # Panics
    /// If an element is beyond `data`.
    pub fn new(data: &'a [f32], [rows, cols]: [usize; 2], [row_stride, col_stride]: [usize; 2]) -> Self {
        if rows > 0 && cols > 0 {
            let last = volume([rows - 1, row_stride]).saturating_add(volume([cols - 1, col_stride]));
            assert!(last < data.len(), "element {last} of [{rows}, {cols}], the slice has {}", data.len());
        }
        Strided { data, rows, cols, row_stride, col_stride }
    }

    /// Views row-major `[rows, cols]` floats.
    ///
    /// # Panics
    /// If `data` has another length than `rows · cols`.
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(cols), "row-major [{rows}, {cols}]");
        Strided { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose, over the same floats.
    ///
    /// ```
    /// use kernels::Strided;
    /// let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    /// assert_eq!(Strided::row_major(&x, 2, 3).transposed().at(2, 0), 3.0);
    /// ```
    pub fn transposed(self) -> Self {
        Strided {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Floats from a row to the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Floats from a column to the next.
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// The floats, element `(0, 0)` first; the others are where the strides say.
    pub fn floats(&self) -> &'a [f32] {
        self.data
    }

    /// Element `(0, 0)`; the others are where the strides say.
    pub fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }

    /// Element `(i, j)`.
    ///
    /// # Panics
    /// If the matrix has no such element.
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> f32 {
        assert!(i < self.rows && j < self.cols, "element ({i}, {j}) of [{}, {}]", self.rows, self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }

    /// The floats of row `i`, if they are adjacent.
    ///
    /// # Panics
    /// If the matrix has no such row.
    #[inline]
    pub fn row(&self, i: usize) -> Option<&'a [f32]> {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        (self.col_stride == 1 && self.cols > 0).then(|| &self.data[i * self.row_stride..][..self.cols])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// Sizes whose product wraps around to a number that a short slice holds.
    #[test]
    fn views_of_sizes_that_wrap_around_are_refused() {
        let far = Rows { width: 1, height: 1, step: 0, line: 0, image: 1 << 62 };
        assert!(catch_unwind(|| MatRef::new(&[], 1 << 62, 4)).is_err());
        assert!(catch_unwind(|| MatRef::mapped(&[0.0; 4], 5, 4, far)).is_err());
        assert!(catch_unwind(|| MatRef::mapped(&[0.0; 4], 2, usize::MAX, Rows::linear(1))).is_err());
        assert!(catch_unwind(|| _ = MatMut::new(&mut [], 1 << 62, 4)).is_err());
        assert!(catch_unwind(|| _ = MatMut::mapped(&mut [0.0; 4], 5, 4, far)).is_err());
    }

    #[test]
    fn rows_without_columns_may_start_anywhere() {
        let map = Rows::linear(5);
        assert!(MatRef::mapped(&[], 3, 0, map).row(2).is_empty());
        assert!(MatMut::mapped(&mut [], 3, 0, map).row_mut(2).is_empty());
    }
}

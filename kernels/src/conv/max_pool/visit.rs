//! The argmax positions of one filter, window by window, and blocks of images for their patches.

use crate::conv::pooled::{Columns, ConvPoolShape, MAX_WINDOW};
use crate::layout::{MatRef, STRIP};
use std::ops::Range;

/// The argmax positions of all windows, with their values (gradient or relevance).
pub(crate) struct ArgmaxPositions<'a> {
    shape: &'a ConvPoolShape,
    /// `[images·windows, outputs]`
    max_indices: &'a [f32],
    v: MatRef<'a>,
    /// Where each pixel of a window is, in floats of the padded input.
    offsets: [usize; MAX_WINDOW * MAX_WINDOW],
}

/// A window of a filter.
#[derive(Clone, Copy)]
pub(crate) struct Argmax {
    /// Where its patch starts, in floats from the first image.
    pub patch: usize,
    /// Its value.
    pub value: f32,
}

/// The listed windows of some images.
const MAX_WINDOWS: usize = 256;

/// The windows of a filter whose value is not 0.
pub(crate) struct Live {
    /// Where the patch of each window starts; three zeros follow the last.
    pub patches: [usize; MAX_WINDOWS + 3],
    pub values: [f32; MAX_WINDOWS],
    /// The index of each window among the windows of the images.
    pub windows: [usize; MAX_WINDOWS],
    pub count: usize,
}

impl Live {
    pub fn new() -> Self {
        Live {
            patches: [0; MAX_WINDOWS + 3],
            values: [0.0; MAX_WINDOWS],
            windows: [0; MAX_WINDOWS],
            count: 0,
        }
    }
}

impl<'a> ArgmaxPositions<'a> {
    /// From argmax positions and values whose shapes were checked.
    pub fn new(shape: &'a ConvPoolShape, max_indices: &'a [f32], v: MatRef<'a>) -> Self {
        assert_eq!(max_indices.len(), v.rows * shape.conv.outputs, "max_indices of the windows");
        assert!(v.map.width >= v.rows, "rows of equal spacing");
        let (plane, mut offsets) = (shape.conv.input(), [0; MAX_WINDOW * MAX_WINDOW]);
        for (index, offset) in offsets[..shape.window_area()].iter_mut().enumerate() {
            *offset = index / shape.window * plane.line() + index % shape.window * plane.channels;
        }
        ArgmaxPositions { shape, max_indices, v, offsets }
    }

    /// Calls `visit` for each window of filter `o` in some images, in their order.
    #[inline(always)]
    pub fn each(&self, images: &Range<usize>, o: usize, mut visit: impl FnMut(Argmax)) {
        let (plane, window) = (self.shape.conv.input(), self.shape.window);
        let (outputs, lines, cols) = (self.shape.conv.outputs, self.shape.out_rows(), self.shape.out_cols());
        let windows = images.start * self.shape.windows()..images.end * self.shape.windows();
        assert!(o < outputs && windows.end <= self.v.rows);
        let mut image = 0;
        let (mut from, mut v) = (windows.start * outputs + o, windows.start * self.v.map.step + o);
        // Windows of one column are visited like those of one line.
        let (line_step, step) = (window * plane.line(), window * plane.channels);
        let (lines, cols, step) = if cols == 1 { (1, lines, line_step) } else { (lines, cols, step) };
        for _ in images.clone() {
            let mut top = image;
            for _ in 0..lines {
                let mut patch = top;
                for _ in 0..cols {
                    // SAFETY: a column of a window of these images, whose rows in `v` are evenly spaced; an
                    // index is a small whole number, below the square of the largest window.
                    let (index, value) = unsafe {
                        let index = self.max_indices.get_unchecked(from).to_int_unchecked::<i32>() as usize;
                        (*self.offsets.get_unchecked(index), *self.v.data.get_unchecked(v))
                    };
                    visit(Argmax { patch: patch + index, value });
                    patch += step;
                    (from, v) = (from + outputs, v + self.v.map.step);
                }
                top += line_step;
            }
            image += plane.len();
        }
    }

    /// Whether there can be a [list](Self::list) of the windows of some images.
    pub fn fit_a_list(&self, images: &Range<usize>) -> bool {
        images.len() * self.shape.windows() <= MAX_WINDOWS
    }

    /// Lists the windows of filter `o` whose value is not 0. There is no branch, because it would be
    /// mispredicted every other time. The list has their values, or the indices of the windows.
    #[inline(always)]
    pub fn list<const VALUES: bool>(&self, images: &Range<usize>, o: usize, live: &mut Live) {
        assert!(self.fit_a_list(images));
        let Live { patches, values, windows, .. } = live;
        let (mut window, mut count) = (0, 0);
        self.each(images, o, |argmax| {
            // SAFETY: no more are listed than there are windows.
            unsafe {
                *patches.get_unchecked_mut(count) = argmax.patch;
                if VALUES {
                    *values.get_unchecked_mut(count) = argmax.value;
                } else {
                    *windows.get_unchecked_mut(count) = window;
                }
            }
            count += usize::from(argmax.value != 0.0);
            window += 1;
        });
        patches[count..][..3].fill(0);
        live.count = count;
    }
}

impl ConvPoolShape {
    /// All columns, and the taps that lie in the image for at least one of them.
    pub(crate) fn reach(&self) -> Columns {
        let (cols, size, half) = (self.conv.cols, self.conv.size, self.conv.size / 2);
        let beside = half - half.min(cols.saturating_sub(1));
        let inputs = self.conv.inputs;
        Columns { pixels: 0..cols, skipped: beside * inputs, run: (size - 2 * beside) * inputs }
    }
}

/// Floats of images that stay in L1 while all filters read them.
const IN_L1: usize = 6 * 1024;

/// How many images the filters read at a time.
pub(crate) fn images_a_block(shape: &ConvPoolShape) -> usize {
    (IN_L1 / shape.conv.input().len().max(1)).max(1)
}

/// Floats of scratch for [`blocks`].
pub(crate) fn block_len(shape: &ConvPoolShape, images: usize) -> usize {
    images * shape.conv.input().len() + STRIP
}

/// Calls `visit` with blocks of at most `most` of the images `range` of `x`, copied to `scratch`, which is
/// aligned to a cache line, and followed by padding of one register. Most loads then lie within a cache line,
/// and loads of whole registers at the end of a patch lie within the block.
pub(crate) fn blocks(
    shape: &ConvPoolShape,
    x: &[f32],
    range: Range<usize>,
    most: usize,
    scratch: &mut [f32],
    mut visit: impl FnMut(Range<usize>, &[f32]),
) {
    let plane = shape.conv.input().len();
    for first in range.clone().step_by(most.max(1)) {
        let block = first..range.end.min(first + most);
        let (images, room) = scratch.split_at_mut(block.len() * plane);
        images.copy_from_slice(&x[block.start * plane..block.end * plane]);
        room[..STRIP].fill(0.0);
        visit(block.clone(), &scratch[..block_len(shape, block.len())]);
    }
}

//! A convolution's weights, one filter per output, in the layout of the backward pass.

use crate::buffer::Buffer;
use crate::conv::pooled::{Columns, ConvPoolShape};
use crate::gemm::pack::Part;
use crate::layout::STRIP;
use crate::panels::{Panels, panel_index, panels_len};
use crate::threads::with_scratch;

/// Parts of a convolution's weights, one filter per output; made once per version of the weights.
///
/// - `groups`: for each group of columns the taps that lie in the image there, line by line, padded with
///   zeros to whole registers, `[part][line][output][strips·16]`
/// - `shifted`: if the patch of a whole window fits half a register, the first part's lines in the lower half
///   and the second part's in the upper half, shifted to each pixel of the window, `[output][pixel][line of
///   the window's patch][16]`
#[derive(Clone, Debug)]
pub struct Filters {
    pub(super) shape: ConvPoolShape,
    parts: [Option<Part>; 2],
    groups: Vec<Lines>,
    shifted: Buffer,
}

/// The lines of all filters, of the taps that lie in the image in some columns, padded with zeros to whole
/// registers: `[part][line][output][strips·16]`.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub columns: Columns,
    outputs: usize,
    size: usize,
    floats: Buffer,
}

impl Lines {
    /// Zeros for `parts` parts.
    fn zeroed(shape: &ConvPoolShape, columns: Columns, parts: usize) -> Self {
        let (outputs, size) = (shape.conv.outputs, shape.conv.size);
        let mut lines = Lines { columns, outputs, size, floats: Buffer::default() };
        lines.floats = Buffer::zeroed(parts * size * lines.line_len());
        lines
    }

    /// One part of packed weights, of the taps that lie in the image in any column.
    pub fn of(shape: &ConvPoolShape, w: Panels, part: Part) -> Self {
        let mut lines = Lines::zeroed(shape, shape.reach(), 1);
        lines.refresh(shape, w, &[Some(part)]);
        lines
    }

    fn refresh(&mut self, shape: &ConvPoolShape, w: Panels, parts: &[Option<Part>]) {
        let (Columns { skipped, run, .. }, len) = (self.columns.clone(), self.line_len());
        let padded = (self.columns.strips() * STRIP).max(1);
        for (i, part) in parts.iter().flatten().enumerate() {
            for line in 0..self.size {
                let to = &mut self.floats[(i * self.size + line) * len..][..len];
                for (o, to) in to.chunks_exact_mut(padded).enumerate() {
                    for (to, &w) in to[..run].iter_mut().zip(floats(shape, w, o, line, skipped)) {
                        *to = part.of(w);
                    }
                }
            }
        }
    }

    /// Floats of one line of all filters.
    fn line_len(&self) -> usize {
        self.outputs * self.columns.strips() * STRIP
    }

    /// Line `line` of all filters of a part, `[output][strips·16]`.
    #[inline(always)]
    pub fn line(&self, part: usize, line: usize) -> &[f32] {
        &self.floats[(part * self.size + line) * self.line_len()..][..self.line_len()]
    }
}

/// The floats from `first` on of a line of a filter.
fn floats<'a>(
    shape: &ConvPoolShape,
    w: Panels<'a>,
    o: usize,
    line: usize,
    first: usize,
) -> impl Iterator<Item = &'a f32> {
    let strip = &w.data[o / STRIP * w.stride + (line * shape.run() + first) * STRIP..];
    strip.iter().skip(o % STRIP).step_by(STRIP)
}

impl Filters {
    /// Filters of packed `[size·size·inputs, outputs]` weights: one part, or two.
    ///
    /// # Panics
    /// If the weights are not the convolution's, or the layer has an even filter or no window.
    pub fn new(shape: &ConvPoolShape, w: Panels, part: Part, other: Option<Part>) -> Self {
        if let Err(error) = shape.check("filters") {
            panic!("{error}");
        }
        let parts = [Some(part), other];
        let conv = &shape.conv;
        let count = parts.iter().flatten().count();
        let groups = shape.groups().map(|columns| Lines::zeroed(shape, columns, count));
        let mut filters =
            Filters { shape: *shape, parts, groups: groups.collect(), shifted: Buffer::default() };
        let lines = filters.patch_lines();
        if (1..=STRIP / 2).contains(&(lines * conv.inputs)) {
            filters.shifted = Buffer::zeroed(conv.outputs * shape.window_area() * lines * STRIP);
        }
        filters.refresh(w);
        filters
    }

    /// The same parts of another version of the weights.
    ///
    /// # Panics
    /// If the weights are not the convolution's.
    pub fn refresh(&mut self, w: Panels) {
        let ConvPoolShape { conv, window } = self.shape;
        assert_eq!((w.k, w.n), (conv.patch(), conv.outputs), "convolution weights");
        let run = self.shape.run();
        for group in &mut self.groups {
            group.refresh(&self.shape, w, &self.parts);
        }
        if self.shifted.is_empty() {
            return;
        }
        let (window_area, lines) = (self.shape.window_area(), self.patch_lines());
        for (i, part) in self.parts.iter().flatten().enumerate() {
            for (o, index, line) in (0..conv.outputs).flat_map(|o| {
                (0..window_area).flat_map(move |index| (0..conv.size).map(move |line| (o, index, line)))
            }) {
                let at = ((o * window_area + index) * lines + index / window + line) * STRIP;
                let at = at + i * (STRIP / 2) + index % window * conv.inputs;
                for (to, &w) in self.shifted[at..][..run].iter_mut().zip(floats(&self.shape, w, o, line, 0)) {
                    *to = part.of(w);
                }
            }
        }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        self.parts.into_iter().flatten()
    }

    /// The filters of each group of columns.
    pub(super) fn groups(&self) -> &[Lines] {
        &self.groups
    }

    /// Lines of the patch of a whole window.
    pub(super) fn patch_lines(&self) -> usize {
        self.shape.conv.size + self.shape.window - 1
    }

    /// The filters shifted to each pixel of the window, if its patch fits half a register.
    pub(super) fn shifted(&self) -> Option<&[f32]> {
        (!self.shifted.is_empty()).then_some(&self.shifted[..])
    }

    /// Calls `use_panels` with a part as packed weights for a general convolution: packed, or rotated by 180° for the
    /// input gradient. Taps that are outside the image at every position may be 0.
    pub(crate) fn with_panels<R>(&self, part: usize, back: bool, use_panels: impl FnOnce(Panels) -> R) -> R {
        let conv = self.shape.conv;
        let (k, n) = if back { (conv.reversed().patch(), conv.inputs) } else { (conv.patch(), conv.outputs) };
        with_scratch(panels_len(k, n), |panels| {
            self.write_panels(part, back, panels);
            use_panels(Panels::new(panels, k, n))
        })
    }

    fn write_panels(&self, part: usize, back: bool, panels: &mut [f32]) {
        let conv = self.shape.conv;
        let k = if back { conv.reversed().patch() } else { conv.patch() };
        let taps = conv.size * conv.size;
        panels.fill(0.0);
        for group in &self.groups {
            let padded = group.columns.strips() * STRIP;
            for line in 0..conv.size {
                for (i, &w) in group.line(part, line).iter().enumerate() {
                    let (o, at) = (i / padded, i % padded);
                    if at >= group.columns.run {
                        continue;
                    }
                    let at = group.columns.skipped + at;
                    let (tap, input) = (line * conv.size + at / conv.inputs, at % conv.inputs);
                    let (row, col) = match back {
                        true => ((taps - 1 - tap) * conv.outputs + o, input),
                        false => (tap * conv.inputs + input, o),
                    };
                    panels[panel_index(k, row, col)] = w;
                }
            }
        }
    }
}

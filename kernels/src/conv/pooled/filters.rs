//! A convolution's weights, one filter an output, as the winners of a max-pool meet them.

use super::PooledConv;
use crate::gemm::pack::Part;
use crate::shape::{Panels, STRIP, panel_index, panels_len};

/// Parts of a convolution's weights, one filter an output; made once per version of the weights.
///
/// - `rows`: the filter's lines, padded with zeros to whole registers, `[part][line][output][strips·16]`
/// - `moved`: where the patch of a whole window fits half a register, the first part's lines in the
///   lower half and the second part's in the upper, moved to each place of the window,
///   `[output][place][line of the window's patch][16]`
#[derive(Clone, Debug)]
pub struct Filters {
    pub(super) shape: PooledConv,
    parts: [Option<Part>; 2],
    rows: Vec<f32>,
    moved: Vec<f32>,
}

impl Filters {
    /// Filters of packed `[size·size·inputs, outputs]` weights: one part, or two.
    ///
    /// # Panics
    /// If the weights are not the convolution's, or the layer has an even filter or no window.
    pub fn new(shape: &PooledConv, w: Panels, part: Part, other: Option<Part>) -> Self {
        if let Err(error) = shape.check("filters") {
            panic!("{error}");
        }
        let parts = [Some(part), other];
        let mut filters = Filters { shape: *shape, parts, rows: Vec::new(), moved: Vec::new() };
        let count = filters.parts().count();
        filters.rows = vec![0.0; count * shape.conv.size * filters.line_len()];
        if filters.fits_half() {
            let lines = filters.patch_lines();
            filters.moved = vec![0.0; shape.conv.outputs * shape.places() * lines * STRIP];
        }
        filters.refresh(w);
        filters
    }

    /// The same parts of another version of the weights.
    ///
    /// # Panics
    /// If the weights are not the convolution's.
    pub fn refresh(&mut self, w: Panels) {
        let PooledConv { conv, window } = self.shape;
        assert_eq!((w.k, w.n), (conv.patch(), conv.outputs), "convolution weights");
        let (run, padded, line_len) = (self.shape.run(), self.strips() * STRIP, self.line_len());
        for (i, part) in self.parts.iter().flatten().enumerate() {
            for line in 0..conv.size {
                let to = &mut self.rows[(i * conv.size + line) * line_len..][..line_len];
                for (o, to) in to.chunks_exact_mut(padded.max(1)).enumerate() {
                    let from = w.data[o / STRIP * w.stride + line * run * STRIP..].iter().skip(o % STRIP);
                    for (to, &w) in to[..run].iter_mut().zip(from.step_by(STRIP)) {
                        *to = part.of(w);
                    }
                }
            }
        }
        if self.moved.is_empty() {
            return;
        }
        let (places, lines) = (self.shape.places(), self.patch_lines());
        for (i, _) in self.parts.iter().flatten().enumerate() {
            for o in 0..conv.outputs {
                for place in 0..places {
                    for line in 0..conv.size {
                        let from = &self.rows[(i * conv.size + line) * line_len + o * padded..][..run];
                        let line = (o * places + place) * lines + place / window + line;
                        let at = line * STRIP + i * (STRIP / 2) + place % window * conv.inputs;
                        self.moved[at..][..run].copy_from_slice(from);
                    }
                }
            }
        }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        self.parts.into_iter().flatten()
    }

    /// Registers of a filter's line.
    pub(super) fn strips(&self) -> usize {
        self.shape.run().div_ceil(STRIP)
    }

    /// Floats of one line of all filters.
    pub(super) fn line_len(&self) -> usize {
        self.shape.conv.outputs * self.strips() * STRIP
    }

    /// Line `line` of all filters of a part, `[output][strips·16]`.
    pub(super) fn line(&self, part: usize, line: usize) -> &[f32] {
        &self.rows[(part * self.shape.conv.size + line) * self.line_len()..][..self.line_len()]
    }

    /// Lines of the patch of a whole window.
    pub(super) fn patch_lines(&self) -> usize {
        self.shape.conv.size + self.shape.window - 1
    }

    fn fits_half(&self) -> bool {
        self.patch_lines() * self.shape.conv.inputs <= STRIP / 2
    }

    /// The filters moved to each place of the window, if its patch fits half a register.
    pub(super) fn moved(&self) -> Option<&[f32]> {
        (!self.moved.is_empty()).then_some(&self.moved[..])
    }

    /// A part as the products of any convolution take it: packed forwards, or turned for the way back.
    pub(crate) fn panels(&self, part: usize, back: bool) -> Vec<f32> {
        let conv = self.shape.conv;
        let (k, n) = if back { (conv.reversed().patch(), conv.inputs) } else { (conv.patch(), conv.outputs) };
        let (area, mut panels) = (conv.size * conv.size, vec![0.0; panels_len(k, n)]);
        for (line, at, i, o) in (0..conv.size).flat_map(|line| {
            let inputs = move |at| (0..conv.inputs).map(move |i| (line, at, i));
            let triples = (0..conv.size).flat_map(inputs);
            triples.flat_map(move |(line, at, i)| (0..conv.outputs).map(move |o| (line, at, i, o)))
        }) {
            let w = self.line(part, line)[o * self.strips() * STRIP + at * conv.inputs + i];
            let tap = line * conv.size + at;
            let (row, col) =
                if back { ((area - 1 - tap) * conv.outputs + o, i) } else { (tap * conv.inputs + i, o) };
            panels[panel_index(k, row, col)] = w;
        }
        panels
    }
}

//! Packed weights: packing, transposing and clamping, once per version of the weights.

use crate::buffer::Buffer;
use crate::error::{ShapeError, axis};
use crate::image::ConvShape;
use crate::layout::{STRIP, volume};
use crate::panels::{Panels, panel_index, panels_len};
use crate::prepack::PrepackCache;

/// Which part of a weight enters a panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// `w`
    All,
    /// `w⁺ = max(w, 0)`
    Positive,
    /// `w⁻ = min(w, 0)`
    Negative,
    /// `w²`
    Square,
    /// `1` for every weight
    One,
    /// `w + γ·w⁺`
    Gamma(f32),
}

impl Part {
    #[inline(always)]
    pub(crate) fn of(self, w: f32) -> f32 {
        match self {
            Part::All => w,
            Part::Positive => {
                if w > 0.0 {
                    w
                } else {
                    0.0
                }
            }
            Part::Negative => {
                if w < 0.0 {
                    w
                } else {
                    0.0
                }
            }
            Part::Square => w * w,
            Part::One => 1.0,
            Part::Gamma(gamma) => {
                if w > 0.0 {
                    w + gamma * w
                } else {
                    w
                }
            }
        }
    }
}

/// Packed weights that own their floats.
///
/// ```
/// use kernels::PackedWeights;
/// let w = PackedWeights::new(&[1., 2., 3., 4., 5., 6.], 3, 2)?; // [3, 2], row-major
/// assert_eq!(w.panels().at(1, 0), 3.0);
/// assert!(PackedWeights::new(&[1., 2., 3.], 2, 2).is_err());
/// # Ok::<(), kernels::ShapeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PackedWeights {
    floats: Buffer,
    k: usize,
    n: usize,
    cache: PrepackCache,
}

impl PackedWeights {
    /// Weights `[k, n]` that are all 0.
    pub fn zeroed(k: usize, n: usize) -> Self {
        PackedWeights { floats: Buffer::zeroed(panels_len(k, n)), k, n, cache: PrepackCache::default() }
    }

    /// Overwrites the floats, [`panels_len`] of them, with another version of the weights.
    pub fn update(&mut self, fill: impl FnOnce(&mut [f32])) {
        fill(&mut self.floats);
        self.cache.renew();
    }

    /// Number of floats, padding counted.
    pub fn len(&self) -> usize {
        self.floats.len()
    }

    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty()
    }

    /// Packs row-major `[k, n]` weights, or those of a convolution (HWIO) with `k = size·size·inputs`.
    ///
    /// # Errors
    /// [`ShapeError`] if `weights` has another length than `k·n`.
    pub fn new(weights: &[f32], k: usize, n: usize) -> Result<Self, ShapeError> {
        axis("pack", "K·N", "weights", weights.len(), volume([k, n]))?;
        let mut packed = PackedWeights::zeroed(k, n);
        for (i, row) in weights.chunks_exact(n.max(1)).enumerate() {
            for (j, &w) in row.iter().enumerate() {
                packed.floats[panel_index(k, i, j)] = w;
            }
        }
        Ok(packed)
    }

    /// A view for products.
    pub fn panels(&self) -> Panels<'_> {
        Panels::new(&self.floats, self.k, self.n).cached(&self.cache)
    }

    /// The transpose `[n, k]`, which propagates gradients to the inputs.
    #[must_use]
    pub fn transposed(&self) -> PackedWeights {
        let mut packed = PackedWeights::zeroed(self.n, self.k);
        transpose(self.panels(), Part::All, &mut packed.floats);
        packed
    }
}

/// Packs row-major `[k, n]` weights.
///
/// # Panics
/// If `weights` has another length than `k·n`.
pub fn pack(weights: &[f32], k: usize, n: usize) -> Vec<f32> {
    assert_eq!(weights.len(), k * n, "row-major [{k}, {n}] weights");
    let mut panels = vec![0.0; panels_len(k, n)];
    for i in 0..k {
        for j in 0..n {
            panels[panel_index(k, i, j)] = weights[i * n + j];
        }
    }
    panels
}

/// Row-major `[k, n]` weights from packed ones.
pub fn unpack(panels: Panels) -> Vec<f32> {
    let mut weights = Vec::with_capacity(panels.k * panels.n);
    for i in 0..panels.k {
        weights.extend((0..panels.n).map(|j| panels.at(i, j)));
    }
    weights
}

/// Writes a part of packed `[k, n]` weights as new panels.
///
/// # Panics
/// If `out` has another length than [`panels_len`].
pub fn part(panels: Panels, part: Part, out: &mut [f32]) {
    assert_eq!(out.len(), panels_len(panels.k, panels.n), "packed weights");
    let strip = panels.k * STRIP;
    if strip == 0 {
        return;
    }
    for (s, out) in out.chunks_exact_mut(strip).enumerate() {
        let from = &panels.data[s * panels.stride..][..strip];
        for (out, &w) in out.iter_mut().zip(from) {
            *out = part.of(w);
        }
        // After the last column there is no weight.
        let columns = STRIP.min(panels.n - s * STRIP);
        if part == Part::One && columns < STRIP {
            out.chunks_exact_mut(STRIP).for_each(|row| row[columns..].fill(0.0));
        }
    }
}

/// Writes a part of the transpose: packed `[n, k]` weights from packed `[k, n]` ones.
///
/// # Panics
/// If `out` has another length than [`panels_len`].
pub fn transpose(panels: Panels, part: Part, out: &mut [f32]) {
    let (k, n) = (panels.k, panels.n);
    assert_eq!(out.len(), panels_len(n, k), "packed transposed weights");
    // Blocks of 16×16 are adjacent on both sides.
    for (s, out) in out.chunks_exact_mut((n * STRIP).max(1)).enumerate() {
        let rows = STRIP.min(k - s * STRIP);
        for j0 in (0..n).step_by(STRIP) {
            let from = &panels.data[j0 / STRIP * panels.stride + s * STRIP * STRIP..][..rows * STRIP];
            let mut block = [0.0; STRIP * STRIP];
            block[..from.len()].copy_from_slice(from);
            // Which part it is must be decided outside of the loops that become registers.
            let mut turned = match part {
                Part::All => transposed(&block, |w| w),
                part => transposed(&block, |w| part.of(w)),
            };
            if part == Part::One && rows < STRIP {
                turned.chunks_exact_mut(STRIP).for_each(|row| row[rows..].fill(0.0));
            }
            let columns = STRIP.min(n - j0);
            out[j0 * STRIP..][..columns * STRIP].copy_from_slice(&turned[..columns * STRIP]);
        }
    }
}

/// A part of a block of 16×16, transposed in tiles of 4×4, which compilers keep in registers.
#[inline(always)]
fn transposed(block: &[f32; STRIP * STRIP], of: impl Fn(f32) -> f32) -> [f32; STRIP * STRIP] {
    let mut turned = [0.0; STRIP * STRIP];
    for i in (0..STRIP).step_by(4) {
        for j in (0..STRIP).step_by(4) {
            let tile: [[f32; 4]; 4] =
                std::array::from_fn(|y| std::array::from_fn(|x| of(block[(i + y) * STRIP + j + x])));
            for x in 0..4 {
                let row = [tile[0][x], tile[1][x], tile[2][x], tile[3][x]];
                turned[(j + x) * STRIP + i..][..4].copy_from_slice(&row);
            }
        }
    }
    turned
}

/// Writes a part of a convolution's weights, reversed: filters turned by 180°, inputs and outputs exchanged,
/// `[size·size·outputs, inputs]`. With [`ConvShape::reversed`] they propagate gradients and relevance to the
/// inputs.
///
/// # Panics
/// If `panels` or `out` do not have the convolution's size.
pub fn reverse_conv(shape: &ConvShape, panels: Panels, part: Part, out: &mut [f32]) {
    let (patch, back) = (shape.patch(), shape.reversed().patch());
    assert_eq!((panels.k, panels.n), (patch, shape.outputs), "convolution weights");
    assert_eq!(out.len(), panels_len(back, shape.inputs), "reversed convolution weights");
    out.fill(0.0);
    let area = shape.size * shape.size;
    for at in 0..area {
        for i in 0..shape.inputs {
            for o in 0..shape.outputs {
                let w = panels.at(at * shape.inputs + i, o);
                out[panel_index(back, (area - 1 - at) * shape.outputs + o, i)] = part.of(w);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_of_a_transpose_is_the_panel_itself() {
        for (k, n) in [(1, 1), (3, 17), (16, 16), (17, 40), (50, 10)] {
            let weights: Vec<f32> = (0..k * n).map(|i| i as f32 - 20.0).collect();
            let packed = pack(&weights, k, n);
            assert_eq!(unpack(Panels::new(&packed, k, n)), weights);
            let mut t = vec![f32::NAN; panels_len(n, k)];
            transpose(Panels::new(&packed, k, n), Part::All, &mut t);
            let mut back = vec![f32::NAN; panels_len(k, n)];
            transpose(Panels::new(&t, n, k), Part::All, &mut back);
            assert_eq!(back, packed);
        }
    }

    #[test]
    fn a_part_has_no_weights_behind_the_last_column() {
        for (k, n) in [(3, 1), (2, 16), (5, 17), (4, 40)] {
            let weights: Vec<f32> = (0..k * n).map(|i| i as f32 - 4.5).collect();
            let packed = pack(&weights, k, n);
            for kind in
                [Part::All, Part::Positive, Part::Negative, Part::Square, Part::One, Part::Gamma(0.25)]
            {
                let of_part: Vec<f32> = weights.iter().map(|&w| kind.of(w)).collect();
                let mut found = vec![f32::NAN; panels_len(k, n)];
                part(Panels::new(&packed, k, n), kind, &mut found);
                assert_eq!(found, pack(&of_part, k, n), "{kind:?} {k}x{n}");
                let mut turned = vec![f32::NAN; panels_len(n, k)];
                transpose(Panels::new(&packed, k, n), kind, &mut turned);
                let mut transposed = vec![f32::NAN; panels_len(n, k)];
                transpose(Panels::new(&found, k, n), Part::All, &mut transposed);
                assert_eq!(turned, transposed, "{kind:?} {k}x{n}");
            }
        }
    }
}

//! The form in which external libraries take packed weights by default.

use crate::layout::STRIP;
use crate::panels::Panels;
use crate::prepack::Prepacked;

/// Row-major `[K, N]` weights.
#[derive(Debug, Default)]
pub(super) struct RowMajor(pub Vec<f32>);

/// Copies weights whose columns have no single stride.
pub(super) fn row_major(weights: Panels, form: &mut Prepacked) {
    let (k, n) = (weights.k(), weights.n());
    if n <= STRIP {
        return;
    }
    let RowMajor(rows) = form.get_or_default();
    rows.resize(k * n, 0.0);
    for (i, row) in rows.chunks_exact_mut(n).enumerate() {
        for (strip, to) in row.chunks_mut(STRIP).enumerate() {
            to.copy_from_slice(weights.strip(i, strip));
        }
    }
}

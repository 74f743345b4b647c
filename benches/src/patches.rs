//! Convolutions as their definition says, patch by patch: what the fast ones are checked against.

use crate::{BATCH, assert_close, sample};
use kernels::{ConvShape, Panels, reference};

/// The patch of pixel `p`, from images without border: an index that falls outside reads zero.
pub fn patch(shape: &ConvShape, x: &[f32], p: usize) -> Vec<f32> {
    let ConvShape { rows, cols, size, inputs, .. } = *shape;
    let (image, row, col) = (p / (rows * cols), p / cols % rows, p % cols);
    let mut patch = Vec::new();
    for dy in 0..size {
        for dx in 0..size {
            let (y, x_at) = ((row + dy).wrapping_sub(size / 2), (col + dx).wrapping_sub(size / 2));
            let inside = y < rows && x_at < cols;
            let from = if inside { ((image * rows + y) * cols + x_at) * inputs } else { 0 };
            patch.extend((0..inputs).map(|i| if inside { x[from + i] } else { 0.0 }));
        }
    }
    patch
}

/// Weights HWIO of the backward pass, as the definition says: reversed, inputs and outputs exchanged.
pub fn turned(shape: &ConvShape, w: &[f32]) -> Vec<f32> {
    let (area, inputs, outputs) = (shape.size * shape.size, shape.inputs, shape.outputs);
    let at = |q: usize, o: usize, i: usize| w[((area - 1 - q) * inputs + i) * outputs + o];
    let places = (0..area).flat_map(|q| (0..outputs).map(move |o| (q, o)));
    places.flat_map(|(q, o)| (0..inputs).map(move |i| (q, o, i))).map(|(q, o, i)| at(q, o, i)).collect()
}

/// Compares sampled pixels of a batch's `y` with the products of their patches and the weights, each
/// output finished as `finish(output, sum)` says.
///
/// # Panics
/// If one differs.
pub fn assert_conv(
    what: &str,
    shape: &ConvShape,
    x: &[f32],
    w: &[f32],
    y: &[f32],
    finish: impl Fn(usize, f64) -> f64,
) {
    for p in sample(BATCH * shape.rows * shape.cols) {
        let sums = reference::gemm(&patch(shape, x, p), w, 1, shape.outputs, shape.patch());
        let want: Vec<f64> = sums.into_iter().enumerate().map(|(o, sum)| finish(o, sum)).collect();
        assert_close(what, &y[p * shape.outputs..][..shape.outputs], &want);
    }
}

/// Compares sampled rows of a batch's packed weight gradient with sums over all patches.
///
/// # Panics
/// If one differs.
pub fn assert_weight_gradient(shape: &ConvShape, x: &[f32], d_y: &[f32], d_w: &[f32]) {
    let pixels = BATCH * shape.rows * shape.cols;
    let patches: Vec<Vec<f32>> = (0..pixels).map(|p| patch(shape, x, p)).collect();
    let view = Panels::new(d_w, shape.patch(), shape.outputs);
    for q in sample(shape.patch()) {
        let column: Vec<f32> = patches.iter().map(|patch| patch[q]).collect();
        let want = reference::gemm(&column, d_y, 1, shape.outputs, pixels);
        let found: Vec<f32> = (0..shape.outputs).map(|o| view.at(q, o)).collect();
        assert_close("weight gradient", &found, &want);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ConvShape = ConvShape { rows: 2, cols: 2, size: 3, inputs: 1, outputs: 2 };

    #[test]
    fn a_patch_is_zero_outside_of_its_own_image() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        assert_eq!(patch(&SHAPE, &x, 4), [0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 0.0, 7.0, 8.0]);
        assert_eq!(patch(&SHAPE, &x, 3), [1.0, 2.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn turned_twice_are_the_weights_again() {
        let w: Vec<f32> = (0..18u8).map(f32::from).collect();
        let back = turned(&SHAPE, &w);
        assert_eq!((back[0], back[1]), (16.0, 17.0), "the last place comes first");
        assert_eq!(turned(&SHAPE.reversed(), &back), w);
    }
}

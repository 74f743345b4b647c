//! Patches written out, for callers that want the matrix itself; the kernels of this crate read it in place.

use crate::image::ConvShape;

/// Writes the patches of every pixel as rows `[images·rows·cols, size·size·inputs]`.
///
/// `x` is the padded NHWC input.
///
/// # Panics
/// If `x` or `patches` have another length.
pub fn im2col(shape: &ConvShape, x: &[f32], images: usize, patches: &mut [f32]) {
    let plane = shape.input();
    assert_eq!(x.len(), images * plane.len(), "padded input");
    assert_eq!(patches.len(), images * plane.pixels() * shape.patch(), "patches");
    let run = shape.size * shape.inputs;
    for (p, patch) in patches.chunks_exact_mut(shape.patch().max(1)).enumerate() {
        for (line, out) in patch.chunks_exact_mut(run).enumerate() {
            let at = plane.map().offset(p) + line * plane.line();
            out.copy_from_slice(&x[at..][..run]);
        }
    }
}

//! The source of a network's input.

/// Labelled images from any source.
pub trait Samples: Sync {
    /// Number of samples.
    fn len(&self) -> usize;
    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Writes image `i`, row-major, scaled to the task's range.
    fn pixels(&self, i: usize, x: &mut [f32]);
    /// Class of image `i`.
    fn label(&self, i: usize) -> u8;
}

/// Writes the pixel of each byte, `x[i] = scale[bytes[i]]`; as many as the shorter of the two has.
///
/// ```
/// let scale: [f32; 256] = std::array::from_fn(|byte| byte as f32 / 255.0);
/// let mut x = [0.0; 3];
/// model::scale_bytes(&[0, 255, 51], &scale, &mut x);
/// assert_eq!(x, [0.0, 1.0, 0.2]);
/// ```
pub fn scale_bytes(bytes: &[u8], scale: &[f32; 256], x: &mut [f32]) {
    for (x, &byte) in x.iter_mut().zip(bytes) {
        *x = scale[usize::from(byte)];
    }
}

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

/// The pixel of each byte: 0 is `low` and 255 is `high`; `−1..1` gives `2p/255 − 1`.
pub fn byte_scale(low: f32, high: f32) -> [f32; 256] {
    std::array::from_fn(|byte| (byte as f32 * (high - low)) / 255.0 + low)
}

/// Writes the pixel of each byte, `x[i] = scale[bytes[i]]`; as many as the shorter of the two has.
///
/// ```
/// let mut x = [0.0; 3];
/// model::scale_bytes(&[0, 255, 51], &model::byte_scale(0.0, 1.0), &mut x);
/// assert_eq!(x, [0.0, 1.0, 0.2]);
/// ```
pub fn scale_bytes(bytes: &[u8], scale: &[f32; 256], x: &mut [f32]) {
    for (x, &byte) in x.iter_mut().zip(bytes) {
        *x = scale[usize::from(byte)];
    }
}

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

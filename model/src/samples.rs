//! Where the input of a network comes from.

/// Labelled images, whatever holds them.
pub trait Samples: Sync {
    /// How many there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Writes image `i`, row-major, scaled to the task's range.
    fn pixels(&self, i: usize, x: &mut [f32]);
    /// Class of image `i`.
    fn label(&self, i: usize) -> u8;
}

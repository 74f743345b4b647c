//! Samples as the model sees them: mapped bytes scaled to a range, or arrays of a file.

use crate::dataset::Split;
use model::Samples;

/// A split of a data set, scaled so that byte 0 is `low` and byte 255 is `high`.
#[derive(Clone, Debug)]
pub struct Scaled {
    split: Split,
    scale: Box<[f32; 256]>,
}

impl Scaled {
    /// Scales bytes linearly to `low..=high`; `−1..1` gives `2p/255 − 1`.
    pub fn new(split: &Split, low: f32, high: f32) -> Scaled {
        let value = |byte: usize| (byte as f32 * (high - low)) / 255.0 + low;
        Scaled { split: split.clone(), scale: Box::new(std::array::from_fn(value)) }
    }

    /// The mapped bytes.
    pub fn split(&self) -> &Split {
        &self.split
    }
}

impl Samples for Scaled {
    fn len(&self) -> usize {
        self.split.len()
    }
    fn pixels(&self, i: usize, x: &mut [f32]) {
        for (x, &byte) in x.iter_mut().zip(self.split.image(i)) {
            *x = self.scale[usize::from(byte)];
        }
    }
    fn label(&self, i: usize) -> u8 {
        self.split.label(i)
    }
}

/// Images of an array file; without labels, every label is 0.
#[derive(Clone, Debug, Default)]
pub struct Arrays {
    /// `[N, rows, cols]`
    pub images: Vec<f32>,
    /// Floats of one image.
    pub size: usize,
    /// `[N]`
    pub labels: Option<Vec<u8>>,
}

impl Samples for Arrays {
    fn len(&self) -> usize {
        self.images.len() / self.size.max(1)
    }
    fn pixels(&self, i: usize, x: &mut [f32]) {
        x.copy_from_slice(&self.images[i * self.size..][..self.size]);
    }
    fn label(&self, i: usize) -> u8 {
        self.labels.as_ref().map_or(0, |labels| labels[i])
    }
}

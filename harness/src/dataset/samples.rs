//! Samples in the model's input format: mapped bytes scaled to a range, or arrays of a file.

use crate::dataset::Split;
use model::{Samples, Task, byte_scale, scale_bytes};

/// What is wrong with the first pixel that is outside a task's range, and how to scale the images; a NaN is outside, too.
pub fn outside(images: &[f32], task: &Task) -> Option<String> {
    let at = images.iter().position(|x| !(task.low..=task.high).contains(x))?;
    let Task { low, high, .. } = *task;
    let formula = formula(images, task);
    Some(format!(
        "pixel {at} is {}, outside the model's range {low}…{high}; scale the images: {formula}",
        images[at]
    ))
}

/// How to scale images of another range to the model's.
fn formula(images: &[f32], task: &Task) -> String {
    let most = images.iter().fold(0.0f32, |most, x| most.max(*x));
    let least = images.iter().fold(0.0f32, |least, x| least.min(*x));
    let (low, width) = (task.low, task.high - task.low);
    let unit = match (least < 0.0, most > 1.0) {
        (true, _) => "(a - a.min())/(a.max() - a.min())",
        (false, true) if most <= 255.0 => "a/255",
        (false, true) => "a/a.max()",
        (false, false) => "a",
    };
    let scaled = match (width, unit) {
        (1.0, unit) => unit.to_owned(),
        (width, "a/255") => format!("{width}*a/255"),
        (width, unit) => format!("{width}*{unit}"),
    };
    match low {
        0.0 => format!("`{scaled}`"),
        low if low < 0.0 => format!("`{scaled}-{}`", -low),
        low => format!("`{scaled}+{low}`"),
    }
}

/// A split of a data set, scaled so that byte 0 is `low` and byte 255 is `high`.
#[derive(Clone, Debug)]
pub struct Scaled {
    split: Split,
    scale: Box<[f32; 256]>,
}

impl Scaled {
    /// Scales bytes linearly to `low..=high`, as [`byte_scale`] does.
    pub fn new(split: &Split, low: f32, high: f32) -> Scaled {
        Scaled { split: split.clone(), scale: Box::new(byte_scale(low, high)) }
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
        self.split.runs(i, |at, bytes| scale_bytes(bytes, &self.scale, &mut x[at..]));
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

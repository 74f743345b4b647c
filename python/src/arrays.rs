//! NumPy arrays as samples, without a copy.

use anyhow::{Context, Result, bail, ensure};
use harness::dataset::samples::outside;
use model::{Samples, Task, byte_scale, scale_bytes};
use numpy::{PyReadonlyArray1, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// An array of images, C-contiguous.
#[derive(FromPyObject)]
pub enum ImageArray<'py> {
    /// float32, in the range of the network.
    Floats(PyReadonlyArrayDyn<'py, f32>),
    /// uint8, which are scaled to it.
    Bytes(PyReadonlyArrayDyn<'py, u8>),
}

/// Images of an array, and labels where there are any; else every label is 0.
pub struct Images<'a> {
    pixels: Pixels<'a>,
    size: usize,
    count: usize,
    labels: Option<Vec<u8>>,
}

enum Pixels<'a> {
    Floats(&'a [f32]),
    Bytes(&'a [u8], Box<[f32; 256]>),
}

impl ImageArray<'_> {
    /// The images `[N, rows, cols]` or `[N, 1, rows, cols]` of the array `name`.
    ///
    /// # Errors
    /// If the shape is another, or a pixel is not in the range of the task.
    pub fn images(&self, name: &str, task: &Task) -> Result<Images<'_>> {
        let shape = match self {
            ImageArray::Floats(array) => array.shape(),
            ImageArray::Bytes(array) => array.shape(),
        };
        let Task { rows, cols, low, high, .. } = *task;
        let count = match *shape {
            [n, found_rows, found_cols] | [n, 1, found_rows, found_cols]
                if (found_rows, found_cols) == (rows, cols) =>
            {
                n
            }
            _ => {
                bail!("{name} has shape {shape:?}; it must be [N, {rows}, {cols}] or [N, 1, {rows}, {cols}]")
            }
        };
        ensure!(count > 0, "{name} has shape {shape:?}; it must have at least one image");
        let pixels = match self {
            ImageArray::Floats(array) => {
                let floats = array.as_slice().with_context(|| format!("{name} is not contiguous"))?;
                if let Some(problem) = outside(floats, task) {
                    bail!("{name}: {problem}");
                }
                Pixels::Floats(floats)
            }
            ImageArray::Bytes(array) => {
                let bytes = array.as_slice().with_context(|| format!("{name} is not contiguous"))?;
                Pixels::Bytes(bytes, Box::new(byte_scale(low, high)))
            }
        };
        Ok(Images { pixels, size: rows * cols, count, labels: None })
    }
}

impl Images<'_> {
    /// The same images with the labels `[N]` of the array `name`.
    ///
    /// # Errors
    /// If there is not one label an image, or one is no class.
    pub fn labelled(mut self, name: &str, labels: &PyReadonlyArray1<i64>, classes: usize) -> Result<Self> {
        let labels = labels.as_slice().with_context(|| format!("{name} is not contiguous"))?;
        let (found, expected) = (labels.len(), self.count);
        ensure!(
            found == expected,
            "{name} has {found} labels for {expected} images; it must have one an image"
        );
        let class = |(i, &label): (usize, &i64)| {
            let class = u8::try_from(label).ok().filter(|&class| usize::from(class) < classes);
            class.with_context(|| {
                format!("{name}[{i}] is {label}; the network has classes 0 to {}", classes.saturating_sub(1))
            })
        };
        self.labels = Some(labels.iter().enumerate().map(class).collect::<Result<_>>()?);
        Ok(self)
    }
}

impl Samples for Images<'_> {
    fn len(&self) -> usize {
        self.count
    }
    fn pixels(&self, i: usize, x: &mut [f32]) {
        let place = i * self.size..(i + 1) * self.size;
        match &self.pixels {
            Pixels::Floats(floats) => x.copy_from_slice(&floats[place]),
            Pixels::Bytes(bytes, scale) => scale_bytes(&bytes[place], scale, x),
        }
    }
    fn label(&self, i: usize) -> u8 {
        self.labels.as_ref().map_or(0, |labels| labels[i])
    }
}

//! Pictures of inputs and heatmaps as PNG files in memory.

use crate::errors::exception;
use anyhow::{Context, Result, ensure};
use harness::report::colormap::{Colormap, Norm};
use harness::report::picture::{Canvas, heatmap, input};
use numpy::{PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The largest side of a picture in pixels.
const MAX_SIDE: usize = 1 << 14;

/// A heatmap `[rows, cols]`: blue, white and red, symmetric around 0.
#[pyfunction]
pub fn heatmap_png<'py>(
    py: Python<'py>,
    values: PyReadonlyArray2<f32>,
    scale: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let draw = |values: &[f32], [rows, cols]: [usize; 2]| {
        heatmap(rows, cols, values, Colormap::Bwr, Norm::Symmetric, scale)
    };
    png(py, &values, scale, draw).map_err(exception)
}

/// An image `[rows, cols]` in grey: `low` is black, `high` is white.
#[pyfunction]
pub fn input_png<'py>(
    py: Python<'py>,
    values: PyReadonlyArray2<f32>,
    low: f32,
    high: f32,
    scale: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let draw = |values: &[f32], [rows, cols]: [usize; 2]| input(rows, cols, values, low, high, scale);
    png(py, &values, scale, draw).map_err(exception)
}

fn png<'py>(
    py: Python<'py>,
    values: &PyReadonlyArray2<f32>,
    scale: usize,
    draw: impl Fn(&[f32], [usize; 2]) -> Canvas,
) -> Result<Bound<'py, PyBytes>> {
    let size = [values.shape()[0], values.shape()[1]];
    let sides = size.map(|side| side.checked_mul(scale));
    ensure!(
        sides.iter().all(|side| side.is_some_and(|side| (1..=MAX_SIDE).contains(&side))),
        "a picture of {size:?} pixels, {scale} times as large, has a side of 0 or above {MAX_SIDE}"
    );
    let values = values.as_slice().context("values are not contiguous")?;
    Ok(PyBytes::new(py, &draw(values, size).png()?))
}

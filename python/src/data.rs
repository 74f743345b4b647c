//! Data sets as arrays.

use crate::errors::{as_keywords, exception};
use anyhow::{Result, ensure};
use harness::dataset::files::canonical_name;
use harness::dataset::locate::SearchPath;
use harness::dataset::{Dataset, Split, maj, synth};
use harness::io::bounds::{GENERATED_SAMPLES, bounded};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyFileNotFoundError;
use pyo3::prelude::*;
use std::path::PathBuf;

/// A NumPy array of two axes.
type Matrix<'py, T> = Bound<'py, PyArray2<T>>;

/// Rows and columns of a synthetic digit.
const SIDE: usize = 28;

/// Images uint8 `[N, rows, cols]`, classes int64 `[N]`, and which of three images hold the majority, bool `[N, 3]`, where it is a
/// majority problem.
type Half<'py> = (Bound<'py, PyArray3<u8>>, Bound<'py, PyArray1<i64>>, Option<Matrix<'py, bool>>);

/// Images and classes before they are arrays.
struct Content {
    pixels: Vec<u8>,
    size: [usize; 3],
    labels: Vec<u8>,
    masks: Option<Vec<bool>>,
}

impl Content {
    fn of(split: &Split) -> Content {
        let n = split.len();
        let masks = split.has_masks().then(|| (0..n).filter_map(|i| split.mask(i)).flatten().collect());
        Content {
            pixels: (0..n).flat_map(|i| split.image(i).into_owned()).collect(),
            size: [n, split.rows(), split.cols()],
            labels: split.labels().to_vec(),
            masks,
        }
    }

    fn arrays(self, py: Python<'_>) -> PyResult<Half<'_>> {
        let n = self.labels.len();
        let labels: Vec<i64> = self.labels.into_iter().map(i64::from).collect();
        let masks = self.masks.map(|masks| {
            let blocks = masks.len() / n.max(1);
            masks.into_pyarray(py).reshape([n, blocks])
        });
        Ok((self.pixels.into_pyarray(py).reshape(self.size)?, labels.into_pyarray(py), masks.transpose()?))
    }
}

/// The training and the test half of the data set `name`, searched in `dir` first.
#[pyfunction]
pub fn dataset<'py>(py: Python<'py>, name: &str, dir: Option<PathBuf>) -> PyResult<(Half<'py>, Half<'py>)> {
    let places = SearchPath::new(dir.as_deref()).map_err(exception)?;
    let known = canonical_name(name).map_err(exception)?;
    if places.find(&known).is_none() {
        return Err(PyFileNotFoundError::new_err(as_keywords(&places.not_found(&known).to_string())));
    }
    let read = || -> Result<[Content; 2]> {
        let set = Dataset::open(name, dir.as_deref())?;
        let halves = [Content::of(&set.train), Content::of(&set.test)];
        set.unchanged()?;
        Ok(halves)
    };
    let [train, test] = py.detach(read).map_err(exception)?;
    Ok((train.arrays(py)?, test.arrays(py)?))
}

/// Synthetic digits, those of `harness data synth` with this seed.
#[pyfunction]
pub fn synthetic(py: Python<'_>, seed: u64, train: usize, test: usize) -> PyResult<(Half<'_>, Half<'_>)> {
    let draw = || -> Result<[Content; 2]> {
        bounded("--train", train, GENERATED_SAMPLES)?;
        bounded("--test", test, GENERATED_SAMPLES)?;
        let content = |(pixels, labels): (Vec<u8>, Vec<u8>)| Content {
            pixels,
            size: [labels.len(), SIDE, SIDE],
            labels,
            masks: None,
        };
        Ok([content(synth::draw(seed, train)), content(synth::draw_test(seed, test))])
    };
    let [train, test] = py.detach(draw).map_err(exception)?;
    Ok((train.arrays(py)?, test.arrays(py)?))
}

/// The composition of the majority problem of images with these classes: the sources `[N, 3]`, indices of the images, and the masks
/// `[N, 3]`, true where an image is of the majority.
#[pyfunction]
pub fn majority<'py>(
    py: Python<'py>,
    labels: PyReadonlyArray1<i64>,
    seed: u64,
    test: bool,
) -> PyResult<(Matrix<'py, i64>, Matrix<'py, bool>)> {
    let draw = || {
        let found: Vec<i64> = labels.as_array().to_vec();
        ensure!(!found.is_empty(), "y is empty; the majority problem needs labels");
        let class = |(i, &label): (usize, &i64)| {
            u8::try_from(label).map_err(|_| anyhow::anyhow!("y[{i}] is {label}; a label is from 0 to 255"))
        };
        let classes = found.iter().enumerate().map(class).collect::<Result<Vec<u8>>>()?;
        let members: Vec<u32> = (0..u32::try_from(classes.len())?).collect();
        maj::draw(&classes, &members, seed, if test { maj::Part::Test } else { maj::Part::Train })
    };
    let found = draw().map_err(exception)?;
    let shape = [found.labels.len(), found.blocks];
    let sources: Vec<i64> = found.sources.into_iter().map(i64::from).collect();
    let masks: Vec<bool> = found.masks.into_iter().flatten().collect();
    Ok((sources.into_pyarray(py).reshape(shape)?, masks.into_pyarray(py).reshape(shape)?))
}

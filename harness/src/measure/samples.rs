//! The samples of a data set that are explained and measured, the same for all networks.

use super::settings::Measure;
use crate::dataset::Dataset;
use crate::io::array;
use crate::io::file;
use crate::io::folder;
use crate::io::hash::sha256;
use crate::io::json::write_json;
use anyhow::{Context, Result, ensure};
use model::train::shuffled;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The samples of a data set that an experiment uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleSelection {
    /// The data set's name.
    pub dataset: String,
    /// The published set that has these labels, `mnist` or `fashion-mnist`, whatever its folder is called.
    pub published: Option<String>,
    /// Image rows.
    pub rows: usize,
    /// Image columns.
    pub cols: usize,
    /// Classes.
    pub classes: usize,
    /// Number of training samples.
    pub train: usize,
    /// Number of test samples used.
    pub test: usize,
    /// The class of Figures 4.8 and 4.9.
    pub class: usize,
    /// Test samples of each class; the first of each is explained (Figure 4.7), all are drawn (Figures 4.1, 4.2).
    pub gallery: Vec<Vec<usize>>,
    /// The first test sample of each class.
    pub each_class: Vec<usize>,
    /// The labels of `gallery`.
    pub labels: Vec<u8>,
    /// Random test samples of the class.
    pub population: Vec<usize>,
    /// All test samples of the class.
    pub of_class: Vec<usize>,
    /// Random test samples of any class.
    pub measured: Vec<usize>,
    /// Pixel intensity of each image column, summed over the class's test samples.
    pub class_columns: Vec<f64>,
    /// SHA-256 of `samples.npy`.
    pub images_sha256: String,
    /// Mean training image, 0…1.
    #[serde(skip)]
    pub mean: Vec<f32>,
    /// Images of the gallery, then of the population, 0…1, `[N, rows, cols]`.
    #[serde(skip)]
    pub images: Vec<f32>,
}

/// The files of a selection, in the folder of the data set.
pub const FILES: [&str; 2] = ["samples.json", "samples.npy"];
/// Samples of each class in Figures 4.1 and 4.2.
const GALLERY: usize = 8;

impl SampleSelection {
    /// Selects the samples; `limit` is the number of test samples used.
    ///
    /// # Errors
    /// If the class has no sample.
    pub fn new(
        dataset: &Dataset,
        measure: &Measure,
        limit: Option<usize>,
        seed: u64,
    ) -> Result<SampleSelection> {
        let test = limit.unwrap_or(usize::MAX).min(dataset.test.len());
        let labels = &dataset.test.labels()[..test];
        let of =
            |class: usize| -> Vec<usize> { (0..test).filter(|&i| usize::from(labels[i]) == class).collect() };
        let class = measure.class;
        let of_class = of(class);
        ensure!(
            !of_class.is_empty(),
            "{}: no test sample has class {class}; raise --limit-test or choose another [measure] class",
            dataset.name
        );
        let gallery: Vec<Vec<usize>> = (0..dataset.classes)
            .map(|class| of(class).into_iter().take(GALLERY).collect())
            .filter(|of: &Vec<usize>| !of.is_empty())
            .collect();
        let order = shuffled(of_class.len(), seed, u64::MAX);
        let population: Vec<usize> = order.iter().take(measure.population).map(|&i| of_class[i]).collect();
        let each_class: Vec<usize> = gallery.iter().map(|of| of[0]).collect();
        let mut class_columns = vec![0.0; dataset.cols];
        for &i in &of_class {
            for (at, &byte) in dataset.test.image(i).iter().enumerate() {
                class_columns[at % dataset.cols] += f64::from(byte);
            }
        }
        let image = |&i: &usize| {
            dataset.test.image(i).iter().map(|&byte| f32::from(byte) / 255.0).collect::<Vec<f32>>()
        };
        let images = gallery.iter().flatten().chain(&population).flat_map(image).collect();
        let sums = (0..dataset.train.len()).fold(vec![0u64; dataset.rows * dataset.cols], |mut sums, i| {
            sums.iter_mut().zip(&*dataset.train.image(i)).for_each(|(sum, &byte)| *sum += u64::from(byte));
            sums
        });
        let mean = sums.iter().map(|&sum| (sum as f64 / 255.0 / dataset.train.len() as f64) as f32).collect();
        Ok(SampleSelection {
            dataset: dataset.name.clone(),
            published: published(dataset),
            rows: dataset.rows,
            cols: dataset.cols,
            classes: dataset.classes,
            train: dataset.train.len(),
            test,
            class,
            labels: each_class.iter().map(|&i| labels[i]).collect(),
            measured: shuffled(test, seed, u64::MAX).into_iter().take(measure.samples).collect(),
            images_sha256: String::new(),
            gallery,
            each_class,
            population,
            of_class,
            class_columns,
            mean,
            images,
        })
    }

    /// Writes the selection to the folder of the data set.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&mut self, folder: &Path) -> Result<()> {
        let [json, images] = FILES.map(|file| folder.join(file));
        folder::create(folder)?;
        array::write_f32(&images, &[self.images.len() / self.size(), self.rows, self.cols], &self.images)?;
        let bytes = file::read(&images, file::OF_A_RUN)?;
        self.images_sha256 = sha256(&bytes);
        write_json(&json, self)
    }

    /// Reads a selection; the mean image is not stored.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn read(folder: &Path) -> Result<SampleSelection> {
        let [json, images] = FILES.map(|file| folder.join(file));
        let text = file::read_text(&json, file::OF_A_RUN)?;
        let mut found: SampleSelection =
            serde_json::from_str(&text).with_context(|| format!("{}: is damaged", json.display()))?;
        let bytes = file::read(&images, file::OF_A_RUN)?;
        ensure!(sha256(&bytes) == found.images_sha256, "{}: is damaged", images.display());
        let (values, shape) = array::read_images(&images)?;
        let pictures = found.gallery.iter().map(Vec::len).sum::<usize>() + found.population.len();
        let columns = found.class_columns.len();
        let classes = [found.labels.len(), found.each_class.len()];
        ensure!(classes == [found.gallery.len(); 2], "{}: expected one sample per class", json.display());
        ensure!(
            shape == [pictures, found.rows, found.cols] && columns == found.cols,
            "{}: does not match {}: {shape:?} and {columns} columns, expected {:?}",
            json.display(),
            images.display(),
            [pictures, found.rows, found.cols]
        );
        found.images = values;
        Ok(found)
    }

    /// Floats of an image.
    pub fn size(&self) -> usize {
        self.rows * self.cols
    }

    /// Image `i` of `images`.
    pub fn image(&self, i: usize) -> &[f32] {
        &self.images[i * self.size()..][..self.size()]
    }

    /// Images of the first sample of each class.
    pub fn each_class_images(&self) -> Vec<&[f32]> {
        let mut from = 0;
        let mut first = |of: &Vec<usize>| {
            let at = from;
            from += of.len();
            self.image(at)
        };
        self.gallery.iter().map(&mut first).collect()
    }

    /// Images of the population.
    pub fn population_images(&self) -> Vec<&[f32]> {
        let from: usize = self.gallery.iter().map(Vec::len).sum();
        (from..from + self.population.len()).map(|i| self.image(i)).collect()
    }
}

/// The published set whose test labels these are.
fn published(dataset: &Dataset) -> Option<String> {
    let is = |name: &&&str| dataset.is_published(name);
    ["mnist", "fashion-mnist"].iter().find(is).map(|name| (*name).to_owned())
}

//! The samples of a command: the test half of a data set or of a fold of it, or array files.

use crate::dataset::fold_args::FoldArgs;
use crate::dataset::samples::{Arrays, Scaled, outside};
use crate::error::UsageError;
use crate::io::array;
use crate::io::file;
use crate::io::output::note;
use crate::model_file;
use crate::run::settings::{Range, parse_range};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use model::{Network, Samples, Task};
use std::path::{Path, PathBuf};

/// A model and its input samples.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// Model file (safetensors), or the folder of a run
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Data set whose test samples are used
    #[arg(long, value_name = "NAME", conflicts_with = "input")]
    dataset: Option<String>,
    #[command(flatten)]
    fold: FoldArgs,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Images as a .npy file, f32 [N, rows, cols] in the model's range, or u8, which are scaled to it; or a .npz file of
    /// explain, whose x_batch is read
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Labels of --input as a .npy file, integers [N]
    #[arg(long, value_name = "FILE", requires = "input")]
    labels: Option<PathBuf>,
    /// Bounds of z^β, LOW,HIGH; no pixel is scaled by them [default: the model's range]
    #[arg(long, value_name = "LOW,HIGH", value_parser = parse_range, allow_hyphen_values = true)]
    input_range: Option<Range>,
}

/// The samples of a command.
pub enum Source {
    /// Test half of a data set.
    Dataset(Scaled),
    /// Array files.
    Arrays(Arrays),
}

impl Source {
    /// The samples.
    pub fn samples(&self) -> &dyn Samples {
        match self {
            Source::Dataset(scaled) => scaled,
            Source::Arrays(arrays) => arrays,
        }
    }

    /// Checks that the files have not changed since they were opened; arrays are in memory.
    ///
    /// # Errors
    /// If a mapped file was modified or truncated.
    pub fn unchanged(&self) -> Result<()> {
        match self {
            Source::Dataset(scaled) => scaled.split().unchanged(),
            Source::Arrays(_) => Ok(()),
        }
    }

    /// Whether labels are known.
    pub fn has_labels(&self) -> bool {
        !matches!(self, Source::Arrays(Arrays { labels: None, .. }))
    }
}

/// Reads a model, with another pixel range if one is given.
///
/// # Errors
/// If the file is not a model, or the range does not contain 0.
pub fn load_model(path: &Path, range: Option<Range>) -> Result<Network> {
    let network = model_file::load(path)?;
    let Some(Range(low, high)) = range else { return Ok(network) };
    let task = Task { low, high, ..*network.task() };
    Network::from_tensors(network.architecture().clone(), task, &network.tensors())
        .map_err(|error| UsageError(format!("--input-range {low},{high}: {error}")).into())
}

impl SourceArgs {
    /// Reads the model and the samples, and checks that they fit together.
    ///
    /// # Errors
    /// One line that names the file, what was found and what was expected.
    pub fn open(&self) -> Result<(Network, Source)> {
        if self.dataset.is_none() && self.input.is_none() {
            let text = "give --dataset NAME for the test half of a data set, or --input FILE.npy for images of your own";
            bail!(UsageError(text.to_owned()));
        }
        if self.dataset.is_none() && self.fold.any() {
            let text = "--folds, --fold and --leaky need --dataset NAME, the set that is divided";
            bail!(UsageError(text.to_owned()));
        }
        let model = model_path(&self.model)?;
        let network = load_model(&model, None)?;
        let source = match (&self.dataset, &self.input) {
            (Some(name), _) => self.dataset(name, &network)?,
            (None, Some(path)) => self.arrays(path, &network)?,
            (None, None) => unreachable!("one of them is given, as checked above"),
        };
        let network =
            if self.input_range.is_some() { load_model(&model, self.input_range)? } else { network };
        Ok((network, source))
    }

    fn dataset(&self, name: &str, network: &Network) -> Result<Source> {
        let (task, dataset) = (network.task(), self.fold.open(name, self.data_dir.as_deref())?);
        let (found, expected) = ((dataset.rows, dataset.cols), (task.rows, task.cols));
        ensure!(
            found == expected,
            "{}: reads {}×{} images, {} has {}×{}; choose a data set of the model's size",
            self.model.display(),
            expected.0,
            expected.1,
            dataset.name,
            found.0,
            found.1
        );
        ensure!(
            dataset.classes <= task.classes,
            "{}: has {} classes, {} has {}; choose the data set it was trained on",
            self.model.display(),
            task.classes,
            dataset.name,
            dataset.classes
        );
        Ok(Source::Dataset(Scaled::new(&dataset.test, task.low, task.high)))
    }

    fn arrays(&self, path: &Path, network: &Network) -> Result<Source> {
        let (name, task) = (path.display(), network.task());
        for path in [Some(path), self.labels.as_deref()].into_iter().flatten() {
            file::plain_file(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        }
        let (images, [n, rows, cols]) = array::read_pixels(path, [task.low, task.high])?;
        ensure!(
            (rows, cols) == (task.rows, task.cols),
            "{name}: images are {rows}×{cols}, the model reads {}×{}; scale or cut them",
            task.rows,
            task.cols
        );
        if let Some(problem) = outside(&images, task) {
            bail!("{name}: {problem}");
        }
        if let Some(Range(low, high)) = self.input_range
            && let Some(at) = images.iter().position(|x| !(low..=high).contains(x))
        {
            let pixel = images[at];
            bail!(UsageError(format!(
                "--input-range {low},{high}: pixel {at} of {name} is {pixel}, outside these bounds of z^β; leave the option out"
            )));
        }
        let labels = self.labels.as_deref().map(|path| labels(path, n, task.classes)).transpose()?;
        Ok(Source::Arrays(Arrays { images, size: rows * cols, labels }))
    }
}

/// The model file that a path names: itself, or in the folder of a run the best or the last model.
///
/// # Errors
/// If it is a folder without a model.
pub fn model_path(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let names = ["best.safetensors", "last.safetensors"];
    let found = names.iter().map(|name| path.join(name)).find(|file| file.exists());
    let found = found.with_context(|| {
        format!(
            "{}: is a folder without {}; give a model file or the folder of a run",
            path.display(),
            names.join(" or ")
        )
    })?;
    note!("using {}", found.display());
    Ok(found)
}

fn labels(path: &Path, n: usize, classes: usize) -> Result<Vec<u8>> {
    let name = path.display();
    let labels = array::read_labels(path)?;
    ensure!(labels.len() == n, "{name}: {} labels for {n} images; save one label per image", labels.len());
    let class = |(i, &label): (usize, &i64)| {
        let found = u8::try_from(label).ok().filter(|&label| usize::from(label) < classes);
        found.with_context(|| {
            format!(
                "{name}: label {i} is {label}; the model has classes 0 to {}; leave those samples out",
                classes - 1
            )
        })
    };
    labels.iter().enumerate().map(class).collect()
}

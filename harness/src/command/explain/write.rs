//! Writes explanations as they are computed: arrays or pictures.

use super::args::ExplainArgs;
use crate::command::source::Source;
use crate::io::export::{Array, Export};
use crate::io::folder;
use crate::io::json::write_json;
use crate::measure::explanations::{CHUNK, Summary};
use crate::report::colormap::{Range, Scale};
use crate::report::colour_bar::ColourBar;
use crate::report::panel::{Grid, GridRow};
use crate::report::picture::{heatmap, input};
use crate::signal::check_stop;
use anyhow::{Context, Result, ensure};
use model::Task;
use model::explain::Explanation;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Receives the indices of some samples and their explanations, one for each target.
pub(super) type Visit<'a> = dyn FnMut(&[usize], &[Explanation]) -> Result<()> + 'a;

/// The samples that are explained, and the number of targets of each.
pub(super) struct Request<'a> {
    pub task: &'a Task,
    pub source: &'a Source,
    pub indices: &'a [usize],
    pub targets: usize,
}

impl Request<'_> {
    fn size(&self) -> usize {
        self.task.rows * self.task.cols
    }

    /// One channel, as image libraries expect it.
    fn shape(&self) -> [usize; 4] {
        [self.indices.len() * self.targets, 1, self.task.rows, self.task.cols]
    }

    /// `.npy`: relevance `[N · targets, 1, rows, cols]`, in the order of samples, then targets.
    pub fn to_npy(&self, out: &Path, explain: impl FnOnce(&mut Visit) -> Result<Summary>) -> Result<Summary> {
        let mut npy = Export::npy(out)?;
        let mut relevance = npy.array("relevance", &self.shape())?;
        let summary = explain(&mut |_, found| self.push(found, &mut relevance))?;
        relevance.end();
        npy.finish()?;
        Ok(summary)
    }

    /// `.npz` with the names and axes of Quantus: `x_batch` and `a_batch` `[N · targets, 1, rows, cols]`, inputs and
    /// relevance, and `y_batch` `[N · targets]`, the explained classes, which are known last. Further arrays of that length:
    /// `index` of the sample, its `label` if known, `target` (as `y_batch`), its `logit`, and those of
    /// [`LedgerArrays`].
    pub fn to_npz(&self, out: &Path, explain: impl FnOnce(&mut Visit) -> Result<Summary>) -> Result<Summary> {
        let shape = self.shape();
        let mut npz = Export::npz(out)?;
        let mut inputs = npz.array("x_batch", &shape)?;
        let mut x = vec![0.0f32; self.size()];
        for chunk in self.indices.chunks(CHUNK) {
            check_stop()?;
            for &index in chunk {
                self.source.samples().pixels(index, &mut x);
                (0..self.targets).try_for_each(|_| inputs.push(&x))?;
            }
        }
        inputs.end();
        let mut relevance = npz.array("a_batch", &shape)?;
        let (mut classes, mut logits) = (Vec::<i64>::with_capacity(shape[0]), Vec::with_capacity(shape[0]));
        let mut ledger = LedgerArrays::default();
        let summary = explain(&mut |chunk, found| {
            ledger.add(chunk.len(), found);
            let of_sample = |i: usize| found.iter().map(move |batch| batch.target[i] as i64);
            classes.extend((0..chunk.len()).flat_map(of_sample));
            let classes = self.task.classes;
            let logit = |i: usize, batch: &Explanation| batch.logits[i * classes + batch.target[i]];
            logits.extend((0..chunk.len()).flat_map(|i| found.iter().map(move |batch| logit(i, batch))));
            self.push(found, &mut relevance)
        })?;
        relevance.end();
        let of_samples = |value: &dyn Fn(usize) -> i64| -> Vec<i64> {
            self.indices.iter().flat_map(|&i| std::iter::repeat_n(value(i), self.targets)).collect()
        };
        let samples = self.source.samples();
        let labels = self.source.has_labels().then(|| of_samples(&|i| samples.label(i).into()));
        let indices = of_samples(&|i| i as i64);
        let numbers = [
            ("y_batch", Some(&classes)),
            ("index", Some(&indices)),
            ("label", labels.as_ref()),
            ("target", Some(&classes)),
        ];
        for (name, values) in numbers {
            let Some(values) = values else { continue };
            let mut array = npz.array(name, &shape[..1])?;
            array.push(values)?;
            array.end();
        }
        let mut array = npz.array("logit", &shape[..1])?;
        array.push(&logits)?;
        array.end();
        ledger.write(&mut npz)?;
        npz.finish()?;
        Ok(summary)
    }

    /// Relevance in the order of samples, then targets.
    fn push(&self, found: &[Explanation], to: &mut Array<f32>) -> Result<()> {
        let mut maps: Vec<_> = found.iter().map(|batch| batch.relevance.chunks_exact(self.size())).collect();
        while let Some(of_sample) = maps.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
            of_sample.into_iter().try_for_each(|map| to.push(map))?;
        }
        Ok(())
    }

    /// A folder of pictures, input and heatmap side by side, and `explanations.json`.
    pub fn to_pictures(
        &self,
        args: &ExplainArgs,
        explain: impl FnOnce(&mut Visit) -> Result<Summary>,
    ) -> Result<Summary> {
        let mut pictures = Pictures::open(&args.out, args.overwrite)?;
        // Maps with a common scale are drawn once all are known.
        let mut waiting: Vec<Entry> = Vec::new();
        let summary = explain(&mut |chunk, found| {
            for (i, &index) in chunk.iter().enumerate() {
                for batch in found {
                    let entry = self.entry(index, i, batch);
                    match args.look.scale {
                        Scale::Common => waiting.push(entry),
                        _ => pictures.draw(args, self, &entry, args.look.ranges(&[&entry.map])[0])?,
                    }
                }
            }
            Ok(())
        })?;
        let maps: Vec<&[f32]> = waiting.iter().map(|entry| &entry.map[..]).collect();
        for (entry, range) in waiting.iter().zip(args.look.ranges(&maps)) {
            pictures.draw(args, self, entry, range)?;
        }
        pictures.finish()?;
        Ok(summary)
    }
}

/// One heatmap and what is said of it.
struct Entry {
    sample: usize,
    target: usize,
    logit: f32,
    absorbed: f64,
    conservation_error: f64,
    map: Vec<f32>,
}

impl Request<'_> {
    /// The explanation of the `i`th sample of a batch.
    fn entry(&self, sample: usize, i: usize, batch: &Explanation) -> Entry {
        Entry {
            sample,
            target: batch.target[i],
            logit: batch.explained[i],
            absorbed: batch.absorbed[i],
            conservation_error: batch.conservation_error[i],
            map: batch.relevance[i * self.size()..][..self.size()].to_vec(),
        }
    }
}

/// The explained values and what became of them, by layer in the order of the parameters and by step.
#[derive(Default)]
struct LedgerArrays {
    layers: usize,
    steps: usize,
    /// `[N · targets]`
    explained: Vec<f32>,
    /// `[N · targets, layers, steps]`
    absorbed: Vec<f64>,
    negative: Vec<f64>,
}

impl LedgerArrays {
    /// Adds samples, in the order of samples, then targets.
    fn add(&mut self, samples: usize, found: &[Explanation]) {
        for (i, batch) in (0..samples).flat_map(|i| found.iter().map(move |batch| (i, batch))) {
            self.explained.push(batch.explained[i]);
            self.layers = batch.ledger.len();
            for layer in &batch.ledger {
                self.steps = layer.absorbed.len() / samples;
                self.absorbed.extend_from_slice(&layer.absorbed[i * self.steps..][..self.steps]);
                self.negative.extend_from_slice(&layer.negative[i * self.steps..][..self.steps]);
            }
        }
    }

    /// Writes `f_batch`, and unless a gradient method has left it empty `absorbed` and `negative`.
    fn write(&self, npz: &mut Export) -> Result<()> {
        let n = self.explained.len();
        let mut values = npz.array("f_batch", &[n])?;
        values.push(&self.explained)?;
        values.end();
        if self.layers > 0 {
            for (name, values) in [("absorbed", &self.absorbed), ("negative", &self.negative)] {
                let mut array = npz.array(name, &[n, self.layers, self.steps])?;
                array.push(values)?;
                array.end();
            }
        }
        Ok(())
    }
}

/// Whether a file has the name of a picture that [`Pictures`] draws, such as `00012-class-3.svg`.
fn is_picture(name: &str) -> bool {
    let stem = [".svg", ".pdf", ".png"].iter().find_map(|ending| name.strip_suffix(ending));
    let numbers = stem.and_then(|name| name.split_once("-class-"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(sample, class)| sample.len() >= 5 && is_number(sample) && is_number(class))
}

/// A folder being filled with pictures. If it is dropped before it is finished, its pictures are removed.
struct Pictures {
    folder: PathBuf,
    /// Whether it was created for them.
    new: bool,
    lines: Vec<Line>,
    files: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    picture: String,
    sample: usize,
    label: Option<u8>,
    target: usize,
    logit: f32,
    absorbed: f64,
    conservation_error: f64,
}

impl Pictures {
    fn open(out: &Path, overwrite: bool) -> Result<Pictures> {
        let name = out.display();
        ensure!(
            out.is_dir() || !out.exists(),
            "{name}: is no folder; give a folder, or a name that ends in .npy or .npz"
        );
        let full = out.join("explanations.json").exists();
        ensure!(!full || overwrite, "{name}: already holds pictures; choose another --out or --overwrite");
        let new = !out.exists();
        folder::create(out)?;
        Ok(Pictures { folder: out.to_owned(), new, lines: Vec::new(), files: Vec::new() })
    }

    /// Draws an explanation.
    fn draw(&mut self, args: &ExplainArgs, request: &Request, entry: &Entry, range: Range) -> Result<()> {
        let (task, samples) = (request.task, request.source.samples());
        let Entry { sample, target, logit, absorbed, conservation_error, .. } = *entry;
        let mut x = vec![0.0; request.size()];
        samples.pixels(sample, &mut x);
        let label = request.source.has_labels().then(|| samples.label(sample));
        let label_text = label.map_or(String::new(), |label| format!("label {label}, "));
        let (rows, cols) = (task.rows, task.cols);
        let cells = vec![
            input(rows, cols, &x, task.low, task.high, 1),
            heatmap(rows, cols, &entry.map, args.look, range),
        ];
        let grid = Grid {
            rows: vec![GridRow { cells, steps: task.seq_len, ..GridRow::default() }],
            bar: Some(ColourBar::new(args.look, Some(range), range.low < 0.0)),
            note: format!(
                "sample {sample}, {label_text}class {target}, f = {logit:.2}; {}, value {}, T = {}; {}",
                args.method.title(),
                args.value_name()?,
                task.seq_len,
                args.look.text()
            ),
            ..Grid::default()
        };
        let name = format!("{sample:05}-class-{target}");
        let files = args.formats.write(&self.folder, &name, &grid.svg()?)?;
        let picture = files.first().cloned().unwrap_or_default();
        self.files.extend(files);
        self.lines.push(Line { picture, sample, label, target, logit, absorbed, conservation_error });
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        write_json(&self.folder.join("explanations.json"), &self.lines)?;
        let files = std::mem::take(&mut self.files);
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
            if is_picture(&name) && !files.contains(&name) {
                let old = self.folder.join(name);
                fs::remove_file(&old)
                    .with_context(|| format!("{}: an old picture cannot be removed", old.display()))?;
            }
        }
        self.new = false;
        Ok(())
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        // Another error is being returned; a failure to remove a file is ignored.
        for file in &self.files {
            let _ = fs::remove_file(self.folder.join(file));
        }
        if self.new {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

//! A gallery of explanations as one page: samples × methods × values × targets.

use super::args::ExplainArgs;
use super::{Outcome, target, value};
use crate::command::method::MethodArgs;
use crate::command::source::Source;
use crate::error::UsageError;
use crate::io::atomic::{check_target, write_atomically};
use crate::measure::explanations::{ExplanationRequest, explain_all};
use crate::report::document::{Figure, Picture, Report, Section};
use crate::report::panel::{HeatRow, Style, heat_grid};
use crate::report::share::share_chart;
use crate::report::table::Table;
use anyhow::{Result, ensure};
use kernels::Kernels;
use model::Network;
use model::explain::{Explanation, Method};
use model::measure::shares::{normalised, per_step};
use serde_json::Value as Json;

/// The most pictures of a page.
const MAX_PICTURES: usize = 2000;

/// A network, its samples, and those that are shown.
pub(super) struct Gallery<'a> {
    pub network: &'a Network,
    pub source: &'a Source,
    pub indices: &'a [usize],
}

/// All heatmaps of one method and value: one explanation of all samples a target.
struct Shown {
    label: String,
    targets: Vec<Explanation>,
}

/// The methods that the options name, each with its name.
pub(super) fn methods(args: &ExplainArgs) -> Result<Vec<(String, Method)>> {
    if args.methods.is_empty() {
        return Ok(vec![(args.method.title(), args.method.parse()?)]);
    }
    let of = |name: &String| {
        let named = MethodArgs { method: name.clone(), ..args.method.clone() };
        Ok((named.title(), named.parse()?))
    };
    args.methods.iter().map(of).collect()
}

impl Gallery<'_> {
    /// Explains the samples and writes the page.
    ///
    /// # Errors
    /// If an option is invalid, there are too many pictures, or the file cannot be written.
    pub fn write(&self, args: &ExplainArgs, kernels: &Kernels) -> Result<Vec<Outcome>> {
        check_target(&args.out, args.overwrite)?;
        let methods = methods(args)?;
        let values =
            if args.values.is_empty() { vec![args.value_name()?.to_owned()] } else { args.values.clone() };
        let classes = self.network.task().classes;
        let target = target(args.target.as_deref().unwrap_or("predicted"), self.network, self.source)?;
        let targets = if target == model::explain::Target::All { classes } else { 1 };
        let pictures = self.indices.len() * methods.len() * values.len() * targets;
        ensure!(
            pictures <= MAX_PICTURES,
            UsageError(format!(
                "--out {}: {pictures} heatmaps are more than the {MAX_PICTURES} of a page; lower --samples",
                args.out.display()
            ))
        );
        let mut all = Vec::new();
        let mut outcomes = Vec::new();
        for (name, method) in &methods {
            for text in &values {
                let value = value(text, [self.indices.len(), classes])?;
                let samples = self.source.samples();
                let request = ExplanationRequest {
                    network: self.network,
                    samples,
                    indices: self.indices,
                    target,
                    value: &value,
                };
                let mut targets: Vec<Explanation> = Vec::new();
                let summary = explain_all(kernels, *method, request, |_, found| {
                    match targets.is_empty() {
                        true => targets = found,
                        false => targets.iter_mut().zip(found).for_each(|(all, of)| append(all, of)),
                    }
                    Ok(())
                })?;
                let conserves = matches!(method, Method::Relevance(_));
                outcomes.push(Outcome { method: name.clone(), value: text.clone(), conserves, summary });
                all.push(Shown { label: format!("{name}, {text}"), targets });
            }
        }
        self.source.unchanged()?;
        let page = self.page(args, &all)?.html();
        write_atomically(&args.out, |file| Ok(file.write_all(page.as_bytes())?))?;
        Ok(outcomes)
    }

    fn page(&self, args: &ExplainArgs, all: &[Shown]) -> Result<Report> {
        let (task, architecture) = (self.network.task(), self.network.architecture());
        let network = format!("{}-{}", architecture.title(), task.seq_len);
        let mut sections = vec![self.overview(args, &network, all)?];
        for i in 0..self.indices.len() {
            sections.push(self.sample(args, &network, all, i)?);
        }
        Ok(Report {
            title: format!("{network}: {} samples explained", self.indices.len()),
            lead: vec![format!(
                "Model {}. f is the explained value, ΣR the relevance of all pixels; absorbed: relevance that stabilisers of \
                 denominators kept; negative: the sum of the negative relevance of a layer's inputs.",
                args.source.model.display()
            )],
            sections,
            single: true,
            ..Report::default()
        })
    }

    fn pixels(&self, i: usize) -> Vec<f32> {
        let task = self.network.task();
        let mut x = vec![0.0; task.rows * task.cols];
        self.source.samples().pixels(self.indices[i], &mut x);
        x
    }

    fn style(&self, args: &ExplainArgs) -> Style {
        let task = self.network.task();
        let (rows, cols, low, high) = (task.rows, task.cols, task.low, task.high);
        Style { rows, cols, low, high, look: args.look }
    }

    fn map<'a>(&self, of: &'a Explanation, i: usize) -> &'a [f32] {
        let size = self.network.task().rows * self.network.task().cols;
        &of.relevance[i * size..][..size]
    }

    fn row<'a>(&self, shown: &Shown, maps: Vec<&'a [f32]>) -> HeatRow<'a> {
        HeatRow { label: shown.label.clone(), seq_len: self.network.task().seq_len, maps }
    }

    /// The first target of every sample, a row for each method and value.
    fn overview(&self, args: &ExplainArgs, network: &str, all: &[Shown]) -> Result<Section> {
        let mut section = Section::default();
        let inputs: Vec<Vec<f32>> = (0..self.indices.len()).map(|i| self.pixels(i)).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let rows: Vec<HeatRow> = all
            .iter()
            .map(|shown| {
                let first = shown.targets.iter().take(1);
                self.row(shown, first.flat_map(|of| (0..inputs.len()).map(|i| self.map(of, i))).collect())
            })
            .collect();
        let labels: Vec<String> = self.indices.iter().map(|i| format!("#{i}")).collect();
        let grid = heat_grid(network, &labels, &inputs, &rows, &self.style(args));
        let caption = "All samples, one row for each method and value; the first target of each.".to_owned();
        let picture = Picture::Svg(grid.svg()?);
        section.figure(Figure { name: "overview".to_owned(), caption, picture, data: Json::Null });
        Ok(section)
    }

    fn sample(&self, args: &ExplainArgs, network: &str, all: &[Shown], i: usize) -> Result<Section> {
        let (task, index) = (self.network.task(), self.indices[i]);
        let label = self.source.has_labels().then(|| self.source.samples().label(index));
        let label = label.map_or(String::new(), |label| format!(", label {label}"));
        let mut section = Section::new(&format!("Sample {index}{label}"));
        let x = self.pixels(i);
        let rows: Vec<HeatRow> = all
            .iter()
            .map(|shown| self.row(shown, shown.targets.iter().map(|of| self.map(of, i)).collect()))
            .collect();
        let targets: Vec<String> =
            all[0].targets.iter().map(|of| format!("class {}", of.target[i])).collect();
        let grid =
            heat_grid(&format!("{network}, sample {index}"), &targets, &[&x], &rows, &self.style(args));
        section.figure(Figure {
            name: format!("sample-{index}"),
            caption: format!("Sample {index}{label}: input and heatmaps, a column for each target."),
            picture: Picture::Svg(grid.svg()?),
            data: Json::Null,
        });
        if task.seq_len > 1 {
            let steps = |map: &[f32]| normalised(&per_step(map, task.rows, task.cols, task.seq_len));
            let series: Vec<(String, Vec<f64>)> = all
                .iter()
                .map(|shown| (shown.label.clone(), steps(self.map(&shown.targets[0], i))))
                .collect();
            let pixels: Vec<f32> = x.iter().map(|x| x - task.low).collect();
            let chart = share_chart(&format!("sample {index}: share of each step"), &steps(&pixels), &series);
            section.figure(Figure {
                name: format!("share-{index}"),
                caption: format!(
                    "Share of each step of the pixels (dashed) and of the relevance, {}.",
                    targets[0]
                ),
                picture: Picture::Svg(chart.svg()?),
                data: Json::Null,
            });
        }
        let caption = "Value and relevance of each heatmap; absorbed and negative relevance by layer, summed over the steps.";
        section.table(format!("ledger-{index}"), caption, self.ledger(all, i));
        Ok(section)
    }

    fn ledger(&self, all: &[Shown], i: usize) -> Table {
        let layers: Vec<&str> = self.network.layers().iter().map(|layer| &layer.name[..]).collect();
        let mut columns =
            vec!["method and value".to_owned(), "class".into(), "f".into(), "ΣR".into(), "absorbed".into()];
        columns.extend(layers.iter().map(|layer| format!("{layer} absorbed")));
        columns.extend(layers.iter().map(|layer| format!("{layer} negative")));
        let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
        let number = |x: f64| if x == 0.0 { "0".to_owned() } else { format!("{x:.3}") };
        let steps = self.network.task().seq_len;
        for (shown, of) in all.iter().flat_map(|shown| shown.targets.iter().map(move |of| (shown, of))) {
            let sum: f64 = self.map(of, i).iter().map(|&r| f64::from(r)).sum();
            let head = [
                shown.label.clone(),
                of.target[i].to_string(),
                number(f64::from(of.explained[i])),
                number(sum),
                number(of.absorbed[i]),
            ];
            let cells = [true, false].into_iter().flat_map(|absorbed| {
                layers.iter().map(move |layer| {
                    let entry = of.ledger.iter().find(|of| of.layer == *layer)?;
                    let values = if absorbed { &entry.absorbed } else { &entry.negative };
                    Some(values[i * steps..][..steps].iter().sum::<f64>())
                })
            });
            let cells = cells.map(|cell| cell.map_or("–".to_owned(), number));
            table.row(head.into_iter().chain(cells).collect());
        }
        table
    }
}

/// Adds the explanations of further samples.
fn append(all: &mut Explanation, of: Explanation) {
    all.target.extend(of.target);
    all.explained.extend(of.explained);
    all.logits.extend(of.logits);
    all.relevance.extend(of.relevance);
    all.absorbed.extend(of.absorbed);
    all.conservation_error.extend(of.conservation_error);
    for (all, of) in all.ledger.iter_mut().zip(of.ledger) {
        all.absorbed.extend(of.absorbed);
        all.negative.extend(of.negative);
    }
}

//! Heatmaps, shares by step and bars of cosines.

use super::bars::{Bar, BarChart};
use super::cells::{Cell, Scores, Set, interval, method_title, methods};
use super::printed::METHODS;
use super::tables::{pixel_share, step_share};
use crate::measure::majority::{LAST_BLOCK_BASELINE, UNIFORM_BASELINE};
use crate::measure::samples::SampleSelection;
use crate::report::colormap::Look;
use crate::report::document::{Figure, Picture};
use crate::report::panel::{HeatRow, Style, heat_grid};
use crate::report::share::share_chart;
use anyhow::Result;
use serde_json::{Value, json};

/// Sequences of Figure 3.11.
const SEQUENCES: usize = 6;

/// Rows of heatmaps, one for each method and cell, below the images of a selection.
struct Sheet<'a> {
    name: String,
    caption: String,
    labels: Vec<String>,
    images: Vec<&'a [f32]>,
    rows: Vec<HeatRow<'a>>,
    samples: &'a SampleSelection,
    look: Look,
    data: Value,
}

impl Sheet<'_> {
    fn figure(self) -> Result<Figure> {
        let Sheet { name, caption, labels, images, rows, samples, look, data } = self;
        let style = Style { rows: samples.rows, cols: samples.cols, low: 0.0, high: 1.0, look };
        let sheet = heat_grid("relevance for the true class", &labels, &images, &rows, &style);
        Ok(Figure { name, caption, picture: Picture::Svg(sheet.svg()?), data })
    }
}

fn row<'a>(cell: &Cell<'a>, method: &str, group: &str, size: usize, count: usize) -> Option<HeatRow<'a>> {
    let (settings, run) = cell.first()?;
    let mut maps = run.group(&format!("{method}/{group}"), size);
    maps.truncate(count);
    let label = format!("{} {}-{}", method_title(method), cell.title, settings.seq_len);
    (!maps.is_empty()).then_some(HeatRow { label, seq_len: settings.seq_len, maps })
}

/// Figures 3.3 and 3.4: one image of each class by every method, of all cells and lengths on single images.
pub fn each_class(set: &Set) -> Result<Option<Figure>> {
    let Some(samples) = set.measured().find_map(|cell| set.samples_of(cell.first()?.0)) else {
        return Ok(None);
    };
    let rows = METHODS.iter().flat_map(|(method, _)| {
        set.measured().filter_map(|cell| row(cell, method, "each-class", samples.size(), usize::MAX))
    });
    let number = if set.name == "fashion-mnist" { "3.4" } else { "3.3" };
    let sheet = Sheet {
        name: format!("figure-{number}-{}", set.name),
        caption: format!(
            "Figure {number}. Heatmaps of one test sample of each class of {} by four methods: SA sensitivity, GB guided \
             backprop, DTD deep Taylor, LRP with α = 1.5 and β = 0.5. Red is positive, blue negative relevance for the true \
             class; ticks mark the steps.",
            set.title()
        ),
        labels: samples.labels.iter().map(u8::to_string).collect(),
        images: samples.each_class_images(),
        rows: rows.collect(),
        samples,
        look: set.look,
        data: json!({ "samples": samples.each_class, "labels": samples.labels }),
    };
    if sheet.rows.is_empty() { Ok(None) } else { sheet.figure().map(Some) }
}

/// Figure 3.6: samples of one class by DTD and LRP, at the longest length.
pub fn population(set: &Set) -> Result<Option<Figure>> {
    let Some(seq_len) = set.measured().map(|cell| cell.settings.seq_len).max() else { return Ok(None) };
    let cells: Vec<&Cell> = set.measured().filter(|cell| cell.settings.seq_len == seq_len).collect();
    let Some(samples) = cells.iter().find_map(|cell| set.samples_of(cell.first()?.0)) else {
        return Ok(None);
    };
    let rows = METHODS[2..].iter().flat_map(|(method, _)| {
        cells.iter().filter_map(|cell| row(cell, method, "population", samples.size(), usize::MAX))
    });
    let sheet = Sheet {
        name: format!("figure-3.6-{}", set.name),
        caption: format!(
            "Figure 3.6. Random test samples of class {} of {} by deep Taylor and LRP, T = {seq_len}.",
            samples.class,
            set.title()
        ),
        labels: samples.population.iter().map(|i| format!("#{i}")).collect(),
        images: samples.population_images(),
        rows: rows.collect(),
        samples,
        look: set.look,
        data: json!({ "samples": samples.population }),
    };
    if sheet.rows.is_empty() { Ok(None) } else { sheet.figure().map(Some) }
}

/// Figure 3.7: share of each step over the samples of the class, at the longest length.
pub fn share_by_step(set: &Set) -> Result<Option<Figure>> {
    let Some(seq_len) = set.measured().map(|cell| cell.settings.seq_len).max() else { return Ok(None) };
    let cells: Vec<&Cell> = set.measured().filter(|cell| cell.settings.seq_len == seq_len).collect();
    let Some(pixels) = cells.first().and_then(|cell| pixel_share(set, cell)) else { return Ok(None) };
    let series: Vec<(String, Vec<f64>)> = METHODS[2..]
        .iter()
        .flat_map(|(method, title)| {
            cells.iter().map(move |cell| (format!("{}, {title}", cell.title), step_share(cell, method)))
        })
        .filter(|(_, share)| !share.is_empty())
        .collect();
    let chart = share_chart(&format!("{}, T = {seq_len}: share of each step", set.title()), &pixels, &series);
    Ok(Some(Figure {
        name: format!("figure-3.7-{}", set.name),
        caption: format!(
            "Figure 3.7. Share of each step over the test samples of one class of {}: of the pixel intensity (dashed) and of \
             the relevance. The thesis finds that Deep follows the pixels and that Shallow looks at the last steps.",
            set.title()
        ),
        picture: Picture::Svg(chart.svg()?),
        data: json!({ "pixels": pixels, "shares": series }),
    }))
}

/// Figure 3.11: six sequences of the first fold by every method, of the cells of experiment 2 or else of all.
pub fn sequences(set: &Set) -> Result<Option<Figure>> {
    let Some((settings, _)) = set.measured().find_map(Cell::first) else { return Ok(None) };
    let Some(samples) = set.samples_of(settings) else { return Ok(None) };
    // The heatmaps of one figure are of the same samples.
    let same = |cell: &&Cell| cell.first().is_some_and(|(of, _)| of.data_name() == settings.data_name());
    let cells: Vec<&Cell> = set.measured().filter(same).collect();
    let rows = cells.iter().flat_map(|cell| {
        let of = |method: &str| row(cell, method, "each-class", samples.size(), SEQUENCES);
        METHODS.iter().filter_map(move |(method, _)| of(method))
    });
    let sheet = Sheet {
        name: format!("figure-3.11-{}", set.name),
        caption: format!(
            "Figure 3.11. Six sequences of {}: two images of the class and one of another, and their heatmaps for the true \
             class. Relevance should lie on the two images of the class.",
            set.title()
        ),
        labels: samples.labels.iter().take(SEQUENCES).map(u8::to_string).collect(),
        images: samples.each_class_images().into_iter().take(SEQUENCES).collect(),
        rows: rows.collect(),
        samples,
        look: set.look,
        data: json!({ "samples": samples.each_class.iter().take(SEQUENCES).collect::<Vec<_>>() }),
    };
    if sheet.rows.is_empty() { Ok(None) } else { sheet.figure().map(Some) }
}

/// The bars of a figure: the cells that it shows, and whether negative relevance is set to 0.
struct BarFigure {
    /// Its numbers in the thesis, for MNIST-MAJ and for the others.
    numbers: [&'static str; 2],
    cells: &'static [&'static str],
    positive_lrp: bool,
}

const BAR_FIGURES: [BarFigure; 4] = [
    BarFigure {
        numbers: ["3.12", "3.12"],
        cells: &["final-shallow", "final-deep", "final-deepv2", "final-convdeep"],
        positive_lrp: false,
    },
    BarFigure {
        numbers: ["3.17", "3.18"],
        cells: &["final-deep", "final-deep-sd", "r-lstm", "r-lstm-sd"],
        positive_lrp: false,
    },
    BarFigure {
        numbers: ["3.19", "3.21"],
        cells: &["final-convdeep", "convplus-deep", "r-lstm-sd", "convr-lstm-sd", "convplus-r-lstm-sd"],
        positive_lrp: false,
    },
    BarFigure {
        numbers: ["3.20", "3.20"],
        cells: &["final-convdeep", "convplus-deep", "r-lstm-sd", "convr-lstm-sd", "convplus-r-lstm-sd"],
        positive_lrp: true,
    },
];

/// Figures 3.12 and 3.17 to 3.21, with the cells that have finished.
pub fn bars(set: &Set) -> Vec<Figure> {
    let number = |of: &BarFigure| of.numbers[usize::from(set.name == "fashion-mnist-maj")];
    let mut figures = Vec::new();
    for of in &BAR_FIGURES {
        let cells: Vec<&Cell> = of.cells.iter().filter_map(|name| set.cell(name)).collect();
        let number = number(of);
        let what = if of.positive_lrp {
            "LRP: as relevance is, and with negative relevance set to 0 first"
        } else {
            "by four methods; negative values of LRP and GB are set to 0 first"
        };
        let name = format!("figure-{number}-{}", set.name);
        figures.extend(chart(set, name, format!("Figure {number}"), &cells, what, of.positive_lrp));
    }
    figures
}

/// The cosines of all cells that have finished.
pub fn all_cells(set: &Set) -> Option<Figure> {
    let all: Vec<&Cell> = set.measured().collect();
    let what = "by four methods; negative values of LRP and GB are set to 0 first";
    chart(set, format!("cosines-{}", set.name), "All cells".to_owned(), &all, what, false)
}

fn chart(
    set: &Set,
    name: String,
    number: String,
    cells: &[&Cell],
    what: &str,
    positive_lrp: bool,
) -> Option<Figure> {
    let methods = methods(cells.first()?);
    if positive_lrp && !methods.contains(&METHODS[3].0) {
        return None;
    }
    let bar =
        |scores: Scores| interval(&scores).map(|of| Bar { value: of.estimate, low: of.low, high: of.high });
    let lrp = METHODS[3].0;
    let series: Vec<String> = match positive_lrp {
        true => vec!["negative kept".to_owned(), "negative set to 0".to_owned()],
        false => methods.iter().map(|method| method_title(method).to_owned()).collect(),
    };
    let of_cell = |cell: &&Cell| match positive_lrp {
        true => vec![bar(cell.cosine(lrp)), bar(cell.positive_cosine(lrp))],
        false => methods.iter().map(|method| bar(cell.thesis_cosine(method))).collect(),
    };
    let chart = BarChart {
        title: format!("{}: cosine of relevance and mask", set.title()),
        y_label: "mean cosine, 95 % interval over folds".to_owned(),
        series,
        groups: cells.iter().map(|cell| (cell.title.clone(), of_cell(cell))).collect(),
        baselines: vec![
            (format!("uniform {UNIFORM_BASELINE:.4}"), UNIFORM_BASELINE),
            (format!("last image {LAST_BLOCK_BASELINE:.4}"), LAST_BLOCK_BASELINE),
        ],
    };

    let bars = |bars: &[Option<Bar>]| -> Vec<Option<f64>> {
        bars.iter().map(|bar| bar.map(|bar| bar.value)).collect()
    };
    let data: Vec<Value> =
        chart.groups.iter().map(|(cell, of)| json!({ "cell": cell, "cosine": bars(of) })).collect();
    Some(Figure {
        name,
        caption: format!(
            "{number}. Cosine between the share of relevance of each image and the mask of the majority, on {}, {what}. \
             Dashed: relevance spread evenly, and relevance on the last image only.",
            set.title()
        ),
        picture: Picture::Svg(chart.svg()),
        data: json!(data),
    })
}

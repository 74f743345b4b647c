//! Figures 4.7 to 4.9, all methods side by side, optimisers side by side, prototypes.

use super::accuracy::chart;
use super::networks::{Net, Set};
use super::setup::png;
use crate::measure::heatmaps::MAIN;
use crate::report::colormap::{Colormap, Norm};
use crate::report::document::{Figure, Section};
use crate::report::panel::{Grid, GridRow, HeatRow, Style, heat_grid};
use crate::report::picture::input;
use crate::report::share::share_chart;
use anyhow::Result;
use serde_json::{Value, json};

pub(super) fn section(set: &Set) -> Result<Section> {
    let mut section = Section::new(&format!("Heatmaps of {}", set.title()));
    let adam: Vec<&Net> = set.adam().collect();
    section.figure(each_class(
        set,
        "figure-4.7",
        &rows(set, &adam, "each-class"),
        "Figure 4.7. Deep Taylor heatmaps of one test sample per class, the input on top. Red pixels have positive relevance \
         for the predicted class; ticks mark the steps of the sequence. For T > 1 the thesis finds the relevance of networks \
         without an encoder on the last steps, at the right edge, and that of the others on the strokes.",
    )?);
    section.figure(each_class(
        set,
        "figure-4.7-centred",
        &rows(set, &adam, "each-class-centred"),
        "The samples of Figure 4.7 by the centred value, the logit less the mean of all logits, which a common shift of the logits \
         does not change: blank or blue heatmaps of Figure 4.7 with red ones here come from a negative logit.",
    )?);
    if let Some(t) = set.main_length() {
        section.figure(population(set, t)?);
    }
    for t in set.lengths().into_iter().filter(|&t| t > 1) {
        let series: Vec<(String, Vec<f64>)> =
            set.of_length(t).iter().map(|net| (net.title.to_owned(), net.share(MAIN))).collect();
        let class = set.selection.class;
        let title = format!("{}, class {class}, T = {t}: share of each step", set.label());
        let caption = format!(
            "Figure 4.9, T = {t}. Share of each step over all {} test samples of class {class}: of the pixel intensity \
             (dashed) and of the relevance (deep Taylor). Explanations of the digit follow the dashed line; a line \
             that rises to the right shows relevance concentrated on the last steps.",
            set.selection.of_class.len()
        );
        let name = format!("figure-4.9-{}-t{t}", set.name);
        section.figure(chart(name, caption, &share_chart(&title, &set.pixel_share(t), &series))?);
    }
    if let Some(t) = set.main_length() {
        for net in set.of_length(t) {
            let methods: Vec<HeatRow> = net
                .first()
                .measured
                .methods
                .iter()
                .map(|of| HeatRow {
                    label: of.method.clone(),
                    seq_len: 1,
                    maps: net.first().group(&format!("{}/each-class", of.method), set.selection.size()),
                })
                .collect();
            let caption = format!(
                "All methods on {}, for the samples of Figure 4.7; red is positive, blue negative relevance, each heatmap \
                 scaled by its largest value. random does not depend on the network: a method that resembles it explains nothing.",
                net.title
            );
            section.figure(each_class(set, &format!("methods-{}", file(net)), &methods, &caption)?);
        }
    }
    let pairs = set.adam().filter_map(|net| Some([net, set.by_sgd(net)?]));
    let pairs: Vec<&Net> = pairs.flatten().collect();
    if !pairs.is_empty() {
        let caption = "Adam against SGD (section 4.4): deep Taylor heatmaps of the same samples. The thesis finds those of \
                       networks trained by Adam less noisy; the noise is measured in the table of claims.";
        section.figure(each_class(set, "optimisers", &rows(set, &pairs, "each-class"), caption)?);
    }
    section.figure(prototypes(set, &adam)?);
    Ok(section)
}

/// `shallow-7`
fn file(net: &Net) -> String {
    format!("{}-{}", net.settings.cell_name(), net.settings.seq_len)
}

fn rows<'a>(set: &Set, nets: &[&'a Net], group: &str) -> Vec<HeatRow<'a>> {
    let row = |net: &&'a Net| HeatRow {
        label: net.title.to_owned(),
        seq_len: net.settings.seq_len,
        maps: net.first().group(&format!("{MAIN}/{group}"), set.selection.size()),
    };
    nets.iter().map(row).collect()
}

fn style(set: &Set) -> Style {
    let (rows, cols) = (set.selection.rows, set.selection.cols);
    Style { rows, cols, low: 0.0, high: 1.0, cmap: Colormap::Bwr, norm: Norm::Symmetric, scale: 3 }
}

/// Rows of heatmaps below one sample of each class.
fn each_class(set: &Set, name: &str, rows: &[HeatRow], caption: &str) -> Result<Figure> {
    let labels: Vec<String> = set.selection.labels.iter().map(u8::to_string).collect();
    let images = set.selection.each_class_images();
    let grid = heat_grid("", "", &labels, &images, rows, &style(set));
    let data = json!({ "samples": set.selection.each_class, "labels": set.selection.labels });
    let name = format!("{name}-{}", set.name);
    Ok(Figure { name, caption: caption.to_owned(), picture: png(&grid.draw())?, data })
}

/// Figure 4.8.
fn population(set: &Set, t: usize) -> Result<Figure> {
    let selection = set.selection;
    let labels: Vec<String> = selection.population.iter().map(|i| format!("#{i}")).collect();
    let images = selection.population_images();
    let grid = heat_grid("", "", &labels, &images, &rows(set, &set.of_length(t), "population"), &style(set));
    let caption = format!(
        "Figure 4.8. Deep Taylor heatmaps of {} random test samples of class {}, T = {t}. Relevance should lie on the stroke \
         of each sample.",
        selection.population.len(),
        selection.class
    );
    let name = format!("figure-4.8-{}", set.name);
    Ok(Figure {
        name,
        caption,
        picture: png(&grid.draw())?,
        data: json!({ "samples": selection.population }),
    })
}

fn prototypes(set: &Set, nets: &[&Net]) -> Result<Figure> {
    let selection = set.selection;
    let row = |net: &&Net| GridRow {
        label: net.title.to_owned(),
        cells: net
            .first()
            .group("prototypes", selection.size())
            .iter()
            .map(|image| input(selection.rows, selection.cols, image, 0.0, 1.0, 3))
            .collect(),
        ..GridRow::default()
    };
    let grid = Grid {
        column_labels: (0..selection.classes).map(|class| class.to_string()).collect(),
        rows: nets.iter().map(row).collect(),
        ..Grid::default()
    };
    let probabilities: Vec<Value> = nets
        .iter()
        .map(|net| json!({ "network": net.title, "probability": net.first().measured.prototype_probability }))
        .collect();
    let caption = "Prototypes by activation maximisation (section 3.2): for each class the image near the mean \
                   training image that maximises the class probability. Structure in the shape of the class is what the \
                   network has learnt; isolated pixels are adversarial patterns.";
    let name = format!("prototypes-{}", set.name);
    Ok(Figure { name, caption: caption.to_owned(), picture: png(&grid.draw())?, data: json!(probabilities) })
}

//! Figures 4.7 to 4.9, all methods side by side, optimisers side by side, prototypes.

use super::accuracy::chart;
use super::networks::{Net, Set, text};
use super::statements::{follows, last_steps, shown};
use crate::experiment::folder::Finished;
use crate::measure::heatmaps::MAIN;
use crate::measure::intervals::last_quarter;
use crate::report::document::{Figure, Part, Picture, Section};
use crate::report::panel::{Grid, GridRow, HeatRow, Style, heat_grid};
use crate::report::picture::input;
use crate::report::share::share_chart;
use anyhow::Result;
use serde_json::{Value, json};

/// `front`: whether Figure 4.8 is on the first screen already.
pub(super) fn section(set: &Set, front: bool) -> Result<Section> {
    let mut section = Section::new(&format!("Heatmaps of {}", set.title()));
    let adam: Vec<&Net> = set.adam().collect();
    let caption = format!(
        "Figure 4.7. Deep Taylor heatmaps of one test sample per class, the input on top. Positive relevance is evidence for \
         the predicted class; ticks mark the steps of the sequence. {}",
        where_it_lies(set, &adam)
    );
    section.figure(each_class(
        set,
        "figure-4.7",
        &rows(set, &adam, "each-class"),
        [&what(set, MAIN), &caption],
    )?);
    let caption = format!(
        "The samples of Figure 4.7 by the centred value, the logit less the mean of all logits, which a common shift of the \
         logits does not change. {}",
        negative(&adam)
    );
    let centred = format!("{MAIN}, value centred");
    section.figure(each_class(
        set,
        "figure-4.7-centred",
        &rows(set, &adam, "each-class-centred"),
        [&centred, &caption],
    )?);
    if let Some(t) = set.main_length().filter(|_| !front) {
        section.figure(population(set, t)?);
    }
    for t in set.lengths().into_iter().filter(|&t| t > 1) {
        let series: Vec<(String, Vec<f64>)> =
            set.of_length(t).iter().map(|net| (net.title.to_owned(), net.share(MAIN))).collect();
        let class = set.selection.class;
        let title = format!("{}, class {class}, T = {t}: share of each step", set.label());
        let caption = format!(
            "Figure 4.9, T = {t}. Share of each step over all {} test samples of class {class}: of the pixel intensity \
             (dashed) and of the relevance (deep Taylor). {}",
            set.selection.of_class.len(),
            where_it_lies(set, &set.of_length(t))
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
                "All methods on {}, for the samples of Figure 4.7. random does not depend on the network: a method that \
                 resembles it explains nothing.",
                net.title
            );
            let what = format!("{}, value {}", net.title, set.value);
            section.figure(each_class(set, &format!("methods-{}", file(net)), &methods, [&what, &caption])?);
        }
    }
    let pairs = set.adam().filter_map(|net| Some([net, set.by_sgd(net)?]));
    let pairs: Vec<&Net> = pairs.flatten().collect();
    if !pairs.is_empty() {
        let noise = |net: &&Net| {
            let noise = net.spread(|run: &Finished| run.measured.method(MAIN)?.noise);
            format!("{} {}", net.title, text(noise, 2))
        };
        let caption = format!(
            "Adam against SGD (section 4.4): deep Taylor heatmaps of the same samples. Their noise, Σ|R_i − R_j| / Σ|R| over \
             adjacent pixels: {}.",
            pairs.iter().map(noise).collect::<Vec<_>>().join(", ")
        );
        section.figure(each_class(
            set,
            "optimisers",
            &rows(set, &pairs, "each-class"),
            [&what(set, MAIN), &caption],
        )?);
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

/// Method and value, as they are named on a picture.
fn what(set: &Set, method: &str) -> String {
    format!("{method}, value {}", set.value)
}

/// Where the relevance of networks lies, by its numbers: those on sequences of the main length, or of the only one.
fn where_it_lies(set: &Set, nets: &[&Net]) -> String {
    let main = set.main_length().filter(|&t| nets.iter().any(|net| net.settings.seq_len == t));
    let Some(t) = main.or(nets.first().map(|net| net.settings.seq_len)).filter(|&t| t > 1) else {
        return String::new();
    };
    let of = |net: &Net| {
        let (last, cosine) = (last_steps(net)?, follows(set, net)?);
        Some(format!("{} {} and {}", net.title, shown(last), shown(cosine)))
    };
    let found: Vec<String> =
        nets.iter().filter(|net| net.settings.seq_len == t).filter_map(|net| of(net)).collect();
    format!(
        "Share of the relevance on the last {} of {t} steps, and cosine of relevance and pixels by step, over all test \
         samples of class {}: {}.",
        last_quarter(t),
        set.selection.class,
        found.join("; ")
    )
}

/// How many explained values are not positive, which turns a heatmap negative or blank.
fn negative(nets: &[&Net]) -> String {
    let of = |net: &&Net| {
        let test = &net.first().measured.test;
        (test.not_positive > 0)
            .then(|| format!("{} {} of {}", net.title, test.not_positive, test.explanations))
    };
    let found: Vec<String> = nets.iter().filter_map(of).collect();
    match found.is_empty() {
        true => "No explained logit of the test set is negative or 0 here.".to_owned(),
        false => format!(
            "Explained logits that are negative or 0, whose heatmaps in Figure 4.7 are negative or blank: {}.",
            found.join(", ")
        ),
    }
}

fn style(set: &Set) -> Style {
    let (rows, cols) = (set.selection.rows, set.selection.cols);
    Style { rows, cols, low: 0.0, high: 1.0, look: set.look }
}

/// Rows of heatmaps below one sample of each class; the texts are what is named on the picture, and the caption.
fn each_class(set: &Set, name: &str, rows: &[HeatRow], [what, caption]: [&str; 2]) -> Result<Figure> {
    let labels: Vec<String> = set.selection.labels.iter().map(u8::to_string).collect();
    let images = set.selection.each_class_images();
    let what = format!("{what}, {}", set.label());
    let grid = heat_grid(&what, &labels, &images, rows, &style(set));
    let data = json!({ "samples": set.selection.each_class, "labels": set.selection.labels });
    let name = format!("{name}-{}", set.name);
    Ok(Figure { name, caption: caption.to_owned(), picture: Picture::Svg(grid.svg()?), data })
}

/// Figure 4.8 for the first screen, with fewer samples where the page is narrow.
pub(super) fn central(set: &Set, t: usize) -> Result<Part> {
    const NARROW: usize = 5;
    Ok(Part::Wide(population(set, t)?, population_picture(set, t, NARROW)?))
}

/// Figure 4.8 of at most so many samples.
fn population_picture(set: &Set, t: usize, most: usize) -> Result<Picture> {
    let selection = set.selection;
    let n = selection.population.len().min(most);
    let labels: Vec<String> = selection.population[..n].iter().map(|i| format!("#{i}")).collect();
    let images = selection.population_images();
    let nets = set.of_length(t);
    let mut rows = rows(set, &nets, "population");
    rows.iter_mut().for_each(|row| row.maps.truncate(n));
    let what = format!("{}, {}", what(set, MAIN), set.label());
    let grid = heat_grid(&what, &labels, &images[..n.min(images.len())], &rows, &style(set));
    Ok(Picture::Svg(grid.svg()?))
}

/// Figure 4.8.
fn population(set: &Set, t: usize) -> Result<Figure> {
    let selection = set.selection;
    let caption = format!(
        "Figure 4.8. Deep Taylor heatmaps of {} random test samples of class {}, T = {t}. {}",
        selection.population.len(),
        selection.class,
        where_it_lies(set, &set.of_length(t))
    );
    Ok(Figure {
        name: format!("figure-4.8-{}", set.name),
        caption,
        picture: population_picture(set, t, usize::MAX)?,
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
            .map(|image| input(selection.rows, selection.cols, image, 0.0, 1.0, 1))
            .collect(),
        ..GridRow::default()
    };
    let grid = Grid {
        column_labels: (0..selection.classes).map(|class| class.to_string()).collect(),
        rows: nets.iter().map(row).collect(),
        note: format!(
            "prototypes by activation maximisation, {}; black to white: the pixel range",
            set.label()
        ),
        ..Grid::default()
    };
    let probabilities: Vec<Value> = nets
        .iter()
        .map(|net| json!({ "network": net.title, "probability": net.first().measured.prototype_probability }))
        .collect();
    let least = |net: &&Net| {
        let found = net.first().measured.prototype_probability.iter().copied().fold(f64::INFINITY, f64::min);
        format!("{} {found:.3}", net.title)
    };
    let caption = format!(
        "Prototypes by activation maximisation (section 3.2): for each class the image near the mean training image that \
         maximises the class probability. Structure in the shape of the class is what the network has learnt; isolated \
         pixels are adversarial patterns. The least probability of a class at its prototype: {}.",
        nets.iter().map(least).collect::<Vec<_>>().join(", ")
    );
    let name = format!("prototypes-{}", set.name);
    Ok(Figure { name, caption, picture: Picture::Svg(grid.svg()?), data: json!(probabilities) })
}

//! Table 4.5, training curves and gradient norms.

use super::networks::{Net, Set, text};
use super::printed;
use super::statements::{ACCURATE, shown};
use crate::report::curve::{Line, LineChart};
use crate::report::document::{Figure, Picture, Section};
use crate::report::matrix::Verdict;
use crate::report::table::Table;
use anyhow::Result;
use serde_json::{Value, json};

/// A chart as a figure, with its points as data.
pub(super) fn chart(name: String, caption: String, chart: &LineChart) -> Result<Figure> {
    let line = |line: &Line| json!({ "label": line.label, "points": line.points });
    let data = json!(chart.lines.iter().map(line).collect::<Vec<Value>>());
    Ok(Figure { name, caption, picture: Picture::Svg(chart.svg()?), data })
}

pub(super) fn section(sets: &[Set]) -> Result<Section> {
    let mut section = Section::new("Accuracy (section 4.5)");
    let mut table = Table::new(&[
        "data",
        "network",
        "seeds",
        "variables",
        "validation",
        "test",
        "test interval",
        "thesis",
        "difference",
        "criterion",
    ]);
    for set in sets {
        for net in &set.nets {
            let accuracy = net.accuracy();
            let thesis = printed::accuracy(set.published(), net.settings);
            let difference = accuracy.zip(thesis).map(|(ours, thesis)| ours.mean - thesis);
            let estimate = net.accuracy_estimate();
            let verdict = printed::criterion(set.published()).map(|threshold| {
                match ACCURATE.at(threshold).verdict(estimate) {
                    Verdict::Holds => "met",
                    Verdict::Fails => "not met",
                    other => other.text(),
                }
            });
            table.row(vec![
                set.label().to_owned(),
                net.title.to_owned(),
                net.runs.len().to_string(),
                net.first().outcome.variables.to_string(),
                text(net.spread(|run| Some(run.outcome.validation_accuracy)), 4),
                text(accuracy, 4),
                estimate.map_or("–".to_owned(), shown),
                thesis.map_or("–".to_owned(), |value| format!("{value:.4}")),
                difference.map_or("–".to_owned(), |value| format!("{value:+.4}")),
                verdict.unwrap_or("–").to_owned(),
            ]);
        }
    }
    let caption = "Table 4.5. Accuracy after the last epoch with its 95 % interval over the test samples, mean and deviation over seeds where \
                   there are several, the value that the thesis prints for the same network on MNIST, and whether the criterion of \
                   Table 4.4 is met.";
    section.table("table-4.5", caption, table);
    for set in sets.iter().filter(|set| !set.nets.is_empty()) {
        let loss = "Mean cross-entropy on the training samples, with dropout";
        section.figure(training(set, "train_loss", "training loss (nats)", ["loss", loss])?);
        let accuracy = "Accuracy on held-out training samples";
        let label = "validation accuracy (1 = all correct)";
        section.figure(training(set, "validation_accuracy", label, ["accuracy", accuracy])?);
        if let Some(figure) = gradients(set)? {
            section.figure(figure);
        }
    }
    Ok(section)
}

/// A column of `metrics.csv` over the epochs.
fn training(set: &Set, column: &str, y_label: &str, [name, caption]: [&str; 2]) -> Result<Figure> {
    let line = |net: &Net| {
        let of = |name: &str| net.first().metrics.get(name).cloned().unwrap_or_default();
        let points = of("epoch").into_iter().zip(of(column)).collect();
        Line { label: net.title.to_owned(), points, dashed: false }
    };
    let epochs = set.nets.iter().map(|net| net.settings.epochs).max().unwrap_or(1);
    let of = LineChart {
        title: format!("{}: {y_label}", set.label()),
        x_label: "epoch".to_owned(),
        x_ticks: if epochs <= 12 { (1..=epochs).map(|epoch| epoch as f64).collect() } else { Vec::new() },
        y_label: y_label.to_owned(),
        lines: set.nets.iter().map(line).collect(),
        ..LineChart::default()
    };
    chart(
        format!("training-{name}-{}", set.name),
        format!("{} on {}. {caption}; first seed. {}", capital(name), set.title(), from_to(set, column)),
        &of,
    )
}

/// The first and the last value of a column, by network.
fn from_to(set: &Set, column: &str) -> String {
    let of = |net: &Net| {
        let values = net.first().metrics.get(column)?;
        Some(format!("{} {:.4} to {:.4}", net.title, values.first()?, values.last()?))
    };
    let found: Vec<String> = set.nets.iter().filter_map(of).collect();
    format!("From the first epoch to the last: {}.", found.join(", "))
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// Norm of the gradient of the loss at layer 4 of each step, in the first and the last epoch.
fn gradients(set: &Set) -> Result<Option<Figure>> {
    let mut lines = Vec::new();
    for net in set.adam().filter(|net| net.settings.seq_len > 1) {
        let steps = net.settings.seq_len;
        let norms = |last: bool| -> Vec<(f64, f64)> {
            let of = |t: usize| {
                let column = net.first().metrics.get(&format!("gradient_norm_{t}"))?;
                let norm = if last { column.last() } else { column.first() };
                // Steps are counted back from the last one, at which the loss is computed.
                Some((t as f64 - steps as f64, norm?.log10()))
            };
            (1..=steps).filter_map(of).collect()
        };
        lines.push(Line { label: net.title.to_owned(), points: norms(true), dashed: false });
        if !net.has_encoder() && Some(steps) == set.main_length() {
            let label = format!("{}, epoch 1", net.title);
            lines.push(Line { label, points: norms(false), dashed: true });
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let longest = set.lengths().last().copied().unwrap_or(1) as i64;
    let of = LineChart {
        title: format!("{}: gradient norm at layer 4, by step", set.label()),
        x_label: "steps before the last one".to_owned(),
        y_label: "log₁₀ of the gradient norm".to_owned(),
        x_ticks: (1 - longest..=0).map(|t| t as f64).collect(),
        lines,
        ..LineChart::default()
    };
    let caption = format!(
        "Gradient norm at each time step on {}, mean over the last epoch (dashed: the first). The loss is at the right end; a \
         line that falls to the left is a vanishing gradient, one that rises an exploding one. The norm is in nats per unit; one on the axis is a factor of ten.",
        set.title()
    );
    chart(format!("gradients-{}", set.name), caption, &of).map(Some)
}

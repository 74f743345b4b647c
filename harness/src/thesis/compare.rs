//! Compares reproductions: what they have in common, side by side.

use super::accuracy::chart;
use super::networks::Set;
use crate::experiment::folder::Loaded;
use crate::measure::heatmaps::MAIN;
use crate::report::colormap::Look;
use crate::report::curve::{Line, LineChart};
use crate::report::document::{Figure, Picture, Report, Section};
use crate::report::panel::{HeatRow, Style, heat_grid};
use crate::report::table::Table;
use anyhow::Result;
use serde_json::json;

/// A reproduction that is compared.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// Its folder, as it is shown.
    pub name: &'a str,
    /// Its content.
    pub loaded: &'a Loaded,
    /// Its report.
    pub report: &'a Report,
}

/// `A`, `B`, …, then `27`, ….
pub fn letter(i: usize) -> String {
    let letter = u8::try_from(i).ok().filter(|&i| i < 26).map(|i| char::from(b'A' + i).to_string());
    letter.unwrap_or_else(|| (i + 1).to_string())
}

/// The curves and heatmaps of all, and the tables that the first shares with each other one, with the values of both and
/// the difference.
///
/// # Errors
/// If a figure cannot be drawn.
pub fn compare(all: &[Compared], look: Look) -> Result<Report> {
    let mut sections = vec![Section::new("Pictures and curves")];
    pictures(all, look, &mut sections[0])?;
    let Some((first, others)) = all.split_first() else { return Ok(Report::default()) };
    for (i, other) in others.iter().enumerate() {
        let (a, b) = (letter(0), letter(i + 1));
        let mut section = Section::new(&format!("{a} and {b} side by side"));
        for (name, caption, ours) in first.report.tables() {
            let Some(theirs) = other.report.table(name) else { continue };
            let file = if i == 0 { name.to_owned() } else { format!("{name}-{b}") };
            section.table(file, caption, joined(ours, theirs, [&a, &b]));
        }
        sections.push(section);
    }
    let names: Vec<String> =
        all.iter().enumerate().map(|(i, of)| format!("{} is {}", letter(i), of.name)).collect();
    let title: Vec<&str> = all.iter().map(|of| of.name).collect();
    Ok(Report {
        title: title.join(" against "),
        lead: vec![format!(
            "{}. Equal values are shown once; others as A → B, with the difference B − A if both are numbers.",
            names.join(", ")
        )],
        sections,
        ..Report::default()
    })
}

/// For every data set: validation accuracy of the networks that all have, and Figure 4.8 of each.
fn pictures(all: &[Compared], look: Look, section: &mut Section) -> Result<()> {
    let sets: Vec<Vec<Set>> = all.iter().map(|of| Set::of(of.loaded)).collect();
    let Some(first) = sets.first() else { return Ok(()) };
    for set in first {
        let name = set.name;
        let same =
            || sets.iter().enumerate().filter_map(|(i, of)| Some((i, of.iter().find(|of| of.name == name)?)));
        let nets = |i: usize, of: &Set, t: Option<usize>| -> Vec<Line> {
            let nets = of.nets.iter().filter(|net| t.is_none_or(|t| net.settings.seq_len == t));
            let line = |net: &super::networks::Net| {
                let column = |name: &str| net.first().metrics.get(name).cloned().unwrap_or_default();
                let points = column("epoch").into_iter().zip(column("validation_accuracy")).collect();
                Line {
                    label: format!("{} {}", letter(i), net.title),
                    points,
                    dashed: i > 0 && sets.len() == 2,
                }
            };
            nets.map(line).collect()
        };
        let t = set.main_length();
        let of = LineChart {
            title: format!("{}: validation accuracy", set.label()),
            x_label: "epoch".to_owned(),
            y_label: "validation accuracy (1 = all correct)".to_owned(),
            lines: same().flat_map(|(i, of)| nets(i, of, t)).collect(),
            ..LineChart::default()
        };
        let length = t.map_or(String::new(), |t| format!(", T = {t}"));
        let caption = format!("Validation accuracy on {}{length}, first seed of each.", set.title());
        section.figure(chart(format!("accuracy-{name}"), caption, &of)?);
        // Heatmaps are compared where the samples are the same.
        let pictured = |of: &Set| of.selection.population == set.selection.population;
        let rows: Vec<HeatRow> = same()
            .filter(|(_, of)| pictured(of))
            .flat_map(|(i, of)| {
                let nets = of.nets.iter().filter(move |net| Some(net.settings.seq_len) == t);
                nets.map(move |net| HeatRow {
                    label: format!("{} {}", letter(i), net.title),
                    seq_len: net.settings.seq_len,
                    maps: net.first().group(&format!("{MAIN}/population"), of.selection.size()),
                })
            })
            .collect();
        let (rows_of, cols) = (set.selection.rows, set.selection.cols);
        let style = Style { rows: rows_of, cols, low: 0.0, high: 1.0, look };
        let labels: Vec<String> = set.selection.population.iter().map(|i| format!("#{i}")).collect();
        let images = set.selection.population_images();
        let what = format!("{MAIN}, value {}, {}", set.value, set.label());
        let grid = heat_grid(&what, &labels, &images, &rows, &style);
        section.figure(Figure {
            name: format!("figure-4.8-{name}"),
            caption: format!(
                "Deep Taylor heatmaps of the same test samples of class {}{length}, of every reproduction that explains them.",
                set.selection.class
            ),
            picture: Picture::Svg(grid.svg()?),
            data: json!({ "samples": set.selection.population }),
        });
    }
    Ok(())
}

/// Rows of both tables, those of the second only at the end. Rows are matched by their first cells: as many as make the
/// rows of the first table distinct.
fn joined(a: &Table, b: &Table, [first, second]: [&str; 2]) -> Table {
    let columns: Vec<&str> = a.columns().iter().map(String::as_str).collect();
    let mut table = Table::new(&columns);
    let distinct = |keys: &usize| {
        let rows = a.rows();
        (0..rows.len()).all(|i| rows[..i].iter().all(|other| other[..*keys] != rows[i][..*keys]))
    };
    let keys = (1..columns.len()).find(distinct).unwrap_or(columns.len());
    let key = |row: &[String]| row[..keys.min(row.len())].to_vec();
    for row in a.rows() {
        match b.rows().iter().find(|other| key(other) == key(row) && other.len() == row.len()) {
            Some(other) => table.row(row.iter().zip(other).map(|(a, b)| cell(a, b)).collect()),
            None => table.row(only(row, keys, &format!("{first} only"))),
        };
    }
    for row in b.rows().iter().filter(|row| a.rows().iter().all(|other| key(other) != key(row))) {
        if row.len() == columns.len() {
            table.row(only(row, keys, &format!("{second} only")));
        }
    }
    table
}

fn only(row: &[String], keys: usize, of: &str) -> Vec<String> {
    let shown = |(i, cell): (usize, &String)| match i < keys || cell.is_empty() {
        true => cell.clone(),
        false => format!("{cell} ({of})"),
    };
    row.iter().enumerate().map(shown).collect()
}

fn cell(a: &str, b: &str) -> String {
    if a == b {
        return a.to_owned();
    }
    let number = |text: &str| text.split('±').next().and_then(|text| text.trim().parse::<f64>().ok());
    match (number(a), number(b)) {
        (Some(x), Some(y)) => {
            let decimals =
                a.split('±').next().and_then(|text| text.trim().split_once('.')).map_or(0, |(_, d)| d.len());
            match a.contains('e') {
                true => format!("{a} → {b}"),
                false => format!("{a} → {b} ({:+.decimals$})", y - x),
            }
        }
        _ => format!("{a} → {b}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_matched_by_their_first_cells() {
        let table = |rows: &[[&str; 3]]| {
            let mut table = Table::new(&["data", "network", "test"]);
            for row in rows {
                table.row(row.map(str::to_owned).to_vec());
            }
            table
        };
        let a =
            table(&[["MNIST", "Deep-7", "0.9800"], ["MNIST", "Deep-4", "0.97"], ["MNIST", "Deep-1", "0.9"]]);
        let b = table(&[
            ["MNIST", "Deep-7", "0.9850 ± 0.0010"],
            ["MNIST", "Deep-1", "0.9"],
            ["KMNIST", "Deep-7", "0.8"],
        ]);
        let joined = joined(&a, &b, ["A", "B"]);
        let last: Vec<&str> = joined.rows().iter().map(|row| &row[2][..]).collect();
        assert_eq!(last, ["0.9800 → 0.9850 ± 0.0010 (+0.0050)", "0.97 (A only)", "0.9", "0.8 (B only)"]);
    }

    #[test]
    fn words_and_powers_have_no_difference() {
        assert_eq!(cell("holds", "fails"), "holds → fails");
        assert_eq!(cell("1.0e-7", "2.0e-7"), "1.0e-7 → 2.0e-7");
        assert_eq!(cell("3", "5"), "3 → 5 (+2)");
    }
}

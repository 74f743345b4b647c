//! The report as one HTML document: style and pictures inline, no script, no external resources.

use super::document::{Figure, Part, Picture, Report, Section};
use super::formats::FigureFormats;
use super::matrix::{Cell, Matrix, Row, Verdict};
use super::svg::measures;
use super::table::Table;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

pub(super) fn page(report: &Report) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (report.title) }
                    @if !report.warning.is_empty() { p class="warning" role="note" { (report.warning) } }
                    @for line in &report.lead { p { (line) } }
                }
                main {
                    @if let Some(first) = report.sections.first() { (section(1, first, report)) }
                    nav aria-label="Sections" {
                        ul {
                            @for (i, section) in report.sections.iter().enumerate().skip(1) {
                                li { a href=(format!("#s{}", i + 1)) { (section.title) } }
                            }
                        }
                    }
                    @for (i, part) in report.sections.iter().enumerate().skip(1) { (section(i + 1, part, report)) }
                }
            }
        }
    }
}

fn section(number: usize, section: &Section, report: &Report) -> Markup {
    let single = report.single;
    let formats = (!single).then_some(&report.formats);
    html! {
        section id=(format!("s{number}")) {
            @if !section.title.is_empty() { h2 { (section.title) } }
            @for part in &section.parts {
                @match part {
                    Part::Text(text) => p { (text) },
                    Part::Table { name, caption, table } => (table_of([name, caption], table, single)),
                    Part::Figure(figure) => (figure_of(figure, None, formats)),
                    Part::Wide(figure, narrow) => (figure_of(figure, Some(narrow), formats)),
                    Part::Matrix(matrix) => (matrix_of(matrix)),
                }
            }
        }
    }
}

/// Verdicts are coloured; numbers are right-aligned; short texts are not wrapped.
fn class(cell: &str, right: bool) -> Option<&'static str> {
    match cell {
        "holds" | "met" | "done" => Some("good"),
        "fails" | "not met" | "missing" => Some("bad"),
        "not measured" | "unsure" => Some("open"),
        cell if cell.starts_with("unfinished") || cell.starts_with("damaged") => Some("bad"),
        _ if right => Some("n"),
        cell => (cell.chars().count() <= SHORT).then_some("s"),
    }
}

/// Maximum number of characters of a text that is not wrapped.
const SHORT: usize = 24;

fn table_of([name, caption]: [&str; 2], table: &Table, single: bool) -> Markup {
    let right: Vec<bool> = (0..table.columns().len()).map(|i| table.is_numeric(i)).collect();
    html! {
        figure id=(name) class="table" {
            figcaption {
                (caption)
                @if !single { " " a href=(format!("tables/{name}.csv")) { (name) ".csv" } }
            }
            div class="scroll" tabindex="0" role="region" aria-label=(caption) {
                table {
                    thead { tr {
                        @for (column, right) in table.columns().iter().zip(&right) {
                            th scope="col" class=[right.then_some("n")] { (column) }
                        }
                    } }
                    tbody {
                        @for row in table.rows() { tr {
                            @for (cell, right) in row.iter().zip(&right) {
                                td class=[class(cell, *right)] { (cell) }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// The least size of text in a figure, in pixels of the page: where the page is too narrow for it, the figure scrolls.
const LEGIBLE: f64 = 10.0;

/// A document that fills the width of the page, up to its own, as far as its text stays legible.
fn scaled(svg: &str, class: &'static str) -> Markup {
    let (width, text) = measures(svg);
    let least = if text.is_finite() { (width * LEGIBLE / text).min(width) } else { 0.0 };
    html! {
        div class=(class) style=(format!("max-width:{:.0}px;min-width:{least:.0}px", width * 1.3)) { (PreEscaped(inline(svg))) }
    }
}

/// A figure; with links to its files if it has `formats`.
fn figure_of(figure: &Figure, narrow: Option<&Picture>, formats: Option<&FigureFormats>) -> Markup {
    let files = formats.map_or(Vec::new(), |formats| formats.files(&figure.name));
    html! {
        figure id=(figure.name) {
            div class="scroll" tabindex="0" role="region" aria-label=(figure.name) {
                (scaled(figure.svg(), if narrow.is_some() { "svg wide" } else { "svg" }))
                @if let Some(Picture::Svg(svg)) = narrow { (scaled(svg, "svg narrow")) }
            }
            figcaption {
                (figure.caption)
                @for file in files { " " a href=(format!("figures/{file}")) { (file) } }
            }
        }
    }
}

fn matrix_of(matrix: &Matrix) -> Markup {
    let cells = || matrix.rows.iter().flat_map(|row| row.cells.iter().flatten());
    let longest = cells().map(|cell| cell.network.chars().count()).max().unwrap_or(0);
    let width = (longest as f64 * 0.46 + 2.0).max(6.3);
    html! {
        div class="matrix" id=(matrix.name) role="table" aria-label=(matrix.title) style=(format!("--sign:{width:.1}rem")) {
            div class="legend" {
                (matrix.title) ": "
                @for verdict in [Verdict::Holds, Verdict::Fails, Verdict::Unsure, Verdict::NotMeasured] {
                    span class=(class_of(verdict)) { (verdict.sign()) } " " (verdict.text()) " "
                }
                "· open a sign for its value"
                @if cells().any(|cell| !cell.claimed) { " · (\u{a0})\u{a0}not claimed of this network" }
            }
            @for row in &matrix.rows { (row_of(row)) }
        }
    }
}

fn class_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "good",
        Verdict::Fails => "bad",
        Verdict::Unsure | Verdict::NotMeasured => "open",
    }
}

fn row_of(row: &Row) -> Markup {
    html! {
        div class="claim" role="row" {
            div class="what" role="rowheader" { (row.claim) }
            div class="signs" {
                @for cell in &row.cells {
                    @if let Some(cell) = cell { (cell_of(cell)) } @else { div class="of" {} }
                }
            }
        }
    }
}

fn cell_of(cell: &Cell) -> Markup {
    html! {
        details role="cell" class=(if cell.claimed { "of" } else { "of other" }) {
            summary title=(cell.detail) {
                span class=(class_of(cell.verdict)) aria-label=(cell.verdict.text()) {
                    @if cell.claimed { (cell.verdict.sign()) } @else { "(" (cell.verdict.sign()) ")" }
                }
                " " (cell.network)
            }
            div class="detail" { b { (cell.network) " " (cell.verdict.text()) } ": " (cell.detail) }
        }
    }
}

/// An SVG document without its XML prologue.
fn inline(svg: &str) -> &str {
    svg.find("<svg").map_or(svg, |from| svg[from..].trim_end())
}

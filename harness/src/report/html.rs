//! The report as one HTML document: style and pictures inline, no script, no external resources.

use super::document::{Figure, Part, Picture, Report, Section};
use super::table::Table;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
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
                    @for line in &report.lead { p { (line) } }
                    nav aria-label="Sections" {
                        ul {
                            @for (i, section) in report.sections.iter().enumerate() {
                                li { a href=(format!("#s{}", i + 1)) { (section.title) } }
                            }
                        }
                    }
                }
                main {
                    @for (i, part) in report.sections.iter().enumerate() { (section(i + 1, part)) }
                }
            }
        }
    }
}

fn section(number: usize, section: &Section) -> Markup {
    html! {
        section id=(format!("s{number}")) {
            h2 { (section.title) }
            @for part in &section.parts {
                @match part {
                    Part::Text(text) => p { (text) },
                    Part::Table { name, caption, table } => (table_of(name, caption, table)),
                    Part::Figure(figure) => (figure_of(figure)),
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
        "not measured" => Some("open"),
        cell if cell.starts_with("unfinished") || cell.starts_with("damaged") => Some("bad"),
        _ if right => Some("n"),
        cell => (cell.chars().count() <= SHORT).then_some("s"),
    }
}

/// Characters of a text that is not wrapped.
const SHORT: usize = 24;

fn table_of(name: &str, caption: &str, table: &Table) -> Markup {
    let right: Vec<bool> = (0..table.columns().len()).map(|i| table.is_numeric(i)).collect();
    html! {
        figure id=(name) class="table" {
            figcaption { (caption) }
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

fn figure_of(figure: &Figure) -> Markup {
    html! {
        figure id=(figure.name) {
            div class="scroll" tabindex="0" role="region" aria-label=(figure.name) {
                @match &figure.picture {
                    Picture::Svg(svg) => (PreEscaped(inline(svg))),
                    Picture::Png(png, width) => {
                        img alt=(figure.caption) width=(width)
                            src=(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png)));
                    },
                }
            }
            figcaption { (figure.caption) }
        }
    }
}

/// An SVG document without its XML prologue.
fn inline(svg: &str) -> &str {
    svg.find("<svg").map_or(svg, |from| svg[from..].trim_end())
}

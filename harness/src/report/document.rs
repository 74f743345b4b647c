//! A report as data: sections of text, tables and figures. The page, the JSON, the CSVs and the figure files
//! are written from one value, so that they always agree.

use super::formats::FigureFormats;
use super::matrix::Matrix;
use super::table::Table;
use super::tidy;
use serde_json::{Value, json};

/// The version of the structure of `report.json`: `docs/report.md` describes it.
pub const SCHEMA: u32 = 2;

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its title.
    pub title: String,
    /// What a reader must know before anything else, such as a run that was cut short; none if empty.
    pub warning: String,
    /// Introductory paragraphs: what ran, and the result.
    pub lead: Vec<String>,
    /// Its sections; the first follows the introduction at once, the table of contents follows it.
    pub sections: Vec<Section>,
    /// Whether the page stands alone, without files of figures and tables that it could link to.
    pub single: bool,
    /// The formats of its figure files.
    pub formats: FigureFormats,
    /// Every number at full precision, for machines.
    pub data: Value,
}

/// A section.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Its parts, from the top.
    pub parts: Vec<Part>,
}

/// A part of a section.
#[derive(Clone, Debug)]
pub enum Part {
    /// A paragraph.
    Text(String),
    /// A table.
    Table {
        /// Its name in files: `table-4.5-mnist`.
        name: String,
        /// Its caption.
        caption: String,
        /// The table.
        table: Table,
    },
    /// A figure.
    Figure(Figure),
    /// A figure and one with fewer columns, which narrow screens show instead.
    Wide(Figure, Picture),
    /// Claims and networks.
    Matrix(Matrix),
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name in files: `figure-4.7-mnist`.
    pub name: String,
    /// Its caption: content and interpretation.
    pub caption: String,
    /// The picture.
    pub picture: Picture,
    /// The numbers it is drawn from, if they are not in a table.
    pub data: Value,
}

/// A picture of a figure.
#[derive(Clone, Debug)]
pub enum Picture {
    /// An SVG document.
    Svg(String),
}

impl Figure {
    /// Its SVG document.
    pub fn svg(&self) -> &str {
        let Picture::Svg(svg) = &self.picture;
        svg
    }
}

impl Section {
    /// A section without parts.
    pub fn new(title: &str) -> Section {
        Section { title: title.to_owned(), parts: Vec::new() }
    }

    /// Adds a paragraph.
    pub fn text(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    /// Adds a table, unless it has no rows.
    pub fn table(&mut self, name: impl Into<String>, caption: impl Into<String>, table: Table) {
        if !table.rows().is_empty() {
            self.parts.push(Part::Table { name: name.into(), caption: caption.into(), table });
        }
    }

    /// Adds claims and networks, unless there are none.
    pub fn matrix(&mut self, matrix: Matrix) {
        if !matrix.rows.is_empty() {
            self.parts.push(Part::Matrix(matrix));
        }
    }

    /// Adds a figure.
    pub fn figure(&mut self, figure: Figure) {
        self.parts.push(Part::Figure(figure));
    }
}

impl Report {
    /// All tables with their names.
    pub fn tables(&self) -> impl Iterator<Item = (&str, &str, &Table)> {
        self.sections.iter().flat_map(|section| &section.parts).filter_map(|part| match part {
            Part::Table { name, caption, table } => Some((&name[..], &caption[..], table)),
            _ => None,
        })
    }

    /// The table with a name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables().find(|(other, ..)| *other == name).map(|(_, _, table)| table)
    }

    /// All figures.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.sections.iter().flat_map(|section| &section.parts).filter_map(|part| match part {
            Part::Figure(figure) | Part::Wide(figure, _) => Some(figure),
            _ => None,
        })
    }

    /// The content of the page, and the numbers at full precision.
    pub fn json(&self) -> Value {
        let part = |part: &Part| match part {
            Part::Text(text) => json!({ "text": text }),
            Part::Table { name, caption, table } => {
                json!({ "table": name, "caption": caption, "file": format!("tables/{name}.csv"), "titles": table.columns(), "rows": tidy::to_json(table) })
            }
            Part::Matrix(matrix) => matrix.json(),
            Part::Figure(figure) | Part::Wide(figure, _) => {
                let files =
                    self.formats.files(&figure.name).into_iter().map(|file| format!("figures/{file}"));
                let files: Vec<String> = files.collect();
                json!({ "figure": figure.name, "caption": figure.caption, "file": files.first(), "files": files, "data": figure.data })
            }
        };
        let section = |section: &Section| json!({ "title": section.title, "parts": section.parts.iter().map(part).collect::<Vec<_>>() });
        let sections: Vec<Value> = self.sections.iter().map(section).collect();
        json!({ "schema": SCHEMA, "title": self.title, "warning": self.warning, "lead": self.lead, "sections": sections, "data": self.data })
    }
}

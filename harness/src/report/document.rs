//! A report as data: sections of text, tables and figures. One value makes the page, the JSON, the CSVs and the figure
//! files, so that they always agree.

use super::table::Table;
use serde_json::{Value, json};

/// A report.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its title.
    pub title: String,
    /// Introductory paragraphs.
    pub lead: Vec<String>,
    /// Its sections.
    pub sections: Vec<Section>,
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
        /// What it shows.
        caption: String,
        /// The table.
        table: Table,
    },
    /// A figure.
    Figure(Figure),
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name in files: `figure-4.7-mnist`.
    pub name: String,
    /// What it shows and what to look for.
    pub caption: String,
    /// The picture.
    pub picture: Picture,
    /// The numbers it is drawn from, where they are not in a table.
    pub data: Value,
}

/// A picture of a figure.
#[derive(Clone, Debug)]
pub enum Picture {
    /// An SVG document.
    Svg(String),
    /// A PNG file, and its width in pixels.
    Png(Vec<u8>, usize),
}

impl Figure {
    pub(super) fn file(&self) -> String {
        match self.picture {
            Picture::Svg(_) => format!("{}.svg", self.name),
            Picture::Png(..) => format!("{}.png", self.name),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match &self.picture {
            Picture::Svg(svg) => svg.as_bytes(),
            Picture::Png(png, _) => png,
        }
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

    /// One of them.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables().find(|(other, ..)| *other == name).map(|(_, _, table)| table)
    }

    /// All figures.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.sections.iter().flat_map(|section| &section.parts).filter_map(|part| match part {
            Part::Figure(figure) => Some(figure),
            _ => None,
        })
    }

    /// The content of the page, and the numbers at full precision.
    pub fn json(&self) -> Value {
        let part = |part: &Part| match part {
            Part::Text(text) => json!({ "text": text }),
            Part::Table { name, caption, table } => {
                json!({ "table": name, "caption": caption, "file": format!("tables/{name}.csv"), "rows": table.to_json() })
            }
            Part::Figure(figure) => {
                let file = format!("figures/{}", figure.file());
                json!({ "figure": figure.name, "caption": figure.caption, "file": file, "data": figure.data })
            }
        };
        let section = |section: &Section| json!({ "title": section.title, "parts": section.parts.iter().map(part).collect::<Vec<_>>() });
        let sections: Vec<Value> = self.sections.iter().map(section).collect();
        json!({ "title": self.title, "lead": self.lead, "sections": sections, "data": self.data })
    }
}

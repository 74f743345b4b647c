//! Tables: as aligned text for people, and as JSON for programs.

use crate::io::show::escape;
use serde_json::{Map, Number, Value};
use std::fmt;

/// Rows under named columns. A column that holds numbers only is aligned at its right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// Adds a row; an empty text is a missing value.
    ///
    /// # Panics
    /// If the number of cells differs from the number of columns.
    pub fn row(&mut self, cells: Vec<String>) -> &mut Self {
        assert_eq!(
            cells.len(),
            self.columns.len(),
            "a row of {} cells in a table of {} columns",
            cells.len(),
            self.columns.len()
        );
        self.rows.push(cells);
        self
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows, one text per column.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Whether a column holds numbers only, which are right-aligned.
    pub fn is_numeric(&self, column: usize) -> bool {
        let mut cells =
            self.rows.iter().map(|row| row[column].as_str()).filter(|cell| !is_missing(cell)).peekable();
        cells.peek().is_some() && cells.all(is_number)
    }

    /// As comma-separated values; a cell with a comma, a quote or a line end is quoted.
    pub fn to_csv(&self) -> String {
        let cell = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let line = |row: &Vec<String>| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
        std::iter::once(&self.columns).chain(&self.rows).map(line).collect()
    }

    /// One object per row, keyed by column: a number if the text is a JSON number, null if it is empty,
    /// otherwise text.
    pub fn to_json(&self) -> Value {
        let value = |cell: &String| match (cell.is_empty(), serde_json::from_str::<Number>(cell)) {
            (true, _) => Value::Null,
            (false, Ok(number)) => Value::Number(number),
            (false, Err(_)) => Value::String(cell.clone()),
        };
        let object = |row: &Vec<String>| {
            self.columns.iter().cloned().zip(row.iter().map(value)).collect::<Map<_, _>>()
        };
        self.rows.iter().map(|row| Value::Object(object(row))).collect()
    }
}

fn is_missing(cell: &str) -> bool {
    matches!(cell, "" | "-" | "–" | "—")
}

/// Whether the text is a number, optionally followed by a percent or times sign, or by an error after `±`.
fn is_number(cell: &str) -> bool {
    cell.split('±')
        .all(|part| part.trim().trim_end_matches(['%', '×', 'x']).trim_end().parse::<f64>().is_ok())
}

impl fmt::Display for Table {
    /// The column names, a rule, the rows; two spaces between columns and none at the end of a line.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let escaped = |row: &Vec<String>| row.iter().map(|cell| escape(cell).into_owned()).collect();
        let all: Vec<Vec<String>> = std::iter::once(&self.columns).chain(&self.rows).map(escaped).collect();
        let rows = || all.iter();
        let width = |column: usize| rows().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let layout: Vec<(usize, bool)> =
            (0..self.columns.len()).map(|i| (width(i), self.is_numeric(i))).collect();
        for (i, row) in rows().enumerate() {
            let cells = row.iter().zip(&layout).map(|(cell, &(width, right))| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
            if i == 0 {
                writeln!(
                    f,
                    "{}",
                    layout.iter().map(|&(width, _)| "-".repeat(width)).collect::<Vec<_>>().join("  ")
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracies() -> Table {
        let mut table = Table::new(&["cell", "T", "accuracy", "speed"]);
        table.row(vec!["Shallow".into(), "1".into(), "0.9813".into(), "1.5x".into()]);
        table.row(vec!["Deep".into(), "14".into(), "".into(), "–".into()]);
        table
    }

    #[test]
    fn numbers_are_right_aligned() {
        let expected = "\
cell      T  accuracy  speed
-------  --  --------  -----
Shallow   1    0.9813   1.5x
Deep     14                –
";
        assert_eq!(accuracies().to_string(), expected);
    }

    #[test]
    fn json_keeps_numbers_text_and_absence() {
        let json = accuracies().to_json();
        assert_eq!(
            json[0],
            serde_json::json!({"cell": "Shallow", "T": 1, "accuracy": 0.9813, "speed": "1.5x"})
        );
        assert_eq!(json[1]["accuracy"], Value::Null);
    }

    #[test]
    fn csv_quotes_what_would_be_misread() {
        let mut table = Table::new(&["claim", "value"]);
        table.row(vec!["Deep-4, -7 \"follow\"".into(), "0.9".into()]);
        assert_eq!(table.to_csv(), "claim,value\n\"Deep-4, -7 \"\"follow\"\"\",0.9\n");
    }

    #[test]
    fn a_table_without_rows_is_its_heading() {
        assert_eq!(Table::new(&["a", "bc"]).to_string(), "a  bc\n-  --\n");
        assert_eq!(Table::new(&["a"]).to_json(), serde_json::json!([]));
    }

    #[test]
    #[should_panic(expected = "a row of 1 cells in a table of 2 columns")]
    fn a_row_of_wrong_length_panics() {
        Table::new(&["a", "b"]).row(vec!["x".into()]);
    }
}

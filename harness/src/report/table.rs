//! Tables, as aligned text for people.

use crate::io::show::escape;
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
}

pub(super) fn is_missing(cell: &str) -> bool {
    matches!(cell, "" | "-" | "–" | "—")
}

/// Whether the text is a number, optionally followed by a percent or times sign, by an error after `±`, or by an interval.
fn is_number(cell: &str) -> bool {
    let parts = |c: char| matches!(c, '±' | '[' | ',' | ']');
    let bare = cell.strip_suffix(']').filter(|_| cell.contains('[')).unwrap_or(cell);
    bare.split(parts)
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
    fn values_with_errors_and_intervals_are_numbers() {
        for cell in ["0.5", "0.98 ± 0.01", "1.2 [1.0, 1.5]", "-3", "1.5x"] {
            assert!(is_number(cell), "{cell}");
        }
        for cell in ["Deep-7", "0.5]", "≥ 1", "1 [x, 2]"] {
            assert!(!is_number(cell), "{cell}");
        }
    }

    #[test]
    fn a_table_without_rows_is_its_heading() {
        assert_eq!(Table::new(&["a", "bc"]).to_string(), "a  bc\n-  --\n");
    }

    #[test]
    #[should_panic(expected = "a row of 1 cells in a table of 2 columns")]
    fn a_row_of_wrong_length_panics() {
        Table::new(&["a", "b"]).row(vec!["x".into()]);
    }
}

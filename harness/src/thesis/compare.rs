//! Compares two reproductions: every table that both have, row by row.

use crate::report::document::{Report, Section};
use crate::report::table::Table;
use serde_json::Value;

/// The tables that two reports share, with the values of both and the difference.
pub fn compare(names: [&str; 2], reports: [&Report; 2]) -> Report {
    let mut section = Section::new("Side by side");
    let [a, b] = reports;
    for (name, caption, ours) in a.tables() {
        let Some(theirs) = b.table(name) else { continue };
        section.table(name, caption, joined(ours, theirs));
    }
    Report {
        title: format!("{} against {}", names[0], names[1]),
        lead: vec![format!(
            "A is {}, B is {}. Equal values are shown once; others as A → B, with the difference B − A if both are \
             numbers.",
            names[0], names[1]
        )],
        sections: vec![section],
        data: Value::Null,
    }
}

/// Rows of both tables, those of the second only at the end. Rows are matched by their first cells: as many as make the
/// rows of the first table distinct.
fn joined(a: &Table, b: &Table) -> Table {
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
            None => table.row(only(row, keys, "A only")),
        };
    }
    for row in b.rows().iter().filter(|row| a.rows().iter().all(|other| key(other) != key(row))) {
        if row.len() == columns.len() {
            table.row(only(row, keys, "B only"));
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
        let joined = joined(&a, &b);
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

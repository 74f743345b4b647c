//! Tables for programs: one value a column, plain ASCII names, empty where there is no value.
//!
//! A cell `0.981 ± 0.002` becomes `x` and `x_std`, `0.97 [0.96, 0.98]` becomes `x`, `x_low` and `x_high`, `≤ 0.01` becomes
//! `x_relation` (`<=`) and `x`; a dash becomes nothing. Columns that share the name of a step (`1`, `2`, …) become `step_1`, ….

use super::table::{Table, is_missing};
use serde_json::{Map, Number, Value};

/// The parts of a column that its cells have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    deviation: bool,
    interval: bool,
    relation: bool,
}

/// A cell in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Split {
    value: String,
    deviation: String,
    low: String,
    high: String,
    relation: String,
}

fn is_plain(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

fn split(cell: &str) -> Split {
    let cell = cell.trim();
    let whole = Split { value: cell.to_owned(), ..Split::default() };
    if is_missing(cell) {
        return Split::default();
    }
    let number = cell.replace('−', "-");
    if is_plain(&number) {
        return Split { value: number.trim_start_matches('+').to_owned(), ..Split::default() };
    }
    if let Some((value, deviation)) = number.split_once('±').map(|(a, b)| (a.trim(), b.trim()))
        && is_plain(value)
        && is_plain(deviation)
    {
        return Split { value: value.to_owned(), deviation: deviation.to_owned(), ..Split::default() };
    }
    if let Some((value, rest)) = number.split_once('[')
        && let Some((low, high)) = rest.trim_end().strip_suffix(']').and_then(|ends| ends.split_once(','))
    {
        let [value, low, high] = [value, low, high].map(|text| text.trim().to_owned());
        if [&value, &low, &high].into_iter().all(|text| is_plain(text)) {
            return Split { value, low, high, ..Split::default() };
        }
    }
    for (sign, relation) in [('≤', "<="), ('≥', ">=")] {
        if let Some(value) = number.strip_prefix(sign).map(str::trim).filter(|value| is_plain(value)) {
            return Split { value: value.to_owned(), relation: relation.to_owned(), ..Split::default() };
        }
    }
    whole
}

/// A name of lower case letters, digits and underscores.
pub fn name(column: &str) -> String {
    let mut found = String::new();
    for character in column.chars() {
        let text = match character {
            c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase().to_string(),
            '≤' => "le".to_owned(),
            '≥' => "ge".to_owned(),
            '>' => "gt".to_owned(),
            '<' => "lt".to_owned(),
            '%' => "percent".to_owned(),
            '₁' => "1".to_owned(),
            '₂' => "2".to_owned(),
            'ã' => "root".to_owned(),
            'ϵ' | 'ε' => "eps".to_owned(),
            '+' => "plus".to_owned(),
            '\u{303}' => "root".to_owned(),
            _ => "_".to_owned(),
        };
        let apart = matches!(character, '≤' | '≥' | '>' | '<' | '%' | '+');
        if apart && !found.ends_with('_') && !found.is_empty() {
            found.push('_');
        }
        if text != "_" || !found.ends_with('_') {
            found.push_str(&text);
        }
    }
    let found = found.trim_matches('_');
    match found {
        "" => "column".to_owned(),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("step_{number}"),
        name => name.to_owned(),
    }
}

/// Names and cells.
fn tidy(table: &Table) -> (Vec<String>, Vec<Vec<String>>) {
    let rows: Vec<Vec<Split>> =
        table.rows().iter().map(|row| row.iter().map(|cell| split(cell)).collect()).collect();
    let parts = |column: usize| {
        rows.iter().map(|row| &row[column]).fold(Parts::default(), |found, cell| Parts {
            deviation: found.deviation || !cell.deviation.is_empty(),
            interval: found.interval || !cell.low.is_empty(),
            relation: found.relation || !cell.relation.is_empty(),
        })
    };
    let parts: Vec<Parts> = (0..table.columns().len()).map(parts).collect();
    let mut names: Vec<String> = Vec::new();
    for (column, parts) in table.columns().iter().zip(&parts) {
        let base = name(column);
        let mut further = (2..).map(|i| format!("{base}_{i}"));
        let mut base = base.clone();
        while names.contains(&base) {
            // The numbers do not end.
            base = further.next().unwrap_or_default();
        }
        if parts.relation {
            names.push(format!("{base}_relation"));
        }
        names.push(base.clone());
        if parts.deviation {
            names.push(format!("{base}_std"));
        }
        if parts.interval {
            names.extend([format!("{base}_low"), format!("{base}_high")]);
        }
    }
    let cells = |row: Vec<Split>| {
        let mut cells = Vec::new();
        for (cell, parts) in row.into_iter().zip(&parts) {
            if parts.relation {
                cells.push(cell.relation);
            }
            cells.push(cell.value);
            if parts.deviation {
                cells.push(cell.deviation);
            }
            if parts.interval {
                cells.extend([cell.low, cell.high]);
            }
        }
        cells
    };
    (names, rows.into_iter().map(cells).collect())
}

/// The names of the columns, as files have them.
pub fn names(table: &Table) -> Vec<String> {
    tidy(table).0
}

/// As comma-separated values; a cell with a comma, a quote or a line end is quoted.
pub fn to_csv(table: &Table) -> String {
    let (names, rows) = tidy(table);
    let cell = |cell: &String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    let line = |row: &Vec<String>| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
    std::iter::once(&names).chain(&rows).map(line).collect()
}

/// One object per row, keyed by column: a number if the text is a JSON number, null if it is empty, otherwise text.
pub fn to_json(table: &Table) -> Value {
    let (names, rows) = tidy(table);
    let value = |cell: &String| match (cell.is_empty(), serde_json::from_str::<Number>(cell)) {
        (true, _) => Value::Null,
        (false, Ok(number)) => Value::Number(number),
        (false, Err(_)) => Value::String(cell.clone()),
    };
    let object = |row: &Vec<String>| names.iter().cloned().zip(row.iter().map(value)).collect::<Map<_, _>>();
    rows.iter().map(|row| Value::Object(object(row))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: &[&[&str]]) -> Table {
        let mut table = Table::new(columns);
        for row in rows {
            table.row(row.iter().map(ToString::to_string).collect());
        }
        table
    }

    #[test]
    fn every_value_has_its_own_column() {
        let of = table(
            &["network", "test", "f ≤ 0", "value", "threshold", "1"],
            &[
                &["Deep-7", "0.9800 ± 0.0010", "3", "0.97 [0.96, 0.98]", "≥ 0.9", "0.5"],
                &["Shallow, 7", "0.97", "–", "", "≤ 1.0e-4", "−0.5"],
            ],
        );
        let expected = "network,test,test_std,f_le_0,value,value_low,value_high,threshold_relation,threshold,step_1\n\
            Deep-7,0.9800,0.0010,3,0.97,0.96,0.98,>=,0.9,0.5\n\
            \"Shallow, 7\",0.97,,,,,,<=,1.0e-4,-0.5\n";
        assert_eq!(to_csv(&of), expected);
    }

    #[test]
    fn names_are_plain_ascii_and_differ() {
        let found =
            ["absorb > 1e-4", "JS distance", "share in step", "v₁", "R₁ + R₂", "α", "background: most"]
                .map(name);
        let expected = [
            "absorb_gt_1e_4",
            "js_distance",
            "share_in_step",
            "v1",
            "r1_plus_r2",
            "column",
            "background_most",
        ];
        assert_eq!(found, expected);
        assert_eq!(to_csv(&table(&["a", "A"], &[&["1", "2"]])), "a,a_2\n1,2\n");
    }

    #[test]
    fn json_keeps_numbers_text_and_absence() {
        let json =
            to_json(&table(&["cell", "accuracy", "speed"], &[&["Deep", "0.5", "–"], &["x ± y", "1", "2"]]));
        assert_eq!(json[0], serde_json::json!({"cell": "Deep", "accuracy": 0.5, "speed": null}));
        assert_eq!(json[1]["cell"], "x ± y");
    }
}

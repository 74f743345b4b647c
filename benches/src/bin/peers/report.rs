//! Tables of the figures: a list of columns selects what is printed, and the rows are the JSON.

use serde_json::Value;

/// A figure of each row: its key in JSON, its heading, and its decimals.
pub type Column<'a> = (&'a str, &'a str, usize);

/// Rows under headings, aligned to the right; a column that no row has is left out.
pub fn table(columns: &[Column], rows: &[Value]) -> String {
    let mut lines = vec![String::new(); rows.len() + 1];
    for &(key, heading, decimals) in columns {
        if rows.iter().all(|row| row.get(key).is_none()) {
            continue;
        }
        let mut cells = vec![heading.to_owned()];
        cells.extend(rows.iter().map(|row| cell(&row[key], decimals)));
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(cells) {
            let gap = if line.is_empty() { "" } else { "  " };
            line.push_str(&format!("{gap}{cell:>width$}"));
        }
    }
    lines.join("\n")
}

fn cell(value: &Value, decimals: usize) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => format!("{:.decimals$}", number.as_f64().unwrap_or(f64::NAN)),
        _ => "–".to_owned(),
    }
}

/// The CPU's name, if the system reports it.
pub fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// The version of a crate in the lock file of this build.
pub fn locked(name: &str) -> &'static str {
    const LOCK: &str = include_str!("../../../../Cargo.lock");
    let package = format!("name = \"{name}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != package);
    lines.nth(1).and_then(|line| line.strip_prefix("version = ")).map_or("unknown", |v| v.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_as_wide_as_its_widest_cell_and_leaves_out_what_no_row_has() {
        let columns = [("name", "name", 0), ("none", "none", 1), ("x", "×", 2)];
        let rows = [json!({ "name": "50×10", "x": 1.236 }), json!({ "name": "z⁺", "x": 10 })];
        assert_eq!(table(&columns, &rows), " name      ×\n50×10   1.24\n   z⁺  10.00");
    }

    #[test]
    fn the_peers_are_in_the_lock_file() {
        assert!(locked("gemm").starts_with("0.19."), "{}", locked("gemm"));
        assert!(locked("matrixmultiply").starts_with("0.3."), "{}", locked("matrixmultiply"));
        assert_eq!(locked("no-such-crate"), "unknown");
    }
}

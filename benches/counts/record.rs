//! What callgrind counted, and the committed record.

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Instructions of a call may differ from the record by this share.
pub const TOLERANCE: f64 = 0.02;

/// What one call of a kernel took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    pub instructions: f64,
    /// One an access of the first cache, five of the last, 35 of memory: an estimate that ignores everything else.
    pub cycles: f64,
}

impl Count {
    /// From the events and the totals of a dump of callgrind.
    ///
    /// # Errors
    /// If a line or an event is missing.
    pub fn of(dump: &str) -> Result<Count> {
        let after = |key: &str| dump.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let events = after("events:").context("callgrind wrote no `events:`")?;
        let totals = after("totals:").or(after("summary:")).context("callgrind wrote no `totals:`")?;
        let totals: Vec<f64> = totals.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let total = |name: &str| -> Result<f64> {
            let at = events.split_whitespace().position(|event| event == name);
            // Events at the end of the line that did not occur are left out.
            at.map(|at| totals.get(at).copied().unwrap_or(0.0)).with_context(|| format!("no event {name}"))
        };
        let sum = |names: [&str; 3]| names.into_iter().map(total).sum::<Result<f64>>();
        let (all, missed, memory) =
            (sum(["Ir", "Dr", "Dw"])?, sum(["I1mr", "D1mr", "D1mw"])?, sum(["ILmr", "DLmr", "DLmw"])?);
        let cycles = (all - missed) + 5.0 * (missed - memory) + 35.0 * memory;
        Ok(Count { instructions: total("Ir")?, cycles })
    }

    fn json(self) -> Value {
        json!({ "instructions": self.instructions, "cycles": self.cycles })
    }

    fn from_json(value: &Value) -> Option<Count> {
        let number = |key: &str| value.get(key)?.as_f64();
        Some(Count { instructions: number("instructions")?, cycles: number("cycles")? })
    }
}

/// Counts by kernel and shape.
pub type Record = Vec<(String, Count)>;

/// Reads a record.
///
/// # Errors
/// If the file cannot be read or is no record.
pub fn read(path: &Path) -> Result<Record> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let value: Map<String, Value> =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let counts = value.into_iter().map(|(name, count)| Some((name, Count::from_json(&count)?)));
    counts.collect::<Option<_>>().with_context(|| format!("{}: no record of counts", path.display()))
}

/// Writes a record.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, record: &Record) -> Result<()> {
    let map: Map<String, Value> = record.iter().map(|(name, count)| (name.clone(), count.json())).collect();
    let text = serde_json::to_string_pretty(&map)? + "\n";
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Compares counts with a record; a line for each kernel.
///
/// # Errors
/// If one takes more or fewer instructions than the record allows, or is not in it.
pub fn compare(found: &Record, record: &Record) -> Result<Vec<String>> {
    let (mut lines, mut outside) = (Vec::new(), 0);
    for (name, count) in found {
        let Some((_, before)) = record.iter().find(|(other, _)| other == name) else {
            outside += 1;
            lines.push(format!("{name}: {:.0} instructions, not in the record", count.instructions));
            continue;
        };
        let percent = |now: f64, before: f64| 100.0 * (now / before - 1.0);
        let change = percent(count.instructions, before.instructions);
        let mark = if change.abs() > 100.0 * TOLERANCE { "  <-- outside" } else { "" };
        outside += usize::from(!mark.is_empty());
        lines.push(format!(
            "{name}: {:.0} instructions, {change:+.2} %; estimated cycles {:+.2} %{mark}",
            count.instructions,
            percent(count.cycles, before.cycles)
        ));
    }
    let report = lines.join("\n");
    ensure!(
        outside == 0,
        "{report}\n{outside} of {} kernels differ from the record by more than {} %, or are not in it. If this is \
         wanted, write a new record: cargo bench --bench counts -- --record",
        found.len(),
        100.0 * TOLERANCE
    );
    Ok(lines)
}

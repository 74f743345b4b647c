//! What callgrind counted, and the committed record.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;

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
pub type Counts = Vec<(String, Count)>;

/// What counts depend on besides the kernels.
#[derive(Debug, PartialEq)]
pub struct Tools {
    /// `rustc --version` of the build
    pub compiler: String,
    /// `valgrind --version`; empty if there is none
    pub valgrind: String,
}

impl Tools {
    /// Those of this build and this machine.
    pub fn here() -> Tools {
        let found = Command::new("valgrind").arg("--version").output().map(|found| found.stdout);
        let valgrind = found.map(|text| String::from_utf8_lossy(&text).trim().to_owned()).unwrap_or_default();
        Tools { compiler: env!("COMPILER").to_owned(), valgrind }
    }

    /// Why counts of `here` cannot be compared with those of a record made with `self`.
    pub fn difference(&self, here: &Tools) -> Option<String> {
        if here.valgrind.is_empty() {
            Some("valgrind is not installed".to_owned())
        } else if self != here {
            let Tools { compiler, valgrind } = self;
            Some(format!(
                "the record is of {compiler}, {valgrind}; here are {}, {}",
                here.compiler, here.valgrind
            ))
        } else {
            None
        }
    }
}

/// The committed file.
pub struct Record {
    pub tools: Tools,
    pub counts: Counts,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// If the file cannot be read or is no record.
    pub fn read(path: &Path) -> Result<Record> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let value: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        Record::from_json(&value).with_context(|| format!("{}: no record of counts", path.display()))
    }

    fn from_json(value: &Value) -> Option<Record> {
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let counts = value.get("counts")?.as_object()?.iter();
        let counts = counts.map(|(name, count)| Some((name.clone(), Count::from_json(count)?)));
        let tools = Tools { compiler: text("compiler")?, valgrind: text("valgrind")? };
        Some(Record { tools, counts: counts.collect::<Option<_>>()? })
    }

    /// Writes a record.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let counts: Map<String, Value> =
            self.counts.iter().map(|(name, count)| (name.clone(), count.json())).collect();
        let Tools { compiler, valgrind } = &self.tools;
        let value = json!({ "compiler": compiler, "valgrind": valgrind, "counts": counts });
        let text = serde_json::to_string_pretty(&value)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())
    }
}

/// A table of counts and those of a record, a line a kernel, and the number of kernels that take more or fewer
/// instructions than the record allows, or are not in it.
pub fn compare(found: &Counts, record: &Counts) -> (String, usize) {
    let longest = found.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(6);
    let heading = ["before", "after", "percent", "cycles, percent"];
    let mut table = format!("{:longest$}", "kernel");
    table += &heading.map(|text| format!("  {text:>10}")).concat();
    let mut outside = 0;
    for (name, count) in found {
        table += &format!("\n{name:longest$}");
        let after = count.instructions;
        let Some((_, before)) = record.iter().find(|(other, _)| other == name) else {
            outside += 1;
            table += &format!("  {:>10}  {after:>10}  <-- not in the record", "–");
            continue;
        };
        let percent = |now: f64, before: f64| 100.0 * (now / before - 1.0);
        let change = percent(after, before.instructions);
        let cycles = percent(count.cycles, before.cycles);
        table += &format!("  {:>10}  {after:>10}  {change:>+10.2}  {cycles:>+15.2}", before.instructions);
        if change.abs() > 100.0 * TOLERANCE {
            outside += 1;
            table += "  <-- outside";
        }
    }
    (table, outside)
}

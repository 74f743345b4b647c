//! `harness profile compare`: two results of `harness profile --json`, kernel by kernel.

use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::io::file;
use crate::io::output::{out, outln, write_json_result};
use crate::io::show::shown;
use crate::report::table::Table;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;

/// A kernel at one shape in one result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kernel {
    /// Name and shape.
    pub name: [String; 2],
    pub calls: f64,
    /// Microseconds of a call: least, first quartile, median, third quartile.
    pub us: [f64; 4],
}

/// The kernels of a result; an older program writes medians only.
///
/// # Errors
/// If it is not a result of `harness profile --json`.
pub(super) fn kernels(result: &Value) -> Result<Vec<Kernel>> {
    let kernel = |call: &Value| -> Option<Kernel> {
        let text = |key: &str| Some(call.get(key)?.as_str()?.to_owned());
        let calls = call.get("calls_per_step")?.as_f64()?;
        let median = call.get("us_per_step")?.as_f64()? / calls;
        let quantile =
            |key: &str| call.get("us_per_call").and_then(|us| us.get(key)?.as_f64()).unwrap_or(median);
        let us = ["min", "q1", "median", "q3"].map(quantile);
        Some(Kernel { name: [text("kernel")?, text("shape")?], calls, us })
    };
    let calls = result.get("calls").and_then(Value::as_array);
    let kernels = calls.and_then(|calls| calls.iter().map(kernel).collect::<Option<Vec<_>>>());
    Ok(kernels.ok_or_else(|| UsageError("is not a result of `harness profile --json`".to_owned()))?)
}

/// A change of less than this share is called none.
pub(super) const SMALL: f64 = 0.03;

/// What can be said about a ratio that lies between `low` and `high`.
pub(super) fn verdict([low, high]: [f64; 2]) -> &'static str {
    if low > 1.0 + SMALL {
        "slower"
    } else if high < 1.0 - SMALL {
        "faster"
    } else if low > 1.0 {
        "slower, perhaps by less than 3 %"
    } else if high < 1.0 {
        "faster, perhaps by less than 3 %"
    } else if low >= 1.0 - SMALL && high <= 1.0 + SMALL {
        "the same within 3 %"
    } else {
        "too noisy to say"
    }
}

/// The ratio of two kernels, and the bounds that their quartiles allow: the quarter of the calls that was slow in one
/// result and fast in the other must agree before a difference is called one.
fn ratio(a: &Kernel, b: &Kernel) -> [f64; 3] {
    [b.us[2] / a.us[2], b.us[1] / a.us[3], b.us[3] / a.us[1]]
}

/// What must be the same in two results, so that their times can be compared.
const SAME: [&str; 8] = ["cell", "architecture", "seq_len", "batch", "what", "kernels", "threads", "cpu"];

fn read(path: &Path) -> Result<(Value, Vec<Kernel>)> {
    let name = || shown(path).to_string();
    let text = file::read_text(path, file::OF_A_RUN)?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| UsageError(error.to_string())).with_context(name)?;
    let kernels = kernels(&value).with_context(name)?;
    Ok((value, kernels))
}

/// Runs `harness profile compare`.
///
/// # Errors
/// If a file cannot be read or is no result.
pub(super) fn run(a: &Path, b: &Path, options: &GlobalOptions) -> Result<()> {
    let ((head_a, a), (head_b, b)) = (read(a)?, read(b)?);
    let differ: Vec<String> = SAME
        .iter()
        .filter(|key| head_a.get(**key) != head_b.get(**key))
        .map(|key| format!("{key} {} and {}", head_a[*key], head_b[*key]))
        .collect();
    let mut table = Table::new(&["kernel", "shape", "µs before", "µs after", "ratio", "between", "verdict"]);
    let mut rows = Vec::new();
    for before in &a {
        let Some(after) = b.iter().find(|kernel| kernel.name == before.name) else { continue };
        let [ratio, low, high] = ratio(before, after);
        let verdict = verdict([low, high]);
        table.row(vec![
            before.name[0].clone(),
            before.name[1].clone(),
            format!("{:.1}", before.us[2]),
            format!("{:.1}", after.us[2]),
            format!("{ratio:.3}"),
            format!("{low:.2}–{high:.2}"),
            verdict.to_owned(),
        ]);
        rows.push(json!({
            "kernel": before.name[0], "shape": before.name[1], "before_us": before.us[2], "after_us": after.us[2],
            "ratio": ratio, "low": low, "high": high, "verdict": verdict,
        }));
    }
    let only = |of: &[Kernel], other: &[Kernel]| -> Vec<String> {
        let missing = of.iter().filter(|kernel| !other.iter().any(|other| other.name == kernel.name));
        missing.map(|kernel| kernel.name.join(" ")).collect()
    };
    let (gone, new) = (only(&a, &b), only(&b, &a));
    if options.json {
        return write_json_result(
            &json!({ "calls": rows, "differ": differ, "only_before": gone, "only_after": new }),
        );
    }
    if !differ.is_empty() {
        outln!("the two results differ in {}", differ.join("; "))?;
    }
    out!("{table}")?;
    for (what, kernels) in [("only before", gone), ("only after", new)] {
        if !kernels.is_empty() {
            outln!("{what}: {}", kernels.join(", "))?;
        }
    }
    outln!(
        "Times are medians of a call; bounds are quotients of quartiles. Two runs one after the other can differ"
    )?;
    outln!("because the machine does: `harness profile --interleave OTHER_BINARY` runs both in turn.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(us: [f64; 4]) -> Value {
        json!({ "calls": [{
            "kernel": "gemm", "shape": "1×2×3", "calls_per_step": 2.0, "us_per_step": 2.0 * us[2],
            "us_per_call": { "min": us[0], "q1": us[1], "median": us[2], "q3": us[3] },
        }] })
    }

    #[test]
    fn a_difference_is_one_when_the_quartiles_do_not_overlap() {
        let of = |us| kernels(&result(us)).unwrap().remove(0);
        let before = of([9.0, 10.0, 10.1, 10.2]);
        let said = |us| {
            let [_, low, high] = ratio(&before, &of(us));
            verdict([low, high])
        };
        assert_eq!(said([11.0, 12.0, 12.1, 12.2]), "slower");
        assert_eq!(said([7.0, 8.0, 8.1, 8.2]), "faster");
        assert_eq!(said([9.0, 10.0, 10.1, 10.2]), "the same within 3 %");
        assert_eq!(said([7.0, 8.0, 12.1, 20.0]), "too noisy to say");
        assert_eq!(said([10.0, 10.3, 10.4, 10.5]), "slower, perhaps by less than 3 %");
    }

    #[test]
    fn a_result_without_quartiles_counts_its_medians_and_other_files_are_refused() {
        let old =
            json!({ "calls": [{ "kernel": "adam", "shape": "7", "calls_per_step": 4, "us_per_step": 8.0 }] });
        assert_eq!(kernels(&old).unwrap()[0].us, [2.0; 4]);
        for bad in [json!({}), json!({ "calls": [1] }), json!([])] {
            assert!(kernels(&bad).unwrap_err().to_string().contains("harness profile --json"));
        }
    }
}

//! `harness profile --interleave`: this program and another build of it, run in turn.

use super::args::ProfileArgs;
use super::compare::{kernels, verdict};
use crate::context::GlobalOptions;
use crate::error::UsageError;
use crate::io::bounds::{MEASURED_STEPS, bounded};
use crate::io::output::{out, outln, status, write_json_result};
use crate::io::show::shown;
use crate::report::table::Table;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The least time of a call in each run of a program, for each kernel and shape.
type Runs = Vec<([String; 2], f64, Vec<f64>)>;

/// The least times of two programs in paired runs.
struct Paired<'a> {
    before: &'a [f64],
    after: &'a [f64],
}

impl Paired<'_> {
    /// The ratio of the least times of all runs.
    fn ratio(&self) -> f64 {
        least(self.after) / least(self.before)
    }

    /// Bounds of the median ratio of a pair: order statistics that hold it with at least 90 % probability.
    fn bounds(&self) -> [f64; 2] {
        let mut ratios: Vec<f64> = self.before.iter().zip(self.after).map(|(a, b)| b / a).collect();
        ratios.sort_by(f64::total_cmp);
        let cut = order(ratios.len());
        [ratios[cut], ratios[ratios.len() - 1 - cut]]
    }
}

fn least(xs: &[f64]) -> f64 {
    xs.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The largest `k` for which the `k`-th smallest and `k`-th largest (from 0) of `n` values hold their median with at
/// least 90 % probability: a sum of binomial coefficients.
fn order(n: usize) -> usize {
    let (mut tail, mut coefficient, mut k) = (0.0, 0.5f64.powi(n as i32), 0);
    loop {
        tail += coefficient;
        coefficient *= (n - k) as f64 / (k + 1) as f64;
        if 2.0 * (tail + coefficient) > 0.1 || k + 1 >= n.div_ceil(2) {
            return k;
        }
        k += 1;
    }
}

/// The arguments of this process, without those that are for itself: both programs get the rest.
fn arguments(all: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut all, mut kept) = (all.skip(1), Vec::new());
    while let Some(argument) = all.next() {
        match argument.to_str() {
            // Their values follow.
            Some("--interleave" | "--rounds") => _ = all.next(),
            Some("--json" | "--quiet" | "-q") => {}
            Some(text) if text.starts_with("--interleave=") || text.starts_with("--rounds=") => {}
            _ => kept.push(argument),
        }
    }
    kept.extend(["--json", "--quiet"].map(OsString::from));
    kept
}

/// One measurement by `program`.
fn measure(program: &Path, arguments: &[OsString]) -> Result<Value> {
    let found = Command::new(program).args(arguments).output();
    let found = found.with_context(|| format!("cannot run {}", shown(program)))?;
    if !found.status.success() {
        let why = String::from_utf8_lossy(&found.stderr);
        bail!("{}: {}", shown(program), why.lines().next().unwrap_or("failed without a message"));
    }
    serde_json::from_slice(&found.stdout).with_context(|| format!("{} printed no JSON", shown(program)))
}

/// Runs both programs in turn and compares their kernels.
///
/// # Errors
/// If a program cannot be run, or does not know an option.
pub(super) fn run(args: &ProfileArgs, other: &Path, options: &GlobalOptions) -> Result<()> {
    bounded("--rounds", args.rounds, MEASURED_STEPS)?;
    if !other.is_file() {
        bail!(UsageError(format!("--interleave {}: no such program", shown(other))));
    }
    let this = std::env::current_exe().context("cannot find this program")?;
    let arguments = arguments(std::env::args_os());
    let mut runs: [Runs; 2] = [Vec::new(), Vec::new()];
    for round in 0..args.rounds {
        status!("round {} of {}", round + 1, args.rounds);
        // Each goes first in every other round.
        for program in [round % 2, 1 - round % 2] {
            let result = measure([other, this.as_path()][program], &arguments)?;
            for kernel in kernels(&result)? {
                let all = &mut runs[program];
                // An older program has medians only.
                match all.iter_mut().find(|(name, ..)| *name == kernel.name) {
                    Some((_, _, least)) => least.push(kernel.us[0]),
                    None => all.push((kernel.name, kernel.calls, vec![kernel.us[0]])),
                }
            }
        }
    }
    let [before, after] = runs;
    let mut table = Table::new(&["kernel", "shape", "µs other", "µs this", "ratio", "between", "verdict"]);
    let (mut rows, mut sums) = (Vec::new(), [0.0; 2]);
    for (name, calls, a) in &before {
        sums[0] += calls * least(a);
        let Some((_, _, b)) = after.iter().find(|(other, ..)| other == name) else { continue };
        let paired = Paired { before: a, after: b };
        let (ratio, [low, high]) = (paired.ratio(), paired.bounds());
        let verdict = verdict([low, high]);
        table.row(vec![
            name[0].clone(),
            name[1].clone(),
            format!("{:.1}", least(a)),
            format!("{:.1}", least(b)),
            format!("{ratio:.3}"),
            format!("{low:.2}–{high:.2}"),
            verdict.to_owned(),
        ]);
        rows.push(json!({
            "kernel": name[0], "shape": name[1], "other_us": least(a), "this_us": least(b),
            "ratio": ratio, "low": low, "high": high, "verdict": verdict,
        }));
    }
    sums[1] = after.iter().map(|(_, calls, b)| calls * least(b)).sum();
    if options.json {
        return write_json_result(&json!({
            "rounds": args.rounds, "calls": rows, "other_us_per_step": sums[0], "this_us_per_step": sums[1],
        }));
    }
    outln!(
        "the least time of a call in {} runs of each program, in turn; bounds of the median ratio of a pair",
        args.rounds
    )?;
    out!("{table}")?;
    outln!("all kernels of a step: {:.1} and {:.1} µs, ratio {:.3}", sums[0], sums[1], sums[1] / sums[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_get_every_argument_that_is_not_about_interleaving() {
        let given =
            "harness profile --cell deep --interleave old --rounds=3 -q --steps 5 --rounds 2".split(' ');
        let found = arguments(given.map(OsString::from));
        assert_eq!(found, ["profile", "--cell", "deep", "--steps", "5", "--json", "--quiet"]);
    }

    #[test]
    fn bounds_hold_the_median_with_ninety_percent() {
        // Of five values the extremes hold it with 1 − 2/32; of nine, the second and the eighth with 1 − 20/512.
        assert_eq!([1, 2, 5, 8, 9, 20].map(order), [0, 0, 0, 1, 1, 5]);
    }

    #[test]
    fn one_slow_run_of_nine_does_not_make_a_kernel_slower() {
        let before = [10.0; 9];
        let mut after = [10.0; 9];
        after[3] = 30.0;
        let paired = Paired { before: &before, after: &after };
        assert_eq!((paired.ratio(), paired.bounds()), (1.0, [1.0, 1.0]));
        let paired = Paired { before: &before, after: &[11.0; 9] };
        assert_eq!(verdict(paired.bounds()), "slower");
    }
}

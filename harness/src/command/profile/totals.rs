//! Totals of the measured steps: a table, a summary, or JSON.

use super::step::Step;
use crate::report::table::Table;
use kernels::profile::Call;
use serde_json::{Value, json};
use std::time::Duration;

/// All calls of one kernel with one shape.
struct Row {
    first: Call,
    took: Vec<Duration>,
    /// Seconds of a call: least, first quartile, median, third quartile.
    spread: [f64; 4],
    /// Per step: number of calls, and seconds if each takes the median time.
    calls: f64,
    seconds: f64,
}

/// Totals of the steps.
///
/// Each call counts with the median time of its kernel and shape, and the time outside kernels with its
/// median, so that time taken by other processes is not attributed to a kernel. On an idle machine the
/// medians add up to the median step.
pub(super) struct Totals {
    batch: f64,
    /// Seconds of a step as measured: median, smallest, largest.
    measured: [f64; 3],
    /// Seconds of a step outside kernels, and in total.
    outside: f64,
    all: f64,
    /// FLOP of a step, and the peak in FLOP/s.
    flop: f64,
    peak: f64,
    /// Ordered by time, the longest first.
    rows: Vec<Row>,
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let last = times.len() - 1;
    (times[last / 2] + times[last.div_ceil(2)]).as_secs_f64() / 2.0
}

impl Totals {
    /// `steps` is not empty.
    pub fn new(steps: &[Step], peak: f64, batch: usize) -> Totals {
        let mut rows: Vec<Row> = Vec::new();
        for call in steps.iter().flat_map(|step| &step.calls) {
            let same = |row: &&mut Row| row.first.name == call.name && row.first.work == call.work;
            match rows.iter_mut().find(same) {
                Some(row) => row.took.push(call.took),
                None => {
                    let (first, took) = (*call, vec![call.took]);
                    rows.push(Row { first, took, spread: [0.0; 4], calls: 0.0, seconds: 0.0 });
                }
            }
        }
        for row in &mut rows {
            row.calls = row.took.len() as f64 / steps.len() as f64;
            row.took.sort_unstable();
            let at = |share: usize| row.took[(row.took.len() - 1) * share / 4].as_secs_f64();
            row.spread = [at(0), at(1), at(2), at(3)];
            row.seconds = row.calls * median(std::mem::take(&mut row.took));
        }
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let inside = |step: &Step| step.calls.iter().map(|call| call.took).sum();
        let outside = median(steps.iter().map(|step| step.took.saturating_sub(inside(step))).collect());
        let took = || steps.iter().map(|step| step.took);
        let ends = [took().min(), took().max()].map(|end| end.unwrap_or_default().as_secs_f64());
        Totals {
            batch: batch as f64,
            measured: [median(took().collect()), ends[0], ends[1]],
            outside,
            all: outside + rows.iter().map(|row| row.seconds).sum::<f64>(),
            flop: rows.iter().map(|row| row.calls * row.first.work.flop as f64).sum(),
            peak,
            rows,
        }
    }

    fn percent_of_peak(&self, flop: f64, seconds: f64) -> f64 {
        100.0 * flop / seconds.max(1e-9) / self.peak
    }

    pub fn table(&self) -> Table {
        let columns =
            ["kernel", "shape", "calls per step", "µs per step", "share %", "GFLOP/s", "of peak %", "GB/s"];
        let mut table = Table::new(&columns);
        for row in &self.rows {
            let [gflops, of_peak, gbs] = self.rates(row).map(|rate| format!("{rate:.1}"));
            table.row(vec![
                row.first.name.to_owned(),
                row.first.work.shape.to_string(),
                row.calls.to_string(),
                format!("{:.1}", row.seconds * 1e6),
                format!("{:.1}", 100.0 * row.seconds / self.all),
                gflops,
                of_peak,
                gbs,
            ]);
        }
        table
    }

    /// GFLOP/s, percent of the peak, GB/s.
    fn rates(&self, row: &Row) -> [f64; 3] {
        let (seconds, work) = (row.seconds.max(1e-9), row.first.work);
        let flop = row.calls * work.flop as f64;
        let bytes = row.calls * work.bytes as f64;
        [flop / seconds / 1e9, self.percent_of_peak(flop, seconds), bytes / seconds / 1e9]
    }

    pub fn summary(&self) -> String {
        let [median, min, max] = self.measured;
        format!(
            "{:.3} ms a step (median; {:.3} to {:.3}), {:.0} samples/s, {:.1} % of the peak of {:.1} GFLOP/s\n\
             medians of the calls make {:.3} ms, {:.1} % of the peak; {:.1} % of it outside kernels",
            median * 1e3,
            min * 1e3,
            max * 1e3,
            self.batch / median,
            self.percent_of_peak(self.flop, median),
            self.peak / 1e9,
            self.all * 1e3,
            self.percent_of_peak(self.flop, self.all),
            100.0 * self.outside / self.all
        )
    }

    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let [gflops, of_peak, gbs] = self.rates(row);
            let (work, us) = (row.first.work, row.spread.map(|seconds| seconds * 1e6));
            json!({
                "kernel": row.first.name, "shape": work.shape.to_string(), "calls_per_step": row.calls,
                "us_per_step": row.seconds * 1e6,
                "us_per_call": { "min": us[0], "q1": us[1], "median": us[2], "q3": us[3] }, "share_percent": 100.0 * row.seconds / self.all,
                "flop_per_call": work.flop, "bytes_per_call": work.bytes, "gflops": gflops,
                "peak_percent": of_peak, "gb_per_s": gbs,
            })
        };
        let [median, min, max] = self.measured.map(|seconds| seconds * 1e3);
        json!({
            "ms_per_step": { "median": median, "min": min, "max": max },
            "samples_per_second": self.batch / self.measured[0],
            "gflops": self.flop / self.measured[0] / 1e9,
            "peak_gflops": self.peak / 1e9,
            "peak_percent": self.percent_of_peak(self.flop, self.measured[0]),
            "of_medians": {
                "ms_per_step": self.all * 1e3,
                "peak_percent": self.percent_of_peak(self.flop, self.all),
                "outside_percent": 100.0 * self.outside / self.all,
            },
            "calls": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::What;
    use super::super::step::tests::steps;
    use super::*;

    #[test]
    fn a_step_has_the_flop_of_its_equations_and_shares_that_sum_to_one() {
        let found = Totals::new(&steps(What::Train), 1e9, 4);
        // Shallow at T = 2: pixels 392, r 128, combine 768, 10 classes; products of weights by rows.
        let (pixels, r, c) = (392 * 768, 128 * 768, 768 * 10);
        let forward = 8 * pixels + 4 * 2 * r + 4 * c;
        let weight_gradients = 8 * pixels + 4 * 2 * r + 4 * c;
        let input_gradients = 4 * 2 * r + 4 * c;
        let is_product = |row: &&Row| row.first.name.starts_with("gemm");
        let flop = |row: &Row| row.calls as u64 * row.first.work.flop;
        let products: u64 = found.rows.iter().filter(is_product).map(flop).sum();
        assert_eq!(products, 2 * (forward + weight_gradients + input_gradients));
        let inside: f64 = found.rows.iter().map(|row| row.seconds).sum();
        assert!(inside > 0.0 && found.outside > 0.0 && (inside + found.outside - found.all).abs() < 1e-9);
        for name in ["gemm_tn", "adam", "pack", "cross_entropy"] {
            assert!(found.rows.iter().any(|row| row.first.name == name), "{name}");
        }
        assert!(found.measured[1] <= found.measured[0] && found.measured[0] <= found.measured[2]);
    }
}

//! `harness kernels`: the kernel sets of this CPU, its peak, and what was chosen for its matrix products.

use crate::context::GlobalOptions;
use crate::io::machine::cpu;
use crate::io::output::{out, outln, write_json_result};
use crate::report::table::Table;
use anyhow::Result;
use kernels::{Backend, Cpu, Kernels, Threads, Tuning, peak};

const SECONDS: f64 = 0.3;

/// Runs `harness kernels`.
///
/// # Errors
/// If the chosen kernel set is not available, or the threads cannot be started.
pub fn run(options: &GlobalOptions) -> Result<()> {
    let threads = options.thread_count()?;
    let chosen = options.kernels(1)?;
    let mut table = Table::new(&["kernels", "here", "chosen", "1 thread GFLOP/s", "all threads GFLOP/s"]);
    let mut rows = Vec::new();
    let others = options.kernel_names().into_iter().filter(|name| !Backend::NAMES.contains(name));
    for name in Backend::NAMES.into_iter().chain(others) {
        let backend = Backend::by_name(name);
        let peaks = backend.map(|backend| -> Result<[f64; 2]> {
            let all = Kernels::new(backend, Threads::new(threads)?);
            Ok([peak::measure(backend, SECONDS) / 1e9, peak::measure_all(&all, SECONDS) / 1e9])
        });
        let peaks = peaks.transpose()?;
        let mark = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let here = options.kernel_names().contains(&name);
        let is_chosen = chosen.name() == name;
        let number = |i: usize| peaks.map_or(String::new(), |peaks| format!("{:.1}", peaks[i]));
        table.row(vec![name.to_owned(), mark(here), mark(is_chosen), number(0), number(1)]);
        rows.push(serde_json::json!({
            "name": name, "here": here, "chosen": is_chosen,
            "gflops": peaks.map(|p| p[0]), "gflops_all_threads": peaks.map(|p| p[1]),
        }));
    }
    let (machine, tuning) = (Cpu::detect(), Tuning::chosen());
    let row = machine.row().0;
    if options.json {
        return write_json_result(&serde_json::json!({
            "cpu": cpu(), "threads": threads, "kernels": rows,
            "tuning": { "row": row, "values": tuning.to_string(), "l1d": machine.caches[0], "l2": machine.caches[1] },
        }));
    }
    outln!("{}, {threads} threads; fused multiply-add peak in registers, {SECONDS} s each", cpu())?;
    out!("{table}")?;
    let [l1, l2] = machine.caches.map(|bytes| bytes / 1024);
    outln!(
        "matrix products: {tuning}; row \"{row}\", {l1} KB of L1d, {l2} KB of L2 (KERNELS_TUNE=key=value,… replaces values)"
    )
}

//! `harness profile`: where the time of a training step or of a batch of explanations goes.

use super::explain::MethodArgs;
use crate::cli::{Common, Misuse};
use crate::dataset::Dataset;
use crate::images::{Arrays, Scaled};
use crate::output::{out, outln};
use crate::report::table::Table;
use crate::report::write_atomically;
use crate::run::folder::refuse_existing;
use crate::run::settings::{Given, Settings};
use crate::run::training::cpu;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use kernels::profile::{Call, Profile};
use kernels::{Kernels, peak};
use model::explain::{Explainer, Target};
use model::train::Trainer;
use model::{Network, Samples};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Arguments of `harness profile`.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// shallow, deep, deepv2 or convdeep
    #[arg(long, value_name = "NAME", default_value = "deep")]
    cell: String,
    /// Steps T of the sequence
    #[arg(long, value_name = "T", default_value_t = 7)]
    seq_len: usize,
    /// Samples a step
    #[arg(long, value_name = "N", default_value_t = 50)]
    batch: usize,
    /// What a step is
    #[arg(long, value_enum, default_value_t = What::Train)]
    what: What,
    #[command(flatten)]
    method: MethodArgs,
    /// Measured steps, behind as many again to warm up, 20 at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    steps: usize,
    /// Data set whose mapped training samples are taken [default: noise in memory]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Folder to search for data first; then RELEVANCE_DATA_DIR, ./data and the cache folder
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write every call as a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Replace a trace that is there
    #[arg(long)]
    overwrite: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// A training step: forward with dropout, back through time, Adam
    Train,
    /// Explaining a batch, predicted classes
    Explain,
}

const WARM: usize = 20;
/// Seconds of each measurement of the peak, before the steps and behind them.
const PEAK_SECONDS: f64 = 0.2;

/// A step that was measured, and the calls in it.
struct Step {
    start: Duration,
    took: Duration,
    calls: Vec<Call>,
}

/// All calls of one kernel on one shape.
struct Row {
    first: Call,
    took: Vec<Duration>,
    /// Of a step: calls, and seconds if each takes what the median call takes.
    calls: f64,
    seconds: f64,
}

/// Runs `harness profile`.
///
/// # Errors
/// If an option does not fit, the data cannot be read, or the trace cannot be written.
pub fn run(args: &ProfileArgs, common: &Common) -> Result<()> {
    ensure!(args.steps > 0, Misuse("--steps is 0; it must be at least 1".to_owned()));
    let given = Given {
        cell: Some(args.cell.clone()),
        seq_len: Some(args.seq_len),
        batch: Some(args.batch),
        ..Given::default()
    };
    let settings = given.complete()?;
    let method = args.method.parse()?;
    let trace = args.trace.as_deref();
    trace.map_or(Ok(()), |path| refuse_existing(path, args.overwrite))?;
    let threads = common.thread_count()?;
    let profile = Arc::new(Profile::new());
    let kernels = common.kernels(threads)?.profiled(Arc::clone(&profile));
    let (samples, [rows, cols, classes]) = samples(args)?;
    let task = settings.task(rows, cols, classes);
    let network =
        Network::new(settings.cell()?, task, settings.seed).map_err(|error| Misuse(error.to_string()))?;
    let before = peak::measure_all(&kernels, PEAK_SECONDS);
    let steps = match args.what {
        What::Train => train(args, &settings, &kernels, &profile, network, &*samples)?,
        What::Explain => {
            let mut explainer = Explainer::new(&kernels, &network, method, args.batch)?;
            measured(args.steps, &profile, |step| {
                let batch = batch(args.batch, samples.len(), step);
                explainer.explain(&kernels, &network, &*samples, &batch, Target::Predicted)?;
                Ok(())
            })?
        }
    };
    let peak = before.max(peak::measure_all(&kernels, PEAK_SECONDS));
    if let Some(path) = trace {
        write_atomically(path, |file| Ok(serde_json::to_writer(file, &events(&steps))?))?;
    }
    let found = Found::new(&steps, peak, args.batch);
    let input = args.dataset.as_deref().unwrap_or("noise");
    let what = match args.what {
        What::Train => "train".to_owned(),
        What::Explain => format!("explain, {}", args.method.method),
    };
    if common.json {
        let mut json = found.json();
        json["cell"] = json!(args.cell);
        json["seq_len"] = json!(args.seq_len);
        json["batch"] = json!(args.batch);
        json["what"] = json!(what);
        json["input"] = json!(input);
        json["kernels"] = json!(kernels.name());
        json["threads"] = json!(threads);
        json["cpu"] = json!(cpu());
        return outln!("{json}");
    }
    outln!(
        "{}, {what}, {} samples of {input} a step; {} on {threads} threads; {}",
        settings.title(),
        args.batch,
        kernels.name(),
        cpu()
    )?;
    out!("{}", found.table())?;
    outln!("{}", found.summary())
}

fn train(
    args: &ProfileArgs,
    settings: &Settings,
    kernels: &Kernels,
    profile: &Profile,
    network: Network,
    samples: &dyn Samples,
) -> Result<Vec<Step>> {
    let mut trainer = Trainer::new(network, settings.optimiser(), args.batch, settings.seed);
    measured(args.steps, profile, |step| {
        trainer.step(kernels, samples, &batch(args.batch, samples.len(), step))?;
        Ok(())
    })
}

/// The samples of a step: the next ones, from the start again behind the last.
fn batch(n: usize, samples: usize, step: usize) -> Vec<usize> {
    (0..n).map(|i| (step * n + i) % samples).collect()
}

/// What the steps are fed with, and its rows, columns and classes.
fn samples(args: &ProfileArgs) -> Result<(Box<dyn Samples>, [usize; 3])> {
    if let Some(name) = &args.dataset {
        let dataset = Dataset::open(name, args.data_dir.as_deref())?;
        let shape = [dataset.rows, dataset.cols, dataset.classes];
        return Ok((Box::new(Scaled::new(&dataset.train, -1.0, 1.0)), shape));
    }
    const SIZE: usize = 28;
    let n = 20 * args.batch;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let pixel = |_| (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let images = (0..n * SIZE * SIZE).map(pixel).collect();
    let labels = (0..n).map(|i| (i % 10) as u8).collect();
    Ok((Box::new(Arrays { images, size: SIZE * SIZE, labels: Some(labels) }), [SIZE, SIZE, 10]))
}

/// Runs the steps, the first ones unmeasured.
fn measured(steps: usize, profile: &Profile, mut step: impl FnMut(usize) -> Result<()>) -> Result<Vec<Step>> {
    let warm = steps.min(WARM);
    let mut found = Vec::with_capacity(steps);
    for i in 0..warm + steps {
        profile.take();
        let start = profile.elapsed();
        step(i)?;
        let took = profile.elapsed() - start;
        if i >= warm {
            found.push(Step { start, took, calls: profile.take() });
        }
    }
    Ok(found)
}

/// What the steps come to.
///
/// Each call counts with the median of its kernel and shape, and so does what is outside kernels: where
/// another process takes the processor for a while, that belongs to no kernel. On a quiet machine the
/// medians add up to the median step.
struct Found {
    batch: f64,
    /// Seconds of a step as measured: median, smallest, largest.
    measured: [f64; 3],
    /// Seconds of a step outside kernels, and in all.
    outside: f64,
    all: f64,
    /// FLOP of a step, and those a second at the peak.
    flop: f64,
    peak: f64,
    /// By time, the longest first.
    rows: Vec<Row>,
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let last = times.len() - 1;
    (times[last / 2] + times[last.div_ceil(2)]).as_secs_f64() / 2.0
}

impl Found {
    /// `steps` is not empty.
    fn new(steps: &[Step], peak: f64, batch: usize) -> Found {
        let mut rows: Vec<Row> = Vec::new();
        for call in steps.iter().flat_map(|step| &step.calls) {
            let same = |row: &&mut Row| row.first.name == call.name && row.first.work == call.work;
            match rows.iter_mut().find(same) {
                Some(row) => row.took.push(call.took),
                None => rows.push(Row { first: *call, took: vec![call.took], calls: 0.0, seconds: 0.0 }),
            }
        }
        for row in &mut rows {
            row.calls = row.took.len() as f64 / steps.len() as f64;
            row.seconds = row.calls * median(std::mem::take(&mut row.took));
        }
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let inside = |step: &Step| step.calls.iter().map(|call| call.took).sum();
        let outside = median(steps.iter().map(|step| step.took.saturating_sub(inside(step))).collect());
        let took = || steps.iter().map(|step| step.took);
        let ends = [took().min(), took().max()].map(|end| end.unwrap_or_default().as_secs_f64());
        Found {
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

    fn table(&self) -> Table {
        let columns =
            ["kernel", "shape", "calls a step", "µs a step", "share %", "GFLOP/s", "of peak %", "GB/s"];
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

    fn summary(&self) -> String {
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

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let [gflops, of_peak, gbs] = self.rates(row);
            let work = row.first.work;
            json!({
                "kernel": row.first.name, "shape": work.shape.to_string(), "calls_per_step": row.calls,
                "us_per_step": row.seconds * 1e6, "share_percent": 100.0 * row.seconds / self.all,
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

/// Steps and calls as complete events of Chrome's trace format: microseconds, nested by time.
fn events(steps: &[Step]) -> Value {
    let event = |name: &str, start: Duration, took: Duration, args: Value| {
        json!({
            "name": name, "ph": "X", "pid": 1, "tid": 1, "args": args,
            "ts": start.as_secs_f64() * 1e6, "dur": took.as_secs_f64() * 1e6,
        })
    };
    let mut events = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        events.push(event("step", step.start, step.took, json!({ "number": i + 1 })));
        for call in &step.calls {
            let work = call.work;
            let args = json!({ "shape": work.shape.to_string(), "flop": work.flop, "bytes": work.bytes });
            events.push(event(call.name, call.start, call.took, args));
        }
    }
    Value::Array(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::explain::Method;
    use model::{Cell, Task};

    /// Steps of Shallow-2 on 4 noise images of 28×28.
    fn steps(what: What) -> Vec<Step> {
        let args = ProfileArgs {
            cell: "shallow".to_owned(),
            seq_len: 2,
            batch: 4,
            what,
            method: MethodArgs { method: "deep-taylor".to_owned(), alpha: 2.0, beta: 1.0 },
            steps: 3,
            dataset: None,
            data_dir: None,
            trace: None,
            overwrite: false,
        };
        let (samples, [rows, cols, classes]) = samples(&args).unwrap();
        let task = Task { rows, cols, classes, seq_len: 2, ..Task::default() };
        let network = Network::new(Cell::preset("shallow").unwrap(), task, 1).unwrap();
        let profile = Arc::new(Profile::new());
        let kernels = Kernels::default().profiled(Arc::clone(&profile));
        if what == What::Train {
            let settings = Given { cell: Some(args.cell.clone()), ..Given::default() }.complete().unwrap();
            return train(&args, &settings, &kernels, &profile, network, &*samples).unwrap();
        }
        let mut explainer = Explainer::new(&kernels, &network, Method::DeepTaylor, 4).unwrap();
        let explained = |step| {
            explainer.explain(&kernels, &network, &*samples, &batch(4, 80, step), Target::Predicted)?;
            Ok(())
        };
        measured(args.steps, &profile, explained).unwrap()
    }

    #[test]
    fn a_step_has_the_flop_of_its_equations_and_shares_that_make_a_whole() {
        let found = Found::new(&steps(What::Train), 1e9, 4);
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

    #[test]
    fn the_trace_holds_each_call_inside_its_step() {
        let steps = steps(What::Explain);
        let events = events(&steps);
        let of = |i: usize| {
            let number = |key: &str| events[i][key].as_f64().unwrap();
            (number("ts"), number("ts") + number("dur"))
        };
        let mut at = 0;
        for step in &steps {
            assert_eq!(events[at]["name"], "step");
            assert!(step.calls.iter().any(|call| call.name == "ratios"), "relevance rules are calls");
            let (start, end) = of(at);
            for call in 1..=step.calls.len() {
                let (from, to) = of(at + call);
                assert!(from >= start && to <= end + 1e-3, "{from}..{to} in {start}..{end}");
            }
            at += 1 + step.calls.len();
        }
        assert_eq!(events.as_array().unwrap().len(), at);
    }
}

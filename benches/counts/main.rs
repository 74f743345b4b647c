//! Instructions and estimated cycles of every public kernel under valgrind, compared with a committed record.
//!
//! Times on a shared machine vary by more than most changes; counts do not vary. `cargo bench -p benches --bench counts`
//! runs this program once under callgrind, which counts each kernel's measured call alone, and compares with
//! `benches/record/counts.json`; it fails if a kernel takes 2 % more or fewer instructions, or is not in the record.
//!
//! - `-- --record` writes a new record
//! - `-- --only TEXT` counts the kernels whose names contain a text
//! - `-- --same-tools` is for CI: it skips the comparison, and says so, where there is no valgrind, or where compiler or
//!   valgrind are not those of the record, because others count differently
//!
//! The counts are those of AVX2, because valgrind has no AVX-512, and of the tuning of valgrind's own CPU.

mod cases;
mod record;

use anyhow::{Context, Result, bail, ensure};
use kernels::{Backend, Kernels, Threads};
use record::{Count, Counts, Record, Tools, compare};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Caches of the simulation, so that estimates do not depend on the machine.
const CACHES: [&str; 3] = ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=8388608,16,64"];

/// Callgrind collects inside this function only.
#[inline(never)]
fn measured_call(work: &mut dyn FnMut(&Kernels), kernels: &Kernels) {
    work(kernels);
    // Something behind the call, so that it is not a jump.
    std::hint::black_box(kernels);
}

/// Under valgrind: calls each kernel once to warm up and once measured, and prints its name.
fn inside(only: &str) -> Result<()> {
    let backend = Backend::by_name("avx2").context("counts need AVX2")?;
    let kernels = Kernels::new(backend, Threads::one());
    for mut case in cases::all(&kernels) {
        if case.name.contains(only) {
            (case.work)(&kernels);
            measured_call(&mut case.work, &kernels);
            println!("{}", case.name);
        }
    }
    Ok(())
}

/// Runs this program under callgrind in `folder`.
fn count(folder: &Path, only: &str) -> Result<Counts> {
    let program = std::env::current_exe()?;
    let found = Command::new("valgrind")
        .args(["--tool=callgrind", "--cache-sim=yes", "--collect-atstart=no"])
        .args(CACHES)
        // A name with wildcards would toggle, but not dump.
        .args(["--toggle-collect=counts::measured_call", "--dump-after=counts::measured_call"])
        .arg(format!("--callgrind-out-file={}", folder.join("dump").display()))
        .arg(program)
        .args(["--inside", only])
        .output()
        .context("cannot run valgrind; install it to count instructions")?;
    ensure!(found.status.success(), "valgrind: {}", String::from_utf8_lossy(&found.stderr));
    let names = String::from_utf8(found.stdout)?;
    let counted = names.lines().enumerate().map(|(i, name)| {
        let path = folder.join(format!("dump.{}", i + 1));
        let dump = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok((name.to_owned(), Count::of(&dump).with_context(|| name.to_owned())?))
    });
    counted.collect()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |key: &str| arguments.iter().any(|argument| argument == key);
    let value = |key: &str| {
        let at = arguments.iter().position(|argument| argument == key)?;
        arguments.get(at + 1).map(String::as_str)
    };
    if given("--inside") {
        return inside(value("--inside").unwrap_or(""));
    }
    // `cargo test --benches` runs it as well; counting takes too long there.
    if given("--test") {
        return Ok(());
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("record/counts.json");
    let (only, tools) = (value("--only").unwrap_or(""), Tools::here());
    let before = if given("--record") { None } else { Some(Record::read(&path)?) };
    if let Some(before) = &before {
        let different = before.tools.difference(&tools).or_else(|| {
            Backend::by_name("avx2")
                .is_none()
                .then(|| "the record is of AVX2, which this CPU lacks".to_owned())
        });
        match different {
            Some(different) if given("--same-tools") => {
                println!("skipped: counts of instructions; {different}");
                return Ok(());
            }
            Some(different) => eprintln!("note: {different}; others count differently"),
            None => {}
        }
    }
    let folder = std::env::temp_dir().join(format!("counts-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let found = count(&folder, only);
    std::fs::remove_dir_all(&folder)?;
    let found = found?;
    ensure!(!found.is_empty(), "no kernel's name contains {only:?}");
    let Some(before) = before else {
        ensure!(only.is_empty(), "a record holds every kernel: leave --only out");
        println!("{} kernels written to {}", found.len(), path.display());
        return Record { tools, counts: found }.write(&path);
    };
    let (table, outside) = compare(&found, &before.counts);
    println!("{table}");
    if outside > 0 {
        bail!(
            "{outside} of {} kernels differ from the record by more than {} %, or are not in it. If this is wanted, \
             write a new record: cargo bench -p benches --bench counts -- --record",
            found.len(),
            100.0 * record::TOLERANCE
        );
    }
    Ok(())
}

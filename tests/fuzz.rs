//! All fuzz targets, one second each in an ordinary run; `FUZZ_SECONDS=1200` makes a long one. With coverage
//! guidance and the address sanitizer: `tests/fuzz/`.
#![allow(clippy::unwrap_used)]

use bolero::check;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tests::targets::{Change, EXPERIMENT, IDX, MODEL, NPY, Reader, SETTINGS, shapes};

fn seconds() -> Duration {
    Duration::from_secs(std::env::var("FUZZ_SECONDS").map_or(1, |text| text.parse().unwrap()))
}

/// Passes valid files with up to four mutations to a reader.
fn fuzz(reader: Reader) {
    let (runs, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    check!().with_test_time(seconds()).with_type::<Vec<Change>>().for_each(|changes| {
        let file = reader.spoilt(&changes[..changes.len().min(4)]);
        runs.fetch_add(1, Ordering::Relaxed);
        taken.fetch_add(u64::from(reader.takes(&file)), Ordering::Relaxed);
    });
    let (runs, taken, name) = (runs.into_inner(), taken.into_inner(), reader.name);
    let _ = writeln!(std::io::stderr(), "{name}: {runs} files read, {taken} of them accepted");
    assert!(taken > 0 && taken < runs, "{name}: the mutations are too strong or too weak");
}

#[test]
fn idx_files() {
    fuzz(IDX);
}

#[test]
fn model_files() {
    fuzz(MODEL);
}

#[test]
fn npy_files() {
    fuzz(NPY);
}

#[test]
fn settings() {
    fuzz(SETTINGS);
}

#[test]
fn experiments() {
    fuzz(EXPERIMENT);
}

#[test]
fn shapes_of_kernels() {
    let (runs, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    check!().with_test_time(seconds()).for_each(|bytes: &[u8]| {
        runs.fetch_add(1, Ordering::Relaxed);
        taken.fetch_add(u64::from(shapes(bytes)), Ordering::Relaxed);
    });
    let (runs, taken) = (runs.into_inner(), taken.into_inner());
    let _ = writeln!(std::io::stderr(), "shapes: {runs} calls, {taken} of them accepted");
    assert!(taken > runs / 8 && taken < runs, "the operands fit too seldom or too often");
}

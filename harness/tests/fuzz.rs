//! Readers of files from elsewhere, fed with what looks almost right: no panic, no memory beyond the file's, one line.
//!
//! A second each in an ordinary run; `FUZZ_SECONDS=1200` is for a long one.
#![allow(clippy::unwrap_used)]

use bolero::check;
use harness::dataset::idx::{Idx, Kind};
use harness::report::npy;
use harness::run::settings::Given;
use harness::{exchange, model_file};
use model::{Cell, Encoder, Network, Task};
use std::fs;
use std::io::Write;
use std::panic::RefUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is done to a sound file: kind, place, value.
type Change = (u8, u16, u64);

/// Feeds `read` with sound bytes after changes: `apply` makes a file of them. `read` says whether it took the file.
fn fuzz(
    name: &str,
    apply: impl Fn(&[Change]) -> Vec<u8> + RefUnwindSafe,
    read: impl Fn(&Path) -> anyhow::Result<()> + RefUnwindSafe,
) {
    let seconds = std::env::var("FUZZ_SECONDS").map_or(1, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spoilt.file");
    let (runs, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    check!().with_test_time(Duration::from_secs(seconds)).with_type::<Vec<Change>>().for_each(|changes| {
        fs::write(&path, apply(changes)).unwrap();
        runs.fetch_add(1, Ordering::Relaxed);
        match read(&path) {
            Ok(()) => drop(taken.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                let text = format!("{error:#}");
                assert!(!text.contains('\n'), "{text}");
            }
        }
    });
    let (runs, taken) = (runs.into_inner(), taken.into_inner());
    let _ = writeln!(std::io::stderr(), "{name}: {runs} files read, {taken} of them sound");
    assert!(taken > 0 && taken < runs, "{name}: the changes are too strong or too weak");
}

/// Overwrites a byte, flips a bit, or now and then cuts the end off.
fn change_byte(bytes: &mut Vec<u8>, (kind, place, value): Change) {
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(place) % bytes.len();
    match kind % 8 {
        0 => bytes.truncate(at),
        1 => bytes.push(value as u8),
        2..5 => bytes[at] = value as u8,
        _ => bytes[at] ^= 1 << (value % 8),
    }
}

/// Puts another number in the place of one in a text; else changes a byte.
fn change_text(text: &mut Vec<u8>, change: Change) {
    let (kind, place, value) = change;
    let starts: Vec<usize> = (0..text.len())
        .filter(|&i| text[i].is_ascii_digit() && (i == 0 || !text[i - 1].is_ascii_digit()))
        .collect();
    if kind % 2 == 0 || starts.is_empty() {
        return change_byte(text, (kind / 2, place, value));
    }
    let start = starts[usize::from(place) % starts.len()];
    let end = (start..text.len()).find(|&i| !text[i].is_ascii_digit()).unwrap_or(text.len());
    // Of any size: the shift leaves 1 to 64 bits.
    text.splice(start..end, (value >> (kind / 2 % 64)).to_string().into_bytes());
}

#[test]
fn idx_files() {
    let sound = [&[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 5][..], &[7; 60]].concat();
    let apply = |changes: &[Change]| {
        let mut bytes = sound.clone();
        for &(kind, place, value) in changes.iter().take(4) {
            match kind % 4 {
                0 if bytes.len() >= 16 => {
                    let at = 4 * usize::from(place % 4);
                    let word = (value as u32) >> (kind / 4 % 32);
                    bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
                }
                _ => change_byte(&mut bytes, (kind / 4, place, value)),
            }
        }
        bytes
    };
    fuzz("IDX", apply, |path| {
        let _ = Idx::open(path, Kind::Labels);
        let idx = Idx::open(path, Kind::Images)?;
        let header = idx.header();
        assert_eq!(idx.items().len(), header.count * header.rows * header.cols);
        Ok(())
    });
}

#[test]
fn model_files() {
    let cell = Cell {
        encoder: vec![Encoder::Conv { size: 3, channels: 2 }, Encoder::Dense { units: 3 }],
        combine: 3,
        recurrent: 2,
        head: vec![2],
        ..Cell::preset("convdeep").unwrap()
    };
    let task = Task { rows: 4, cols: 4, seq_len: 2, classes: 3, ..Task::default() };
    let network = Network::new(Cell { name: "mine".to_owned(), ..cell }, task, 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    model_file::save(&path, &network).unwrap();
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(length);
    let apply = |changes: &[Change]| {
        let (mut header, mut data, mut length) = (header.to_vec(), data.to_vec(), None);
        for &change in changes.iter().take(4) {
            match change.0 % 16 {
                0 => length = Some(change.2 >> (change.1 % 64)),
                1..3 => change_byte(&mut data, (change.0 / 16, change.1, change.2)),
                _ => change_text(&mut header, (change.0 / 16 + 16 * (change.0 % 16), change.1, change.2)),
            }
        }
        let length = length.unwrap_or(header.len() as u64);
        [&length.to_le_bytes()[..], &header, &data].concat()
    };
    fuzz("model", apply, |path| {
        for (name, (shape, values)) in exchange::read(path)?.tensors {
            assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
        }
        let network = model_file::load(path)?;
        assert!(network.values().iter().all(|value| value.is_finite()));
        Ok(())
    });
}

#[test]
fn npy_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    npy::write_f32(&path, &[2, 3, 4], &[0.5; 24]).unwrap();
    let bytes = fs::read(&path).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (start, rest) = bytes.split_at(10);
    let (header, data) = rest.split_at(length);
    let apply = |changes: &[Change]| {
        let (mut start, mut header, mut data) = (start.to_vec(), header.to_vec(), data.to_vec());
        for &change in changes.iter().take(4) {
            match change.0 % 8 {
                0 => change_byte(&mut data, (change.0 / 8, change.1, change.2)),
                _ => change_text(&mut header, (change.0 / 8 + 32 * (change.0 % 8), change.1, change.2)),
            }
        }
        start.truncate(8);
        start.extend((header.len() as u16).to_le_bytes());
        for &change in changes.iter().skip(4).take(1) {
            change_byte(&mut start, change);
        }
        [start, header, data].concat()
    };
    fuzz("npy", apply, |path| {
        let _ = npy::read_labels(path);
        let (values, shape) = npy::read_images(path)?;
        assert_eq!(values.len(), shape.iter().product::<usize>());
        Ok(())
    });
}

#[test]
fn settings() {
    let sound = b"cell = \"deep\"\nseq-len = 7\ndataset = \"synth\"\nepochs = 6\nbatch = 50\nlr = 5e-4\n\
        optimiser = \"adam\"\nmomentum = 0.9\ndropout = 0.5\nseed = 1\nvalidation = 100\nlimit-train = 600\n\
        limit-test = 50\ninput-range = [-1.0, 1.0]\npool = \"max\"\ncombine = 256\nrecurrent = 128\n";
    let apply = |changes: &[Change]| {
        let mut text = sound.to_vec();
        changes.iter().take(4).for_each(|&change| change_text(&mut text, change));
        text
    };
    fuzz("settings", apply, |path| {
        let settings = Given::default().over_file(Some(path))?.complete()?;
        assert!(settings.lr.is_finite() && settings.batch > 0 && settings.epochs > 0);
        Ok(())
    });
}

//! Files of bytes: data sets, models, arrays.

use super::{Change, Reader, change};
use harness::io::array;
use harness::io::idx::{Idx, Kind};
use harness::io::tensors;
use harness::model_file;
use model::{Architecture, Core, EncoderLayer, Network, PoolKind, Task};
use std::path::Path;
use std::sync::LazyLock;

/// IDX files of images and labels.
pub const IDX: Reader = Reader { name: "IDX", sound: sound_idx, change: change_idx, read: read_idx };

fn sound_idx() -> Vec<u8> {
    [&[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 5][..], &[7; 60]].concat()
}

fn change_idx(bytes: &mut Vec<u8>, (kind, place, value): Change) {
    match kind % 4 {
        0 if bytes.len() >= 16 => {
            let at = 4 * usize::from(place % 4);
            let word = (value as u32) >> (kind / 4 % 32);
            bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        _ => change::byte(bytes, (kind / 4, place, value)),
    }
}

fn read_idx(path: &Path) -> anyhow::Result<()> {
    let labels = Idx::open(path, Kind::Labels);
    if let Ok(idx) = &labels {
        assert_eq!(idx.items().len(), idx.header().count);
    }
    let images = Idx::open(path, Kind::Images);
    assert!(labels.is_err() || images.is_err(), "labels and images at once");
    let idx = images.or(labels)?;
    let header = idx.header();
    assert_eq!(idx.items().len(), header.count * header.rows * header.cols);
    Ok(())
}

/// Model files, as arrays with names and as networks.
pub const MODEL: Reader =
    Reader { name: "model", sound: sound_model, change: change_model, read: read_model };

fn sound_model() -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let cell = Architecture {
            encoder: vec![
                EncoderLayer::conv(3, 2),
                EncoderLayer::Pool(PoolKind::Max),
                EncoderLayer::Dense(3),
            ],
            core: Core::Rnn { combine: 3, recurrent: 2 },
            head: vec![2],
        };
        let task = Task { rows: 4, cols: 4, seq_len: 2, classes: 3, ..Task::default() };
        let network = Network::new(cell, task, 1).expect("a small network");
        written(|path| model_file::save(path, &network))
    });
    BYTES.clone()
}

/// What a writer leaves in a file.
fn written(write: impl FnOnce(&Path) -> anyhow::Result<()>) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("sound.file");
    write(&path).expect("it can be written");
    std::fs::read(&path).expect("it can be read")
}

fn change_model(file: &mut Vec<u8>, change: Change) {
    let (kind, place, value) = change;
    let Some((&length, rest)) = file.split_first_chunk::<8>() else { return change::byte(file, change) };
    let Some((header, data)) = rest.split_at_checked(u64::from_le_bytes(length) as usize) else {
        return change::byte(file, change);
    };
    let (mut header, mut data) = (header.to_vec(), data.to_vec());
    match kind % 16 {
        0 => return file[..8].copy_from_slice(&(value >> (place % 64)).to_le_bytes()),
        1..3 => change::byte(&mut data, (kind / 16, place, value)),
        _ => change::text(&mut header, (kind / 16 + 16 * (kind % 16), place, value)),
    }
    *file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
}

fn read_model(path: &Path) -> anyhow::Result<()> {
    for (name, (shape, values)) in tensors::read(path)?.tensors {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
    }
    let network = model_file::load(path)?;
    assert!(network.values().iter().all(|value| value.is_finite()));
    Ok(())
}

/// Arrays of images and of labels.
pub const NPY: Reader = Reader { name: "npy", sound: sound_npy, change: change_npy, read: read_npy };

fn sound_npy() -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> =
        LazyLock::new(|| written(|path| array::write_f32(path, &[2, 3, 4], &[0.5; 24])));
    BYTES.clone()
}

fn change_npy(file: &mut Vec<u8>, change: Change) {
    let (kind, place, value) = change;
    let Some((start, rest)) = file.split_first_chunk::<10>() else { return change::byte(file, change) };
    let length = usize::from(u16::from_le_bytes([start[8], start[9]]));
    let Some((header, data)) = rest.split_at_checked(length) else { return change::byte(file, change) };
    let (mut start, mut header, mut data) = (start[..8].to_vec(), header.to_vec(), data.to_vec());
    match kind % 16 {
        0 => return change::byte(file, (kind / 16, place % 10, value)),
        1 => change::byte(&mut start, (6, place, value)),
        2 => change::byte(&mut data, (kind / 16, place, value)),
        3 => {
            let descr = [&b"<i8"[..], b"<i4", b"|u1", b"<u1", b"<f4", b"<f8", b">f4"][usize::from(place % 7)];
            if let Some(at) = header.windows(3).position(|w| w[0] == b'<' || w[0] == b'|') {
                header[at..at + 3].copy_from_slice(descr);
            }
        }
        _ => change::text(&mut header, (kind / 16 + 16 * (kind % 16), place, value)),
    }
    start.extend((header.len() as u16).to_le_bytes());
    *file = [start, header, data].concat();
}

fn read_npy(path: &Path) -> anyhow::Result<()> {
    let labels = array::read_labels(path);
    let images = array::read_images(path);
    assert!(labels.is_err() || images.is_err(), "labels and images at once");
    if labels.is_ok() {
        return Ok(());
    }
    let (values, shape) = images?;
    assert_eq!(values.len(), shape.iter().product::<usize>());
    Ok(())
}

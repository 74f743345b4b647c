//! Safetensors files: named f32 tensors and text metadata.
//!
//! All tensors are F32. Any reader of safetensors opens these files.

use crate::io::atomic::write_atomically;
use crate::io::file;
use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The content of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// Text by key.
    pub metadata: BTreeMap<String, String>,
    /// Shape and values of each tensor by name.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// The maximum file size: parameters and two moments of the largest network, and a header.
const MAX_BYTES: u64 = 13 << 28;

/// The name under which safetensors keeps the metadata between the tensors.
const METADATA: &str = "__metadata__";

/// Reads a file.
///
/// # Errors
/// One line that names the file if it is not a safetensors file, if its header does not fit in it, or if a tensor is not
/// F32 or holds a value that is not finite.
pub fn read(path: &Path) -> Result<TensorFile> {
    let name = path.display();
    let bytes = file::read(path, MAX_BYTES)?;
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        bail!("{name}: holds {} bytes, expected a safetensors file: check that this is a model", bytes.len());
    };
    let header = u64::from_le_bytes(*length);
    // A length that fits is a length: its first bytes may be those of a pickle.
    let is_pickle = [&b"PK\x03\x04"[..], b"\x80\x02"].iter().any(|start| bytes.starts_with(start));
    ensure!(
        header <= rest.len() as u64 || !is_pickle,
        "{name}: is a PyTorch pickle, expected a safetensors file: save it with `safetensors.torch.save_file`"
    );
    ensure!(
        header <= rest.len() as u64,
        "{name}: announces a header of {header} bytes in a file of {}, expected less: it is truncated or not a model",
        bytes.len()
    );
    let refused = || format!("{name}: is not a valid safetensors file: write the model again");
    let (_, head) = SafeTensors::read_metadata(&bytes).with_context(refused)?;
    let file = SafeTensors::deserialize(&bytes).with_context(refused)?;
    let views: BTreeMap<String, _> = file.tensors().into_iter().collect();

    let mut tensors = BTreeMap::new();
    for (tensor, view) in views {
        ensure!(
            view.dtype() == Dtype::F32,
            "{name}: tensor {tensor} is {:?}, expected F32: convert it before saving",
            view.dtype()
        );
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            bail!(
                "{name}: tensor {tensor} holds {} at index {i}, expected finite numbers: train again",
                values[i]
            );
        }
        tensors.insert(tensor, (view.shape().to_vec(), values));
    }
    let metadata =
        head.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(TensorFile { metadata, tensors })
}

/// One entry of the header.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Metadata(&'a BTreeMap<String, String>),
    Tensor { dtype: &'static str, shape: &'a [usize], data_offsets: [usize; 2] },
}

/// Writes a file atomically; the same content gives the same bytes.
///
/// The header is built here, because the safetensors crate keeps the metadata in a hash map of random order.
///
/// # Errors
/// If the file cannot be written, or [`read`] would refuse it: a value is not finite, or a tensor has the
/// name of the metadata.
///
/// # Panics
/// If the number of values of a tensor differs from its shape.
pub fn write(path: &Path, model: &TensorFile) -> Result<()> {
    let name = path.display();
    ensure!(
        !model.tensors.contains_key(METADATA),
        "{name}: a tensor is called {METADATA}, expected any other name"
    );
    let mut header = BTreeMap::from([(METADATA, Entry::Metadata(&model.metadata))]);
    let mut end = 0;
    for (tensor, (shape, values)) in &model.tensors {
        assert_eq!(
            values.len(),
            shape.iter().product::<usize>(),
            "{tensor} of shape {shape:?} has {} values",
            values.len()
        );
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            bail!("{name}: not written: {tensor} holds {} at index {i}, expected finite numbers", values[i]);
        }
        let start = end;
        end += 4 * values.len();
        header.insert(tensor, Entry::Tensor { dtype: "F32", shape, data_offsets: [start, end] });
    }
    let mut text = serde_json::to_vec(&header)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    write_atomically(path, |file| {
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(&text)?;
        for (_, values) in model.tensors.values() {
            let words: Vec<u32> = values.iter().map(|v| v.to_bits().to_le()).collect();
            let bytes: &[u8] = bytemuck::cast_slice(&words);
            file.write_all(bytes)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn sample() -> TensorFile {
        TensorFile {
            metadata: ["rows", "cell", "low"].map(|key| (key.to_owned(), format!("value \"{key}\""))).into(),
            tensors: BTreeMap::from([
                ("combine.weight".into(), (vec![2, 3], vec![0.0, -0.0, 1.5, 1e-40, -7.0, f32::MAX])),
                ("Combine.bias".into(), (vec![3], vec![1.0, 2.0, 3.0])),
                ("empty".into(), (vec![0, 3], vec![])),
                ("scalar".into(), (vec![], vec![4.0])),
            ]),
        }
    }

    fn refusal(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let text = format!("{:#}", read(&path).unwrap_err());
        assert!(text.contains("m.safetensors") && !text.contains('\n'), "{text}");
        text
    }

    #[test]
    fn tensors_are_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        write(&path, &sample()).unwrap();
        assert_eq!(read(&path).unwrap(), sample());
    }

    #[test]
    fn the_bytes_are_sorted_and_aligned() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        write(&path, &sample()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
        let mut places: Vec<usize> = Vec::new();
        for key in ["cell", "low", "rows"] {
            places.push(header.find(&format!("\"{key}\":")).unwrap());
        }
        assert!(places.is_sorted() && length.is_multiple_of(8));
        write(&path, &sample()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn files_of_the_safetensors_crate_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let data = [1.0f32.to_le_bytes(), 2.0f32.to_le_bytes()].concat();
        let view = TensorView::new(Dtype::F32, vec![2], &data).unwrap();
        let metadata = [("cell".to_string(), "deep".to_string())].into();
        std::fs::write(&path, safetensors::serialize([("a", view)], Some(metadata)).unwrap()).unwrap();
        let model = read(&path).unwrap();
        assert_eq!(model.metadata["cell"], "deep");
        assert_eq!(model.tensors["a"], (vec![2], vec![1.0, 2.0]));
    }

    #[test]
    fn invalid_files_are_refused_in_one_line() {
        assert!(refusal(b"abc").contains("holds 3 bytes, expected a safetensors file"));
        assert!(
            refusal(&[0xff; 64]).contains("announces a header of 18446744073709551615 bytes in a file of 64")
        );
        assert!(refusal(b"\x02\0\0\0\0\0\0\0{").contains("announces a header of 2 bytes"));
        assert!(refusal(b"\x02\0\0\0\0\0\0\0[]").contains("is not a valid safetensors file"));
        let view = TensorView::new(Dtype::I64, vec![1], &[0; 8]).unwrap();
        let text = refusal(&safetensors::serialize([("labels", view)], None).unwrap());
        assert!(text.contains("tensor labels is I64, expected F32"), "{text}");
        let data = [0.0f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
        let view = TensorView::new(Dtype::F32, vec![2], &data).unwrap();
        let text = refusal(&safetensors::serialize([("w", view)], None).unwrap());
        assert!(text.contains("tensor w holds NaN at index 1"), "{text}");
    }

    #[test]
    fn a_file_that_read_would_refuse_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let mut model = sample();
        model.tensors.insert("w".into(), (vec![1], vec![f32::INFINITY]));
        assert!(write(&path, &model).unwrap_err().to_string().contains("w holds inf at index 0"));
        assert!(!path.exists());
    }
}

//! Model files: the parameters of a network and what is needed to rebuild it, in safetensors.
//!
//! Tensors are named `encoder.0.weight`, `combine.bias` and so on. The metadata keys are [`KEYS`]; others are ignored.

use crate::io::tensors::{self, TensorFile};
use anyhow::{Context, Result, bail};
use kernels::pool::PoolKind;
use model::{Cell, Encoder, NamedTensor, Network, Task};
use std::collections::BTreeMap;
use std::path::Path;

/// The metadata that describes a network: cell, sequence length, image size, classes, pooling and input range.
pub const KEYS: [&str; 8] = ["cell", "seq_len", "rows", "cols", "classes", "pool", "low", "high"];

/// A network as the content of a model file.
pub fn describe(network: &Network) -> TensorFile {
    let task = network.task();
    let pool = match task.pool {
        PoolKind::Max => "max",
        PoolKind::Sum => "sum",
    };
    let metadata = [
        ("cell", network.cell().name.clone()),
        ("seq_len", task.seq_len.to_string()),
        ("rows", task.rows.to_string()),
        ("cols", task.cols.to_string()),
        ("classes", task.classes.to_string()),
        ("pool", pool.to_owned()),
        ("low", task.low.to_string()),
        ("high", task.high.to_string()),
    ];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let tensors = network.tensors().into_iter().map(|t| (t.name, (t.shape, t.values))).collect();
    TensorFile { metadata, tensors }
}

/// Writes a network as one model file, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, network: &Network) -> Result<()> {
    tensors::write(path, &describe(network))
}

/// Reads a model file.
///
/// # Errors
/// One line that names the file and the metadata key or tensor that is missing or does not fit.
pub fn load(path: &Path) -> Result<Network> {
    let file = tensors::read(path)?;
    let advice = "is not a model that this program can use, export it as the README says under Model files";
    build(&file).with_context(|| format!("{}: {advice}", path.display()))
}

fn build(file: &TensorFile) -> Result<Network> {
    let meta = Meta(&file.metadata);
    let task = Task {
        rows: meta.number("rows")?,
        cols: meta.number("cols")?,
        seq_len: meta.number("seq_len")?,
        classes: meta.number("classes")?,
        low: meta.number("low")?,
        high: meta.number("high")?,
        pool: match meta.text("pool")? {
            "max" => PoolKind::Max,
            "sum" => PoolKind::Sum,
            other => bail!("metadata `pool` is {other:?}; it must be max or sum"),
        },
    };
    let cell = cell(meta.text("cell")?, &file.tensors);
    let tensors: Vec<NamedTensor> = file
        .tensors
        .iter()
        .map(|(name, (shape, values))| NamedTensor {
            name: name.clone(),
            shape: shape.clone(),
            values: values.clone(),
        })
        .collect();
    Ok(Network::from_tensors(cell, task, &tensors)?)
}

/// The cell of that name with the widths of the tensors. If the name is not a preset's, the layers are taken from the
/// tensors too.
fn cell(name: &str, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Cell {
    let shape = |tensor: String| tensors.get(&tensor).map(|(shape, _)| &shape[..]);
    // Either of a layer's tensors has its width, so that a missing one is reported as missing.
    let width = |layer: &str| {
        let last = |part: &str| shape(format!("{layer}.{part}")).and_then(|shape| shape.last().copied());
        last("weight").or_else(|| last("bias"))
    };
    let mut cell = Cell::preset(name).unwrap_or_else(|_| {
        let encoder = (0..)
            .map_while(|i| shape(format!("encoder.{i}.weight")))
            .map(|shape| match *shape {
                [size, _, _, channels] => Encoder::Conv { size, channels },
                _ => Encoder::Dense { units: shape.last().copied().unwrap_or(1) },
            })
            .collect();
        let layers = (0..).take_while(|i| tensors.contains_key(&format!("head.{i}.weight"))).count();
        let head = vec![1; layers.saturating_sub(1)];
        Cell { name: name.to_owned(), encoder, combine: 1, recurrent: 1, head, dropout: 0.5 }
    });
    for (i, layer) in cell.encoder.iter_mut().enumerate() {
        let Some(found) = width(&format!("encoder.{i}")) else { continue };
        match layer {
            Encoder::Dense { units } => *units = found,
            Encoder::Conv { channels, size } => {
                *channels = found;
                let first = shape(format!("encoder.{i}.weight")).and_then(|shape| shape.first());
                *size = first.copied().unwrap_or(*size);
            }
        }
    }
    cell.combine = width("combine").unwrap_or(cell.combine);
    cell.recurrent = width("recurrent").unwrap_or(cell.recurrent);
    for (i, units) in cell.head.iter_mut().enumerate() {
        *units = width(&format!("head.{i}")).unwrap_or(*units);
    }
    cell
}

struct Meta<'a>(&'a BTreeMap<String, String>);

impl Meta<'_> {
    fn text(&self, key: &str) -> Result<&str> {
        let keys = KEYS.join(", ");
        let value = self.0.get(key).map(String::as_str);
        value.with_context(|| format!("metadata `{key}` is missing; a model file has {keys}"))
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        let text = self.text(key)?;
        text.parse().ok().with_context(|| format!("metadata `{key}` is {text:?}; it must be a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        let cell = Cell { combine: 12, recurrent: 6, ..Cell::preset("convdeep").unwrap() };
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        Network::new(cell, task, 3).unwrap()
    }

    #[test]
    fn a_network_is_saved_and_loaded() {
        let network = network();
        let again = build(&describe(&network)).unwrap();
        assert_eq!((again.cell(), again.task()), (network.cell(), network.task()));
        assert_eq!(again.values(), network.values());
    }

    #[test]
    fn a_cell_of_another_name_takes_its_layers_from_the_tensors() {
        let mut file = describe(&network());
        file.metadata.insert("cell".to_owned(), "mine".to_owned());
        let again = build(&file).unwrap();
        assert_eq!(again.cell().encoder, network().cell().encoder);
        assert_eq!(again.values(), network().values());
    }

    #[test]
    fn a_missing_misnamed_or_misshapen_tensor_is_named() {
        let refused = |change: fn(&mut TensorFile)| {
            let mut file = describe(&network());
            change(&mut file);
            format!("{:#}", build(&file).unwrap_err())
        };
        let missing = refused(|file| drop(file.tensors.remove("recurrent.weight")));
        assert!(missing.contains("`recurrent.weight` is missing"), "{missing}");
        let extra = refused(|file| drop(file.tensors.insert("head.7.bias".to_owned(), (vec![1], vec![0.0]))));
        assert!(extra.contains("`head.7.bias`"), "{extra}");
        let shape =
            refused(|file| drop(file.tensors.insert("combine.bias".to_owned(), (vec![1], vec![0.0]))));
        assert!(shape.contains("`combine.bias` has shape [1], [12] expected"), "{shape}");
        let scalar =
            refused(|file| drop(file.tensors.insert("encoder.0.weight".to_owned(), (vec![], vec![0.0]))));
        assert!(scalar.contains("`encoder.0.weight`"), "{scalar}");
        let key = refused(|file| drop(file.metadata.remove("low")));
        assert!(key.contains("`low` is missing"), "{key}");
        let steps = refused(|file| drop(file.metadata.insert("seq_len".to_owned(), "3".to_owned())));
        assert!(steps.contains("does not divide"), "{steps}");
    }
}

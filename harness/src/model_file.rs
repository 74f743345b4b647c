//! Model files: the parameters of a network and the metadata to rebuild it, in safetensors.
//!
//! Tensors are named `encoder.0.weight`, `combine.bias` and so on. The metadata keys are [`KEYS`]; `architecture` is JSON.
//! `zero_logit` may be 1: the network was trained with a softmax that sees a constant zero logit.
//! Files without that key have `cell`, the name of a preset, and `pool`; the widths are those of the tensors.
//!
//! A bias `b` acts as `−softplus(b)`. In a file whose metadata key `bias` is `plain`, it is what is added, at most 0. The gates
//! of an R-LSTM have plain biases of either sign in every file.

use crate::io::tensors::{self, TensorFile};
use anyhow::{Context, Result, anyhow, bail};
use model::{Architecture, BiasKind, ModelError, NamedTensor, Network, PoolKind, Spec, Task};
use std::collections::BTreeMap;
use std::path::Path;

/// The metadata that describes a network: architecture, sequence length, image size, classes and input range.
pub const KEYS: [&str; 7] = ["architecture", "seq_len", "rows", "cols", "classes", "low", "high"];

/// A network as the content of a model file.
///
/// # Errors
/// If the architecture cannot be written as JSON.
pub fn describe(network: &Network) -> Result<TensorFile> {
    let task = network.task();
    let metadata = [
        ("architecture", serde_json::to_string(network.architecture())?),
        ("seq_len", task.seq_len.to_string()),
        ("rows", task.rows.to_string()),
        ("cols", task.cols.to_string()),
        ("classes", task.classes.to_string()),
        ("low", task.low.to_string()),
        ("high", task.high.to_string()),
        ("zero_logit", u8::from(task.zero_logit).to_string()),
    ];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let tensors = network.tensors().into_iter().map(|t| (t.name, (t.shape, t.values))).collect();
    Ok(TensorFile { metadata, tensors })
}

/// Writes a network as one model file, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, network: &Network) -> Result<()> {
    tensors::write(path, &describe(network)?)
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

/// The network that the content of a model file describes.
///
/// # Errors
/// One line that names the metadata key or the tensor that is missing or does not fit.
pub fn build(file: &TensorFile) -> Result<Network> {
    let meta = Meta(&file.metadata);
    let task = Task {
        rows: meta.number("rows")?,
        cols: meta.number("cols")?,
        seq_len: meta.number("seq_len")?,
        classes: meta.number("classes")?,
        low: meta.number("low")?,
        high: meta.number("high")?,
        zero_logit: meta.flag("zero_logit")?,
    };
    let architecture = architecture(&meta, file)?;
    let tensor = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f32>))| NamedTensor {
        name: name.clone(),
        shape: shape.clone(),
        values: values.clone(),
    };
    let mut tensors: Vec<NamedTensor> = file.tensors.iter().map(tensor).collect();
    match meta.0.get("bias").map(String::as_str) {
        None | Some("softplus") => {}
        Some("plain") => {
            let specs = Network::specs(&architecture, task)?;
            tensors.iter_mut().try_for_each(|tensor| from_plain_bias(&specs, tensor))?;
        }
        Some(other) => bail!("metadata `bias` is {other:?}; it must be softplus or plain"),
    }
    let network = Network::from_tensors(architecture, task, &tensors);
    network.map_err(|error| match &error {
        ModelError::TensorShape { name, found, expected }
            if matches!((&found[..], &expected[..]), ([a, b], [c, d]) if (a, b) == (d, c) && a != b) =>
        {
            anyhow!("{error}; it looks transposed; dense weights are [in, out]: save `{name}` as `w.T`")
        }
        _ => error.into(),
    })
}

/// The parameter of a bias `−softplus(b)` that is this far below zero counts as no bias.
const NO_BIAS: f32 = -100.0;

/// Replaces the values of a bias, which are added as they are, by the `b` of `−softplus(b)`. The gates of an R-LSTM keep
/// theirs.
fn from_plain_bias(specs: &[Spec], tensor: &mut NamedTensor) -> Result<()> {
    let Some(layer) = tensor.name.strip_suffix(".bias") else { return Ok(()) };
    if specs.iter().any(|spec| spec.name == layer && spec.bias_kind == BiasKind::Plain) {
        return Ok(());
    }
    for (i, value) in tensor.values.iter_mut().enumerate() {
        let plain = *value;
        if plain > 0.0 {
            bail!(
                "tensor `{}` is {plain} at index {i}; a bias must not be positive, since −softplus(b) cannot be: train with such biases",
                tensor.name
            );
        }
        // ln(e^x − 1) = x + ln(1 − e^−x)
        let x = -plain;
        *value = if x > 0.0 { (x + (-(-x).exp_m1()).ln()).max(NO_BIAS) } else { NO_BIAS };
    }
    Ok(())
}

/// The architecture of a file; without that key, the layers of the preset `cell` with the widths of the tensors.
fn architecture(meta: &Meta, file: &TensorFile) -> Result<Architecture> {
    if let Some(text) = meta.0.get("architecture") {
        return serde_json::from_str(text).context("metadata `architecture` is not an architecture");
    }
    let Some(cell) = meta.0.get("cell") else { bail!(meta.missing("architecture")) };
    let pool = match meta.text("pool")? {
        "max" => PoolKind::Max,
        "sum" => PoolKind::Sum,
        other => bail!("metadata `pool` is {other:?}; it must be max or sum"),
    };
    // The width of a layer is that of its bias: a transposed weight would name another.
    let shape = |name: &str| {
        let of = |name: &str| file.tensors.get(name).map(|(shape, _)| &shape[..]);
        let weight = of(name)?;
        let bias = name.strip_suffix(".weight").and_then(|layer| of(&format!("{layer}.bias")));
        match (weight, bias) {
            (&[_, out], Some(bias @ &[width])) if out != width => Some(bias),
            _ => Some(weight),
        }
    };
    Ok(Architecture::from_shapes(cell, pool, shape))
}

struct Meta<'a>(&'a BTreeMap<String, String>);

impl Meta<'_> {
    fn missing(&self, key: &str) -> String {
        format!("metadata `{key}` is missing; a model file has {}", KEYS.join(", "))
    }

    fn text(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).with_context(|| self.missing(key))
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        let text = self.text(key)?;
        text.parse().ok().with_context(|| format!("metadata `{key}` is {text:?}; it must be a number"))
    }

    /// A key that is 0 or 1, and 0 where it is missing.
    fn flag(&self, key: &str) -> Result<bool> {
        match self.0.get(key).map(String::as_str) {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(text) => bail!("metadata `{key}` is {text:?}; it must be 0 or 1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Core;

    fn network() -> Network {
        let core = Core::Rnn { combine: 12, recurrent: 6 };
        let architecture = Architecture { core, ..Architecture::preset("convdeep").unwrap() };
        let task = Task { rows: 8, cols: 8, seq_len: 2, classes: 3, ..Task::default() };
        Network::new(architecture, task, 3).unwrap()
    }

    /// The same network as a file without the key `architecture`.
    fn with_cell(name: &str, pool: &str) -> TensorFile {
        let mut file = describe(&network()).unwrap();
        file.metadata.remove("architecture");
        file.metadata.insert("cell".to_owned(), name.to_owned());
        file.metadata.insert("pool".to_owned(), pool.to_owned());
        file
    }

    #[test]
    fn plain_biases_are_loaded_as_what_is_added() {
        let softplus = |b: f32| f64::from(b).exp().ln_1p();
        let mut file = describe(&network()).unwrap();
        file.metadata.insert("bias".to_owned(), "plain".to_owned());
        let plain = [0.0, -0.0, -1e-3, -0.5, -3.0, -40.0];
        for (name, (_, values)) in &mut file.tensors {
            if name.ends_with(".bias") {
                for (i, value) in values.iter_mut().enumerate() {
                    *value = plain[i % plain.len()];
                }
            }
        }
        let network = build(&file).unwrap();
        for tensor in network.tensors().iter().filter(|tensor| tensor.name.ends_with(".bias")) {
            for (i, &b) in tensor.values.iter().enumerate() {
                let (found, want) = (-softplus(b), f64::from(plain[i % plain.len()]));
                assert!((found - want).abs() <= 1e-6 * want.abs() + 1e-7, "{found} for {want}");
            }
        }
        file.tensors.get_mut("combine.bias").unwrap().1[3] = 0.25;
        let error = format!("{:#}", build(&file).unwrap_err());
        assert!(error.contains("combine.bias") && error.contains("0.25 at index 3"), "{error}");
        file.metadata.insert("bias".to_owned(), "none".to_owned());
        let error = format!("{:#}", build(&file).unwrap_err());
        assert!(error.contains("softplus or plain"), "{error}");
    }

    #[test]
    fn gates_have_plain_biases_of_either_sign_in_every_file() {
        let architecture =
            Architecture { core: Core::RLstm { cells: 5 }, ..Architecture::preset("deep").unwrap() };
        let task = Task { rows: 4, cols: 4, seq_len: 2, classes: 3, ..Task::default() };
        let mut file = describe(&Network::new(architecture, task, 3).unwrap()).unwrap();
        for (name, (_, values)) in &mut file.tensors {
            if name.ends_with(".bias") {
                values.fill(if name == "gates.bias" { 1.5 } else { -1.5 });
            }
        }
        file.metadata.insert("bias".to_owned(), "plain".to_owned());
        let network = build(&file).unwrap();
        let biases = network.tensors().into_iter().filter(|tensor| tensor.name == "gates.bias");
        assert!(biases.flat_map(|tensor| tensor.values).all(|b| b == 1.5));
    }

    #[test]
    fn the_width_of_a_layer_is_that_of_its_bias() {
        let mut file = with_cell("convdeep", "max");
        file.tensors.get_mut("recurrent.weight").unwrap().0.reverse();
        let error = format!("{:#}", build(&file).unwrap_err());
        assert!(error.contains("`recurrent.weight` has shape [6, 12], [12, 6] expected"), "{error}");
        assert!(error.contains("looks transposed") && error.contains("w.T"), "{error}");
    }

    #[test]
    fn a_network_is_saved_and_loaded() {
        let network = network();
        let again = build(&describe(&network).unwrap()).unwrap();
        assert_eq!((again.architecture(), again.task()), (network.architecture(), network.task()));
        assert_eq!(again.values(), network.values());
    }

    #[test]
    fn files_without_an_architecture_take_it_from_the_preset_and_the_tensors() {
        for name in ["convdeep", "mine"] {
            let again = build(&with_cell(name, "max")).unwrap();
            assert_eq!(again.architecture(), network().architecture(), "{name}");
            assert_eq!(again.values(), network().values(), "{name}");
        }
        let sum = build(&with_cell("convdeep", "sum")).unwrap();
        assert_eq!(*sum.architecture(), network().architecture().clone().with_pools(PoolKind::Sum));
    }

    #[test]
    fn a_missing_misnamed_or_misshapen_tensor_is_named() {
        let refused = |change: fn(&mut TensorFile)| {
            let mut file = describe(&network()).unwrap();
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
        let key = refused(|file| drop(file.metadata.remove("architecture")));
        assert!(key.contains("`architecture` is missing"), "{key}");
        let json = refused(|file| drop(file.metadata.insert("architecture".to_owned(), "{}".to_owned())));
        assert!(json.contains("`architecture`") && json.contains("encoder"), "{json}");
        let steps = refused(|file| drop(file.metadata.insert("seq_len".to_owned(), "3".to_owned())));
        assert!(steps.contains("does not divide"), "{steps}");
    }
}

//! Golden cases and small networks for the tests.

use kernels::pool::PoolKind;
use kernels::{Backend, Kernels, Threads};
use model::explain::{Explainer, Explanation, Method, Target};
use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer};
use model::{Architecture, Core, EncoderLayer, NamedTensor, Network, Samples, Task};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Images and labels in memory.
#[derive(Clone)]
pub struct Arrays {
    pub images: Vec<f32>,
    pub labels: Vec<u8>,
    pub size: usize,
}

impl Samples for Arrays {
    fn len(&self) -> usize {
        self.labels.len()
    }
    fn pixels(&self, i: usize, x: &mut [f32]) {
        x.copy_from_slice(&self.images[i * self.size..][..self.size]);
    }
    fn label(&self, i: usize) -> u8 {
        self.labels[i]
    }
}

/// One file of golden values.
pub struct Golden {
    pub name: String,
    pub network: Network,
    pub samples: Arrays,
    pub tensors: BTreeMap<String, Vec<f32>>,
    /// Options of `harness explain` by the name of what they give.
    pub commands: BTreeMap<String, String>,
}

/// The metadata of a safetensors file.
fn metadata(bytes: &[u8]) -> HashMap<String, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).expect("a header");
    header.metadata().clone().expect("metadata").into_iter().collect()
}

impl Golden {
    pub fn read(path: &Path) -> Golden {
        let bytes = std::fs::read(path).expect("a golden file");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let meta = metadata(&bytes);
        let number = |key: &str| meta[key].parse::<f64>().expect("a number");
        let (mut tensors, mut shapes, mut labels) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, view) in file.tensors() {
            let data = view.data();
            if view.dtype() == Dtype::I64 {
                let int = |b: &[u8]| i64::from_le_bytes(b.try_into().expect("8 bytes")) as u8;
                labels = data.chunks_exact(8).map(int).collect();
            } else {
                let float = |b: &[u8]| f32::from_le_bytes(b.try_into().expect("4 bytes"));
                tensors.insert(name.clone(), data.chunks_exact(4).map(float).collect::<Vec<f32>>());
                shapes.insert(name, view.shape().to_vec());
            }
        }
        let task = Task {
            rows: number("rows") as usize,
            cols: number("cols") as usize,
            seq_len: number("seq_len") as usize,
            classes: number("classes") as usize,
            low: number("low") as f32,
            high: number("high") as f32,
            zero_logit: meta.get("zero_logit").is_some_and(|flag| flag == "1"),
        };
        let params: Vec<NamedTensor> = tensors
            .iter()
            .filter_map(|(name, values)| {
                let short = name.strip_prefix("param.")?;
                let (name, shape) = (short.to_owned(), shapes[name].clone());
                Some(NamedTensor { name, shape, values: values.clone() })
            })
            .collect();
        let shape = |name: &str| shapes.get(&format!("param.{name}")).map(|shape: &Vec<usize>| &shape[..]);
        let architecture = match meta.get("architecture") {
            Some(text) => serde_json::from_str(text).expect("an architecture"),
            None => Architecture::from_shapes(&meta["cell"], PoolKind::Max, shape),
        };
        let command = |(key, options): (&String, &String)| {
            Some((key.strip_prefix("command.")?.to_owned(), options.clone()))
        };
        let commands = meta.iter().filter_map(command).collect();
        let network = Network::from_tensors(architecture, task, &params).expect("a complete model");
        let size = task.rows * task.cols;
        let samples = Arrays { images: tensors["input"].clone(), labels, size };
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Golden { name, network, samples, tensors, commands }
    }

    pub fn indices(&self) -> Vec<usize> {
        (0..self.samples.len()).collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder of golden files")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    files
}

/// Prints a line that the test runner does not hide.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The golden cases of narrow networks, which are part of this package.
pub fn tiny() -> Vec<Golden> {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"));
    assert_eq!(files.len(), 12, "four presets, T = 1, 2, 4");
    files.iter().map(|path| Golden::read(path)).collect()
}

/// The golden cases of the thesis's widths: not part of this package, `None` if they are absent.
pub fn full() -> Option<Vec<Golden>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/full");
    if !folder.is_dir() {
        say(&format!("skipped: no full-size golden cases at {}", folder.display()));
        return None;
    }
    let files = files(&folder);
    say(&format!("{} full-size golden cases", files.len()));
    assert_eq!(files.len(), 16, "four presets, T = 1, 4, 7, 14");
    Some(files.iter().map(|path| Golden::read(path)).collect())
}

/// The golden cases with values, rules and zero logits of all cells: not part of this package, none where
/// they are absent.
pub fn final_cases() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/final");
    if !folder.is_dir() {
        say(&format!("skipped: no golden cases of values and rules at {}", folder.display()));
        return Vec::new();
    }
    let files = files(&folder);
    say(&format!("{} golden cases of values and rules", files.len()));
    assert_eq!(files.len(), 16, "all cells of the finished thesis at several lengths");
    files.iter().map(|path| Golden::read(path)).collect()
}

/// The golden cases that another program itself has computed, `zennit` or `captum`: `PROGRAM/make_golden.py`.
pub fn cases_of(program: &str) -> Vec<Golden> {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(program));
    assert_eq!(files.len(), 2, "one dense network, one with convolutions");
    files.iter().map(|path| Golden::read(path)).collect()
}

/// Every backend of this CPU on the calling thread.
pub fn backends() -> Vec<Kernels> {
    let one = |backend| Kernels::new(backend, Threads::one());
    Backend::available().into_iter().map(one).collect()
}

/// The largest difference, relative to the largest expected value.
pub fn relative_error(found: &[f32], want: &[f32]) -> f64 {
    let scale = want.iter().fold(1e-30f64, |max, &w| max.max(f64::from(w).abs()));
    let errors =
        found.iter().zip(want).map(|(&found, &want)| (f64::from(found) - f64::from(want)).abs() / scale);
    // NaN stays.
    errors.fold(0.0, |max, error| if error.is_nan() || error > max { error } else { max })
}

/// Compares relative to the largest expected value.
pub fn assert_close(what: &str, found: &[f32], want: &[f32], tolerance: f64) {
    assert_eq!(found.len(), want.len(), "{what}");
    let error = relative_error(found, want);
    assert!(error <= tolerance, "{what} is off by {error:.1e} of its largest value");
}

/// Images drawn from a seed: 40 % background, the rest uniform in −1…1.
pub fn random_samples(n: usize, size: usize, classes: usize, seed: u64) -> Arrays {
    use rand::{Rng, SeedableRng};
    let mut rng = rand_xoshiro::Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut unit = || (rng.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
    let images = (0..n * size).map(|_| if unit() < 0.4 { -1.0 } else { 2.0 * unit() - 1.0 }).collect();
    let labels = (0..n).map(|i| (i % classes) as u8).collect();
    Arrays { images, labels, size }
}

/// Every method, with the α and β of LRP used here.
pub const METHODS: [Method; 7] = [
    Method::DEEP_TAYLOR,
    Method::lrp(1.0, 0.0),
    Method::lrp(2.0, 1.0),
    Method::W_SQUARE,
    Method::Sensitivity,
    Method::SimpleTaylor,
    Method::GuidedBackprop,
];

/// A trainer with the dropout of the draft.
pub fn trainer(network: &Network, optimiser: Optimiser, batch: usize, seed: u64) -> Trainer {
    let dropout = DropoutPolicy::draft(network.architecture());
    Trainer::new(network.clone(), TrainOptions { optimiser, batch, seed, dropout }).expect("a valid policy")
}

/// An architecture of the thesis with its own widths and initial values, on 28×28 pixels and 10 classes.
pub fn thesis(name: &str, seq_len: usize) -> Network {
    let preset = Architecture::preset(name).expect("a preset");
    Network::new(preset, Task { seq_len, ..Task::default() }, 3).expect("fits")
}

/// A narrow network on 7×8 pixels and 5 classes, with widths around those of registers. With the thesis's
/// initial values the activations of narrow layers vanish, so the weights have standard deviation `√(2 /
/// inputs)` instead, and the biases differ.
pub fn narrow(name: &str, seq_len: usize, pool: PoolKind) -> Network {
    let mut narrow = Architecture::preset(name).expect("a preset").with_pools(pool);
    let (mut units_of, mut channels_of) = ([20, 17].into_iter(), [4, 6].into_iter());
    for layer in &mut narrow.encoder {
        match layer {
            EncoderLayer::Dense(units) => *units = units_of.next().expect("at most two"),
            EncoderLayer::Conv { channels, .. } => *channels = channels_of.next().expect("at most two"),
            EncoderLayer::Pool(_) => {}
        }
    }
    narrow.core = Core::Rnn { combine: 19, recurrent: 9 };
    narrow.head.iter_mut().for_each(|units| *units = 11);
    lively(narrow, Task { rows: 7, cols: 8, seq_len, classes: 5, ..Task::default() })
}

/// Convolutions without a pool, followed by another one, by a pooled one, by a dense layer and by the core.
pub fn unpooled(seq_len: usize) -> [Network; 2] {
    let (conv, pool) = (EncoderLayer::conv, EncoderLayer::Pool);
    let core = Core::Rnn { combine: 13, recurrent: 6 };
    let task = Task { rows: 7, cols: 8, seq_len, classes: 5, ..Task::default() };
    let deep = vec![conv(3, 8), conv(3, 9), pool(PoolKind::Max), conv(3, 10), EncoderLayer::Dense(16)];
    [deep, vec![conv(3, 6)]].map(|encoder| lively(Architecture { encoder, core, head: vec![7] }, task))
}

/// R-LSTMs behind every kind of encoder and lateral convolutions in front of every kind of layer.
pub fn gated_and_lateral(seq_len: usize) -> Vec<Network> {
    let (conv, pool, dense) = (EncoderLayer::conv, EncoderLayer::Pool, EncoderLayer::Dense);
    let lateral = |size, channels| EncoderLayer::Conv { size, channels, lateral: true };
    let (r_lstm, rnn) = (Core::RLstm { cells: 17 }, Core::Rnn { combine: 13, recurrent: 6 });
    let task = Task { rows: 7, cols: 8, seq_len, classes: 5, ..Task::default() };
    let (max, sum) = (pool(PoolKind::Max), pool(PoolKind::Sum));
    [
        (vec![dense(20)], r_lstm, vec![]),
        (vec![], r_lstm, vec![7]),
        (vec![conv(3, 4), sum], r_lstm, vec![]),
        (vec![lateral(3, 6), max, lateral(3, 5), sum, dense(16)], rnn, vec![9]),
        (vec![lateral(3, 6), conv(5, 4), lateral(3, 5)], r_lstm, vec![]),
    ]
    .map(|(encoder, core, head)| lively(Architecture { encoder, core, head }, task))
    .into()
}

/// A network whose values do not die out in narrow layers.
pub fn lively(architecture: Architecture, task: Task) -> Network {
    let network = Network::new(architecture.clone(), task, 5 + task.seq_len as u64).expect("fits");
    let mut tensors = network.tensors();
    for tensor in &mut tensors {
        let inputs: usize = tensor.shape.iter().rev().skip(1).product();
        let gain = (2.0 / inputs as f32).sqrt() / 0.088;
        for (i, value) in tensor.values.iter_mut().enumerate() {
            let bias = if tensor.name == "gates.bias" { -1.0 } else { -4.0 };
            *value = if tensor.shape.len() > 1 { *value * gain } else { bias + 0.37 * (i % 9) as f32 };
        }
    }
    Network::from_tensors(architecture, task, &tensors).expect("the same shapes")
}

/// Random samples for a network's task.
pub fn samples_for(network: &Network, n: usize, seed: u64) -> Arrays {
    let task = network.task();
    random_samples(n, task.rows * task.cols, task.classes, seed)
}

/// Explains with buffers for exactly these samples.
pub fn explain(
    kernels: &Kernels,
    network: &Network,
    method: Method,
    (samples, indices): (&Arrays, &[usize]),
    target: Target,
) -> Vec<Explanation> {
    let mut explainer = Explainer::new(kernels, network, method, indices.len()).expect("fits");
    explainer.explain(kernels, samples, indices, target).expect("runs")
}

/// Bits, so that equality tells −0 from 0 and a NaN equals itself.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A network in f64: its equations as written, with row-major tensors.
pub struct Reference<'a> {
    network: &'a Network,
    pub tensors: BTreeMap<String, Vec<f64>>,
    /// Added to a pre-activation of the core: (step, unit, value).
    pub nudge: (usize, usize, f64),
}

/// Rows, columns, channels, and values in this order.
type Image = (usize, usize, usize, Vec<f64>);

impl Reference<'_> {
    pub fn new(network: &Network) -> Reference<'_> {
        let double = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect();
        let tensors = network.tensors().into_iter().map(|t| (t.name, double(&t.values))).collect();
        Reference { network, tensors, nudge: (0, 0, 0.0) }
    }

    fn bias(&self, layer: &str) -> impl Iterator<Item = f64> {
        self.tensors[&format!("{layer}.bias")].iter().map(|b| -b.exp().ln_1p())
    }

    /// `h = Wᵀa − softplus(b)`
    fn dense(&self, layer: &str, a: &[f64]) -> Vec<f64> {
        self.product(layer, a, self.bias(layer).collect())
    }

    /// `h = Wᵀa + bias`
    fn product(&self, layer: &str, a: &[f64], mut h: Vec<f64>) -> Vec<f64> {
        let w = &self.tensors[&format!("{layer}.weight")];
        assert_eq!(w.len(), a.len() * h.len(), "{layer}");
        let outputs = h.len();
        for (k, h) in h.iter_mut().enumerate() {
            *h += (0..a.len()).map(|j| a[j] * w[j * outputs + k]).sum::<f64>();
        }
        h
    }

    /// `i, f, o, c̃` of `u = [e_t, h_{t−1}]`, then `[c_t, h_t]`.
    fn cell(&self, u: &[f64], c: &[f64], nudge: Option<(usize, f64)>) -> [Vec<f64>; 2] {
        let n = c.len();
        let sigma = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut gates = self.product("gates", u, self.tensors["gates.bias"].clone());
        let mut candidate = self.dense("candidate", u);
        if let Some((unit, by)) = nudge {
            *gates.iter_mut().chain(&mut candidate).nth(unit).expect("a unit of the cell") += by;
        }
        let gates: Vec<f64> = gates.into_iter().map(sigma).collect();
        let candidate = relu(candidate);
        let c: Vec<f64> = (0..n).map(|j| gates[n + j] * c[j] + gates[j] * candidate[j]).collect();
        let h = (0..n).map(|j| gates[2 * n + j] * c[j]).collect();
        [c, h]
    }

    /// The sums of a convolution with the weights `weight` or `lateral` of a layer.
    fn conv(&self, layer: &str, part: &str, size: usize, (rows, cols, inputs, x): &Image) -> Image {
        let w = &self.tensors[&format!("{layer}.{part}")];
        let bias: Vec<f64> = if part == "weight" { self.bias(layer).collect() } else { vec![0.0; *inputs] };
        let outputs = bias.len();
        let mut h = Vec::new();
        for (y, x_at) in (0..*rows).flat_map(|y| (0..*cols).map(move |x| (y, x))) {
            for (o, bias) in bias.iter().enumerate() {
                let mut sum = *bias;
                for (dy, dx) in (0..size).flat_map(|dy| (0..size).map(move |dx| (dy, dx))) {
                    let (from_y, from_x) =
                        ((y + dy).wrapping_sub(size / 2), (x_at + dx).wrapping_sub(size / 2));
                    if from_y < *rows && from_x < *cols {
                        for i in 0..*inputs {
                            sum += x[(from_y * cols + from_x) * inputs + i]
                                * w[((dy * size + dx) * inputs + i) * outputs + o];
                        }
                    }
                }
                h.push(sum);
            }
        }
        (*rows, *cols, outputs, h)
    }

    pub fn logits(&self, image: &[f64]) -> Vec<f64> {
        let (architecture, task) = (self.network.architecture(), self.network.task());
        let width = task.cols / task.seq_len;
        // What the core has of the step before: `r_t`, or `h` and `c`.
        let (mut r, mut c) = match architecture.core {
            Core::Rnn { recurrent, .. } => (vec![0.0; recurrent], vec![]),
            Core::RLstm { cells } => (vec![0.0; cells], vec![0.0; cells]),
        };
        let mut a4 = Vec::new();
        let mut outputs: BTreeMap<String, Image> = BTreeMap::new();
        for t in 0..task.seq_len {
            let pixel = |i: usize| image[i / width * task.cols + t * width + i % width];
            let mut e: Image = (task.rows, width, 1, (0..task.rows * width).map(pixel).collect());
            let mut with_parameters = 0;
            for layer in &architecture.encoder {
                let name = format!("encoder.{with_parameters}");
                with_parameters += usize::from(!matches!(layer, EncoderLayer::Pool(_)));
                e = match *layer {
                    EncoderLayer::Dense(units) => (1, 1, units, relu(self.dense(&name, &e.3))),
                    EncoderLayer::Conv { size, lateral, .. } => {
                        let (rows, cols, channels, mut h) = self.conv(&name, "weight", size, &e);
                        if let Some(before) = outputs.get(&name).filter(|_| lateral) {
                            let (.., of_before) = self.conv(&name, "lateral", size, before);
                            h.iter_mut().zip(of_before).for_each(|(h, u)| *h += u);
                        }
                        let y = (rows, cols, channels, relu(h));
                        outputs.insert(name, y.clone());
                        y
                    }
                    EncoderLayer::Pool(kind) => pooled(kind, e),
                };
            }
            let mut seen = e.3;
            match architecture.core {
                Core::Rnn { .. } => {
                    if task.seq_len > 1 {
                        seen.extend(&r);
                    }
                    let mut h4 = self.dense("combine", &seen);
                    if self.nudge.0 == t {
                        h4[self.nudge.1] += self.nudge.2;
                    }
                    a4 = relu(h4);
                    if t + 1 < task.seq_len {
                        r = relu(self.dense("recurrent", &a4));
                    }
                }
                Core::RLstm { .. } => {
                    seen.extend(&r);
                    let (step, unit, by) = self.nudge;
                    [c, r] = self.cell(&seen, &c, (step == t).then_some((unit, by)));
                    a4.clone_from(&r);
                }
            }
        }
        let last = architecture.head.len();
        let a = (0..last).fold(a4, |a, i| relu(self.dense(&format!("head.{i}"), &a)));
        self.dense(&format!("head.{last}"), &a)
    }

    pub fn loss(&self, samples: &Arrays) -> f64 {
        let of = |(image, &label): (&[f32], &u8)| {
            let image: Vec<f64> = image.iter().map(|&x| f64::from(x)).collect();
            let h = self.logits(&image);
            let zero = if self.network.task().zero_logit { 1.0 } else { 0.0 };
            (zero + h.iter().map(|h| h.exp()).sum::<f64>()).ln() - h[usize::from(label)]
        };
        let images = samples.images.chunks_exact(samples.size).zip(&samples.labels);
        images.map(of).sum::<f64>() / samples.labels.len() as f64
    }
}

fn relu(mut h: Vec<f64>) -> Vec<f64> {
    h.iter_mut().for_each(|h| *h = h.max(0.0));
    h
}

fn pooled(kind: PoolKind, (rows, cols, channels, a): Image) -> Image {
    let (out_rows, out_cols) = (rows.div_ceil(2), cols.div_ceil(2));
    let mut out = vec![0.0f64; out_rows * out_cols * channels];
    for (i, &a) in a.iter().enumerate() {
        let (y, x, c) = (i / channels / cols, i / channels % cols, i % channels);
        let out = &mut out[(y / 2 * out_cols + x / 2) * channels + c];
        *out = if kind == PoolKind::Max { out.max(a) } else { *out + a };
    }
    (out_rows, out_cols, channels, out)
}

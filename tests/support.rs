//! Golden cases and small networks for the tests.

use kernels::pool::PoolKind;
use kernels::{Backend, Kernels, Threads};
use model::{Cell, Encoder, NamedTensor, Network, Samples, Task};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
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
}

impl Golden {
    pub fn read(path: &Path) -> Golden {
        let bytes = std::fs::read(path).expect("a golden file");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let meta: HashMap<String, String> = header.metadata().clone().expect("metadata");
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
            pool: PoolKind::Max,
        };
        let params: Vec<NamedTensor> = tensors
            .iter()
            .filter_map(|(name, values)| {
                let short = name.strip_prefix("param.")?;
                let (name, shape) = (short.to_owned(), shapes[name].clone());
                Some(NamedTensor { name, shape, values: values.clone() })
            })
            .collect();
        let width = |layer: &str| shapes.get(&format!("param.{layer}.bias")).map(|shape| shape[0]);
        let mut cell = Cell::preset(&meta["cell"]).expect("a preset");
        for (i, layer) in cell.encoder.iter_mut().enumerate() {
            let units_now = width(&format!("encoder.{i}")).expect("an encoder layer");
            match layer {
                Encoder::Dense { units } => *units = units_now,
                Encoder::Conv { channels, .. } => *channels = units_now,
            }
        }
        cell.combine = width("combine").expect("a combine layer");
        cell.recurrent = width("recurrent").unwrap_or(cell.recurrent);
        for (i, units) in cell.head.iter_mut().enumerate() {
            *units = width(&format!("head.{i}")).expect("a head layer");
        }
        let network = Network::from_tensors(cell, task, &params).expect("a complete model");
        let size = task.rows * task.cols;
        let samples = Arrays { images: tensors["input"].clone(), labels, size };
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Golden { name, network, samples, tensors }
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

/// The golden cases of narrow cells, which are part of this package.
pub fn tiny() -> Vec<Golden> {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"));
    assert_eq!(files.len(), 12, "four cells, T = 1, 2, 4");
    files.iter().map(|path| Golden::read(path)).collect()
}

/// The golden cases of the thesis's widths: not part of this package, `None` where they are absent.
pub fn full() -> Option<Vec<Golden>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/full");
    if !folder.is_dir() {
        println!("skipped: no full-size golden cases at {}", folder.display());
        return None;
    }
    let files = files(&folder);
    println!("{} full-size golden cases", files.len());
    assert_eq!(files.len(), 16, "four cells, T = 1, 4, 7, 14");
    Some(files.iter().map(|path| Golden::read(path)).collect())
}

/// Every backend of this CPU on the calling thread.
pub fn backends() -> Vec<Kernels> {
    let one = |backend| Kernels::new(backend, Threads::one());
    Backend::available().into_iter().map(one).collect()
}

/// Compares relative to the largest expected value.
pub fn assert_close(what: &str, found: &[f32], want: &[f32], tolerance: f64) {
    assert_eq!(found.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-30f64, |max, &w| max.max(f64::from(w).abs()));
    for (i, (&found, &want)) in found.iter().zip(want).enumerate() {
        let error = (f64::from(found) - f64::from(want)).abs() / scale;
        assert!(error <= tolerance, "{what}[{i}] is {found}, {want} expected: {error:.1e} of the largest");
    }
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

//! A whole training step and a whole explanation of the four presets, in samples per second. A step is the
//! forward pass with dropout, back-propagation through time and Adam; an explanation is the forward pass, z⁺
//! through time and z^β on the pixels.
//!
//! Gradients and relevance of a few samples are compared with those of the `reference` backend first.

use benches::{BATCH, alone, assert_close, best, floats, label};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group};
use kernels::{Backend, Kernels};
use model::explain::{Explainer, Explanation, Method, Target};
use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer};
use model::{Architecture, Network, Samples, Task};
use std::time::Duration;

const STEPS: [usize; 2] = [1, 7];
const ADAM: Optimiser = Optimiser::Adam { lr: 1e-3 };
const FEW: [usize; 2] = [0, 1];

/// Images of noise in −1…1, with the classes in rotation.
struct Noise {
    pixels: Vec<f32>,
    size: usize,
    classes: usize,
}

impl Samples for Noise {
    fn len(&self) -> usize {
        self.pixels.len() / self.size
    }

    fn pixels(&self, i: usize, x: &mut [f32]) {
        x.copy_from_slice(&self.pixels[i * self.size..][..self.size]);
    }

    fn label(&self, i: usize) -> u8 {
        (i % self.classes) as u8
    }
}

impl Noise {
    fn new(task: &Task) -> Self {
        let size = task.rows * task.cols;
        Noise { pixels: floats(BATCH * size, 1), size, classes: task.classes }
    }
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(format!("step/{name}"));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.sample_size(20).throughput(Throughput::Elements(BATCH as u64));
    group
}

/// The four presets at each length, by name.
fn networks() -> impl Iterator<Item = (String, Network)> {
    Architecture::PRESETS.into_iter().flat_map(|name| STEPS.map(|seq_len| (name, seq_len))).map(
        |(name, seq_len)| {
            let preset = Architecture::preset(name).expect("a preset");
            let network =
                Network::new(preset, Task { seq_len, ..Task::default() }, 1).expect("fits the task");
            (format!("{name}-{seq_len}"), network)
        },
    )
}

fn reference() -> Kernels {
    alone(Backend::by_name("reference").expect("every CPU has it"))
}

fn f64s(xs: &[f32]) -> Vec<f64> {
    xs.iter().map(|&x| f64::from(x)).collect()
}

fn trainer(network: &Network, batch: usize) -> Trainer {
    let dropout = DropoutPolicy::draft(network.architecture());
    let options = TrainOptions { optimiser: ADAM, batch, seed: 1, dropout };
    Trainer::new(network.clone(), options).expect("a valid policy")
}

fn gradients(kernels: &Kernels, network: &Network, samples: &Noise) -> Vec<f32> {
    let mut trainer = trainer(network, FEW.len());
    trainer.gradient_without_dropout(kernels, samples, &FEW).expect("runs");
    trainer.gradients().to_vec()
}

fn train(c: &mut Criterion) {
    let mut group = group(c, "train");
    for (name, network) in networks() {
        let samples = Noise::new(network.task());
        let batch: Vec<usize> = (0..BATCH).collect();
        let want = f64s(&gradients(&reference(), &network, &samples));
        for kernels in best() {
            assert_close(&name, &gradients(&kernels, &network, &samples), &want);
            let mut trainer = trainer(&network, BATCH);
            group.bench_function(BenchmarkId::new(label(&kernels), &name), |bench| {
                bench.iter(|| trainer.step(&kernels, &samples, &batch).expect("runs"));
            });
        }
    }
}

fn relevance(kernels: &Kernels, network: &Network, samples: &Noise) -> Explanation {
    let mut explainer = Explainer::new(kernels, network, Method::DEEP_TAYLOR, FEW.len()).expect("fits");
    let found = explainer.explain(kernels, samples, &FEW, Target::Class(0));
    found.expect("runs").remove(0)
}

fn explain(c: &mut Criterion) {
    let mut group = group(c, "deep-taylor");
    for (name, network) in networks() {
        let samples = Noise::new(network.task());
        let batch: Vec<usize> = (0..BATCH).collect();
        let want = f64s(&relevance(&reference(), &network, &samples).relevance);
        for kernels in best() {
            let found = relevance(&kernels, &network, &samples);
            assert_close(&name, &found.relevance, &want);
            assert!(found.conservation_error.iter().all(|&error| error < 1e-3), "{name}: {found:?}");
            let mut explainer = Explainer::new(&kernels, &network, Method::DEEP_TAYLOR, BATCH).expect("fits");
            group.bench_function(BenchmarkId::new(label(&kernels), &name), |bench| {
                bench
                    .iter(|| explainer.explain(&kernels, &samples, &batch, Target::Predicted).expect("runs"));
            });
        }
    }
}

criterion_group!(benches, train, explain);
fn main() {
    benches::noise::watch(|| {
        benches();
        Criterion::default().configure_from_args().final_summary();
    });
}

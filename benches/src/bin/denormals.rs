//! Whether denormal numbers slow a step down: the same work on normal and on denormal numbers, in turns.
//!
//! Two places where they settle: the moments of parameters that get no gradient any more, and weights that have
//! faded.

use kernels::{Backend, Kernels, Threads};
use model::train::{DropoutPolicy, Optimiser, State, TrainOptions, Trainer};
use model::{Architecture, Evaluator, ModelError, Network, Samples, Task};
use std::time::Instant;

const BATCH: usize = 50;
const ROUNDS: usize = 15;
const STEPS: usize = 20;

struct Ramp;

impl Samples for Ramp {
    fn len(&self) -> usize {
        BATCH
    }
    fn pixels(&self, i: usize, x: &mut [f32]) {
        for (j, x) in x.iter_mut().enumerate() {
            *x = ((i * 31 + j * 7) % 255) as f32 / 127.5 - 1.0;
        }
    }
    fn label(&self, i: usize) -> u8 {
        (i % 10) as u8
    }
}

/// Deep-7 with the encoder's weights times `scale`, its bias `bias`, and none elsewhere.
fn network(scale: f32, bias: f32) -> Result<Network, ModelError> {
    let (cell, task) = (Architecture::preset("deep")?, Task { seq_len: 7, ..Task::default() });
    let mut tensors = Network::new(cell.clone(), task, 1)?.tensors();
    for tensor in &mut tensors {
        match tensor.name.as_str() {
            "encoder.0.weight" => tensor.values.iter_mut().for_each(|w| *w *= scale),
            "encoder.0.bias" => tensor.values.fill(bias),
            name if name.ends_with("bias") => tensor.values.fill(-100.0),
            _ => {}
        }
    }
    Network::from_tensors(cell, task, &tensors)
}

fn denormal(values: &[f32]) -> usize {
    values.iter().filter(|value| value.is_subnormal()).count()
}

/// Shortest seconds of a round, of each work in turns.
fn race(works: &mut [&mut dyn FnMut(); 2]) -> [f64; 2] {
    let mut best = [f64::MAX; 2];
    for _ in 0..ROUNDS {
        for (work, best) in works.iter_mut().zip(&mut best) {
            let begin = Instant::now();
            work();
            *best = best.min(begin.elapsed().as_secs_f64());
        }
    }
    best
}

fn main() -> Result<(), ModelError> {
    let indices: Vec<usize> = (0..BATCH).collect();
    for backend in Backend::available().into_iter().filter(|backend| backend.name() != "reference") {
        let kernels = Kernels::new(backend, Threads::one());
        // A dead encoder: what stands in the moments stays there, and only fades.
        let trainer = |m: f32, v: f32| -> Result<Trainer, ModelError> {
            let network = network(1.0, 1e4)?;
            let dropout = DropoutPolicy::draft(network.architecture());
            let optimiser = Optimiser::Adam { lr: 5e-4 };
            let options = TrainOptions { optimiser, batch: BATCH, seed: 1, dropout };
            let mut trainer = Trainer::new(network, options)?;
            let len = trainer.state().m.len();
            trainer.restore(State { steps: 1, m: vec![m; len], v: vec![v; len] })?;
            Ok(trainer)
        };
        let (mut normal, mut small) = (trainer(0.0, 1e-6)?, trainer(1e-40, 1e-40)?);
        let step = |trainer: &mut Trainer| {
            for _ in 0..STEPS {
                trainer.step(&kernels, &Ramp, &indices).expect("a step");
            }
        };
        let [a, b] = race(&mut [&mut || step(&mut normal), &mut || step(&mut small)]);
        let there = denormal(&small.state().v);
        println!("{:9} training: {:.3} of the time, {there} moments denormal", backend.name(), b / a);

        let (normal, small) = (network(1.0, -100.0)?, network(1e-38, -100.0)?);
        let (mut one, mut other) = (Evaluator::new(&normal, BATCH), Evaluator::new(&small, BATCH));
        let run = |evaluator: &mut Evaluator, network: &Network| {
            for _ in 0..STEPS {
                evaluator.logits(&kernels, network, &Ramp, &indices).expect("runs");
            }
        };
        let [a, b] = race(&mut [&mut || run(&mut one, &normal), &mut || run(&mut other, &small)]);
        let there = denormal(small.values());
        println!("{:9} forward:  {:.3} of the time, {there} weights denormal", backend.name(), b / a);
    }
    Ok(())
}

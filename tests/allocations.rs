//! A training step allocates nothing after its buffers exist. This test has its own binary, because it counts
//! the allocations of all threads of the process.

use kernels::{Backend, Kernels, Threads};
use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer};
use model::{Architecture, Network, Samples, Task};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations so far, of all threads.
fn count() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

/// Allocations while `work` runs.
fn allocations(work: impl FnOnce()) -> usize {
    let before = count();
    work();
    count() - before
}

/// Grey images of rising brightness.
struct Greys;

impl Samples for Greys {
    fn len(&self) -> usize {
        BATCH
    }
    fn pixels(&self, i: usize, x: &mut [f32]) {
        x.fill(i as f32 / BATCH as f32);
    }
    fn label(&self, i: usize) -> u8 {
        (i % 10) as u8
    }
}

const BATCH: usize = 50;
/// Number of consecutive steps that must not allocate.
const STEPS: usize = 20;

fn step(trainer: &mut Trainer, kernels: &Kernels, batch: &[usize]) -> usize {
    allocations(|| {
        trainer.step(kernels, &Greys, batch).expect("runs");
    })
}

/// Each case on its own thread and thread pool, without scratch buffers.
#[test]
fn a_training_step_allocates_nothing_after_the_first() {
    assert!(allocations(|| drop(std::hint::black_box(vec![0; 10]))) > 0, "it counts");
    let batch: Vec<usize> = (0..BATCH).collect();
    for name in Architecture::PRESETS.into_iter().chain(["r-lstm", "convplus-r-lstm"]) {
        for optimiser in [Optimiser::Adam { lr: 1e-3 }, Optimiser::Sgd { lr: 1e-3, momentum: 0.9 }] {
            let preset = Architecture::preset(name).expect("a preset");
            let dropout = DropoutPolicy::draft(&preset);
            let options = TrainOptions { optimiser, batch: BATCH, seed: 1, dropout };
            let network = Network::new(preset, Task { seq_len: 7, ..Task::default() }, 1).expect("fits");
            for threads in [1, 2] {
                let (network, batch) = (network.clone(), &batch[..]);
                let case = || {
                    let kernels = Kernels::new(Backend::best(), Threads::new(threads).expect("threads"));
                    let mut trainer = Trainer::new(network, options).expect("a valid policy");
                    step(&mut trainer, &kernels, batch);
                    // A worker that sleeps during the first steps allocates its scratch later, once.
                    let late = if threads == 1 { 0 } else { 10 * STEPS };
                    let (mut steps, mut without) = (0, 0);
                    while without < STEPS {
                        let found = step(&mut trainer, &kernels, batch);
                        without = if found == 0 { without + 1 } else { 0 };
                        assert!(found == 0 || steps < late, "{name}, {threads} threads: {found} in a step");
                        steps += 1;
                    }
                };
                std::thread::scope(|scope| scope.spawn(case).join().expect("no step allocates"));
            }
        }
    }
}

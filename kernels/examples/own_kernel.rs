//! Runs training and explanation on an external GEMM backend and compares the results with those of the
//! built-in one.
//!
//! `cargo run --release -p kernels --example own_kernel`

use kernels::{Backend, Kernels, MatmulBackend, MatmulBlock, MatmulTask, Threads};
use model::explain::{Explainer, Method, Target};
use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer};
use model::{Architecture, Network, Samples, Task};
use std::sync::Arc;
use std::time::Instant;

/// The external GEMM: here three plain loops, in an order that the compiler vectorises.
#[derive(Debug)]
struct Own;
impl MatmulBackend for Own {
    fn name(&self) -> &str {
        "own"
    }
    fn run(&self, task: MatmulTask) {
        task.each_block(|MatmulBlock { a, b, c, c_stride }| {
            for (i, c) in c.chunks_mut(c_stride).enumerate() {
                c.fill(0.0);
                for q in 0..b.rows() {
                    let (a, b) = (a.at(i, q), b.row(q).expect("here the columns of b are adjacent"));
                    c.iter_mut().zip(b).for_each(|(c, &b)| *c += a * b);
                }
            }
        });
    }
}

/// Images of stripes, with a different pattern for each class.
struct Stripes;
impl Samples for Stripes {
    fn len(&self) -> usize {
        50
    }
    fn pixels(&self, i: usize, x: &mut [f32]) {
        (0..).zip(x).for_each(|(place, x)| *x = (place * (2 + i % 10) % 11) as f32 / 5.0 - 1.0);
    }
    fn label(&self, i: usize) -> u8 {
        (i % 10) as u8
    }
}

type Outcome = Result<([Vec<f32>; 2], f64), Box<dyn std::error::Error>>;
/// The gradient of a training step, a batch of explanations, and the time of each in milliseconds.
fn workload(kernels: &Kernels, network: &Network, batch: usize, times: u32) -> Outcome {
    let indices: Vec<usize> = (0..batch).collect();
    let dropout = DropoutPolicy::draft(network.architecture());
    let options = TrainOptions { optimiser: Optimiser::Adam { lr: 5e-4 }, batch, seed: 1, dropout };
    let mut trainer = Trainer::new(network.clone(), options)?;
    let mut explainer = Explainer::new(kernels, network, Method::DEEP_TAYLOR, batch)?;
    trainer.gradient_without_dropout(kernels, &Stripes, &indices)?;
    let gradient = trainer.gradients().to_vec();
    let relevance = explainer.explain(kernels, &Stripes, &indices, Target::True)?;
    let relevance = relevance.into_iter().flat_map(|batch| batch.relevance).collect();
    let start = Instant::now();
    for _ in 0..times {
        trainer.step(kernels, &Stripes, &indices)?;
        explainer.explain(kernels, &Stripes, &indices, Target::True)?;
    }
    Ok(([gradient, relevance], start.elapsed().as_secs_f64() * 1e3 / f64::from(times)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reference = Kernels::by_name("reference", Threads::one()).ok_or("every CPU has it")?;
    let own = Kernels::with_matmul(Backend::best(), Threads::one(), Arc::new(Own));
    for cell in Architecture::PRESETS {
        let network = Network::new(Architecture::preset(cell)?, Task { seq_len: 7, ..Task::default() }, 1)?;
        let [want, found] = [workload(&reference, &network, 4, 0)?.0, workload(&own, &network, 4, 0)?.0];
        for (want, found) in want.iter().zip(&found) {
            let largest = want.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            let agrees = want.iter().zip(found).all(|(w, f)| (w - f).abs() <= 1e-4 * largest);
            assert!(agrees, "{cell}-7: more than 1e-4 of the largest value off");
        }
        let [built_in, external] = [&Kernels::default(), &own].map(|set| workload(set, &network, 50, 10));
        println!(
            "{cell}-7 agrees; a step and an explanation: external {:.1} ms, built-in {:.1} ms",
            external?.1, built_in?.1
        );
    }
    Ok(())
}

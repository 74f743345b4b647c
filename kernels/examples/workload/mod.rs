//! What the examples run: a training step and a batch of explanations of every preset, checked and timed.

use kernels::profile::Profile;
use kernels::{Kernels, Threads};
use model::explain::{Explainer, Method, Target};
use model::train::{DropoutPolicy, Optimiser, TrainOptions, Trainer};
use model::{Architecture, Network, Samples, Task};
use std::error::Error;
use std::sync::Arc;

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

/// What a kernel set computes from one network and `batch` samples: a gradient, the parameters after `steps` steps, and
/// the relevance of the pixels after them.
fn outcome(
    kernels: &Kernels,
    network: &Network,
    batch: usize,
    steps: usize,
) -> Result<[Vec<f32>; 3], Box<dyn Error>> {
    let indices: Vec<usize> = (0..batch).collect();
    let dropout = DropoutPolicy::draft(network.architecture());
    let options = TrainOptions { optimiser: Optimiser::Adam { lr: 5e-4 }, batch, seed: 1, dropout };
    let mut trainer = Trainer::new(network.clone(), options)?;
    trainer.gradient_without_dropout(kernels, &Stripes, &indices)?;
    let gradient = trainer.gradients().to_vec();
    for _ in 0..steps {
        trainer.step(kernels, &Stripes, &indices)?;
    }
    let mut explainer = Explainer::new(kernels, trainer.network(), Method::DEEP_TAYLOR, batch)?;
    let found = explainer.explain(kernels, &Stripes, &indices, Target::True)?;
    Ok([
        gradient,
        trainer.network().values().to_vec(),
        found.into_iter().flat_map(|of| of.relevance).collect(),
    ])
}

/// Compares `own` with the reference on every preset, after `steps` steps, and prints which share of a step and an explanation the kernels of
/// these names take on it, beside their share on the built-in set.
pub fn run(own: &Kernels, names: &[&str], steps: usize) -> Result<(), Box<dyn Error>> {
    let reference = Kernels::by_name("reference", Threads::one()).ok_or("every CPU has it")?;
    for cell in Architecture::PRESETS {
        let network = Network::new(Architecture::preset(cell)?, Task { seq_len: 7, ..Task::default() }, 1)?;
        let [want, found] = [outcome(&reference, &network, 4, steps)?, outcome(own, &network, 4, steps)?];
        for (want, found) in want.iter().zip(&found) {
            let largest = want.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            let agrees = want.iter().zip(found).all(|(w, f)| (w - f).abs() <= 1e-3 * largest);
            assert!(agrees, "{cell}-7: more than 1e-3 of the largest value off");
        }
        let mut shares = Vec::new();
        for kernels in [own, &Kernels::default()] {
            let profile = Arc::new(Profile::new());
            outcome(&kernels.clone().profiled(Arc::clone(&profile)), &network, 50, 3)?;
            let calls = profile.take();
            let ms = |named: bool| -> f64 {
                let of = calls.iter().filter(|call| !named || names.contains(&call.name));
                of.map(|call| call.took.as_secs_f64() * 1e3).sum()
            };
            shares.push(format!(
                "{:.1} of {:.1} ms ({:.0} %)",
                ms(true),
                ms(false),
                100.0 * ms(true) / ms(false)
            ));
        }
        println!("{cell}-7 agrees; {}: own {}, built-in {}", names.join(" and "), shares[0], shares[1]);
    }
    Ok(())
}

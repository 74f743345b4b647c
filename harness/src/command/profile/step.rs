//! The measured steps.

use super::args::ProfileArgs;
use crate::dataset::Dataset;
use crate::dataset::samples::{Arrays, Scaled};
use crate::run::settings::Settings;
use anyhow::Result;
use kernels::Kernels;
use kernels::profile::{Call, Profile};
use model::train::Trainer;
use model::{Network, Samples};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Duration;

const WARM: usize = 20;
/// Samples of noise beyond which a batch is repeated.
const MAX_NOISE: usize = 20_000;

/// A measured step and its kernel calls.
pub(super) struct Step {
    pub start: Duration,
    pub took: Duration,
    pub calls: Vec<Call>,
}

pub(super) fn train(
    args: &ProfileArgs,
    settings: &Settings,
    kernels: &Kernels,
    profile: &Profile,
    network: Network,
    samples: &dyn Samples,
) -> Result<Vec<Step>> {
    let mut trainer = Trainer::new(network, settings.train_options())?;
    measured(args.steps, profile, |step| {
        trainer.step(kernels, samples, &batch(args.batch, samples.len(), step))?;
        Ok(())
    })
}

/// The sample indices of a step, in order and repeated from the start.
pub(super) fn batch(n: usize, samples: usize, step: usize) -> Vec<usize> {
    (0..n).map(|i| (step * n + i) % samples).collect()
}

/// The samples of the steps, and their rows, columns and classes.
pub(super) fn samples(args: &ProfileArgs) -> Result<(Box<dyn Samples>, [usize; 3])> {
    if let Some(name) = &args.dataset {
        let dataset = Dataset::open(name, args.data_dir.as_deref())?;
        let shape = [dataset.rows, dataset.cols, dataset.classes];
        return Ok((Box::new(Scaled::new(&dataset.train, -1.0, 1.0)), shape));
    }
    const ROWS: usize = 28;
    let cols = ROWS * args.task.blocks();
    // Enough for twenty different batches, unless they are so large that one will do.
    let n = (20 * args.batch).min(args.batch.max(MAX_NOISE));
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let pixel = |_| (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let images = (0..n * ROWS * cols).map(pixel).collect();
    let labels = (0..n).map(|i| (i % 10) as u8).collect();
    Ok((Box::new(Arrays { images, size: ROWS * cols, labels: Some(labels) }), [ROWS, cols, 10]))
}

/// Runs warm-up steps, then measured ones.
pub(super) fn measured(
    steps: usize,
    profile: &Profile,
    mut step: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<Step>> {
    let warm = steps.min(WARM);
    let mut found = Vec::with_capacity(steps);
    for i in 0..warm + steps {
        profile.take();
        let start = profile.elapsed();
        step(i)?;
        let took = profile.elapsed() - start;
        if i >= warm {
            found.push(Step { start, took, calls: profile.take() });
        }
    }
    Ok(found)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::args::{TaskName, What};
    use super::*;
    use crate::command::method::MethodArgs;
    use crate::run::settings::PartialSettings;
    use model::explain::Method;
    use model::explain::{Explainer, Target};
    use model::{Architecture, Task};
    use std::sync::Arc;

    /// Steps of Shallow-2 on 4 noise images of 28×28.
    pub fn steps(what: What) -> Vec<Step> {
        let args = ProfileArgs {
            action: None,
            encoder: None,
            core: None,
            head: None,
            interleave: None,
            rounds: 9,
            cell: "shallow".to_owned(),
            task: TaskName::Single,
            seq_len: Some(2),
            batch: 4,
            what,
            method: MethodArgs { method: "deep-taylor".to_owned(), ..MethodArgs::default() },
            steps: 3,
            dataset: None,
            data_dir: None,
            trace: None,
            overwrite: false,
        };
        let (samples, [rows, cols, classes]) = samples(&args).unwrap();
        let task = Task { rows, cols, classes, seq_len: 2, ..Task::default() };
        let network = Network::new(Architecture::preset("shallow").unwrap(), task, 1).unwrap();
        let profile = Arc::new(Profile::new());
        let kernels = Kernels::default().profiled(Arc::clone(&profile));
        if what == What::Train {
            let settings = PartialSettings {
                cell: Some(args.cell.clone()),
                batch: Some(args.batch),
                ..PartialSettings::default()
            }
            .complete()
            .unwrap();
            return train(&args, &settings, &kernels, &profile, network, &*samples).unwrap();
        }
        let mut explainer = Explainer::new(&kernels, &network, Method::DEEP_TAYLOR, 4).unwrap();
        let explained = |step| {
            explainer.explain(&kernels, &*samples, &batch(4, 80, step), Target::Predicted)?;
            Ok(())
        };
        measured(args.steps, &profile, explained).unwrap()
    }
}

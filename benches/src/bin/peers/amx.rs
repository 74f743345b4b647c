//! Products on AMX against our own f32 ones: the time of an f32 product by that of the same product on AMX, on one thread.
//!
//! On both, weights are prepared once per version, outside the clock; rows are split into bf16 parts inside it.

use crate::measure::{Bench, geometric_mean, theirs};
use crate::operands::{Form, Operands};
use benches::{FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT};
use kernels::{Kernels, Threads};
use serde_json::{Value, json};

/// The kernel sets on the instructions.
const NAMES: [&str; 2] = ["amx", "amx-exact"];

/// The ratios of every shape of the benchmarks, and their geometric means: over X·W and over Xᵀ·dY, for `amx` and for
/// `amx-exact`. None where this CPU has no AMX.
pub fn measure(bench: &Bench) -> Option<(Vec<Value>, [[f64; 2]; 2])> {
    let sets = sets(NAMES)?;
    let mut table = Vec::new();
    let mut of = |form: Form, shapes: &[[usize; 3]]| {
        let rows: Vec<[f64; 2]> = shapes.iter().map(|&shape| row(bench, &sets, form, shape)).collect();
        for ([m, n, k], ratios) in shapes.iter().zip(&rows) {
            let form = if form == Form::Tn { "Xᵀ·dY" } else { "X·W" };
            table.push(
                json!({ "form": form, "m": m, "n": n, "k": k, "amx": ratios[0], "amx_exact": ratios[1] }),
            );
        }
        [0, 1].map(|i| geometric_mean(&rows.iter().map(|row| row[i]).collect::<Vec<f64>>()))
    };
    let means = [of(Form::Nn, &[&FORWARD[..], &INPUT_GRADIENT[..]].concat()), of(Form::Tn, &WEIGHT_GRADIENT)];
    Some((table, means))
}

/// Both kernel sets on one thread; none if this machine cannot run them.
fn sets(names: [&str; 2]) -> Option<[Kernels; 2]> {
    let [Some(a), Some(b)] = names.map(|name| Kernels::by_name(name, Threads::one())) else { return None };
    Some([a, b])
}

/// Seconds in f32 by seconds on each of the kernel sets.
fn row(bench: &Bench, sets: &[Kernels; 2], form: Form, shape: [usize; 3]) -> [f64; 2] {
    let operands = Operands::new(form, shape);
    let f32 = Kernels::new(bench.kernels().backend(), Threads::one());
    let mut outs = [(); 3].map(|()| operands.room());
    let all = [&f32, &sets[0], &sets[1]];
    for (kernels, out) in all.iter().zip(&mut outs) {
        operands.product(kernels, out);
    }
    // Every result is checked before it is timed: 2⁻¹⁵ of the sum of the absolute terms is more than either family errs.
    let bound = operands.k as f32 * 2.0f32.powi(-15);
    for (name, out) in NAMES.iter().zip(&outs[1..]) {
        assert!(out.iter().zip(&outs[0]).all(|(x, y)| (x - y).abs() <= bound), "{name}");
    }
    let times = bench.measure(
        all.into_iter()
            .zip(&mut outs)
            .map(|(kernels, out)| theirs(|| operands.product(kernels, out)))
            .collect(),
    );
    [1, 2].map(|i| times.seconds[0] / times.seconds[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Statistic;
    use kernels::Backend;
    use std::time::Duration;

    #[test]
    fn the_model_is_measured_like_the_instructions() {
        let sample = (Duration::from_micros(50), Statistic::Least);
        let bench = Bench::new(Backend::best(), 1, 1, sample).expect("threads");
        let sets = sets(["amx-model", "amx-exact-model"]).expect("the model runs everywhere");
        for form in [Form::Nn, Form::Tn] {
            let ratios = row(&bench, &sets, form, [20, 40, 50]);
            // The model computes each sum in software.
            assert!(ratios.iter().all(|&ratio| ratio > 0.0 && ratio < 1.0), "{ratios:?}");
        }
    }
}

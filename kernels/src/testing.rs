//! Shared code of the kernels' tests: numbers, backends and comparisons.

use crate::exec::Kernels;
use crate::gemm::backend::{Abilities, MatmulBackend, MatmulBlock, MatmulTask, Then};
use crate::panels::Panels;
use crate::prepack::Prepacked;
use crate::simd::dispatch::Backend;
use crate::threads::Threads;
use std::io::Write;
use std::sync::Arc;

/// Floats in −1…1, some of them 0 and −0, the same for the same seed.
pub fn floats(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 11 {
                0 => 0.0,
                1 => -0.0,
                _ => (state >> 40) as f32 / (1 << 23) as f32 - 1.0,
            }
        })
        .collect()
}

/// Relu activations: about half of them 0.
pub fn activations(len: usize, seed: u64) -> Vec<f32> {
    floats(len, seed).into_iter().map(|x| x.max(0.0)).collect()
}

/// Every backend of this CPU, on 1, 2, 3 and 7 threads. CI names the backends it expects in
/// `KERNELS_EXPECT`; one that is missing is a failure, not a silent skip.
pub fn kernel_sets() -> Vec<Kernels> {
    let available = Backend::available();
    if let Ok(expected) = std::env::var("KERNELS_EXPECT") {
        for name in expected.split(',').filter(|name| !name.is_empty()) {
            let found = available.iter().any(|backend| backend.name() == name);
            assert!(found, "KERNELS_EXPECT names {name}, which this CPU does not have");
        }
    }
    let mut sets = Vec::new();
    for backend in available {
        for threads in [1, 2, 3, 7] {
            sets.push(Kernels::new(backend, Threads::new(threads).expect("threads")));
        }
    }
    let threads = Threads::new(2).expect("threads");
    for external in external_backends() {
        sets.push(Kernels::with_matmul(Backend::best(), threads.clone(), external));
    }
    sets
}

/// How many of `all` shapes a test uses: all, or at most `KERNELS_SHAPES`, for slow runs such as under
/// valgrind.
pub fn shapes(all: usize) -> usize {
    let most = std::env::var("KERNELS_SHAPES").ok().map(|most| most.parse().expect("a number of shapes"));
    most.unwrap_or(all).clamp(1, all)
}

/// An external GEMM that sums in another order than the built-in one.
/// External backends: one that leaves everything to us, and one that does all it can.
fn external_backends() -> Vec<Arc<dyn MatmulBackend>> {
    vec![Arc::new(Naive), Arc::new(Able)]
}

/// Takes over initial values and bias, and keeps weights in a form of its own: their columns.
#[derive(Debug)]
struct Able;

impl MatmulBackend for Able {
    fn name(&self) -> &str {
        "able"
    }

    fn prepack(&self, weights: Panels, form: &mut Prepacked) {
        let columns: &mut Vec<Vec<f32>> = form.get_or_default();
        columns.clear();
        columns.extend((0..weights.n()).map(|j| (0..weights.k()).map(|i| weights.at(i, j)).collect()));
    }

    fn run(&self, task: MatmulTask) {
        let columns: Option<&Vec<Vec<f32>>> = task.prepacked();
        let abilities = Abilities { accumulate: true, bias: true };
        task.each_block_with(abilities, |block, ends| {
            let [m, n, k] = block.sizes();
            let MatmulBlock { a, b, c, c_stride } = block;
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let b = |q: usize| columns.map_or_else(|| b.at(q, j), |columns| columns[j][q]);
                let sum: f64 = (0..k).map(|q| f64::from(a.at(i, q)) * f64::from(b(q))).sum();
                let c = &mut c[i * c_stride + j];
                let sum = sum as f32 + if ends.accumulate { *c } else { 0.0 };
                *c = match ends.then {
                    Then::Store => sum,
                    Then::Bias(bias) => sum + bias[j],
                    Then::BiasRelu(bias) => (sum + bias[j]).max(0.0),
                };
            }
        });
    }
}

#[derive(Debug)]
struct Naive;

impl MatmulBackend for Naive {
    fn name(&self) -> &str {
        "naive"
    }

    fn run(&self, task: MatmulTask) {
        task.each_block(|block| {
            let [m, n, k] = block.sizes();
            let MatmulBlock { a, b, c, c_stride } = block;
            assert_eq!(([a.rows(), a.cols()], [b.rows(), b.cols()]), ([m, k], [k, n]));
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let terms = (0..k).rev().map(|q| f64::from(a.at(i, q)) * f64::from(b.at(q, j)));
                c[i * c_stride + j] = terms.sum::<f64>() as f32;
            }
        });
    }
}

/// Compares with an f64 reference implementation, relative to its largest value.
pub fn assert_close(what: &str, found: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(found.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-30f64, |max, w| max.max(w.abs()));
    for (i, (&found, &want)) in found.iter().zip(want).enumerate() {
        let error = (f64::from(found) - want).abs();
        assert!(error <= tolerance * scale, "{what}[{i}] is {found}, {want} expected");
    }
}

/// The first result of a kernel set with bit-identity is the expected value of all later ones.
#[derive(Default)]
pub struct SameBits(Option<Vec<u32>>);

impl SameBits {
    pub fn check(&mut self, kernels: &Kernels, what: &str, found: &[f32]) {
        if !kernels.promises_bits() {
            return;
        }
        let bits: Vec<u32> = found.iter().map(|x| x.to_bits()).collect();
        match &self.0 {
            None => self.0 = Some(bits),
            Some(first) => {
                let threads = kernels.threads().count();
                assert!(first == &bits, "{what}: {:?} on {threads} threads", kernels.backend());
            }
        }
    }
}

#[test]
fn the_properties_run_on_every_backend_of_this_machine() {
    let sets = kernel_sets();
    for name in Backend::NAMES {
        let threads: Vec<usize> = sets
            .iter()
            .filter(|kernels| kernels.name() == name)
            .map(|kernels| kernels.threads().count())
            .collect();
        let found = Backend::by_name(name).is_some();
        assert_eq!(threads, if found { vec![1, 2, 3, 7] } else { vec![] }, "{name}");
        // Written to stderr directly, because the test runner hides the output of passing tests.
        let what = if found { "compared with the reference" } else { "not on this CPU" };
        let _ = writeln!(std::io::stderr(), "kernels {name}: {what}");
    }
}

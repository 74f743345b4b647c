//! Tests of the bit-identity guarantee at 200 random shapes: every form of product, convolution and pool,
//! every relevance rule and elementwise function, on every backend with this guarantee, on 1, 2, 3 and 7
//! threads, compared with `==`.

mod dense;
mod elements;
mod images;

pub use dense::dense;
pub use elements::elements;
pub use images::{Batch, images};

use crate::error::ShapeError;
use crate::exec::Kernels;
use crate::gemm::tuning::{Cpu, Tuning};
use crate::layout::MatRef;
use crate::matmul::{WeightGradient, gemm_tn};
use crate::panels::{Panels, panels_len};
use crate::relevance::Rule;
use crate::simd::dispatch::Backend;
use crate::testing::{activations, floats, kernel_sets, shapes};
use crate::threads::Threads;

const SHAPES: usize = 200;

/// A number in `from..to`, determined by `seed` and `index`.
fn pick(seed: u64, index: u64, from: usize, to: usize) -> usize {
    let mixed = (seed * 31 + index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    from + (mixed >> 33) as usize % (to - from)
}

/// Named results in the order they were made.
pub type Results = Vec<(&'static str, Vec<f32>)>;

/// Adds a result of `len` floats that `make` writes.
fn add(
    results: &mut Results,
    name: &'static str,
    mut out: Vec<f32>,
    make: impl FnOnce(&mut [f32]) -> Result<(), ShapeError>,
) {
    make(&mut out).expect("shapes fit");
    results.push((name, out));
}

/// Every rule, with a pixel range.
fn rules() -> [(&'static str, Rule); 7] {
    [
        ("z⁺", Rule::z_plus()),
        ("αβ", Rule::alpha_beta(2.0, 1.0)),
        ("z^β", Rule::z_beta(-0.5, 1.0)),
        ("w²", Rule::w_square()),
        ("flat", Rule::flat()),
        ("ε", Rule::epsilon(1e-3)),
        ("γ", Rule::gamma(0.25, 1e-3)),
    ]
}

fn check(all: impl Fn(&Kernels, u64) -> Results) {
    let sets: Vec<Kernels> = kernel_sets().into_iter().filter(Kernels::promises_bits).collect();
    for seed in 1..=shapes(SHAPES) as u64 {
        let want = all(&sets[0], seed);
        for kernels in &sets[1..] {
            for ((name, want), (_, found)) in want.iter().zip(all(kernels, seed)) {
                let same = want.iter().zip(&found).all(|(w, f)| w.to_bits() == f.to_bits());
                let (set, threads) = (kernels.name(), kernels.threads().count());
                assert!(
                    same && want.len() == found.len(),
                    "{name}, shape {seed}: {set} on {threads} threads"
                );
            }
        }
    }
}

#[test]
fn products_and_dense_rules_have_the_same_bits_at_200_shapes() {
    let sizes = |seed| [pick(seed, 0, 1, 70), pick(seed, 1, 1, 90), pick(seed, 2, 1, 90)];
    check(|kernels, seed| dense(kernels, sizes(seed), seed));
}

#[test]
fn convolutions_pools_and_their_rules_have_the_same_bits_at_200_shapes() {
    check(|kernels, seed| images(kernels, &Batch::picked(seed), seed));
}

#[test]
fn functions_of_elements_have_the_same_bits_at_200_shapes() {
    let sizes = |seed| [pick(seed, 11, 1, 70), pick(seed, 12, 1, 90), pick(seed, 13, 0, 3)];
    check(|kernels, seed| elements(kernels, sizes(seed), seed));
}

/// Only sums of this size have packed rows: two blocks, ends of blocks between tiles, and columns that fill no strip.
#[test]
fn weight_gradients_of_many_terms_have_the_same_bits_with_packed_rows() {
    let [rows, n, terms] = [300, 203, 150];
    let (x, d_y) = (activations(rows * terms, 1), floats(terms * n, 2));
    let tuning = |text: &str| Tuning::chosen().parse(text).expect("keys and values");
    for backend in Backend::available() {
        let mut want: Option<Vec<f32>> = None;
        for (threads, text) in
            [(1, "pack-terms=0"), (1, "pack-terms=1"), (3, "pack-terms=150"), (3, "pack-terms=151")]
        {
            tuning(text).choose();
            let kernels = Kernels::new(backend, Threads::new(threads).expect("threads"));
            let mut d_w = vec![0.5; panels_len(rows + 1, n)];
            let operands = WeightGradient {
                a: MatRef::new(&x, terms, rows),
                d_y: MatRef::new(&d_y, terms, n),
                accumulate: true,
                d_w: &mut d_w,
                rows: rows + 1,
                first_row: 1,
            };
            gemm_tn(&kernels, operands).expect("shapes fit");
            let want = want.get_or_insert_with(|| d_w.clone());
            let same = d_w.iter().zip(want.iter()).all(|(x, y)| x.to_bits() == y.to_bits());
            assert!(same, "{backend:?} on {threads} threads, {text}");
        }
        let found = Panels::new(want.as_deref().expect("made above"), rows + 1, n);
        for (i, j) in [(0, 0), (150, 16), (255, 202), (256, 5), (299, 202)] {
            let sum: f64 = (0..terms).map(|q| f64::from(x[q * rows + i]) * f64::from(d_y[q * n + j])).sum();
            assert!((f64::from(found.at(i + 1, j)) - sum - 0.5).abs() < 1e-4, "[{i}, {j}] on {backend:?}");
        }
    }
    Cpu::detect().row().1.choose();
}

#[test]
fn no_choice_of_the_tuning_changes_a_bit() {
    let odd = [
        "prefetch=0,strips=1,k-block=1,l1=1",
        "prefetch=1024,strips=2,k-block=3,pack-tiles=0,pack-step=0,pack-terms=1,l1=0",
        "prefetch=1,strips=3,k-block=16,pack-tiles=1,pack-step=17,l1=700",
        "prefetch=12,strips=4,k-block=7,pack-tiles=1048576,pack-step=1048576,l1=1048576",
    ];
    let odd = odd.map(|text| Tuning::chosen().parse(text).expect("keys and values"));
    let rows: Vec<Tuning> = Tuning::rows().map(|(_, tuning)| tuning).chain(odd).collect();
    for seed in 1..=shapes(20) as u64 {
        let sizes = [pick(seed, 0, 1, 300), pick(seed, 1, 1, 60), pick(seed, 2, 1, 90)];
        let image = Batch::picked(seed);
        for backend in Backend::available() {
            let kernels = Kernels::new(backend, Threads::one());
            let all = || {
                let mut results = dense(&kernels, sizes, seed);
                results.extend(images(&kernels, &image, seed));
                results
            };
            Tuning::rows().next_back().expect("the table has rows").1.choose();
            let want = all();
            for tuning in &rows {
                tuning.choose();
                for ((name, found), (_, want)) in all().iter().zip(&want) {
                    let same = found.iter().zip(want).all(|(x, y)| x.to_bits() == y.to_bits());
                    assert!(same && found.len() == want.len(), "{name} of {sizes:?}, {backend:?}: {tuning}");
                }
            }
        }
    }
    Cpu::detect().row().1.choose();
}

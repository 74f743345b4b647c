//! The backend on the model of the instructions.

use super::line::{Line, WIDTH};
use super::model;
use super::product::{Sums, multiply, split_factor};
use super::split::{Blocks, Right, Source};
use super::tile::{Model, products};
use crate::bits;
use crate::exec::Kernels;
use crate::gemm::pack::PackedWeights;
use crate::gemm::problem::{Epilogue, Init};
use crate::layout::{MatMut, MatRef, Strided};
use crate::matmul::gemm;
use crate::reference;
use crate::testing::floats;
use crate::threads::Threads;
use proptest::prelude::*;

fn set(name: &str, threads: usize) -> Kernels {
    Kernels::by_name(name, Threads::new(threads).expect("threads")).expect("every CPU has the model")
}

/// One sum of a product from the definition: its terms split, cut and added up one instruction at a time.
fn sum<const P: usize>(a: &[f32], b: &[f32]) -> f32 {
    let blocks = Blocks::of(a.len());
    let [a, b] = [a, b].map(|terms| terms.iter().map(|&x| model::parts::<P>(x)).collect::<Vec<_>>());
    let pair = |x: &[[u32; P]], part: usize, at: usize| {
        let one = |at: usize| x.get(at).map_or(0, |x| x[part]);
        one(2 * at) | one(2 * at + 1) << 16
    };
    let mut c = 0.0;
    for block in 0..blocks.count {
        for &[i, j] in products::<P>() {
            let pairs = block * blocks.pairs..(block + 1) * blocks.pairs;
            c = model::dot(c, pairs.map(|p| (pair(&a, i, p), pair(&b, j, p))));
        }
    }
    c
}

/// Numbers of which some are denormal, infinite, NaN, or so small that products of them are.
fn odd_numbers(len: usize, seed: u64, how_odd: usize) -> Vec<f32> {
    let odd = [1e-40, -3e-39, 1.2e-38, -2e-20, 1e-19, 0.0, -0.0, 3.4e38, f32::INFINITY, f32::NAN];
    let mut x = floats(len, seed);
    x.iter_mut().enumerate().filter(|(i, _)| i % 7 < how_odd).for_each(|(i, x)| *x = odd[i % odd.len()]);
    x
}

fn of_definition<const P: usize>([m, n, k]: [usize; 3], a: &[f32], b: &[f32]) {
    let columns = reference_columns(b, k, n);
    let want: Vec<u32> = (0..m)
        .flat_map(|i| columns.iter().map(move |column| sum::<P>(&a[i * k..][..k], column).to_bits()))
        .collect();
    let a_t: Vec<f32> = (0..m * k).map(|at| a[at % m * k + at / m]).collect();
    let b_t: Vec<f32> = columns.concat();
    let lefts = [Strided::row_major(a, m, k), Strided::row_major(&a_t, k, m).transposed()];
    let rights = [(b, 1, n), (&b_t[..], k, 1)];
    for (left, (data, line, term)) in lefts.into_iter().flat_map(|left| rights.map(|right| (left, right))) {
        let mut right = Right::<P>::default();
        split_factor(Model, &Source { data, line, term, strip: WIDTH * line }, [k, n], &mut right);
        for row in [n, n + 3] {
            let mut c = vec![7.0; m * row];
            multiply(Model, &left, &right, Sums { c: &mut c, row }, &mut Vec::new());
            let found: Vec<u32> =
                c.chunks(row).flat_map(|row| row[..n].iter().map(|c| c.to_bits())).collect();
            assert_eq!(found, want, "{P} parts, {m}×{n}×{k}");
            assert!(c.chunks(row).all(|row| row[n..].iter().all(|&c| c == 7.0)), "floats between rows");
        }
    }
}

fn reference_columns(b: &[f32], k: usize, n: usize) -> Vec<Vec<f32>> {
    (0..n).map(|j| (0..k).map(|q| b[q * n + j]).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any sizes, rows and columns as operands, numbers of every kind.
    #[test]
    fn products_are_those_of_the_definition(
        m in 1usize..70, n in 1usize..70, k in 1usize..80, odd in 0usize..4, seed in 1u64..1000,
    ) {
        let (a, b) = (odd_numbers(m * k, seed, odd), odd_numbers(k * n, seed + 1, odd));
        of_definition::<2>([m, n, k], &a, &b);
        of_definition::<3>([m, n, k], &a, &b);
    }

    /// Every form, epilogue and initial value, and every rule.
    #[test]
    fn threads_and_splits_change_no_bit(
        n in 1usize..40, j in 1usize..50, k in 1usize..50, seed in 1u64..1000,
    ) {
        for name in super::MODEL_NAMES {
            let want = bits::dense(&set(name, 1), [n, j, k], seed);
            for threads in [2, 3, 7] {
                for ((what, found), (_, want)) in bits::dense(&set(name, threads), [n, j, k], seed).iter().zip(&want) {
                    let same = found.iter().zip(want).all(|(found, want)| found.to_bits() == want.to_bits());
                    prop_assert!(same, "{name}: {what} on {threads} threads");
                }
            }
        }
    }

    /// One row of a batch is that row alone: heights of tiles depend on M, bits do not.
    #[test]
    fn a_batch_in_parts_has_the_bits_of_the_whole(
        m in 2usize..80, n in 1usize..40, k in 1usize..50, seed in 1u64..1000,
    ) {
        let (a, w) = (floats(m * k, seed), PackedWeights::new(&floats(k * n, seed + 1), k, n).expect("fits"));
        for name in super::MODEL_NAMES {
            let product = |rows: std::ops::Range<usize>| {
                let mut c = vec![0.0; rows.len() * n];
                let a = MatRef::new(&a[rows.start * k..], rows.len(), k);
                let out = MatMut::new(&mut c, rows.len(), n);
                gemm(&set(name, 1), a, w.panels(), Init::Zero, Epilogue::Store, out).expect("fits");
                c
            };
            let cut = 1 + seed as usize % (m - 1);
            prop_assert_eq!(product(0..m), [product(0..cut), product(cut..m)].concat());
        }
    }
}

/// The largest `|error| / Σ|a||b|` of a product against f64: of the kernel set of that name.
fn error(kernels: &Kernels, [m, n, k]: [usize; 3]) -> f64 {
    let (a, b) = (floats(m * k, 1), floats(k * n, 2));
    let absolute = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| x.abs()).collect() };
    let want = reference::gemm(&a, &b, m, n, k);
    let scale = reference::gemm(&absolute(&a), &absolute(&b), m, n, k);
    let (w, mut c) = (PackedWeights::new(&b, k, n).expect("fits"), vec![0.0; m * n]);
    let (a, out) = (MatRef::new(&a, m, k), MatMut::new(&mut c, m, n));
    gemm(kernels, a, w.panels(), Init::Zero, Epilogue::Store, out).expect("fits");
    let errors =
        c.iter().zip(&want).zip(&scale).map(|((&c, want), scale)| (f64::from(c) - want).abs() / scale);
    errors.fold(0.0, f64::max)
}

/// The shapes of the networks' layers; the table of `docs/amx.md` is printed with `--nocapture`.
#[test]
fn errors_against_f64_are_those_of_the_table() {
    let f32 = Kernels::default();
    let [amx, exact] = super::MODEL_NAMES.map(|name| set(name, 1));
    println!("| M×N×K | amx | amx-exact | f32 |\n|---|---|---|---|");
    for shape in [
        [50, 512, 112],
        [50, 256, 640],
        [50, 128, 256],
        [50, 96, 784],
        [50, 10, 256],
        [25, 48, 25],
        [20, 256, 50],
    ] {
        let [three, six, chain] = [&amx, &exact, &f32].map(|kernels| error(kernels, shape));
        let [m, n, k] = shape;
        println!("| {m}×{n}×{k} | {three:.1e} | {six:.1e} | {chain:.1e} |");
        assert!(three < 1e-5, "three products at {shape:?}: {three:e}");
        assert!(six < 3e-7, "six products at {shape:?}: {six:e}");
        assert!(six <= 1.5 * chain, "six products at {shape:?}: {six:e}, f32 {chain:e}");
    }
}

/// What bf16 parts cannot hold.
#[test]
fn infinite_operands_give_nan_and_denormal_ones_zero() {
    for name in super::MODEL_NAMES {
        for (x, want) in [
            (f32::INFINITY, f32::NAN),
            (3.4e38, f32::NAN),
            (f32::NAN, f32::NAN),
            (1e-40, 0.0),
            (3.3e38, 3.3e38),
        ] {
            let (w, mut c) = (PackedWeights::new(&[1.0], 1, 1).expect("fits"), [7.0]);
            let (a, out) = ([x], MatMut::new(&mut c, 1, 1));
            gemm(&set(name, 1), MatRef::new(&a, 1, 1), w.panels(), Init::Zero, Epilogue::Store, out)
                .expect("fits");
            let close = (c[0] - want).abs() <= 1e-5 * want.abs();
            assert!(close || want.is_nan() && c[0].is_nan(), "{name}: {x} is {}", c[0]);
        }
    }
}

#[test]
fn denormal_results_take_the_exact_path() {
    // 2^-64 · 2^-63 = 2^-127 is flushed; 2^-126 stays.
    let bf16 = |power: i32| model::bf16(2.0f32.powi(power));
    for (left, right, want) in [(-64, -63, 0.0), (-63, -63, 2.0f32.powi(-126)), (-60, -60, 2.0f32.powi(-120))]
    {
        let (mut a, mut b, mut c) = (Line::default(), Line::default(), [0.0; WIDTH]);
        a.0[0] = bf16(left);
        b.0 = [bf16(right); WIDTH];
        model::row(&mut c, &a, &[b]);
        assert_eq!(c, [want; WIDTH], "2^{left} · 2^{right}");
    }
}

#[test]
fn the_instructions_have_the_bits_of_the_model_where_the_cpu_has_them() {
    for (name, why) in super::NAMES.map(|name| (name, Kernels::why_not(name))) {
        if let Some(why) = why {
            assert!(!why.is_empty() && !why.contains('\n') && !why.contains("differ"), "{name}: {why}");
            continue;
        }
        for shape in [[50, 112, 64], [7, 33, 65]] {
            let model = bits::dense(&set(&format!("{name}-model"), 2), shape, 1);
            assert_eq!(bits::dense(&set(name, 2), shape, 1), model);
        }
    }
}

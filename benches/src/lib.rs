//! Shared code of the benches: shapes, numbers, kernel sets and checks.
//!
//! Each bench compares a result with its reference implementation in [`kernels::reference`] before it times
//! it. Products count one multiply-add as two FLOP, so criterion's `elem/s` are FLOP/s; kernels that only
//! move memory count the bytes they read and write. `cargo bench -p benches --bench gemm -- --quick` gives
//! rough figures; `cargo bench --workspace -- --save-baseline <name>` saves a baseline for later runs.

pub mod noise;
pub mod patches;

use kernels::{Backend, Kernels, Threads};

/// Samples of a training batch.
pub const BATCH: usize = 50;

/// Forward products `[M, N, K]`: the layers of the presets, an encoder over seven steps at once, a logit
/// layer, and a large square one to compare with other libraries.
pub const FORWARD: [[usize; 3]; 9] = [
    [50, 512, 112],
    [50, 256, 640],
    [50, 128, 256],
    [50, 768, 240],
    [50, 768, 784],
    [350, 512, 112],
    [1000, 512, 784],
    [50, 10, 256],
    [1024, 1024, 1024],
];

/// Weight gradients `[M, N, K]`: `XᵀdY`, `[M, N]` weights, summed over `K` samples, the last over seven steps of a batch.
pub const WEIGHT_GRADIENT: [[usize; 3]; 4] =
    [[112, 512, 50], [640, 256, 50], [784, 768, 50], [512, 256, 350]];

/// Input gradients `[M, N, K]`: `dY·Wᵀ` over transposed panels, `[N, K]` weights.
pub const INPUT_GRADIENT: [[usize; 3]; 3] = [[50, 640, 256], [50, 112, 512], [50, 784, 768]];

/// The kernel set in the name of a benchmark: `avx512-2`.
pub fn label(kernels: &Kernels) -> String {
    format!("{}-{}", kernels.backend().name(), kernels.threads().count())
}

/// A backend on the calling thread.
pub fn alone(backend: Backend) -> Kernels {
    Kernels::new(backend, Threads::one())
}

/// The best backend on one thread, and on all threads of the machine.
///
/// # Panics
/// If the operating system refuses a thread.
pub fn best() -> Vec<Kernels> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let mut sets = vec![alone(Backend::best())];
    if all > 1 {
        let threads = Threads::new(all).expect("the threads of this machine");
        sets.push(Kernels::new(Backend::best(), threads));
    }
    sets
}

/// Every backend except the scalar one on one thread, then the best one on all threads: a comparison of
/// instruction sets.
pub fn backends() -> Vec<Kernels> {
    let fast = |backend: &Backend| backend.name() != "reference" && *backend != Backend::best();
    Backend::available().into_iter().filter(fast).map(alone).chain(best()).collect()
}

/// Floats in −1…1, the same for the same seed.
pub fn floats(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Relu activations: about half of them 0.
pub fn activations(len: usize, seed: u64) -> Vec<f32> {
    floats(len, seed).into_iter().map(|x| x.max(0.0)).collect()
}

/// Some indices of `0..len`, including both ends, at which a large result is checked.
pub fn sample(len: usize) -> Vec<usize> {
    let mut sampled: Vec<usize> = (0..len.min(8)).map(|i| i * (len - 1) / (len.min(8) - 1).max(1)).collect();
    sampled.dedup();
    sampled
}

/// Compares with an f64 reference implementation, relative to its largest value.
///
/// # Panics
/// If a value differs by more than 1e-4 of the largest.
pub fn assert_close(what: &str, found: &[f32], want: &[f64]) {
    assert_eq!(found.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-30f64, |max, w| max.max(w.abs()));
    for (i, (&found, &want)) in found.iter().zip(want).enumerate() {
        let error = (f64::from(found) - want).abs();
        assert!(error <= 1e-4 * scale, "{what}[{i}] is {found}, {want} expected: not timed");
    }
}

/// Compares sampled elements of a product `[m, n]` with the naive product of a row and a column.
///
/// # Panics
/// If one differs by more than 1e-4 of the largest.
pub fn assert_product(
    what: &str,
    [m, n]: [usize; 2],
    found: impl Fn(usize, usize) -> f32,
    row: impl Fn(usize) -> Vec<f32>,
    column: impl Fn(usize) -> Vec<f32>,
) {
    let (mut mine, mut want) = (Vec::new(), Vec::new());
    let columns: Vec<(usize, Vec<f32>)> = sample(n).into_iter().map(|j| (j, column(j))).collect();
    for i in sample(m) {
        let row = row(i);
        for (j, column) in &columns {
            mine.push(found(i, *j));
            want.extend(kernels::reference::gemm(&row, column, 1, 1, row.len()));
        }
    }
    assert_close(what, &mine, &want);
}

/// Every `every`-th float from `from` on: a column of a row-major matrix.
pub fn column(matrix: &[f32], from: usize, every: usize) -> Vec<f32> {
    matrix[from..].iter().step_by(every).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_both_ends() {
        for len in [1, 2, 7, 8, 9, 1000] {
            let sampled = sample(len);
            assert_eq!((sampled[0], sampled[sampled.len() - 1]), (0, len - 1));
            assert!(sampled.len() <= 8 && sampled.windows(2).all(|w| w[0] < w[1]), "{sampled:?}");
        }
        assert!(sample(0).is_empty());
    }

    #[test]
    fn a_column_is_a_column() {
        assert_eq!(column(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, 3), [2.0, 5.0]);
    }

    #[test]
    fn the_best_backend_runs_once_on_one_thread() {
        let names: Vec<String> = backends().iter().map(label).collect();
        let one = format!("{}-1", Backend::best().name());
        assert_eq!(names.iter().filter(|name| **name == one).count(), 1, "{names:?}");
    }
}

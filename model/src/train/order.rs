//! The order of an epoch.

use crate::init::{generator, uniform};

/// The order of an epoch: the numbers `0..n` shuffled by seed and epoch alone, so that a resumed run
/// needs no generator state.
pub fn shuffled(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut rng = generator(seed, 2, epoch);
    for i in (1..n).rev() {
        order.swap(i, (uniform(&mut rng) * (i + 1) as f64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_that_never_changes() {
        let order = shuffled(10, 1, 0);
        assert_eq!(order, [5, 2, 3, 0, 6, 9, 7, 8, 1, 4]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..10));
        assert_ne!(shuffled(10, 1, 1), order);
        assert_ne!(shuffled(10, 2, 0), order);
    }
}

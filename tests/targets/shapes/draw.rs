//! Choices from bytes. At most one of the sizes is wrong.

use kernels::{Backend, Kernels, MatmulBackend, MatmulBlock, MatmulTask, Threads};
use std::sync::{Arc, LazyLock};

/// More floats than any operand of these tests has.
pub const MOST: usize = 1 << 14;

pub struct Draw {
    bytes: std::vec::IntoIter<u8>,
    /// The index of the wrong size; none if there are fewer sizes.
    wrong: usize,
    state: u64,
    /// Whether the kernel accepted its operands.
    pub taken: bool,
}

impl Draw {
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut draw = Draw { bytes: bytes.into_iter(), wrong: 0, state: 1, taken: false };
        draw.wrong = draw.below(40);
        draw.state = u64::from(draw.byte()) << 8 | 1;
        draw
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes.next().unwrap_or(0)
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A size near the widths of registers and tiles.
    pub fn size(&mut self) -> usize {
        [0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 25, 31, 32, 33, 40, 48, 49][self.below(19)]
    }

    /// Any number.
    pub fn any(&mut self) -> usize {
        let (shift, low) = (self.below(64), self.below(8));
        match self.below(4) {
            0 => low,
            1 => usize::MAX - low,
            2 => (1usize << shift).wrapping_add(low),
            _ => (1usize << shift).wrapping_mul(low),
        }
    }

    /// A size that must be `right`, or the one that is wrong.
    pub fn near(&mut self, right: usize) -> usize {
        self.wrong = self.wrong.wrapping_sub(1);
        if self.wrong != usize::MAX {
            return right;
        }
        match self.below(8) {
            0 => 0,
            1 => right.wrapping_add(1),
            2 => right.wrapping_sub(1),
            3 => right.wrapping_mul(2),
            4 => right.wrapping_add(1 << (56 + self.below(8))),
            5 => self.below(64),
            _ => self.any(),
        }
    }

    /// The same, for a size that is allocated.
    pub fn near_len(&mut self, right: usize) -> usize {
        let len = self.near(right);
        if len > MOST { len % 64 } else { len }
    }

    /// An integer in −8…8, divided by 4: sums of a few products of them are exact.
    pub fn value(&mut self) -> f32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 40) as f32 % 17.0 / 4.0 - 2.0
    }

    pub fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }

    /// Relu activations.
    pub fn activations(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value().max(0.0)).collect()
    }

    /// Every backend of this CPU, and an external GEMM.
    pub fn kernels(&mut self) -> &'static Kernels {
        static SETS: LazyLock<Vec<Kernels>> = LazyLock::new(|| {
            let own = |backend| Kernels::new(backend, Threads::one());
            let mut sets: Vec<Kernels> = Backend::available().into_iter().map(own).collect();
            sets.push(Kernels::with_matmul(Backend::best(), Threads::one(), Arc::new(Naive)));
            sets
        });
        &SETS[self.below(SETS.len())]
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
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                c[i * c_stride + j] = (0..k).map(|q| a.at(i, q) * b.at(q, j)).sum();
            }
        });
    }
}

/// Whether all sizes are right; the right ones are computed in integers that do not overflow.
pub fn same(pairs: &[(usize, u128)]) -> bool {
    pairs.iter().all(|&(found, right)| found as u128 == right)
}

/// The product of sizes, saturating at more than any memory.
pub fn times(sizes: &[usize]) -> u128 {
    sizes.iter().fold(1u128, |product, &size| product.saturating_mul(size as u128))
}

/// Floats of packed `[k, n]` weights.
pub fn panels(k: u128, n: usize) -> u128 {
    (n as u128).div_ceil(16).saturating_mul(16).saturating_mul(k)
}

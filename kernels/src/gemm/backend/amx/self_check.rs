//! Before the first use of the instructions: a millisecond of products, compared with the model bit by bit.

use super::instructions::Amx;
use super::line::WIDTH;
use super::product::{Sums, multiply, split_factor};
use super::split::{Right, Source};
use super::tile::{Model, Tile};
use crate::layout::Strided;
use std::sync::OnceLock;

/// The tiles of this CPU, after the check; otherwise why not, in one line. Both are found out once a process.
pub fn checked() -> Result<Amx, String> {
    static ONCE: OnceLock<Result<Amx, String>> = OnceLock::new();
    ONCE.get_or_init(|| {
        let amx = Amx::detect()?;
        if agrees::<_, 2>(amx) && agrees::<_, 3>(amx) {
            Ok(amx)
        } else {
            Err("its products differ from their model on this CPU".to_owned())
        }
    })
    .clone()
}

/// Whether products of several shapes have the bits of the model.
pub fn agrees<T: Tile, const P: usize>(tile: T) -> bool {
    let shapes = [[1, 1, 1], [5, 33, 20], [33, 40, 35], [25, 64, 66]];
    shapes.into_iter().all(|shape| bits::<T, P>(tile, shape) == bits::<Model, P>(Model, shape))
}

/// The bits of products of rows and of columns; some operands are denormal, infinite or NaN.
fn bits<T: Tile, const P: usize>(tile: T, [m, n, k]: [usize; 3]) -> Vec<u32> {
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let mut all = Vec::new();
    for (rows, columns) in [(true, false), (false, true)] {
        let left =
            if rows { Strided::row_major(&a, m, k) } else { Strided::row_major(&a, k, m).transposed() };
        let (line, term) = if columns { (k, 1) } else { (1, n) };
        let (mut right, mut scratch, mut c) = (Right::<P>::default(), Vec::new(), vec![0.0; m * n]);
        split_factor(tile, &Source { data: &b, line, term, strip: WIDTH * line }, [k, n], &mut right);
        multiply(tile, &left, &right, Sums { c: &mut c, row: n }, &mut scratch);
        all.extend(c.iter().map(|sum| sum.to_bits()));
    }
    all
}

/// Numbers of very different size, the same for the same seed; one in 64 is denormal, ±∞, NaN or ±0.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mantissa = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
            match state % 64 {
                0 => [1e-40, -1e-40, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0]
                    [(state >> 8) as usize % 6],
                scale => mantissa * (2.0f32).powi(scale as i32 - 32),
            }
        })
        .collect()
}

//! Sizes whose product overflows a `usize`: kernels must not mistake the wrapped-around product for a small
//! size.

use crate::conv::max_pool::{ConvPoolShape, MaxIndices};
use crate::conv::sum_pool::ActivePixels;
use crate::conv::{Conv, conv, conv_weight_gradient};
use crate::exec::Kernels;
use crate::gemm::problem::{Epilogue, Init};
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef};
use crate::matmul::{WeightGradient, gemm_tn};
use crate::panels::Panels;
use crate::pool::{PoolKind, PoolShape, pool};
use std::panic::catch_unwind;

#[test]
fn operands_of_sizes_that_wrap_around_are_refused() {
    let kernels = Kernels::default();
    // Three pixels times two thirds of 2⁶⁴: wraps around to one pixel; the 5 floats are too short for its
    // patch.
    let shape = ConvShape { rows: 1, cols: 3, size: 3, inputs: 1, outputs: 1 };
    let (images, w, mut c) = (usize::MAX / 3 * 2 + 1, [0.0; 144], [7.0]);
    assert_eq!((images.wrapping_mul(3), images.wrapping_mul(shape.input().len())), (1, 5));
    let (w, out) = (Panels::new(&w, 9, 1), MatMut::new(&mut c, 1, 1));
    let found = conv(
        &kernels,
        Conv { shape: &shape, x: &[1.0; 5], images, w, init: Init::Zero, epilogue: Epilogue::Store, y: out },
    );
    assert!(found.is_err() && c == [7.0]);
    let shape = ConvShape { rows: 1, cols: 1, size: 1, inputs: 4, outputs: 4 };
    let mut d_w = [7.0; 64];
    assert!(conv_weight_gradient(&kernels, &shape, &[], &[], 1 << 62, &mut d_w).is_err());
    let d_y = MatRef::new(&[1.0], 1, 1);
    assert!(
        gemm_tn(
            &kernels,
            WeightGradient {
                a: d_y,
                d_y,
                accumulate: false,
                d_w: &mut d_w[..16],
                rows: 1,
                first_row: usize::MAX
            }
        )
        .is_err()
    );
    assert_eq!(d_w, [7.0; 64]);
    let shape = ConvPoolShape { conv: shape, window: 1 };
    assert!(catch_unwind(|| MaxIndices::new(&shape, 1 << 62)).is_err());
    assert!(catch_unwind(|| ActivePixels::new(&shape, 1 << 62)).is_err());
    let shape = PoolShape { rows: 2, cols: 2, channels: 1, size: 1, kind: PoolKind::Max };
    let (x, y) = (MatRef::new(&[], 0, 1), MatMut::new(&mut [], 0, 1));
    assert!(pool(&kernels, shape, 1 << 62, x, y).is_err());
}

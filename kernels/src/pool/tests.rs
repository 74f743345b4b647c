use super::*;
use crate::image::Plane;
use crate::reference;
use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
use proptest::prelude::*;

const EPS: f32 = 1e-9;

/// The results of the reference implementations for a batch: pooled values, gradient, guided gradient and
/// relevance.
struct Expected {
    y: Vec<f64>,
    back: [Vec<f64>; 3],
}

const KINDS: [PoolBack; 3] = [
    PoolBack::Gradient { guided: false },
    PoolBack::Gradient { guided: true },
    PoolBack::Relevance { eps: EPS },
];

fn expected(shape: PoolShape, x: &[f32], back: &[f32], images: usize) -> Expected {
    let (size, at) = (shape.size, [shape.rows, shape.cols, shape.channels]);
    let (pixels, pooled) = (x.len() / images, back.len() / images);
    let mut expected = Expected { y: Vec::new(), back: [vec![], vec![], vec![]] };
    for image in 0..images {
        let (x, back) = (&x[image * pixels..][..pixels], &back[image * pooled..][..pooled]);
        let (largest, from) = reference::max_pool(at, size, x);
        let (sums, into) = reference::sum_pool(at, size, x);
        for (i, &a) in x.iter().enumerate() {
            let is_argmax = shape.kind == PoolKind::Sum || from[into[i]] == i;
            let (a, r) = (f64::from(a), if is_argmax { f64::from(back[into[i]]) } else { 0.0 });
            let gradient = if a > 0.0 { r } else { 0.0 };
            let share = match shape.kind {
                PoolKind::Max => r,
                PoolKind::Sum => r * a / (sums[into[i]] + f64::from(EPS)),
            };
            for (kind, value) in expected.back.iter_mut().zip([gradient, gradient.max(0.0), share]) {
                kind.push(value);
            }
        }
        match shape.kind {
            PoolKind::Max => expected.y.extend(largest.iter().map(|&y| f64::from(y))),
            PoolKind::Sum => expected.y.extend(sums),
        }
    }
    expected
}

/// Runs a pool, forward and backward, on every kernel set and compares them with the reference implementations.
fn check(shape: PoolShape, images: usize, pad: usize, x: &[f32], back: &[f32]) {
    let PoolShape { rows, cols, channels, .. } = shape;
    let want = expected(shape, x, back, images);
    let plane = Plane { rows, cols, channels, pad };
    let padded = plane.padded(x, images);
    let a = plane.pixels_of(&padded, images);
    let pooled = images * shape.out_rows() * shape.out_cols();
    let mut bits: [SameBits; 4] = Default::default();
    for kernels in kernel_sets() {
        let mut y = vec![f32::NAN; pooled * channels];
        pool(&kernels, shape, images, a, MatMut::new(&mut y, pooled, channels)).expect("fits");
        assert_close("pool", &y, &want.y, 1e-5);
        bits[3].check(&kernels, "pool", &y);
        let (y, r) = (MatRef::new(&y, pooled, channels), MatRef::new(back, pooled, channels));
        for (i, kind) in KINDS.into_iter().enumerate() {
            let mut out = vec![7.0; images * plane.len()];
            let to = plane.pixels_mut(&mut out, images);
            pool_backward(
                &kernels,
                PoolBackward { shape, images, what: kind, a, pooled: y, back: r, out: to },
            )
            .expect("fits");
            let found = plane.pixels_of(&out, images);
            let found: Vec<f32> = (0..found.rows()).flat_map(|i| found.row(i).to_vec()).collect();
            assert_close(&format!("{shape:?} {kind:?}"), &found, &want.back[i], 1e-5);
            bits[i].check(&kernels, "pool_backward", &found);
            let mut inside = plane.pixels_mut(&mut out, images);
            (0..found.len() / channels).for_each(|i| inside.row_mut(i).fill(7.0));
            assert!(out.iter().all(|&x| x == 7.0), "the border stays");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_backend_pools_as_the_reference(
        rows in 1usize..8, cols in 1usize..8, channels in 1usize..40, size in 1usize..5,
        images in 1usize..4, pad in 0usize..3, sum in proptest::bool::ANY, seed in 1u64..1000,
    ) {
        let kind = if sum { PoolKind::Sum } else { PoolKind::Max };
        let shape = PoolShape { rows, cols, channels, size, kind };
        // Half of the activations are 0, so most windows have ties or are dead.
        let x = activations(images * rows * cols * channels, seed);
        let back = floats(images * shape.out_rows() * shape.out_cols() * channels, seed + 1);
        check(shape, images, pad, &x, &back);
    }
}

#[test]
fn odd_images_pool_as_the_reference() {
    for (rows, cols) in [(7, 4), (1, 1), (5, 3), (4, 1)] {
        for kind in [PoolKind::Max, PoolKind::Sum] {
            let shape = PoolShape { rows, cols, channels: 17, size: 2, kind };
            let x = activations(2 * rows * cols * 17, 1);
            let back = floats(2 * shape.out_rows() * shape.out_cols() * 17, 2);
            check(shape, 2, 1, &x, &back);
        }
    }
}

#[test]
fn relevance_goes_to_the_first_of_equal_pixels_and_stays_the_same_in_sum() {
    let shape = PoolShape { rows: 2, cols: 2, channels: 1, size: 2, kind: PoolKind::Max };
    let x = [1.0, 3.0, 3.0, 3.0];
    let (x, r) = (MatRef::new(&x, 4, 1), MatRef::new(&[8.0], 1, 1));
    for kernels in kernel_sets() {
        for (kind, want) in [(PoolKind::Max, [0.0, 8.0, 0.0, 0.0]), (PoolKind::Sum, [0.8, 2.4, 2.4, 2.4])] {
            let shape = PoolShape { kind, ..shape };
            let (mut y, mut out) = ([0.0], [f32::NAN; 4]);
            pool(&kernels, shape, 1, x, MatMut::new(&mut y, 1, 1)).expect("fits");
            let to = MatMut::new(&mut out, 4, 1);
            pool_backward(
                &kernels,
                PoolBackward {
                    shape,
                    images: 1,
                    what: KINDS[2],
                    a: x,
                    pooled: MatRef::new(&y, 1, 1),
                    back: r,
                    out: to,
                },
            )
            .expect("fits");
            assert_close("share", &out, &want, 1e-6);
        }
    }
}

#[test]
fn operands_of_inconsistent_shapes_are_refused_and_y_stays() {
    let shape = PoolShape { rows: 3, cols: 2, channels: 1, size: 2, kind: PoolKind::Max };
    let refused = |shape: PoolShape, pixels: usize, pooled: usize| {
        let (ones, mut y) = ([1.0; 8], [5.0; 8]);
        let (x, out) = (MatRef::new(&ones, pixels, 1), MatMut::new(&mut y, pooled, 1));
        let found = pool(&Kernels::default(), shape, 1, x, out);
        assert_eq!(y, [5.0; 8]);
        found.expect_err("does not fit").to_string()
    };
    assert_eq!(refused(shape, 5, 2), "pool: axis pixels is 5 in `x`, 6 expected");
    assert_eq!(refused(shape, 6, 1), "pool: axis pixels is 1 in `y`, 2 expected");
    let two = PoolShape { channels: 2, ..shape };
    assert_eq!(refused(two, 6, 2), "pool: axis channels is 1 in `x`, 2 expected");
    let none = PoolShape { size: 0, ..shape };
    assert!(refused(none, 6, 2).starts_with("pool: axis size is 1 in `window`"));
}

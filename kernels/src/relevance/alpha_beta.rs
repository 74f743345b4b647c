//! The LRP-αβ rule (Eq. 3.2, 3.3); z⁺ is its case α = 1, β = 0.

use super::z_plus::{check_dense, conv_pools, conv_work, dense_work};
use super::{EPS, PackedPart, Pool, pools};
use crate::Kernels;
use crate::error::ShapeError;
use crate::shape::{ConvShape, MatMut, MatRef};

/// Redistributes the relevance of a dense relu layer onto its inputs: the αβ rule, `α − β = 1`.
///
/// `r_in[n,j] = a[n,j] · Σ_k (α·w⁺[j,k] / (z⁺[n,k] + ε) − β·w⁻[j,k] / (z⁻[n,k] − ε)) · r_out[n,k]`
///
/// Shapes and units are those of [`super::z_plus::z_plus`]; `positive` and `negative` are the parts
/// w⁺ and w⁻ of the weights.
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands; `r_in` is untouched then.
#[allow(clippy::too_many_arguments)]
pub fn alpha_beta(
    kernels: &Kernels,
    (alpha, beta): (f32, f32),
    a: MatRef,
    positive: &PackedPart,
    negative: &PackedPart,
    r_out: MatRef,
    r_in: MatMut,
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    let _span = kernels.span("alpha_beta", || dense_work(2, a, r_out));
    check_dense("alpha_beta", a, positive, r_out, &r_in, lost)?;
    check_dense("alpha_beta", a, negative, r_out, &r_in, lost)?;
    pools(kernels, a, &both(alpha, beta, positive, negative), r_out, r_in, lost);
    Ok(())
}

fn both<'a>(alpha: f32, beta: f32, positive: &'a PackedPart, negative: &'a PackedPart) -> [Pool<'a>; 2] {
    [
        Pool { weights: positive, coefficient: alpha, eps: EPS },
        Pool { weights: negative, coefficient: -beta, eps: -EPS },
    ]
}

/// The αβ rule of a convolution; operands as in [`super::z_plus::z_plus_conv`].
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape; nothing is written then.
#[allow(clippy::too_many_arguments)]
pub fn alpha_beta_conv(
    kernels: &Kernels,
    (alpha, beta): (f32, f32),
    shape: &ConvShape,
    a: &[f32],
    positive: &PackedPart,
    negative: &PackedPart,
    r_out: MatRef,
    r_in: MatMut,
    c: &mut [f32],
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    let _span = kernels.span("alpha_beta_conv", || conv_work(2, lost.len(), shape));
    let pools = both(alpha, beta, positive, negative);
    conv_pools("alpha_beta_conv", kernels, shape, a, &pools, r_out, r_in, c, lost)
}

#[cfg(test)]
mod tests {
    use super::super::z_plus::tests::{assert_lost, expected, with_dead_unit};
    use super::super::z_plus::z_plus;
    use super::*;
    use crate::gemm::pack::{self, Part};
    use crate::reference;
    use crate::shape::Panels;
    use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    fn parts(w: &[f32], j: usize, k: usize) -> (PackedPart, PackedPart) {
        let packed = pack::pack(w, j, k);
        let part = |part| PackedPart::dense(Panels::new(&packed, j, k), part);
        (part(Part::Positive), part(Part::Negative))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_backend_shares_as_the_equation_says(
            n in 0usize..60, j in 8usize..80, k in 1usize..80, beta in 0u8..3, seed in 1u64..1000,
        ) {
            let (alpha, beta) = (f32::from(beta) + 1.0, f32::from(beta));
            let w = with_dead_unit(j, k, seed as usize % k, seed);
            let (a, r) = (activations(n * j, seed + 1), floats(n * k, seed + 2));
            let (want, want_lost) = expected(&r, n, |i, r| {
                let pair = (f64::from(alpha), f64::from(beta));
                reference::alpha_beta(pair, &a[i * j..][..j], &w, r, f64::from(EPS))
            });
            let (positive, negative) = parts(&w, j, k);
            let (a, view) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k));
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let (mut r_in, mut lost) = (vec![f32::NAN; n * j], vec![0.0; n]);
                let out = MatMut::new(&mut r_in, n, j);
                let pair = (alpha, beta);
                alpha_beta(&kernels, pair, a, &positive, &negative, view, out, &mut lost).expect("fits");
                assert_close("αβ", &r_in, &want, 1e-4);
                assert_lost(&lost, &want_lost, &r);
                bits.check(&kernels, "αβ", &r_in);
            }
        }

        #[test]
        fn a_convolution_shares_as_its_dense_reference(
            rows in 1usize..6, cols in 1usize..6, half in 0usize..3, inputs in 1usize..5,
            outputs in 1usize..20, images in 1usize..4, seed in 1u64..1000,
        ) {
            let shape = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
            let (j, k) = (rows * cols * inputs, rows * cols * outputs);
            let w = with_dead_unit(shape.patch(), outputs, seed as usize % outputs, seed);
            let (a, r) = (activations(images * j, seed + 1), floats(images * k, seed + 2));
            let dense = reference::conv_as_dense(&shape, &w);
            let (want, want_lost) = expected(&r, images, |i, r| {
                reference::alpha_beta((2.0, 1.0), &a[i * j..][..j], &dense, r, f64::from(EPS))
            });
            let packed = pack::pack(&w, shape.patch(), outputs);
            let weights = Panels::new(&packed, shape.patch(), outputs);
            let [positive, negative] =
                [Part::Positive, Part::Negative].map(|part| PackedPart::conv(&shape, weights, part));
            let a = shape.input().padded(&a, images);
            let pixels = images * rows * cols;
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let (mut r_in, mut lost) = (vec![f32::NAN; pixels * inputs], vec![0.0; images]);
                let mut c = vec![0.0; images * shape.output().len()];
                let (view, out) = (MatRef::new(&r, pixels, outputs), MatMut::new(&mut r_in, pixels, inputs));
                alpha_beta_conv(
                    &kernels, (2.0, 1.0), &shape, &a, &positive, &negative, view, out, &mut c, &mut lost,
                ).expect("fits");
                assert_close("αβ conv", &r_in, &want, 1e-4);
                assert_lost(&lost, &want_lost, &r);
                bits.check(&kernels, "αβ conv", &r_in);
            }
        }
    }

    #[test]
    fn alpha_1_and_beta_0_are_z_plus() {
        let (n, j, k) = (50, 40, 33);
        let (a, w, r) = (activations(n * j, 1), floats(j * k, 2), floats(n * k, 3));
        let (positive, negative) = parts(&w, j, k);
        let (a, r) = (MatRef::new(&a, n, j), MatRef::new(&r, n, k));
        for kernels in kernel_sets() {
            let (mut one, mut two, mut lost) =
                (vec![0.0; n * j], vec![0.0; n * j], [vec![0.0; n], vec![0.0; n]]);
            let out = MatMut::new(&mut one, n, j);
            alpha_beta(&kernels, (1.0, 0.0), a, &positive, &negative, r, out, &mut lost[0]).expect("fits");
            z_plus(&kernels, a, &positive, r, MatMut::new(&mut two, n, j), &mut lost[1]).expect("fits");
            assert_eq!(one, two, "{kernels:?}");
            assert_eq!(lost[0], lost[1]);
        }
    }

    #[test]
    fn a_unit_without_weights_of_a_sign_loses_that_share_and_gives_no_nan() {
        // Unit 0 is only inhibited, unit 1 only excited: 2·3 of it and −1·4 of it find nobody.
        let (positive, negative) = parts(&[-1.0, 2.0, -3.0, 2.0], 2, 2);
        let (a, r) = ([1.0, 1.0], [3.0, 4.0]);
        let (a, r) = (MatRef::new(&a, 1, 2), MatRef::new(&r, 1, 2));
        for kernels in kernel_sets() {
            let (mut r_in, mut lost) = ([f32::NAN; 2], [0.0]);
            let out = MatMut::new(&mut r_in, 1, 2);
            alpha_beta(&kernels, (2.0, 1.0), a, &positive, &negative, r, out, &mut lost).expect("fits");
            assert_close("αβ", &r_in, &[4.0 - 0.75, 4.0 - 2.25], 1e-6);
            assert!((lost[0] - 2.0).abs() < 1e-6, "{lost:?}");
        }
    }

    #[test]
    fn a_negative_part_of_other_weights_is_refused_and_r_in_stays() {
        let (positive, _) = parts(&[1.0; 6], 3, 2);
        let (_, negative) = parts(&[1.0; 9], 3, 3);
        let (ones, mut r_in) = ([1.0; 3], [5.0; 3]);
        let (a, r) = (MatRef::new(&ones, 1, 3), MatRef::new(&ones, 1, 2));
        let out = MatMut::new(&mut r_in, 1, 3);
        let found = alpha_beta(&Kernels::default(), (2.0, 1.0), a, &positive, &negative, r, out, &mut [0.0]);
        let error = found.expect_err("K differs");
        assert_eq!(error.to_string(), "alpha_beta: axis K is 3 in `w`, 2 expected");
        assert_eq!(r_in, [5.0; 3]);
    }
}

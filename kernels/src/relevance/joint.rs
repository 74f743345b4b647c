//! A rule whose outputs see two kinds of input over one denominator: `[e_t, r_t]` of a combine layer,
//! or pixels and relu activations together (z^β and z⁺, Shallow's combine layer).
//!
//! `z_k = base_k + Σ_j a_j w_jk`: the first input gives `base` (its z⁺ product, or z^β's denominator), so
//! that it can be computed for all steps at once. Both inputs then take their messages from the same
//! ratios `c = R / (z + ε)`.

use super::{PackedPart, add_lost};
use crate::Kernels;
use crate::error::{ShapeError, axis};
use crate::gemm::epilogue::{Epilogue, Stabiliser};
use crate::gemm::{Init, gemm};
use crate::profile::Work;
use crate::shape::{MatMut, MatRef};

/// The ratios over a shared denominator: `c[n,k] = coefficient·r_out[n,k] / (base[n,k] + Σ_j a[n,j]·w[j,k] + ε)`.
///
/// - `base` `[N, K]` what the other input gives; `a` `[N, J]` activations, `part` w⁺ or w⁻ of `[J, K]` weights;
///   with no columns `a` gives nothing (`r_0`)
/// - `coefficient` 1, α or −β; `eps` positive, or negative with w⁻
/// - `r_out` `[N, K]` in, `c` `[N, K]` overwritten; `lost` `[N]` added to
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands; `c` is untouched then.
#[allow(clippy::too_many_arguments)]
pub fn ratios(
    kernels: &Kernels,
    base: MatRef,
    a: MatRef,
    part: &PackedPart,
    (coefficient, eps): (f32, f32),
    r_out: MatRef,
    mut c: MatMut,
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    let _span = kernels.span("ratios", || {
        let (n, k, j) = (c.rows, c.cols, a.cols);
        Work::products(1, [n, k, j], "", n * (3 * k + j))
    });
    axis("joint", "N", "lost", lost.len(), c.rows)?;
    let w = part.forward();
    let w = if a.cols == 0 { w.rows(0, 0) } else { w };
    let ratio = Epilogue::Ratio { r: r_out, coefficient, stabiliser: Stabiliser::Constant(eps) };
    gemm(kernels, a, w, Init::Copy(base), ratio, c.reborrow())?;
    add_lost(c.as_ref(), eps, lost);
    Ok(())
}

/// The messages of one input: `r_in[n,j] = a[n,j] · Σ_pools Σ_k c[n,k]·w[j,k]`.
///
/// - `pools` the ratios `[N, K]` of each pool and the part of `[J, K]` weights that it has
/// - `a` `[N, J]` activations, `r_in` `[N, J]` overwritten
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands; `r_in` is untouched then.
///
/// # Example
/// ```
/// use kernels::pack::{self, Part};
/// use kernels::relevance::{EPS, PackedPart, joint};
/// use kernels::{Kernels, MatMut, MatRef, Panels};
/// // Another input has given 3 to the denominator, this one gives 1: a quarter of R is its own.
/// let w = pack::pack(&[1.0], 1, 1);
/// let part = PackedPart::dense(Panels::new(&w, 1, 1), Part::Positive);
/// let (base, a, r, mut c, mut r_in, mut lost) = ([3.0], [1.0], [8.0], [0.0], [0.0], [0.0]);
/// let (base, a, r) = (MatRef::new(&base, 1, 1), MatRef::new(&a, 1, 1), MatRef::new(&r, 1, 1));
/// let kernels = Kernels::default();
/// joint::ratios(&kernels, base, a, &part, (1.0, EPS), r, MatMut::new(&mut c, 1, 1), &mut lost)?;
/// joint::messages(&kernels, &[(MatRef::new(&c, 1, 1), &part)], a, MatMut::new(&mut r_in, 1, 1))?;
/// assert_eq!(r_in, [2.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn messages(
    kernels: &Kernels,
    pools: &[(MatRef, &PackedPart)],
    a: MatRef,
    mut r_in: MatMut,
) -> Result<(), ShapeError> {
    let _span = kernels.span("messages", || {
        let k = pools.first().map_or(0, |(c, _)| c.cols);
        Work::products(pools.len(), [a.rows, a.cols, k], "", a.rows * (2 * a.cols + pools.len() * k))
    });
    for (c, part) in pools {
        axis("messages", "K", "w (way back)", part.back_k, c.cols)?;
        axis("messages", "J", "w (way back)", part.back_n, r_in.cols)?;
        axis("messages", "N", "c", c.rows, r_in.rows)?;
    }
    axis("messages", "N", "a", a.rows, r_in.rows)?;
    axis("messages", "J", "a", a.cols, r_in.cols)?;
    for (i, (c, part)) in pools.iter().enumerate() {
        let init = if i == 0 { Init::Zero } else { Init::Accumulate };
        let times = Epilogue::Times { a, shift: 0.0, add: false };
        let epilogue = if i + 1 == pools.len() { times } else { Epilogue::Store };
        gemm(kernels, *c, part.back(), init, epilogue, r_in.reborrow())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::pack::{self, Part};
    use crate::reference;
    use crate::relevance::EPS;
    use crate::relevance::z_beta::ZBeta;
    use crate::shape::Panels;
    use crate::testing::{SameBits, activations, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        /// Shallow's combine layer, with α and β, against the rule as section 4 of the specification has it.
        #[test]
        fn pixels_and_activations_share_one_denominator(
            n in 1usize..20, pixels in 1usize..40, j in 1usize..40, k in 1usize..50,
            beta in 0usize..2, seed in 1u64..1000,
        ) {
            let (x, a) = (floats(n * pixels, seed), activations(n * j, seed + 1));
            let (wx, wr) = (floats(pixels * k, seed + 2), floats(j * k, seed + 3));
            let r_out = floats(n * k, seed + 4);
            let beta = beta as f32;
            let (low, high) = (-1.0, 1.0);
            let mut want = (Vec::new(), Vec::new(), Vec::new());
            for i in 0..n {
                let r: Vec<f64> = r_out[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
                let q = |p: usize, o: usize| {
                    if p < pixels {
                        let w = wx[p * k + o];
                        f64::from(x[i * pixels + p]) * f64::from(w)
                            - f64::from(low) * f64::from(w.max(0.0))
                            - f64::from(high) * f64::from(w.min(0.0))
                    } else {
                        f64::from(a[i * j + p - pixels]) * f64::from(wr[(p - pixels) * k + o].max(0.0))
                    }
                };
                let (plus, lost_plus) = reference::share(pixels + j, k, q, 1e-9, &r);
                let q = |p: usize, o: usize| f64::from(a[i * j + p]) * f64::from(wr[p * k + o].min(0.0));
                let (minus, lost_minus) = reference::share(j, k, q, -1e-9, &r);
                let (alpha, beta) = (1.0 + f64::from(beta), f64::from(beta));
                want.0.extend(plus[..pixels].iter().map(|r| alpha * r));
                want.1.extend(plus[pixels..].iter().zip(&minus).map(|(p, m)| alpha * p - beta * m));
                want.2.push(alpha * lost_plus - beta * lost_minus);
            }
            let (px, pr) = (pack::pack(&wx, pixels, k), pack::pack(&wr, j, k));
            let (panels_x, panels_r) = (Panels::new(&px, pixels, k), Panels::new(&pr, j, k));
            let z_beta = ZBeta::dense(panels_x, low, high);
            let parts = [PackedPart::dense(panels_r, Part::Positive), PackedPart::dense(panels_r, Part::Negative)];
            let used = 1 + usize::from(beta > 0.0);
            let mut bits = SameBits::default();
            for kernels in kernel_sets() {
                let (xs, activations) = (MatRef::new(&x, n, pixels), MatRef::new(&a, n, j));
                let mut bases = [vec![0.0; n * k], vec![0.0; n * k]];
                let base = MatMut::new(&mut bases[0], n, k);
                gemm(&kernels, xs, panels_x, Init::Zero, Epilogue::Store, base).expect("fits");
                z_beta.subtract_v(&kernels, MatMut::new(&mut bases[0], n, k)).expect("fits");
                let mut c = [vec![0.0; n * k], vec![0.0; n * k]];
                let mut lost = vec![0.0; n];
                let weights = [(1.0 + beta, EPS), (-beta, -EPS)];
                for p in 0..used {
                    let (base, r) = (MatRef::new(&bases[p], n, k), MatRef::new(&r_out, n, k));
                    let out = MatMut::new(&mut c[p], n, k);
                    ratios(&kernels, base, activations, &parts[p], weights[p], r, out, &mut lost).expect("fits");
                }
                let pools: Vec<_> = (0..used).map(|p| (MatRef::new(&c[p], n, k), &parts[p])).collect();
                let (mut r_x, mut r_a) = (vec![0.0; n * pixels], vec![0.0; n * j]);
                messages(&kernels, &pools, activations, MatMut::new(&mut r_a, n, j)).expect("fits");
                z_beta.numerators(&kernels, xs, MatRef::new(&c[0], n, k), MatMut::new(&mut r_x, n, pixels)).expect("fits");
                assert_close("pixels", &r_x, &want.0, 1e-4);
                assert_close("activations", &r_a, &want.1, 1e-4);
                for (found, want) in lost.iter().zip(&want.2) {
                    prop_assert!((found - want).abs() <= 1e-4 * want.abs().max(1.0), "{found} {want}");
                }
                r_x.extend(r_a);
                bits.check(&kernels, "joint", &r_x);
            }
        }
    }

    #[test]
    fn a_second_pool_of_another_shape_is_refused_before_the_first_is_written() {
        let packed = pack::pack(&[1.0; 6], 3, 2);
        let part = PackedPart::dense(Panels::new(&packed, 3, 2), Part::All);
        let (ones, mut r_in) = ([1.0; 3], [5.0; 3]);
        let (fits, other) = (MatRef::new(&ones, 1, 2), MatRef::new(&ones, 1, 3));
        let (a, out) = (MatRef::new(&ones, 1, 3), MatMut::new(&mut r_in, 1, 3));
        let found = messages(&Kernels::default(), &[(fits, &part), (other, &part)], a, out);
        assert!(found.expect_err("K is 3").to_string().contains("axis K"));
        assert_eq!(r_in, [5.0; 3]);
    }

    #[test]
    fn outputs_without_columns_lose_nothing_wherever_their_rows_start() {
        let part = PackedPart::dense(Panels::new(&[], 1, 0), Part::Positive);
        let (a, none, map) = ([1.0; 2], [0.0; 0], crate::Rows::linear(3));
        let (a, base) = (MatRef::new(&a, 2, 1), MatRef::mapped(&none, 2, 0, map));
        let (mut c, mut lost) = ([0.0; 0], [0.0; 2]);
        let c = MatMut::mapped(&mut c, 2, 0, map);
        ratios(&Kernels::default(), base, a, &part, (1.0, EPS), base, c, &mut lost).expect("fits");
        assert_eq!(lost, [0.0; 2]);
    }
}

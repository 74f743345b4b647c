//! The w² rule, for layers whose inputs are unbounded (Table 3.1).

use super::{EPS, PackedPart, add_lost};
use crate::Kernels;
use crate::conv::conv;
use crate::elementwise::{Loop, run};
use crate::error::{ShapeError, axis};
use crate::gemm::epilogue::Epilogue;
use crate::gemm::{Start, gemm};
use crate::shape::{ConvShape, MatMut, MatRef};

/// `c[m,k] = r[m,k] / (z[m mod P, k] + ε)`: a ratio whose denominators are already known.
struct Ratio<'a> {
    r: MatRef<'a>,
    z: MatRef<'a>,
    eps: f32,
    c: MatMut<'a>,
}

impl Loop for Ratio<'_> {
    #[inline(always)]
    fn run(mut self) {
        for i in 0..self.r.rows {
            let (r, z) = (self.r.row(i), self.z.row(i % self.z.rows));
            for ((c, &r), &z) in self.c.row_mut(i).iter_mut().zip(r).zip(z) {
                *c = r / (z + self.eps);
            }
        }
    }
}

pub(super) fn ratio(kernels: &Kernels, r: MatRef, z: MatRef, eps: f32, c: MatMut) {
    run(kernels.backend(), Ratio { r, z, eps, c });
}

/// The denominators `Σ_j w²[j,k]` of a dense layer, one row `[1, K]`.
pub fn dense_denominators(square: &PackedPart) -> Vec<f32> {
    let w = square.forward();
    (0..w.n()).map(|k| (0..w.k()).fold(0.0, |sum, j| sum + w.at(j, k))).collect()
}

/// The denominators of a convolution, `[rows·cols, outputs]`: at the edge of the image the sum has
/// fewer terms.
///
/// # Errors
/// [`ShapeError`] if the weights are not the convolution's.
pub fn conv_denominators(
    kernels: &Kernels,
    shape: &ConvShape,
    square: &PackedPart,
) -> Result<Vec<f32>, ShapeError> {
    let plane = shape.input();
    let mut ones = vec![0.0; plane.len()];
    let mut inside = plane.pixels_mut(&mut ones, 1);
    for i in 0..plane.pixels() {
        inside.row_mut(i).fill(1.0);
    }
    let mut z = vec![0.0; plane.pixels() * shape.outputs];
    let out = MatMut::new(&mut z, plane.pixels(), shape.outputs);
    conv(kernels, shape, &ones, 1, square.forward(), Start::Zero, Epilogue::Store, out)?;
    Ok(z)
}

/// Redistributes relevance onto unbounded inputs: the w² rule.
///
/// `r_in[n,j] = Σ_k w²[j,k] / (Σ_j w²[j,k] + ε) · r_out[n,k]`
///
/// - `square` the part w² of `[J, K]` weights, `z` `[K]` from [`dense_denominators`]
/// - `r_out` `[N, K]` in, `r_in` `[N, J]` overwritten; `c` `[N, K]` scratch; `lost` `[N]` added to
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands; `r_in` is untouched then.
pub fn w_square(
    kernels: &Kernels,
    square: &PackedPart,
    z: &[f32],
    r_out: MatRef,
    r_in: MatMut,
    c: &mut [f32],
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    const NAME: &str = "w_square";
    let (n, k) = (r_out.rows, r_out.cols);
    axis(NAME, "K", "z", z.len(), k)?;
    axis(NAME, "N·K", "c", c.len(), n * k)?;
    axis(NAME, "N", "lost", lost.len(), n)?;
    axis(NAME, "J", "r_in", r_in.cols, square.k)?;
    axis(NAME, "N", "r_in", r_in.rows, n)?;
    ratio(kernels, r_out, MatRef::new(z, 1, k), EPS, MatMut::new(c, n, k));
    let c = MatRef::new(c, n, k);
    add_lost(c, EPS, lost);
    gemm(kernels, c, square.back(), Start::Zero, Epilogue::Store, r_in)
}

/// The w² rule of a convolution: `z` from [`conv_denominators`], `c` planes with a zero border as in
/// [`super::z_plus::z_plus_conv`].
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape.
#[allow(clippy::too_many_arguments)]
pub fn w_square_conv(
    kernels: &Kernels,
    shape: &ConvShape,
    square: &PackedPart,
    z: &[f32],
    r_out: MatRef,
    r_in: MatMut,
    c: &mut [f32],
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    const NAME: &str = "w_square_conv";
    let (images, plane) = (lost.len(), shape.output());
    axis(NAME, "pixels·outputs", "z", z.len(), plane.pixels() * shape.outputs)?;
    axis(NAME, "pixels", "r_out", r_out.rows, images * plane.pixels())?;
    axis(NAME, "outputs", "r_out", r_out.cols, shape.outputs)?;
    axis(NAME, "images·plane", "c", c.len(), images * plane.len())?;
    let z = MatRef::new(z, plane.pixels(), shape.outputs);
    ratio(kernels, r_out, z, EPS, plane.pixels_mut(c, images));
    add_lost(plane.pixels_of(c, images), EPS, lost);
    conv(kernels, &shape.reversed(), c, images, square.back(), Start::Zero, Epilogue::Store, r_in)
}

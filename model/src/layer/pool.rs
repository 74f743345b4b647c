//! A pooling layer of the encoder.

use crate::ModelError;
use kernels::pool::{PoolBack, PoolBackward, PoolShape, pool, pool_backward};
use kernels::{Kernels, Plane};

/// Pools every image.
pub(crate) fn forward(
    kernels: &Kernels,
    shape: PoolShape,
    (before, behind): (&Plane, &Plane),
    images: usize,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), ModelError> {
    let (x, y) = (before.pixels_of(x, images), behind.pixels_mut(y, images));
    Ok(pool(kernels, shape, images, x, y)?)
}

/// What a pool has seen, and what comes back through it.
pub(crate) struct Back<'a> {
    pub what: PoolBack,
    /// Activation in front of the pool, and behind it.
    pub acts: (&'a [f32], &'a [f32]),
    /// Gradient or relevance behind the pool.
    pub back: &'a [f32],
}

/// Takes a gradient or a relevance back through the pool into `out`, planes of `planes.2`.
pub(crate) fn backward(
    kernels: &Kernels,
    shape: PoolShape,
    planes: (&Plane, &Plane, Plane, Plane),
    images: usize,
    from: &Back,
    out: &mut [f32],
) -> Result<(), ModelError> {
    let (before, behind, out_plane, back_plane) = planes;
    let a = before.pixels_of(from.acts.0, images);
    let pooled = behind.pixels_of(from.acts.1, images);
    let back = back_plane.pixels_of(from.back, images);
    let out = out_plane.pixels_mut(out, images);
    Ok(pool_backward(kernels, PoolBackward { shape, images, what: from.what, a, pooled, back, out })?)
}

//! Relevance of a convolution.

use super::packed::{Denominator, PackedRule, PanelGroup, products, reads_forward};
use super::ratios::{Known, Quotients, add_absorbed};
use super::terms::SharedGroup;
use crate::conv::ByImages;
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::problem::{Epilogue, Init, Output};
use crate::image::{ConvShape, Plane};
use crate::layout::{MatMut, MatRef, volume};
use crate::profile::Work;
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

pub(super) const NAME: &str = "relevance_conv";

/// Operands of [`relevance_conv`]; there are as many images as `absorbed` has places.
#[derive(Debug)]
pub struct RelevanceConv<'a> {
    /// The rule with the convolution's weights: [`PackedRule::conv`].
    pub rule: &'a PackedRule,
    /// Padded NHWC input, [`ConvShape::input`] planes
    pub a: &'a [f32],
    /// `[images·pixels, outputs]` the forward product without its bias, for a rule that
    /// [reads it](PackedRule::reads_forward)
    pub z: Option<MatRef<'a>>,
    /// `[images·pixels, outputs]` relevance of the outputs, in units of the explained logit
    pub r_out: MatRef<'a>,
    /// `[images·pixels, inputs]` relevance of the inputs, overwritten
    pub r_in: MatMut<'a>,
    /// `[images]` the relevance that stabilisers absorb is added
    pub absorbed: &'a mut [f64],
}

/// Redistributes the relevance of a convolution's outputs onto its inputs by any rule.
///
/// The equation is that of [`relevance`](super::relevance) for the dense layer that has the weight of each
/// filter at each of its places; the border of an image is no input.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape, or the rule is that of another kind of
/// layer; nothing is written then.
///
/// # Example
/// ```
/// use kernels::relevance::{PackedRule, RelevanceConv, Rule, relevance_conv};
/// use kernels::{ConvShape, Kernels, MatMut, MatRef, Panels, pack};
/// let kernels = Kernels::default();
/// let shape = ConvShape { rows: 1, cols: 2, size: 1, inputs: 1, outputs: 1 };
/// let w = pack::pack(&[3.0], 1, 1);
/// let rule = &PackedRule::conv(&kernels, &Rule::z_plus(), &shape, Panels::new(&w, 1, 1))?;
/// let (mut r_in, mut absorbed) = ([0.0; 2], [0.0]);
/// relevance_conv(
///     &kernels,
///     RelevanceConv {
///         rule,
///         a: &[1.0, 2.0],
///         z: None,
///         r_out: MatRef::new(&[5.0, 6.0], 2, 1),
///         r_in: MatMut::new(&mut r_in, 2, 1),
///         absorbed: &mut absorbed,
///     },
/// )?;
/// assert_eq!(r_in, [5.0, 6.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn relevance_conv(kernels: &Kernels, operands: RelevanceConv) -> Result<(), ShapeError> {
    let RelevanceConv { rule, a, z, r_out, mut r_in, absorbed } = operands;
    let (shape, groups) = rule.of_conv(NAME)?;
    let (images, input, plane) = (absorbed.len(), shape.input(), shape.output());
    let pixels = volume([images, shape.rows, shape.cols]);
    let products = products(groups, Vec::len);
    let _span = kernels.span(NAME, || {
        let reads = shape.outputs * if reads_forward(groups) { 2 } else { 1 };
        Work::convs(products, images, shape, "", pixels * (2 * shape.inputs + reads))
    });
    axis(NAME, "images·plane", "a", a.len(), volume([images, input.len()]))?;
    axis(NAME, "pixels", "r_out", r_out.rows, pixels)?;
    axis(NAME, "outputs", "r_out", r_out.cols, shape.outputs)?;
    axis(NAME, "pixels", "r_in", r_in.rows, pixels)?;
    axis(NAME, "inputs", "r_in", r_in.cols, shape.inputs)?;
    if reads_forward(groups) {
        let (rows, cols) = z.map_or((0, 0), |z| (z.rows, z.cols));
        axis(NAME, "pixels", "z", rows, pixels)?;
        axis(NAME, "outputs", "z", cols, shape.outputs)?;
    }
    if images == 0 || plane.pixels() == 0 {
        return Ok(());
    }
    let fused =
        Fused { shape, a, groups, z, r_out, r_in: Output::of(&mut r_in), absorbed: Shared::new(absorbed) };
    let block = (BLOCK / plane.len().max(1)).clamp(1, images);
    let cost = products * pixels * shape.patch() * shape.outputs;
    kernels.threads().split(images, cost, &|range: Range<usize>| {
        with_scratch(block * plane.len(), |c| {
            clear_border(&plane, c);
            for first in range.clone().step_by(block) {
                fused.block(kernels, first..range.end.min(first + block), c);
            }
        });
    });
    Ok(())
}

/// Floats of `c` that stay in L2 between the two products.
const BLOCK: usize = 64 * 1024;

/// Makes the border of images zero, around whatever pixels.
fn clear_border(plane: &Plane, images: &mut [f32]) {
    let (line, side) = (plane.line(), plane.pad * plane.channels);
    if plane.is_empty() || side == 0 {
        return;
    }
    for image in images.chunks_exact_mut(plane.len()) {
        let inside = plane.pad * line..(plane.pad + plane.rows) * line;
        image[..inside.start].fill(0.0);
        image[inside.end..].fill(0.0);
        for line in image[inside].chunks_exact_mut(line) {
            line[..side].fill(0.0);
            let end = line.len() - side;
            line[end..].fill(0.0);
        }
    }
}

/// Some images at a time, so that `c` never leaves the cache.
struct Fused<'a> {
    shape: &'a ConvShape,
    a: &'a [f32],
    groups: &'a [PanelGroup],
    z: Option<MatRef<'a>>,
    r_out: MatRef<'a>,
    r_in: Output,
    absorbed: Shared<f64>,
}

impl Fused<'_> {
    /// Images `images`, whose ratios stand in `scratch`, in planes with a border of zeros.
    fn block(&self, kernels: &Kernels, images: Range<usize>, scratch: &mut [f32]) {
        let Fused { shape, a, groups, z, r_out, r_in, absorbed } = self;
        let (input, plane, reversed) = (shape.input(), shape.output(), shape.reversed());
        let (count, pixels) = (images.len(), plane.pixels());
        let rows = images.start * pixels..images.end * pixels;
        // Images are counted from the batch's first; the scratch holds the block's.
        let planes = scratch.as_mut_ptr().wrapping_sub(images.start * plane.len());
        let c = planes.wrapping_add(plane.interior());
        let inputs = input.pixels_of(a, r_out.rows / pixels);
        for group in *groups {
            let SharedGroup { coefficient, stabiliser } = group.shared;
            if let Denominator::Product(w) = &group.denominator {
                let ratio = Epilogue::Ratio { r: *r_out, coefficient, stabiliser };
                let to = Output::of(&mut plane.pixels_mut(scratch, count));
                let mut first = ByImages::new(shape, a.as_ptr(), w.panels(), Init::Zero, ratio, &to);
                first.problem.c = c;
                // SAFETY: operands were checked to have the convolution's shape; the scratch is the block's.
                unsafe { first.run(kernels, images.clone()) };
            } else {
                let known = Known::of(group, *z, [r_out.rows, r_out.cols]);
                let (r, c_map) = (*r_out, plane.map());
                let quotients = Quotients { shared: group.shared, r, base: None, known, c, c_map };
                // SAFETY: as above.
                unsafe { quotients.run(kernels, rows.clone()) };
            }
            // SAFETY: the parts of a split have different images, whose places `relevance_conv` has borrowed
            // mutably.
            let absorbed = unsafe { absorbed.slice(images.clone()) };
            add_absorbed(plane.pixels_of(scratch, count), *r_out, rows.start, group.shared, absorbed);
            for term in &group.back {
                let (w, init, epilogue) = (term.weights.panels(), term.init(), term.epilogue(inputs));
                let second = ByImages::new(&reversed, planes.cast_const(), w, init, epilogue, r_in);
                // SAFETY: as above; around the ratios there are zeros.
                unsafe { second.run(kernels, images.clone()) };
            }
        }
    }
}

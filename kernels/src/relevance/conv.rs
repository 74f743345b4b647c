//! Relevance of a convolution.

use super::fused::{BlockRatios, Fused, Layer, Product};
use super::packed::{CONV_NAME as NAME, PackedRule, products, reads_forward};
use crate::conv::ByImages;
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::problem::Output;
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef, volume};
use crate::profile::Work;
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// Operands of [`relevance_conv`]; the number of images is the length of `absorbed`.
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
/// filter at each of its positions; pixels of the border do not count as inputs.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape, or the rule is that of another kind of
/// layer; nothing is written then.
///
/// # Example
/// ```
/// use kernels::relevance::{PackedRule, RelevanceConv, Rule, relevance_conv};
/// use kernels::{ConvShape, Kernels, MatMut, MatRef, PackedWeights};
/// let kernels = Kernels::default();
/// let shape = ConvShape { rows: 1, cols: 2, size: 1, inputs: 1, outputs: 1 };
/// let w = PackedWeights::new(&[3.0], 1, 1)?;
/// let rule = &PackedRule::conv(&kernels, &Rule::z_plus(), &shape, w.panels())?;
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
    let layer = Images { shape, reversed: shape.reversed(), a, images };
    let fused =
        Fused { layer, groups, z, r_out, r_in: Output::of(&mut r_in), absorbed: Shared::new(absorbed) };
    let block = (BLOCK / plane.len().max(1)).clamp(1, images);
    let cost = products * pixels * shape.patch() * shape.outputs;
    kernels.threads().split(images, cost, &|range: Range<usize>| {
        with_scratch(block * plane.len(), |c| {
            plane.clear_border(c);
            for first in range.clone().step_by(block) {
                fused.block(kernels, first..range.end.min(first + block), c);
            }
        });
    });
    Ok(())
}

/// Floats of `c` that stay in L2 between the two products.
pub(super) const BLOCK: usize = 64 * 1024;

/// The products of some images; their ratios are in planes with a border of zeros.
pub(super) struct Images<'a> {
    pub shape: &'a ConvShape,
    pub reversed: ConvShape,
    pub a: &'a [f32],
    pub images: usize,
}

impl Layer for Images<'_> {
    fn rows(&self, part: &Range<usize>) -> Range<usize> {
        let pixels = self.shape.output().pixels();
        part.start * pixels..part.end * pixels
    }

    fn ratios(&self, part: &Range<usize>, scratch: &mut [f32]) -> BlockRatios {
        let plane = self.shape.output();
        let output = Output::of(&mut plane.pixels_mut(scratch, part.len()));
        // Image indices count from the first image of the batch; the scratch holds only the block's images.
        let planes = scratch.as_mut_ptr().wrapping_sub(part.start * plane.len());
        BlockRatios { output, c: planes.wrapping_add(plane.interior()), planes }
    }

    fn view<'s>(&self, part: &Range<usize>, scratch: &'s [f32]) -> MatRef<'s> {
        self.shape.output().pixels_of(scratch, part.len())
    }

    unsafe fn first(&self, kernels: &Kernels, part: Range<usize>, ratio: Product, c: &BlockRatios) {
        let Product { weights, init, epilogue } = ratio;
        let mut product = ByImages::new(self.shape, self.a.as_ptr(), weights, init, epilogue, &c.output);
        product.problem.c = c.c;
        // SAFETY: the caller's promise.
        unsafe { product.run(kernels, part) };
    }

    unsafe fn second(
        &self,
        kernels: &Kernels,
        part: Range<usize>,
        c: &BlockRatios,
        term: Product,
        r_in: &Output,
    ) {
        let Product { weights, init, epilogue } = term;
        let planes = c.planes.cast_const();
        let product = ByImages::new(&self.reversed, planes, weights, init, epilogue, r_in);
        // SAFETY: the caller's promise; around the ratios there are zeros.
        unsafe { product.run(kernels, part) };
    }

    fn inputs(&self) -> MatRef<'_> {
        self.shape.input().pixels_of(self.a, self.images)
    }
}

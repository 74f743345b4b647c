//! Relevance of convolution, relu and max-pool: only the outputs at the argmax positions of the pool have
//! relevance, so only these outputs of the convolution are computed again.

use super::packed::{
    CONV_MAX_POOL_NAME as NAME, Denominator, FilterGroup, PackedRule, products, reads_forward,
};
use super::ratios::add_absorbed;
use super::terms::SharedGroup;
use crate::conv::max_pool::back::{Back, Values};
use crate::conv::max_pool::ratios::{Denominators, Dots, Ratio};
use crate::conv::max_pool::visit::{ArgmaxPositions, block_len, blocks, images_a_block};
use crate::conv::max_pool::{
    ConvMaxPoolInputGradient, ConvPoolShape, MaxIndices, conv_max_pool_input_gradient,
};
use crate::conv::{Conv, conv};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::problem::{Epilogue, Init};
use crate::layout::{MatMut, MatRef, STRIP, volume};
use crate::profile::Work;
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// Operands of [`relevance_conv_max_pool`]; the number of images is the length of `absorbed`.
#[derive(Debug)]
pub struct RelevanceConvMaxPool<'a> {
    /// The rule with the convolution's weights: [`PackedRule::conv_max_pool`].
    pub rule: &'a PackedRule,
    /// Padded NHWC input, planes of [`ConvShape::input`](crate::ConvShape::input)
    pub x: &'a [f32],
    /// The argmax positions that [`conv_max_pool`](crate::conv::max_pool::conv_max_pool) has written
    pub max_indices: &'a MaxIndices,
    /// `[images·windows, outputs]` the forward product at each argmax position, written by the same, for a rule
    /// that [reads it](PackedRule::reads_forward)
    pub z: Option<&'a [f32]>,
    /// `[images·windows, outputs]` relevance of the pooled outputs, in units of the explained logit
    pub r_out: MatRef<'a>,
    /// `[images·rows, cols·inputs]` relevance of the inputs, a line of an image a row; overwritten
    pub r_in: MatMut<'a>,
    /// `[images]` the relevance that stabilisers absorb is added
    pub absorbed: &'a mut [f64],
}

/// Redistributes the relevance of the windows of a max-pool through the pool and the convolution in front of it
/// onto the convolution's input, by any rule.
///
/// The equation is that of [`relevance_conv`](super::relevance_conv); an output of the convolution that is not
/// its window's maximum has no relevance.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape, or the rule is that of another kind of layer;
/// nothing is written then.
///
/// # Example
/// ```
/// use kernels::conv::max_pool::{ConvMaxPool, ConvPoolShape, MaxIndices, conv_max_pool};
/// use kernels::relevance::{PackedRule, RelevanceConvMaxPool, Rule, relevance_conv_max_pool};
/// use kernels::{ConvShape, Kernels, MatMut, MatRef, PackedWeights};
/// let kernels = Kernels::default();
/// let conv = ConvShape { rows: 1, cols: 2, size: 1, inputs: 1, outputs: 1 };
/// let shape = &ConvPoolShape { conv, window: 2 };
/// let w = PackedWeights::new(&[3.0], 1, 1)?;
/// let w = w.panels();
/// let (x, mut y, mut max_indices) = (&[1.0, 2.0], [0.0], MaxIndices::new(shape, 1));
/// let (bias, z) = (&[0.0], None);
/// let forward = ConvMaxPool {
///     shape, images: 1, x, w, bias, y: MatMut::new(&mut y, 1, 1), max_indices: &mut max_indices, z,
/// };
/// conv_max_pool(&kernels, forward)?;
/// let rule = &PackedRule::conv_max_pool(&kernels, &Rule::z_plus(), shape, w)?;
/// let (mut r_in, mut absorbed) = ([0.0; 2], [0.0]);
/// relevance_conv_max_pool(
///     &kernels,
///     RelevanceConvMaxPool {
///         rule,
///         x,
///         max_indices: &max_indices,
///         z: None,
///         r_out: MatRef::new(&[6.0], 1, 1),
///         r_in: MatMut::new(&mut r_in, 1, 2),
///         absorbed: &mut absorbed,
///     },
/// )?;
/// assert_eq!(r_in, [0.0, 6.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn relevance_conv_max_pool(kernels: &Kernels, operands: RelevanceConvMaxPool) -> Result<(), ShapeError> {
    let RelevanceConvMaxPool { rule, x, max_indices, z, r_out, mut r_in, absorbed } = operands;
    let (shape, groups) = rule.of_conv_max_pool(NAME)?;
    let images = absorbed.len();
    let products = products(groups, |back| back.shifts.len());
    let _span = kernels.span(NAME, || Work::max_pool(products, images, shape, 2 * x.len()));
    let plane = shape.conv.input();
    let of_image = shape.windows() * shape.conv.outputs;
    axis(NAME, "images·plane", "x", x.len(), volume([images, plane.len()]))?;
    let z = if reads_forward(groups) { z.unwrap_or_default() } else { &[] };
    if reads_forward(groups) {
        axis(NAME, "windows·outputs", "z", z.len(), volume([images, of_image]))?;
    }
    axis(NAME, "images·rows", "r_in", r_in.rows, volume([images, shape.conv.rows]))?;
    axis(NAME, "cols·inputs", "r_in", r_in.cols, volume([shape.conv.cols, shape.conv.inputs]))?;
    shape.check_values(NAME, "r_out", images, &r_out)?;
    let argmax = max_indices.of(NAME, shape, images)?;
    let pixels = plane.lines_of(x, images);
    let mut first = true;
    for group in groups {
        let mut epilogues = [Epilogue::Store; 2];
        let terms = &group.back.shifts;
        for (epilogue, shift) in epilogues.iter_mut().zip(terms) {
            if let Some(shift) = *shift {
                *epilogue = Epilogue::Times { a: pixels, shift, add: !first };
            }
            first = false;
        }
        let (filters, epilogues) = (&group.back.filters, &epilogues[..terms.len()]);
        let ratios = Ratios { shape, group, argmax, z, r_out };
        if kernels.prefers_products() {
            with_scratch(images * of_image, |c| {
                ratios.by_products(kernels, x, c, absorbed)?;
                let d_h = MatRef::new(c, images * shape.windows(), shape.conv.outputs);
                let d_x = r_in.reborrow();
                let operands = ConvMaxPoolInputGradient { filters, images, max_indices, d_h, epilogues, d_x };
                conv_max_pool_input_gradient(kernels, operands)
            })?;
            continue;
        }
        let back = Back { filters, epilogues, out_map: r_in.map, out: Shared::new(r_in.data) };
        let all_absorbed = Shared::new(absorbed);
        let cost = products * images * of_image * shape.conv.patch();
        let block = images_a_block(shape).min(images);
        kernels.threads().split(images, cost, &|range| {
            let lens = [block_len(shape, block).next_multiple_of(STRIP), back.scratch(), block * of_image];
            with_scratch(lens.iter().sum(), |scratch| {
                let (copy, scratch) = scratch.split_at_mut(lens[0]);
                let (planes, c) = scratch.split_at_mut(lens[1]);
                blocks(shape, x, range, block, copy, |block, x| {
                    // SAFETY: each image is in one part only.
                    let absorbed = unsafe { all_absorbed.slice(block.clone()) };
                    let c = &mut c[..block.len() * of_image];
                    ratios.block(kernels, block.clone(), x, c, absorbed);
                    for (i, image) in block.enumerate() {
                        let c = &c[i * of_image..][..of_image];
                        let argmax = &argmax[image * of_image..][..of_image];
                        back.image(kernels, image, Values::buffered(shape, c, argmax), planes);
                    }
                });
            });
        });
    }
    Ok(())
}

/// The ratios of one group.
struct Ratios<'a> {
    shape: &'a ConvPoolShape,
    group: &'a FilterGroup,
    argmax: &'a [f32],
    z: &'a [f32],
    r_out: MatRef<'a>,
}

impl Ratios<'_> {
    /// The ratios of a block of images `x`, `[windows, outputs]`.
    fn block(&self, kernels: &Kernels, images: Range<usize>, x: &[f32], c: &mut [f32], absorbed: &mut [f64]) {
        let Ratios { shape, group, argmax, r_out, .. } = self;
        if let Denominator::Product(filters) = &group.denominator {
            let positions = &ArgmaxPositions::new(shape, argmax, *r_out);
            kernels.backend().run(Dots { shape, filters, x, positions, images: images.clone(), z: &mut *c });
        }
        let of_image = shape.windows() * shape.conv.outputs;
        for (image, (c, absorbed)) in images.zip(c.chunks_exact_mut(of_image.max(1)).zip(absorbed)) {
            self.image(kernels, image, c, absorbed);
        }
    }

    /// The ratios of one image. If the denominators are a product, `c` holds them on entry.
    fn image(&self, kernels: &Kernels, image: usize, c: &mut [f32], absorbed: &mut f64) {
        let Ratios { shape, group, argmax, z, r_out } = self;
        let (windows, outputs) = (shape.windows(), shape.conv.outputs);
        let SharedGroup { coefficient, stabiliser } = group.shared;
        let z = match &group.denominator {
            Denominator::Product(_) => Denominators::Found,
            Denominator::Forward(v) => {
                Denominators::Less(&z[image * windows * outputs..][..windows * outputs], v)
            }
            Denominator::Constant(v) => Denominators::Constant(v),
        };
        let r = Values::of(shape, r_out, argmax, image);
        kernels.backend().run(Ratio { shape, r, z, coefficient, stabiliser, c: &mut *c });
        let (c, absorbed) = (MatRef::new(c, windows, outputs), std::slice::from_mut(absorbed));
        add_absorbed(c, *r_out, image * windows, group.shared, absorbed);
    }

    /// The ratios of all images, computed by an external GEMM backend.
    fn by_products(
        &self,
        kernels: &Kernels,
        x: &[f32],
        c: &mut [f32],
        absorbed: &mut [f64],
    ) -> Result<(), ShapeError> {
        let Ratios { shape, group, argmax, .. } = self;
        let (conv_shape, outputs, images) = (&shape.conv, shape.conv.outputs, absorbed.len());
        if matches!(group.denominator, Denominator::Product(_)) {
            let pixels = images * conv_shape.rows * conv_shape.cols;
            with_scratch(pixels * outputs, |z| {
                group.back.filters.with_panels(0, false, |w| {
                    let (init, epilogue) = (Init::Zero, Epilogue::Store);
                    let y = MatMut::new(z, pixels, outputs);
                    conv(kernels, Conv { shape: conv_shape, images, x, w, init, epilogue, y })
                })?;
                for (i, c) in c.iter_mut().enumerate() {
                    let (window, o) = (i / outputs, i % outputs);
                    *c = z[shape.pixel(window, argmax[i] as usize) * outputs + o];
                }
                Ok(())
            })?;
        }
        let of_image = shape.windows() * outputs;
        for (image, (c, absorbed)) in c.chunks_exact_mut(of_image.max(1)).zip(absorbed).enumerate() {
            self.image(kernels, image, c, absorbed);
        }
        Ok(())
    }
}

//! Every rule, for a relu convolution with a max-pool behind it: relevance comes back to the argmax positions
//! alone, so nothing else of the convolution is worked out again.

use super::w_square::conv_denominators;
use super::z_beta::ZBeta;
use super::{EPS, PackedPart, add_lost};
use crate::Kernels;
use crate::conv::max_pool::back::{self, Back, Values};
use crate::conv::max_pool::filters::Lines;
use crate::conv::max_pool::ratios::{Denominators, Dots, Ratio};
use crate::conv::max_pool::visit::{ArgmaxPositions, block_len, blocks, images_a_block};
use crate::conv::max_pool::{
    ConvMaxPoolInputGradient, ConvMaxPoolShape, Filters, MaxIndices, conv_max_pool_input_gradient,
};
use crate::conv::{Conv, conv};
use crate::error::{ShapeError, axis};
use crate::gemm::Init;
use crate::gemm::epilogue::{Epilogue, Stabiliser};
use crate::gemm::pack::Part;
use crate::profile::Work;
use crate::shape::{MatMut, MatRef, Panels, STRIP, volume};
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// A rule, with what it needs of the weights; made once per version of the weights.
#[derive(Clone, Debug)]
pub struct PooledRule {
    shape: ConvMaxPoolShape,
    terms: Vec<Term>,
}

/// `c = coefficient·R / (z + ε)`, and what its way back is multiplied with.
#[derive(Clone, Debug)]
struct Term {
    filters: Filters,
    denominator: Denominator,
    coefficient: f32,
    eps: f32,
    /// For each part of the filters, `l` of the factor `x − l`; none for 1.
    shifts: Vec<Option<f32>>,
}

/// `z` at an argmax position.
#[derive(Clone, Debug)]
enum Denominator {
    /// Its patch times its filter.
    Product(Lines),
    /// What the forward pass found, without this constant of each pixel.
    Forward(Vec<f32>),
    /// This constant of each pixel.
    Constant(Vec<f32>),
}

impl PooledRule {
    /// LRP-αβ (Eq. 3.3), `α − β = 1`; z⁺ for α = 1, β = 0.
    ///
    /// # Panics
    /// If the weights are not the layer's.
    pub fn alpha_beta(shape: &ConvMaxPoolShape, w: Panels, alpha: f32, beta: f32) -> Self {
        let term = |part, coefficient, eps| {
            let filters = Filters::new(shape, w, part, None);
            let shifts = vec![Some(0.0)];
            let denominator = Denominator::Product(Lines::of(shape, w, part));
            Term { filters, denominator, coefficient, eps, shifts }
        };
        let mut terms = vec![term(Part::Positive, alpha, EPS)];
        if beta > 0.0 {
            terms.push(term(Part::Negative, -beta, -EPS));
        }
        PooledRule { shape: *shape, terms }
    }

    /// z^β for pixels in `low..=high`; see [`super::z_beta`].
    ///
    /// # Errors
    /// [`ShapeError`] if the weights are not the layer's.
    pub fn z_beta(
        kernels: &Kernels,
        shape: &ConvMaxPoolShape,
        w: Panels,
        low: f32,
        high: f32,
    ) -> Result<Self, ShapeError> {
        let v = ZBeta::conv(kernels, &shape.conv, w, low, high)?.into_constants();
        let filters = Filters::new(shape, w, Part::Positive, Some(Part::Negative));
        let (denominator, shifts) = (Denominator::Forward(v), vec![Some(low), Some(high)]);
        let term = Term { filters, denominator, coefficient: 1.0, eps: EPS, shifts };
        Ok(PooledRule { shape: *shape, terms: vec![term] })
    }

    /// w²; see [`super::w_square`].
    ///
    /// # Errors
    /// [`ShapeError`] if the weights are not the layer's.
    pub fn w_square(kernels: &Kernels, shape: &ConvMaxPoolShape, w: Panels) -> Result<Self, ShapeError> {
        let filters = Filters::new(shape, w, Part::Square, None);
        let z = conv_denominators(kernels, &shape.conv, &PackedPart::conv(&shape.conv, w, Part::Square))?;
        let denominator = Denominator::Constant(z);
        let term = Term { filters, denominator, coefficient: 1.0, eps: EPS, shifts: vec![None] };
        Ok(PooledRule { shape: *shape, terms: vec![term] })
    }
}

/// Redistributes the relevance of the windows of a pooled convolution onto its input, by any rule.
///
/// The equations are those of the rules themselves; an output of the convolution that is not its
/// window's maximum has no relevance.
///
/// - `x` padded NHWC input, planes of [`ConvShape::input`](crate::ConvShape::input)
/// - `max_indices` and `z` `[images·windows, outputs]` as [`conv_max_pool`](crate::conv::max_pool::conv_max_pool) has
///   written them; `z` counts for z^β only
/// - `r_out` `[images·windows, outputs]` in, `r_in` lines `[images·rows, cols·inputs]` overwritten:
///   relevance, in units of the explained logit
/// - `lost` `[images]`: the relevance that dead units lose is added
///
/// # Errors
/// [`ShapeError`] if an operand does not have the layer's shape; `r_in` is untouched then.
///
/// # Example
/// ```
/// use kernels::conv::max_pool::{MaxIndices, ConvMaxPoolShape, ConvMaxPool, conv_max_pool};
/// use kernels::relevance::pooled::{PooledRule, relevance_pooled};
/// use kernels::{ConvShape, Kernels, MatMut, MatRef, Panels, pack};
/// let kernels = Kernels::default();
/// let conv = ConvShape { rows: 1, cols: 2, size: 1, inputs: 1, outputs: 1 };
/// let shape = ConvMaxPoolShape { conv, window: 2 };
/// let w = pack::pack(&[3.0], 1, 1);
/// let w = Panels::new(&w, 1, 1);
/// let (x, mut y, mut max_indices) = ([1.0, 2.0], [0.0], MaxIndices::new(&shape, 1));
/// conv_max_pool(&kernels, ConvMaxPool { shape: &shape, x: &x, images: 1, w, bias: &[0.0; 16], y: MatMut::new(&mut y, 1, 1), max_indices: &mut max_indices, z: None })?;
/// let rule = PooledRule::alpha_beta(&shape, w, 1.0, 0.0);
/// let (r_out, mut r_in, mut lost) = (MatRef::new(&[6.0], 1, 1), [0.0; 2], [0.0]);
/// let r_in_lines = MatMut::new(&mut r_in, 1, 2);
/// relevance_pooled(&kernels, &rule, &x, &max_indices, &[], r_out, r_in_lines, &mut lost)?;
/// assert_eq!(r_in, [0.0, 6.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn relevance_pooled(
    kernels: &Kernels,
    rule: &PooledRule,
    x: &[f32],
    max_indices: &MaxIndices,
    z: &[f32],
    r_out: MatRef,
    mut r_in: MatMut,
    lost: &mut [f64],
) -> Result<(), ShapeError> {
    const NAME: &str = "relevance_pooled";
    let (shape, images) = (&rule.shape, lost.len());
    let _span = kernels.span(NAME, || Work::max_pool(rule.products(), images, shape, 2 * x.len()));
    let plane = shape.conv.input();
    let of_image = shape.windows() * shape.conv.outputs;
    axis(NAME, "images·plane", "x", x.len(), volume([images, plane.len()]))?;
    if rule.terms.iter().any(|term| matches!(term.denominator, Denominator::Forward(_))) {
        axis(NAME, "windows·outputs", "z", z.len(), volume([images, of_image]))?;
    }
    let pixels = plane.lines_of(x, images);
    for (i, term) in rule.terms.iter().enumerate() {
        let epilogue = |(part, shift): (usize, &Option<f32>)| match *shift {
            Some(shift) => Epilogue::Times { a: pixels, shift, add: i + part > 0 },
            None => Epilogue::Store,
        };
        let mut epilogues = [Epilogue::Store; 2];
        for (to, of_part) in epilogues.iter_mut().zip(term.shifts.iter().enumerate().map(epilogue)) {
            *to = of_part;
        }
        let epilogues = &epilogues[..term.shifts.len()];
        let (filters, d_x) = (&term.filters, r_in.reborrow());
        let operands = ConvMaxPoolInputGradient { filters, images, max_indices, d_h: r_out, epilogues, d_x };
        back::check(NAME, &operands)?;
        let at = max_indices.of(NAME, shape, images)?;
        let ratios = Ratios { shape, term, max_indices: at, z, r_out };
        if kernels.gemm().is_some() {
            let mut c = vec![0.0; images * of_image];
            ratios.by_products(kernels, x, &mut c, lost)?;
            let c = MatRef::new(&c, images * shape.windows(), shape.conv.outputs);
            conv_max_pool_input_gradient(
                kernels,
                ConvMaxPoolInputGradient {
                    filters: &term.filters,
                    max_indices,
                    d_h: c,
                    images,
                    epilogues,
                    d_x: r_in.reborrow(),
                },
            )?;
            continue;
        }
        let out = Shared::new(r_in.data);
        let back = Back { filters: &term.filters, epilogues, out_map: r_in.map, out };
        let all_lost = Shared::new(lost);
        let cost = rule.products() * images * of_image * shape.conv.patch();
        let block = images_a_block(shape).min(images);
        kernels.threads().split(images, cost, &|range| {
            let lens = [block_len(shape, block).next_multiple_of(STRIP), back.scratch(), block * of_image];
            with_scratch(lens.iter().sum(), |scratch| {
                let (copy, scratch) = scratch.split_at_mut(lens[0]);
                let (planes, c) = scratch.split_at_mut(lens[1]);
                blocks(shape, x, range, block, copy, |block, x| {
                    // SAFETY: each image is in one part only.
                    let lost = unsafe { all_lost.slice(block.clone()) };
                    let c = &mut c[..block.len() * of_image];
                    ratios.block(kernels, block.clone(), x, c, lost);
                    for (i, image) in block.enumerate() {
                        let c = &c[i * of_image..][..of_image];
                        let max_indices = &at[image * of_image..][..of_image];
                        back.image(kernels, image, Values::buffered(shape, c, max_indices), planes);
                    }
                });
            });
        });
    }
    Ok(())
}

impl PooledRule {
    /// As many times the multiply-adds at the argmax positions.
    fn products(&self) -> usize {
        let of = |term: &Term| {
            term.shifts.len() + usize::from(matches!(term.denominator, Denominator::Product(_)))
        };
        self.terms.iter().map(of).sum()
    }
}

/// The ratios of one term.
struct Ratios<'a> {
    shape: &'a ConvMaxPoolShape,
    term: &'a Term,
    max_indices: &'a [f32],
    z: &'a [f32],
    r_out: MatRef<'a>,
}

impl Ratios<'_> {
    /// Those of a block of images `x`, `[windows, outputs]`.
    fn block(&self, kernels: &Kernels, images: Range<usize>, x: &[f32], c: &mut [f32], lost: &mut [f64]) {
        let Ratios { shape, term, max_indices, r_out, .. } = self;
        if let Denominator::Product(filters) = &term.denominator {
            let positions = &ArgmaxPositions::new(shape, max_indices, *r_out);
            kernels.backend().run(Dots { shape, filters, x, positions, images: images.clone(), z: &mut *c });
        }
        let of_image = shape.windows() * shape.conv.outputs;
        for (image, (c, lost)) in images.zip(c.chunks_exact_mut(of_image.max(1)).zip(lost)) {
            self.image(kernels, image, c, lost);
        }
    }

    /// Those of one image, whose `z` stand in `c` where they are a product.
    fn image(&self, kernels: &Kernels, image: usize, c: &mut [f32], lost: &mut f64) {
        let Ratios { shape, term, max_indices, z, r_out } = self;
        let (conv, of_image) = (&shape.conv, shape.windows() * shape.conv.outputs);
        let (coefficient, eps) = (term.coefficient, term.eps);
        let z = match &term.denominator {
            Denominator::Product(_) => Denominators::Found,
            Denominator::Forward(v) => Denominators::Less(&z[image * of_image..][..of_image], v),
            Denominator::Constant(v) => Denominators::Constant(v),
        };
        let r = Values::of(shape, r_out, max_indices, image);
        kernels.backend().run(Ratio {
            shape,
            r,
            z,
            coefficient,
            stabiliser: Stabiliser::Constant(eps),
            c: &mut *c,
        });
        add_lost(MatRef::new(c, shape.windows(), conv.outputs), eps, std::slice::from_mut(lost));
    }

    /// Those of all images, with products of somebody's own.
    fn by_products(
        &self,
        kernels: &Kernels,
        x: &[f32],
        c: &mut [f32],
        lost: &mut [f64],
    ) -> Result<(), ShapeError> {
        let Ratios { shape, term, max_indices, .. } = self;
        let (conv_shape, outputs, images) = (&shape.conv, shape.conv.outputs, lost.len());
        if matches!(term.denominator, Denominator::Product(_)) {
            let pixels = images * conv_shape.rows * conv_shape.cols;
            let mut z = vec![0.0; pixels * outputs];
            let panels = term.filters.panels(0, false);
            let weights = Panels::new(&panels, conv_shape.patch(), outputs);
            let to = MatMut::new(&mut z, pixels, outputs);
            conv(
                kernels,
                Conv {
                    shape: conv_shape,
                    x,
                    images,
                    w: weights,
                    init: Init::Zero,
                    epilogue: Epilogue::Store,
                    y: to,
                },
            )?;
            for (i, c) in c.iter_mut().enumerate() {
                let (window, o) = (i / outputs, i % outputs);
                *c = z[shape.pixel(window, max_indices[i] as usize) * outputs + o];
            }
        }
        let of_image = shape.windows() * outputs;
        for (image, (c, lost)) in c.chunks_exact_mut(of_image.max(1)).zip(lost).enumerate() {
            self.image(kernels, image, c, lost);
        }
        Ok(())
    }
}

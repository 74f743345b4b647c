//! Relevance of a convolution whose inputs share their denominators: the parts of [`relevance_conv`] for layers such as
//! `x ∗ K + y ∗ U`.
//!
//! [`relevance_conv`]: super::relevance_conv

use super::dense::{Copy, Subtract};
use super::packed::{Denominator, PackedRule, PanelGroup, reads_forward};
use super::ratios::{Known, Quotients, add_absorbed};
use super::terms::SharedGroup;
use crate::conv::{Conv, conv};
use crate::elementwise::rows::each;
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::problem::{Epilogue, Init, Output};
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef, volume};
use crate::profile::Work;

/// Operands of [`denominators_conv`].
#[derive(Debug)]
pub struct DenominatorsConv<'a> {
    /// The rule of this input with its weights: [`PackedRule::conv`].
    pub rule: &'a PackedRule,
    /// Which group of the layer; an input does not contribute to a group that its rule does not have.
    pub group: usize,
    /// Images in the batch.
    pub images: usize,
    /// Padded NHWC input, [`ConvShape::input`] planes
    pub a: &'a [f32],
    /// `[images·pixels, outputs]` its forward product without bias, for a rule that
    /// [reads it](PackedRule::reads_forward)
    pub z: Option<MatRef<'a>>,
    /// `[images·pixels, outputs]` overwritten
    pub out: MatMut<'a>,
}

/// The contribution of one input of a convolution to the denominators that it shares with another, without the
/// stabiliser.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape, or the rule is that of another kind of layer;
/// `out` is untouched then.
///
/// # Example
/// See [`messages_conv`].
pub fn denominators_conv(kernels: &Kernels, operands: DenominatorsConv) -> Result<(), ShapeError> {
    const NAME: &str = "denominators_conv";
    let DenominatorsConv { rule, group, images, a, z, mut out } = operands;
    let (shape, groups) = rule.of_conv(NAME)?;
    let _span = kernels.span(NAME, || match groups.get(group).map(|group| &group.denominator) {
        Some(Denominator::Product(_)) => Work::convs(1, images, shape, "", a.len()),
        _ => Work::elements([out.rows, out.cols], 1, 2),
    });
    let pixels = check_pixels(NAME, shape, images, &[("out", out.as_ref())])?;
    axis(NAME, "images·plane", "a", a.len(), volume([images, shape.input().len()]))?;
    let z = check_z(NAME, groups, z, [pixels, shape.outputs])?;
    let Some(group) = groups.get(group) else {
        (0..out.rows).for_each(|i| out.row_mut(i).fill(0.0));
        return Ok(());
    };
    match (&group.denominator, z, group.constants(pixels, shape.outputs)) {
        (Denominator::Product(w), ..) => {
            let (w, init, epilogue) = (w.panels(), Init::Zero, Epilogue::Store);
            conv(kernels, Conv { shape, images, x: a, w, init, epilogue, y: out })?;
        }
        (Denominator::Forward(_), Some(z), Some(v)) => each(kernels, &Subtract, [z, v], out),
        (Denominator::Constant(_), _, Some(v)) => each(kernels, &Copy, [v], out),
        _ => unreachable!("the forward product has been checked, and these kinds have constants"),
    }
    Ok(())
}

/// Operands of [`ratios_conv`]; the number of images is the length of `absorbed`.
#[derive(Debug)]
pub struct RatiosConv<'a> {
    /// Coefficient and stabiliser of the group: [`Rule::shared`](super::Rule::shared).
    pub shared: SharedGroup,
    /// The rule of the input `a` with its weights: [`PackedRule::conv`].
    pub rule: &'a PackedRule,
    /// Which group of the layer; an input does not contribute to a group that its rule does not have.
    pub group: usize,
    /// `[images·pixels, outputs]` the contribution of the other inputs: [`denominators_conv`]
    pub base: MatRef<'a>,
    /// Padded NHWC input; none contributes nothing
    pub a: Option<&'a [f32]>,
    /// `[images·pixels, outputs]` its forward product without bias, for a rule that
    /// [reads it](PackedRule::reads_forward)
    pub z: Option<MatRef<'a>>,
    /// `[images·pixels, outputs]` relevance of the outputs
    pub r_out: MatRef<'a>,
    /// `[images·pixels, outputs]` overwritten; for [`messages_conv`] the pixels of planes with a border of zeros
    pub c: MatMut<'a>,
    /// `[images]` the relevance that the stabiliser absorbs is added
    pub absorbed: &'a mut [f64],
}

/// The ratios of a group whose inputs share their denominators: `c = coefficient·r_out / (base + its own + s)`, pixel by
/// pixel.
///
/// # Errors
/// As [`denominators_conv`]; nothing is written then.
///
/// # Example
/// See [`messages_conv`].
pub fn ratios_conv(kernels: &Kernels, operands: RatiosConv) -> Result<(), ShapeError> {
    const NAME: &str = "ratios_conv";
    let RatiosConv { shared, rule, group, base, a, z, r_out, mut c, absorbed } = operands;
    let (shape, groups) = rule.of_conv(NAME)?;
    let images = absorbed.len();
    let _span =
        kernels.span(NAME, || Work::convs(usize::from(a.is_some()), images, shape, "", 3 * c.rows * c.cols));
    let matrices = [("c", c.as_ref()), ("base", base), ("r_out", r_out)];
    let pixels = check_pixels(NAME, shape, images, &matrices)?;
    if let Some(a) = a {
        axis(NAME, "images·plane", "a", a.len(), volume([images, shape.input().len()]))?;
    }
    let z = if a.is_some() { check_z(NAME, groups, z, [pixels, shape.outputs])? } else { None };
    let SharedGroup { coefficient, stabiliser } = shared;
    let group = groups.get(group).zip(a);
    if let Some((PanelGroup { denominator: Denominator::Product(w), .. }, x)) = group {
        let epilogue = Epilogue::Ratio { r: r_out, coefficient, stabiliser };
        let (w, init, y) = (w.panels(), Init::Copy(base), c.reborrow());
        conv(kernels, Conv { shape, images, x, w, init, epilogue, y })?;
    } else {
        let known = group.map_or(Known::Nothing, |(group, _)| Known::of(group, z, [pixels, shape.outputs]));
        let Output { data, map: c_map, .. } = Output::of(&mut c);
        let to = data.as_ptr();
        let quotients = Quotients { shared, r: r_out, base: Some(base), known, c: to, c_map };
        // An element costs about as much as eight multiply-adds: it is read and written.
        kernels.threads().split(pixels, 8 * pixels * shape.outputs, &|rows| {
            // SAFETY: operands were checked to one shape; the parts of a split own different rows of `c`.
            unsafe { quotients.run(kernels, rows) };
        });
    }
    add_absorbed(c.as_ref(), r_out, 0, shared, absorbed);
    Ok(())
}

/// Operands of [`messages_conv`].
#[derive(Debug)]
pub struct MessagesConv<'a> {
    /// The rule of the input with its weights: [`PackedRule::conv`].
    pub rule: &'a PackedRule,
    /// Images in the batch.
    pub images: usize,
    /// The ratios of each group of the layer, [`ConvShape::output`] planes with a border of zeros; an input does not
    /// contribute to a group that its rule does not have
    pub c: &'a [&'a [f32]],
    /// `[images·pixels, inputs]` the input
    pub a: MatRef<'a>,
    /// `[images·pixels, inputs]` its relevance, overwritten
    pub r_in: MatMut<'a>,
}

/// The relevance of one of the inputs of a convolution that share their denominators.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape, the rule has more groups than there are ratios,
/// or it is that of another kind of layer; `r_in` is untouched then.
///
/// # Example
/// ```
/// use kernels::relevance::{
///     DenominatorsConv, MessagesConv, PackedRule, RatiosConv, Rule, denominators_conv, messages_conv, ratios_conv,
/// };
/// use kernels::{ConvShape, Kernels, MatMut, MatRef, PackedWeights};
/// let (kernels, rule) = (&Kernels::default(), Rule::z_plus());
/// let shape = ConvShape { rows: 1, cols: 1, size: 1, inputs: 1, outputs: 1 };
/// let w = PackedWeights::new(&[1.0], 1, 1)?;
/// let packed = &PackedRule::conv(kernels, &rule, &shape, w.panels())?;
/// let shared = Rule::shared(&[&rule, &rule])[0];
/// // One input is 3, the other 1: the other gets a quarter of the relevance.
/// let (mut base, mut c, mut r_in, mut absorbed) = ([0.0], [0.0], [0.0], [0.0]);
/// let out = MatMut::new(&mut base, 1, 1);
/// denominators_conv(kernels, DenominatorsConv { rule: packed, group: 0, images: 1, a: &[3.0], z: None, out })?;
/// let operands = RatiosConv {
///     shared,
///     rule: packed,
///     group: 0,
///     base: MatRef::new(&base, 1, 1),
///     a: Some(&[1.0]),
///     z: None,
///     r_out: MatRef::new(&[8.0], 1, 1),
///     c: MatMut::new(&mut c, 1, 1),
///     absorbed: &mut absorbed,
/// };
/// ratios_conv(kernels, operands)?;
/// let (a, to) = (MatRef::new(&[1.0], 1, 1), MatMut::new(&mut r_in, 1, 1));
/// messages_conv(kernels, MessagesConv { rule: packed, images: 1, c: &[&c], a, r_in: to })?;
/// assert_eq!(r_in, [2.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn messages_conv(kernels: &Kernels, operands: MessagesConv) -> Result<(), ShapeError> {
    const NAME: &str = "messages_conv";
    let MessagesConv { rule, images, c, a, mut r_in } = operands;
    let (shape, groups) = rule.of_conv(NAME)?;
    let terms = || groups.iter().zip(c).flat_map(|(group, c)| group.back.iter().map(move |term| (term, *c)));
    let _span = kernels.span(NAME, || Work::convs(terms().count(), images, shape, "", 2 * a.rows * a.cols));
    let pixels = volume([images, shape.rows, shape.cols]);
    for (name, rows, cols) in [("a", a.rows, a.cols), ("r_in", r_in.rows, r_in.cols)] {
        axis(NAME, "pixels", name, rows, pixels)?;
        axis(NAME, "inputs", name, cols, shape.inputs)?;
    }
    axis(NAME, "groups", "c", c.len().min(groups.len()), groups.len())?;
    for c in c {
        axis(NAME, "images·plane", "c", c.len(), volume([images, shape.output().len()]))?;
    }
    let reversed = &shape.reversed();
    for (term, x) in terms() {
        let (w, init, epilogue) = (term.weights.panels(), term.init(), term.epilogue(a));
        conv(kernels, Conv { shape: reversed, images, x, w, init, epilogue, y: r_in.reborrow() })?;
    }
    Ok(())
}

/// The number of pixels, to which all matrices `[images·pixels, outputs]` are compared.
fn check_pixels(
    name: &'static str,
    shape: &ConvShape,
    images: usize,
    matrices: &[(&'static str, MatRef)],
) -> Result<usize, ShapeError> {
    let pixels = volume([images, shape.rows, shape.cols]);
    for (operand, matrix) in matrices {
        axis(name, "pixels", operand, matrix.rows, pixels)?;
        axis(name, "outputs", operand, matrix.cols, shape.outputs)?;
    }
    Ok(pixels)
}

/// The forward product, if the rule reads it.
fn check_z<'a>(
    name: &'static str,
    groups: &[PanelGroup],
    z: Option<MatRef<'a>>,
    [pixels, outputs]: [usize; 2],
) -> Result<Option<MatRef<'a>>, ShapeError> {
    if !reads_forward(groups) {
        return Ok(None);
    }
    let (rows, cols) = z.map_or((0, 0), |z| (z.rows, z.cols));
    axis(name, "pixels", "z", rows, pixels)?;
    axis(name, "outputs", "z", cols, outputs)?;
    Ok(z)
}

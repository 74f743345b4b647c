//! Relevance of a dense layer, and of a dense layer whose inputs share their denominators.

use super::fused::{BlockRatios, Fused, Layer, Product};
use super::packed::{Denominator, PackedRule, PanelGroup, products, reads_forward};
use super::ratios::{Known, Quotients, add_absorbed};
use super::terms::SharedGroup;
use crate::elementwise::rows::{Map, each};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::problem::{Epilogue, Init, Output, PanelProduct, ReductionLoops};
use crate::layout::{MatMut, MatRef};
use crate::matmul::gemm;
use crate::profile::Work;
use crate::simd::Simd;
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// Operands of [`relevance`].
#[derive(Debug)]
pub struct Relevance<'a> {
    /// The rule with the layer's `[J, K]` weights: [`PackedRule::dense`].
    pub rule: &'a PackedRule,
    /// `[N, J]` inputs
    pub a: MatRef<'a>,
    /// `[N, K]` the forward product `a·W` without its bias, for a rule that [reads it](PackedRule::reads_forward)
    pub z: Option<MatRef<'a>>,
    /// `[N, K]` relevance of the outputs, in units of the explained logit
    pub r_out: MatRef<'a>,
    /// `[N, J]` relevance of the inputs, overwritten
    pub r_in: MatMut<'a>,
    /// `[N]` the relevance that stabilisers absorb is added
    pub absorbed: &'a mut [f64],
}

/// A kernel in the place of [`relevance()`], see [`Kernels::swap`]; [`PackedRule::dense_groups`] has the rule's weights.
#[derive(Clone, Copy, Debug)]
pub struct OwnRelevance(pub fn(&Kernels, Relevance) -> Result<(), ShapeError>);

/// Redistributes the relevance of a dense layer's outputs onto its inputs by any rule.
///
/// `r_in[n,j] = Σ_groups coefficient · Σ_k q[n,j,k] / (Σ_j q[n,j,k] + s) · r_out[n,k]`,
/// `q[n,j,k] = Σ_terms φ(a[n,j])·ψ(w[j,k])`
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands, or the rule is that of another kind of layer;
/// nothing is written then.
///
/// # Example
/// ```
/// use kernels::relevance::{PackedRule, Relevance, Rule, relevance};
/// use kernels::{Kernels, MatMut, MatRef, PackedWeights};
/// let w = PackedWeights::new(&[1.0, 3.0], 2, 1)?;
/// let rule = &PackedRule::dense(&Rule::z_plus(), w.panels());
/// let (mut r_in, mut absorbed) = ([0.0; 2], [0.0]);
/// relevance(
///     &Kernels::default(),
///     Relevance {
///         rule,
///         a: MatRef::new(&[1.0, 1.0], 1, 2),
///         z: None,
///         r_out: MatRef::new(&[8.0], 1, 1),
///         r_in: MatMut::new(&mut r_in, 1, 2),
///         absorbed: &mut absorbed,
///     },
/// )?;
/// assert_eq!(r_in, [2.0, 6.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn relevance(kernels: &Kernels, operands: Relevance) -> Result<(), ShapeError> {
    const NAME: &str = "relevance";
    let Relevance { rule, a, z, r_out, mut r_in, absorbed } = operands;
    let (inputs, outputs, groups) = rule.of_dense(NAME)?;
    let products = products(groups, Vec::len);
    let _span = kernels.span(NAME, || {
        let reads = outputs * if reads_forward(groups) { 2 } else { 1 };
        Work::products(products, [a.rows, outputs, inputs], "", a.rows * (2 * inputs + reads))
    });
    axis(NAME, "J", "rule", inputs, a.cols)?;
    axis(NAME, "N", "r_out", r_out.rows, a.rows)?;
    axis(NAME, "K", "rule", outputs, r_out.cols)?;
    axis(NAME, "N", "r_in", r_in.rows, a.rows)?;
    axis(NAME, "J", "r_in", r_in.cols, inputs)?;
    axis(NAME, "N", "absorbed", absorbed.len(), a.rows)?;
    let z = check_z(NAME, groups, z, [a.rows, outputs])?;
    if let Some(OwnRelevance(own)) = kernels.swapped() {
        return own(&kernels.unswapped(), Relevance { rule, a, z, r_out, r_in, absorbed });
    }
    let layer = Dense { a, outputs };
    let fused =
        Fused { layer, groups, z, r_out, r_in: Output::of(&mut r_in), absorbed: Shared::new(absorbed) };
    let cost = products * a.rows * inputs * outputs;
    kernels.threads().split(a.rows, cost, &|rows: Range<usize>| {
        // Blocks of about the same size: a batch of 50 is one, and none of them has a few rows only.
        let blocks = ((rows.len() + BLOCK / 2) / BLOCK).max(1);
        let size = rows.len().div_ceil(blocks).max(1);
        with_scratch(size * outputs, |c| {
            for from in rows.clone().step_by(size) {
                let block = from..rows.end.min(from + size);
                fused.block(kernels, block.clone(), &mut c[..block.len() * outputs]);
            }
        });
    });
    Ok(())
}

/// The forward product `[N, K]`, if the rule reads it.
fn check_z<'a>(
    name: &'static str,
    groups: &[PanelGroup],
    z: Option<MatRef<'a>>,
    [n, k]: [usize; 2],
) -> Result<Option<MatRef<'a>>, ShapeError> {
    if !reads_forward(groups) {
        return Ok(None);
    }
    let (rows, cols) = z.map_or((0, 0), |z| (z.rows, z.cols));
    axis(name, "N", "z", rows, n)?;
    axis(name, "K", "z", cols, k)?;
    Ok(z)
}

/// About so many rows at a time: their `c` stays in L2 between the two products.
const BLOCK: usize = 48;

/// The products of some rows.
struct Dense<'a> {
    a: MatRef<'a>,
    outputs: usize,
}

impl Layer for Dense<'_> {
    fn rows(&self, part: &Range<usize>) -> Range<usize> {
        part.clone()
    }

    fn ratios(&self, part: &Range<usize>, scratch: &mut [f32]) -> BlockRatios {
        let output = Output::of(&mut MatMut::new(scratch, part.len(), self.outputs));
        // Row indices count from the first row of the whole matrix; the scratch holds only the block's rows.
        let c = scratch.as_mut_ptr().wrapping_sub(part.start * self.outputs);
        BlockRatios { output, c, planes: c }
    }

    fn view<'s>(&self, part: &Range<usize>, scratch: &'s [f32]) -> MatRef<'s> {
        MatRef::new(scratch, part.len(), self.outputs)
    }

    unsafe fn first(&self, kernels: &Kernels, part: Range<usize>, ratio: Product, c: &BlockRatios) {
        let Product { weights, init, epilogue } = ratio;
        let mut product = PanelProduct {
            a: self.a.data.as_ptr(),
            a_rows: self.a.map,
            loops: ReductionLoops::row_times_panel(weights.k),
            b: weights,
            init,
            epilogue,
            c: &c.output,
        }
        .problem();
        product.c = c.c;
        // SAFETY: the caller's promise.
        unsafe { product.run_rows(kernels, part) };
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
        let product = PanelProduct {
            a: c.c.cast_const(),
            a_rows: c.output.map,
            loops: ReductionLoops::row_times_panel(weights.k),
            b: weights,
            init,
            epilogue,
            c: r_in,
        };
        // SAFETY: the caller's promise.
        unsafe { product.problem().run_rows(kernels, part) };
    }

    fn inputs(&self) -> MatRef<'_> {
        self.a
    }
}

/// Operands of [`denominators`].
#[derive(Debug)]
pub struct Denominators<'a> {
    /// The rule of this input with its `[J, K]` weights: [`PackedRule::dense`].
    pub rule: &'a PackedRule,
    /// Which group of the layer; an input does not contribute to a group that its rule does not have.
    pub group: usize,
    /// `[N, J]` the input
    pub a: MatRef<'a>,
    /// `[N, K]` its forward product without bias, for a rule that [reads it](PackedRule::reads_forward)
    pub z: Option<MatRef<'a>>,
    /// `[N, K]` overwritten
    pub out: MatMut<'a>,
}

/// The contribution of one input of a layer to the denominators that it shares with another: `out[n,k] = Σ_j
/// q[n,j,k]`, without the stabiliser; see [`relevance`].
///
/// Computed for all steps at once, it is the base of [`ratios`].
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands, or the rule is that of another kind of layer;
/// `out` is untouched then.
///
/// # Example
/// See [`messages`].
pub fn denominators(kernels: &Kernels, operands: Denominators) -> Result<(), ShapeError> {
    const NAME: &str = "denominators";
    let Denominators { rule, group, a, z, mut out } = operands;
    let (inputs, outputs, groups) = rule.of_dense(NAME)?;
    let _span = kernels.span(NAME, || match groups.get(group).map(|group| &group.denominator) {
        Some(Denominator::Product(_)) => {
            Work::products(1, [out.rows, outputs, inputs], "", out.rows * (inputs + outputs))
        }
        _ => Work::elements([out.rows, out.cols], 1, 2),
    });
    axis(NAME, "J", "rule", inputs, a.cols)?;
    axis(NAME, "N", "out", out.rows, a.rows)?;
    axis(NAME, "K", "out", out.cols, outputs)?;
    let z = check_z(NAME, groups, z, [out.rows, outputs])?;
    let Some(group) = groups.get(group) else {
        (0..out.rows).for_each(|i| out.row_mut(i).fill(0.0));
        return Ok(());
    };
    match (&group.denominator, z, group.constants(out.rows, outputs)) {
        (Denominator::Product(w), ..) => gemm(kernels, a, w.panels(), Init::Zero, Epilogue::Store, out)?,
        (Denominator::Forward(_), Some(z), Some(v)) => each(kernels, &Subtract, [z, v], out),
        (Denominator::Constant(_), _, Some(v)) => each(kernels, &Copy, [v], out),
        _ => unreachable!("the forward product has been checked, and these kinds have constants"),
    }
    Ok(())
}

/// `z − v`
pub(super) struct Subtract;

impl Map<2> for Subtract {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, simd: S, _: usize, _: usize, [z, v]: [S::F; 2], _: S::F) -> S::F {
        simd.sub(z, v)
    }
}

/// `v`
pub(super) struct Copy;

impl Map<1> for Copy {
    #[inline(always)]
    unsafe fn lanes<S: Simd>(&self, _: S, _: usize, _: usize, [v]: [S::F; 1], _: S::F) -> S::F {
        v
    }
}

/// Operands of [`ratios`].
#[derive(Debug)]
pub struct Ratios<'a> {
    /// Coefficient and stabiliser of the group: [`Rule::shared`](super::Rule::shared).
    pub shared: SharedGroup,
    /// The rule of the input `a` with its `[J, K]` weights: [`PackedRule::dense`].
    pub rule: &'a PackedRule,
    /// Which group of the layer; an input does not contribute to a group that its rule does not have.
    pub group: usize,
    /// `[N, K]` the contribution of the other inputs: [`denominators`]
    pub base: MatRef<'a>,
    /// `[N, J]` the input; a matrix without columns contributes nothing (`r_0`)
    pub a: MatRef<'a>,
    /// `[N, K]` its forward product without bias, for a rule that [reads it](PackedRule::reads_forward)
    pub z: Option<MatRef<'a>>,
    /// `[N, K]` relevance of the outputs
    pub r_out: MatRef<'a>,
    /// `[N, K]` overwritten
    pub c: MatMut<'a>,
    /// `[N]` the relevance that the stabiliser absorbs is added
    pub absorbed: &'a mut [f64],
}

/// The ratios of a group whose inputs share their denominators:
/// `c[n,k] = coefficient·r_out[n,k] / (base[n,k] + Σ_j q[n,j,k] + s)`.
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands, or the rule is that of another kind of layer;
/// nothing is written then.
///
/// # Example
/// See [`messages`].
pub fn ratios(kernels: &Kernels, operands: Ratios) -> Result<(), ShapeError> {
    const NAME: &str = "ratios";
    let Ratios { shared, rule, group, base, a, z, r_out, mut c, absorbed } = operands;
    let (inputs, outputs, groups) = rule.of_dense(NAME)?;
    let n = c.rows;
    let _span = kernels.span(NAME, || Work::products(1, [n, c.cols, a.cols], "", n * (3 * c.cols + a.cols)));
    if a.cols > 0 {
        axis(NAME, "J", "rule", inputs, a.cols)?;
    }
    axis(NAME, "N", "a", a.rows, n)?;
    axis(NAME, "K", "c", c.cols, outputs)?;
    for (name, matrix) in [("base", &base), ("r_out", &r_out)] {
        axis(NAME, "N", name, matrix.rows, n)?;
        axis(NAME, "K", name, matrix.cols, outputs)?;
    }
    axis(NAME, "N", "absorbed", absorbed.len(), n)?;
    let exists = a.cols > 0 || inputs == 0;
    let group = groups.get(group).filter(|_| exists);
    let z = if exists { check_z(NAME, groups, z, [n, outputs])? } else { None };
    let SharedGroup { coefficient, stabiliser } = shared;
    if let Some(PanelGroup { denominator: Denominator::Product(w), .. }) = group {
        let ratio = Epilogue::Ratio { r: r_out, coefficient, stabiliser };
        gemm(kernels, a, w.panels(), Init::Copy(base), ratio, c.reborrow())?;
    } else {
        let known = group.map_or(Known::Nothing, |group| Known::of(group, z, [n, outputs]));
        let Output { data, map: c_map, .. } = Output::of(&mut c);
        let c = data.as_ptr();
        let quotients = Quotients { shared, r: r_out, base: Some(base), known, c, c_map };
        // An element costs about as much as eight multiply-adds: it is read and written.
        kernels.threads().split(n, 8 * n * outputs, &|rows| {
            // SAFETY: operands were checked to one shape; the parts of a split own different rows of `c`.
            unsafe { quotients.run(kernels, rows) };
        });
    }
    add_absorbed(c.as_ref(), r_out, 0, shared, absorbed);
    Ok(())
}

/// Operands of [`messages`].
#[derive(Debug)]
pub struct Messages<'a> {
    /// The rule of the input with its `[J, K]` weights: [`PackedRule::dense`].
    pub rule: &'a PackedRule,
    /// `[N, K]` the ratios of each group of the layer; an input does not contribute to a group that its rule
    /// does not have
    pub c: &'a [MatRef<'a>],
    /// `[N, J]` the input
    pub a: MatRef<'a>,
    /// `[N, J]` its relevance, overwritten
    pub r_in: MatMut<'a>,
}

/// The relevance of one of the inputs that share their denominators:
/// `r_in[n,j] = Σ_groups Σ_terms φ(a[n,j])·Σ_k c[n,k]·ψ(w[j,k])`.
///
/// # Errors
/// [`ShapeError`] if `N`, `J` or `K` differ between operands, the rule has more groups than there are ratios,
/// or it is that of another kind of layer; `r_in` is untouched then.
///
/// # Example
/// ```
/// use kernels::relevance::{
///     Denominators, Messages, PackedRule, Ratios, Rule, denominators, messages, ratios,
/// };
/// use kernels::{Kernels, MatMut, MatRef, PackedWeights};
/// let (kernels, rule) = (Kernels::default(), Rule::z_plus());
/// let w = PackedWeights::new(&[1.0], 1, 1)?;
/// let packed = &PackedRule::dense(&rule, w.panels());
/// let shared = Rule::shared(&[&rule, &rule])[0];
/// // One input is 3, the other 1: the other gets a quarter of the relevance.
/// let [one, other, r_out] = [&[3.0], &[1.0], &[8.0]].map(|x| MatRef::new(x, 1, 1));
/// let (mut base, mut c, mut r_in, mut absorbed) = ([0.0], [0.0], [0.0], [0.0]);
/// let out = MatMut::new(&mut base, 1, 1);
/// denominators(&kernels, Denominators { rule: packed, group: 0, a: one, z: None, out })?;
/// ratios(
///     &kernels,
///     Ratios {
///         shared,
///         rule: packed,
///         group: 0,
///         base: MatRef::new(&base, 1, 1),
///         a: other,
///         z: None,
///         r_out,
///         c: MatMut::new(&mut c, 1, 1),
///         absorbed: &mut absorbed,
///     },
/// )?;
/// let (c, r_in_view) = (&[MatRef::new(&c, 1, 1)], MatMut::new(&mut r_in, 1, 1));
/// messages(&kernels, Messages { rule: packed, c, a: other, r_in: r_in_view })?;
/// assert_eq!(r_in, [2.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn messages(kernels: &Kernels, operands: Messages) -> Result<(), ShapeError> {
    const NAME: &str = "messages";
    let Messages { rule, c, a, mut r_in } = operands;
    let (inputs, outputs, groups) = rule.of_dense(NAME)?;
    let terms = || groups.iter().zip(c).flat_map(|(group, c)| group.back.iter().map(move |term| (term, *c)));
    let _span = kernels.span(NAME, || {
        let products = terms().count();
        Work::products(
            products,
            [a.rows, inputs, outputs],
            "",
            a.rows * (2 * inputs + groups.len() * outputs),
        )
    });
    axis(NAME, "J", "rule", inputs, a.cols)?;
    axis(NAME, "N", "r_in", r_in.rows, a.rows)?;
    axis(NAME, "J", "r_in", r_in.cols, inputs)?;
    axis(NAME, "groups", "c", c.len().min(groups.len()), groups.len())?;
    for c in c {
        axis(NAME, "N", "c", c.rows, a.rows)?;
        axis(NAME, "K", "c", c.cols, outputs)?;
    }
    for (term, c) in terms() {
        gemm(kernels, c, term.weights.panels(), term.init(), term.epilogue(a), r_in.reborrow())?;
    }
    Ok(())
}

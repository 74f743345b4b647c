//! Relevance of one neuron a sample, each with weights of its own: the last layer of a network, where the
//! explained value is a row over the logits.

use super::ratios::add_absorbed;
use super::terms::{Group, InputMap, Rule, SharedGroup, Term};
use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::pack::Part;
use crate::layout::{MatMut, MatRef, Rows, STRIP};
use crate::profile::Work;
use crate::simd::lanes::{load, store};
use crate::simd::{Kernel, Simd};
use crate::threads::{Shared, with_scratch};
use std::ops::Range;

/// Operands of [`relevance_neuron`].
#[derive(Debug)]
pub struct RelevanceNeuron<'a> {
    /// The rule
    pub rule: &'a Rule,
    /// `[N, J]` inputs
    pub a: MatRef<'a>,
    /// `[N, J]` the weights of each sample's neuron
    pub d: MatRef<'a>,
    /// `[N]` its relevance
    pub f: &'a [f32],
    /// `[N, J]` relevance of the inputs, overwritten
    pub r_in: MatMut<'a>,
    /// `[N]` the relevance that stabilisers absorb is added
    pub absorbed: &'a mut [f64],
}

/// Redistributes the relevance of one neuron a sample onto its inputs by any rule.
///
/// `r_in[n,j] = Σ_groups coefficient · q[n,j] / (Σ_j q[n,j] + s) · f[n]`,
/// `q[n,j] = Σ_terms φ(a[n,j])·ψ(d[n,j])`
///
/// With the weights of an output of a dense layer it is [`relevance`](super::relevance) of that output alone, to the
/// bit where every group has one term.
///
/// # Errors
/// [`ShapeError`] if `N` or `J` differ between operands; nothing is written then.
///
/// # Example
/// ```
/// use kernels::relevance::{RelevanceNeuron, Rule, relevance_neuron};
/// use kernels::{Kernels, MatMut, MatRef};
/// let (mut r_in, mut absorbed) = ([0.0; 2], [0.0]);
/// relevance_neuron(
///     &Kernels::default(),
///     RelevanceNeuron {
///         rule: &Rule::z_plus(),
///         a: MatRef::new(&[1.0, 1.0], 1, 2),
///         d: MatRef::new(&[1.0, 3.0], 1, 2),
///         f: &[8.0],
///         r_in: MatMut::new(&mut r_in, 1, 2),
///         absorbed: &mut absorbed,
///     },
/// )?;
/// assert_eq!(r_in, [2.0, 6.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn relevance_neuron(kernels: &Kernels, operands: RelevanceNeuron) -> Result<(), ShapeError> {
    const NAME: &str = "relevance_neuron";
    let RelevanceNeuron { rule, a, d, f, r_in, absorbed } = operands;
    let (n, inputs) = (a.rows, a.cols);
    let _span = kernels.span(NAME, || Work::elements([n, inputs], 4 * rule.groups.len(), 3));
    axis(NAME, "N", "d", d.rows, n)?;
    axis(NAME, "J", "d", d.cols, inputs)?;
    axis(NAME, "N", "f", f.len(), n)?;
    axis(NAME, "N", "r_in", r_in.rows, n)?;
    axis(NAME, "J", "r_in", r_in.cols, inputs)?;
    axis(NAME, "N", "absorbed", absorbed.len(), n)?;
    let (r_map, r_in, absorbed) = (r_in.map, Shared::new(r_in.data), Shared::new(absorbed));
    // An element costs about what eight multiply-adds do: it is read and written.
    kernels.threads().split(n, 8 * n * inputs, &|rows: Range<usize>| {
        with_scratch(2 * inputs * STRIP, |scratch| {
            let (r_in, absorbed) = (&r_in, &absorbed);
            kernels.backend().run(Neurons { rule, a, d, f, r_in, r_map, absorbed, rows, scratch });
        });
    });
    Ok(())
}

struct Neurons<'a> {
    rule: &'a Rule,
    a: MatRef<'a>,
    d: MatRef<'a>,
    f: &'a [f32],
    r_in: &'a Shared<f32>,
    r_map: Rows,
    absorbed: &'a Shared<f64>,
    rows: Range<usize>,
    /// Inputs and weights of sixteen samples, sample by sample in the lanes of a register.
    scratch: &'a mut [f32],
}

impl Kernel for Neurons<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Neurons { rule, a, d, f, r_in, r_map, absorbed, rows, scratch } = self;
        let (a_turned, d_turned) = scratch.split_at_mut(a.cols * STRIP);
        for first in rows.clone().step_by(STRIP) {
            let samples = first..rows.end.min(first + STRIP);
            turn(a, samples.clone(), a_turned);
            turn(d, samples.clone(), d_turned);
            let mut r = [0.0; STRIP];
            r[..samples.len()].copy_from_slice(&f[samples.clone()]);
            for (i, group) in rule.groups.iter().enumerate() {
                let shared = group.shared();
                let c = ratios(simd, group, shared, [&*a_turned, &*d_turned], &r);
                let (c_rows, r_rows) = (MatRef::new(&c, STRIP, 1), MatRef::new(&r, STRIP, 1));
                let mut of_group = [0.0; STRIP];
                add_absorbed(c_rows, r_rows, 0, shared, &mut of_group);
                // SAFETY: the parts of a split own different samples, whose places the caller has borrowed mutably.
                let absorbed = unsafe { absorbed.slice(samples.clone()) };
                absorbed.iter_mut().zip(of_group).for_each(|(sum, by_group)| *sum += by_group);
                for (sample, &c) in samples.clone().zip(&c) {
                    let (a, d, at) = (a.row(sample), d.row(sample), r_map.offset(sample));
                    // SAFETY: a row of `r_in`, which lies in its slice and belongs to this part alone.
                    let out = unsafe { r_in.slice(at..at + a.len()) };
                    for (t, &term) in group.terms.iter().enumerate() {
                        messages(simd, term, [a, d], c, out, i + t > 0);
                    }
                }
            }
        }
    }
}

/// Writes rows as columns of sixteen, 0 where there are fewer rows.
#[inline(always)]
fn turn(x: MatRef, rows: Range<usize>, out: &mut [f32]) {
    if rows.len() < STRIP {
        out.fill(0.0);
    }
    for (lane, row) in rows.enumerate() {
        for (out, &x) in out[lane..].iter_mut().step_by(STRIP).zip(x.row(row)) {
            *out = x;
        }
    }
}

/// `c = coefficient·f / (z + s)` of sixteen samples; `z` is one chain in the order of the inputs.
#[inline(always)]
fn ratios<S: Simd>(
    simd: S,
    group: &Group,
    shared: SharedGroup,
    [a, d]: [&[f32]; 2],
    f: &[f32; STRIP],
) -> [f32; STRIP] {
    let mut z = simd.splat(0.0);
    for &Term { input, weight } in &group.terms {
        for (a, d) in a.as_chunks::<STRIP>().0.iter().zip(d.as_chunks::<STRIP>().0) {
            // SAFETY: sixteen floats each.
            let (a, d) = unsafe { (simd.load(a.as_ptr()), simd.load(d.as_ptr())) };
            z = simd.mul_add(input_map(simd, input, a), weight_map(simd, weight, d), z);
        }
    }
    let mut c = [0.0; STRIP];
    // SAFETY: sixteen floats each.
    unsafe {
        let r = simd.mul(simd.load(f.as_ptr()), simd.splat(shared.coefficient));
        store(simd, c.as_mut_ptr(), STRIP, simd.div(r, shared.stabiliser.apply(simd, z)));
    }
    c
}

/// `r = φ(a)·(c·ψ(d))` of one sample, added to what stands there where a group or term has come before.
#[inline(always)]
fn messages<S: Simd>(simd: S, term: Term, [a, d]: [&[f32]; 2], c: f32, out: &mut [f32], add: bool) {
    let c = simd.splat(c);
    for n in (0..out.len()).step_by(STRIP) {
        let lanes = STRIP.min(out.len() - n);
        // SAFETY: the three rows have one length, and `n + lanes` is at most that.
        unsafe {
            let (a, d) = (load(simd, a.as_ptr().add(n), lanes), load(simd, d.as_ptr().add(n), lanes));
            let message = simd.mul(c, weight_map(simd, term.weight, d));
            let message = simd.mul(message, input_map(simd, term.input, a));
            let to = out.as_mut_ptr().add(n);
            let sum = if add { simd.add(message, load(simd, to, lanes)) } else { message };
            store(simd, to, lanes, sum);
        }
    }
}

/// `φ(a)`
#[inline(always)]
fn input_map<S: Simd>(simd: S, map: InputMap, a: S::F) -> S::F {
    match map {
        InputMap::Value => a,
        InputMap::Minus(bound) => simd.sub(a, simd.splat(bound)),
        InputMap::One => simd.splat(1.0),
    }
}

/// `ψ(w)`
#[inline(always)]
fn weight_map<S: Simd>(simd: S, part: Part, w: S::F) -> S::F {
    match part {
        Part::All => w,
        Part::Positive => simd.where_positive(w, w),
        Part::Negative => simd.where_positive(simd.sub(simd.splat(0.0), w), w),
        Part::Square => simd.mul(w, w),
        Part::One => simd.splat(1.0),
        Part::Gamma(gamma) => simd.add(w, simd.mul(simd.splat(gamma), simd.where_positive(w, w))),
    }
}

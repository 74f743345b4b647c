//! A rule for one block of a layer's outputs after the other: the ratios of a block stay in the cache between the
//! product that makes them and the products that read them, and denominators are never stored.

use super::packed::{Denominator, PanelGroup};
use super::ratios::{Known, Quotients, add_absorbed};
use super::terms::SharedGroup;
use crate::exec::Kernels;
use crate::gemm::problem::{Epilogue, Init, Output};
use crate::layout::MatRef;
use crate::panels::Panels;
use crate::threads::Shared;
use std::ops::Range;

/// The weights of a product, and how its sums begin and end.
pub(super) struct Product<'a> {
    pub weights: Panels<'a>,
    pub init: Init<'a>,
    pub epilogue: Epilogue<'a>,
}

/// The ratios `c` of a block in its scratch memory.
pub(super) struct BlockRatios {
    /// Their shape and the spacing of their rows.
    pub output: Output,
    /// Where row 0 of the whole matrix would be.
    pub c: *mut f32,
    /// Where the plane of image 0 would begin, with its border; `c` itself for a dense layer.
    pub planes: *mut f32,
}

/// The two products of a rule for a part of a layer: rows of a dense layer, images of a convolution.
pub(super) trait Layer {
    /// The rows of the outputs that belong to a part.
    fn rows(&self, part: &Range<usize>) -> Range<usize>;

    /// The ratios of a part in `scratch`, to be written.
    fn ratios(&self, part: &Range<usize>, scratch: &mut [f32]) -> BlockRatios;

    /// The same ratios, to be read.
    fn view<'s>(&self, part: &Range<usize>, scratch: &'s [f32]) -> MatRef<'s>;

    /// From the inputs to the ratios.
    ///
    /// # Safety
    /// The operands have the layer's shape, and `c` is that of this part.
    unsafe fn first(&self, kernels: &Kernels, part: Range<usize>, ratio: Product, c: &BlockRatios);

    /// From the ratios to the relevance of the inputs.
    ///
    /// # Safety
    /// As for [`Layer::first`]; no other thread writes the part's rows of `r_in`.
    unsafe fn second(
        &self,
        kernels: &Kernels,
        part: Range<usize>,
        c: &BlockRatios,
        term: Product,
        r_in: &Output,
    );

    /// All inputs, as a matrix with the rows of `r_in`.
    fn inputs(&self) -> MatRef<'_>;
}

/// Operands that have been checked to have the layer's shape.
pub(super) struct Fused<'a, L> {
    pub layer: L,
    pub groups: &'a [PanelGroup],
    pub z: Option<MatRef<'a>>,
    pub r_out: MatRef<'a>,
    pub r_in: Output,
    pub absorbed: Shared<f64>,
}

impl<L: Layer> Fused<'_, L> {
    /// Computes one part of the layer, whose ratios fit in `scratch`. The parts of a split differ, and their
    /// relevance and `absorbed` are borrowed mutably.
    pub fn block(&self, kernels: &Kernels, part: Range<usize>, scratch: &mut [f32]) {
        let Fused { layer, groups, z, r_out, r_in, absorbed } = self;
        let rows = layer.rows(&part);
        let c = layer.ratios(&part, scratch);
        for group in *groups {
            let SharedGroup { coefficient, stabiliser } = group.shared;
            if let Denominator::Product(w) = &group.denominator {
                let epilogue = Epilogue::Ratio { r: *r_out, coefficient, stabiliser };
                let ratio = Product { weights: w.panels(), init: Init::Zero, epilogue };
                // SAFETY: operands were checked to have the layer's shape; the scratch is the block's.
                unsafe { layer.first(kernels, part.clone(), ratio, &c) };
            } else {
                let known = Known::of(group, *z, [r_out.rows, r_out.cols]);
                let (shared, r, base) = (group.shared, *r_out, None);
                let quotients = Quotients { shared, r, base, known, c: c.c, c_map: c.output.map };
                // SAFETY: as above.
                unsafe { quotients.run(kernels, rows.clone()) };
            }
            // SAFETY: the parts of a split are different, and the caller has borrowed the sums mutably.
            let absorbed = unsafe { absorbed.slice(part.clone()) };
            add_absorbed(layer.view(&part, scratch), *r_out, rows.start, group.shared, absorbed);
            for term in &group.back {
                let (init, epilogue) = (term.init(), term.epilogue(layer.inputs()));
                let product = Product { weights: term.weights.panels(), init, epilogue };
                // SAFETY: as above.
                unsafe { layer.second(kernels, part.clone(), &c, product, r_in) };
            }
        }
    }
}

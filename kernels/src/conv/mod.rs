//! Convolution as a product over patches. With a border of zeros around the image a patch is
//! `size` runs of adjacent floats, so the tile reads patches in place: an implicit im2col.

pub mod im2col;
pub mod max_pool;
mod pooled;
mod scatter;
pub mod sum_pool;

use crate::error::{ShapeError, axis};
use crate::exec::Kernels;
use crate::gemm::problem::{
    Epilogue, Init, Output, PanelProduct, PanelRows, Problem, ReductionLoops, check_ends, ends,
};
use crate::image::ConvShape;
use crate::layout::{MatMut, Rows, STRIP, volume};
use crate::panels::{Panels, panels_len};
use crate::profile::{Shape, Work};
use crate::threads::Shared;
use std::ops::Range;

/// The operands of [`conv`].
#[derive(Debug)]
pub struct Conv<'a> {
    /// The layer.
    pub shape: &'a ConvShape,
    /// Images in the batch.
    pub images: usize,
    /// Padded NHWC input, [`ConvShape::input`] planes.
    pub x: &'a [f32],
    /// Packed `[size·size·inputs, outputs]` weights (HWIO).
    pub w: Panels<'a>,
    /// Initial values of the sums, `[images·rows·cols, outputs]`.
    pub init: Init<'a>,
    /// What is done with each sum.
    pub epilogue: Epilogue<'a>,
    /// `[images·rows·cols, outputs]`, overwritten.
    pub y: MatMut<'a>,
}

/// `y[p,o] = epilogue(init + Σ patch(p)·w[·,o])` for every pixel `p` of `images` images.
///
/// With [`ConvShape::reversed`] and reversed weights it computes the gradient and the relevance of the input.
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape; `y` is untouched then.
///
/// # Example
/// ```
/// use kernels::{Conv, ConvShape, Epilogue, Init, Kernels, MatMut, PackedWeights, conv};
/// let shape = ConvShape { rows: 1, cols: 2, size: 3, inputs: 1, outputs: 1 };
/// let w = PackedWeights::new(&[1.0; 9], 9, 1)?;
/// let mut x = vec![0.0; shape.input().len()];
/// shape.input().pixels_mut(&mut x, 1).row_mut(0)[0] = 2.0;
/// let mut y = [0.0; 2];
/// let out = MatMut::new(&mut y, 2, 1);
/// conv(&Kernels::default(), Conv { shape: &shape, x: &x, images: 1, w: w.panels(), init: Init::Zero, epilogue: Epilogue::Store, y: out })?;
/// assert_eq!(y, [2.0, 2.0]);
/// # Ok::<(), kernels::ShapeError>(())
/// ```
pub fn conv(kernels: &Kernels, operands: Conv) -> Result<(), ShapeError> {
    let Conv { shape, images, x, w, init, epilogue, mut y } = operands;
    let _span = kernels.span("conv", || {
        let (then, floats) = ends(&init, &epilogue, y.rows * y.cols);
        Work::convs(1, images, shape, then, x.len() + floats)
    });
    let mut room = Vec::new();
    let epilogue = epilogue.padded(y.cols, &mut room);
    shape.check("conv")?;
    let plane = shape.input();
    axis("conv", "patch", "w", w.k, shape.patch())?;
    axis("conv", "outputs", "w", w.n, shape.outputs)?;
    axis("conv", "images·plane", "x", x.len(), volume([images, plane.len()]))?;
    axis("conv", "pixels", "y", y.rows, volume([images, plane.pixels()]))?;
    axis("conv", "outputs", "y", y.cols, shape.outputs)?;
    check_ends("conv", y.rows, y.cols, &init, &epilogue)?;
    let by_images = ByImages::new(shape, x.as_ptr(), w, init, epilogue, &Output::of(&mut y));
    // SAFETY: `x` has `images` planes; panels and `y` have the checked shape, and `y` is borrowed mutably.
    unsafe {
        if scatter::pays(shape) {
            let cost = images * plane.pixels() * shape.patch();
            kernels.threads().split(images, cost, &|images| by_images.run(kernels, images));
        } else {
            by_images.problem.run(kernels, y.rows);
        }
    }
    Ok(())
}

/// A convolution with everything checked; its images can be computed in any split.
pub(crate) struct ByImages<'a> {
    shape: &'a ConvShape,
    x: *const f32,
    w: Panels<'a>,
    pub problem: Problem<'a>,
}

// SAFETY: as `Problem`: the pointer comes from a borrow that outlives this.
unsafe impl Sync for ByImages<'_> {}

impl<'a> ByImages<'a> {
    /// The planes that begin at `x`, through `w`; images that are not computed need not be readable.
    pub fn new(
        shape: &'a ConvShape,
        x: *const f32,
        w: Panels<'a>,
        init: Init<'a>,
        epilogue: Epilogue<'a>,
        c: &Output,
    ) -> Self {
        let (plane, run) = (shape.input(), shape.size * shape.inputs);
        let loops = ReductionLoops {
            count: [1, shape.size, run],
            a: [0, plane.line(), 1],
            b: [0, run * STRIP, STRIP],
        };
        // A patch starts above and to the left of its pixel. In the padded plane this is the position of the
        // pixel itself.
        let problem = PanelProduct { a: x, a_rows: plane.map(), loops, b: w, init, epilogue, c }.problem();
        ByImages { shape, x, w, problem }
    }

    /// Some images, on the calling thread.
    ///
    /// # Safety
    /// These images are readable, each with its border: the patch of the last pixel ends with the last float
    /// of its plane. `w` and `c` have the convolution's shape, and the rows of `c` of these images are written
    /// by no other thread.
    pub unsafe fn run(&self, kernels: &Kernels, images: Range<usize>) {
        let pixels = self.shape.rows * self.shape.cols;
        // SAFETY: the caller's promise.
        unsafe {
            if scatter::pays(self.shape) {
                scatter::run(kernels, self.shape, self.x, self.w, &self.problem, images);
            } else {
                self.problem.run_rows(kernels, images.start * pixels..images.end * pixels);
            }
        }
    }
}

/// The weight gradient `d_w[q,o] = Σ_p patch(p)[q]·d_y[p,o]`, summed in the order of images, rows and
/// columns, written as packed panels.
///
/// - `x` padded NHWC input, [`ConvShape::input`] planes
/// - `d_y` NHWC gradient with the border of [`ConvShape::output`]
/// - `d_w` packed `[size·size·inputs, outputs]`, overwritten
///
/// # Errors
/// [`ShapeError`] if an operand does not have the convolution's shape; `d_w` is untouched then.
pub fn conv_weight_gradient(
    kernels: &Kernels,
    shape: &ConvShape,
    x: &[f32],
    d_y: &[f32],
    images: usize,
    d_w: &mut [f32],
) -> Result<(), ShapeError> {
    const NAME: &str = "conv_weight_gradient";
    let _span = kernels.span(NAME, || Work::convs(1, images, shape, "", x.len() + d_y.len()));
    shape.check(NAME)?;
    let (input, output) = (shape.input(), shape.output());
    axis(NAME, "images·plane", "x", x.len(), volume([images, input.len()]))?;
    axis(NAME, "images·plane", "d_y", d_y.len(), volume([images, output.len()]))?;
    axis(NAME, "patch·outputs", "d_w", d_w.len(), panels_len(shape.patch(), shape.outputs))?;
    if images == 0 || input.is_empty() {
        d_w.fill(0.0);
        return Ok(());
    }
    let chunk = images_a_chunk(shape);
    let d_w = Shared::new(d_w);
    let cost = images * input.pixels() * shape.patch() * shape.outputs;
    kernels.threads().split(shape.patch(), cost, &|rows| {
        for first in (0..images).step_by(chunk) {
            let last = images.min(first + chunk);
            let (x, d_y) = (
                &x[first * input.len()..last * input.len()],
                &d_y[first * output.len()..last * output.len()],
            );
            let gradient = GradientOfImages { shape, images: last - first, x, d_y, accumulate: first > 0 };
            // SAFETY: the parts of a split own different rows of `d_w`.
            unsafe { gradient.run(kernels, rows.clone(), &d_w) };
        }
    });
    Ok(())
}

/// Floats of images that stay in L2 while all rows of a weight gradient read them.
const IN_L2: usize = 96 * 1024;

/// How many images all rows of a weight gradient read at a time; the shape has pixels.
fn images_a_chunk(shape: &ConvShape) -> usize {
    (IN_L2 / (shape.input().len() + shape.output().len())).max(1)
}

/// What some images add to a weight gradient.
struct GradientOfImages<'a> {
    shape: &'a ConvShape,
    images: usize,
    /// Planes of these images, with borders.
    x: &'a [f32],
    d_y: &'a [f32],
    /// Whether earlier images are in `d_w` already.
    accumulate: bool,
}

impl GradientOfImages<'_> {
    /// Some rows of the gradient, on the calling thread.
    ///
    /// # Safety
    /// `d_w` is packed `[patch, outputs]`, and no other thread uses these rows of it.
    unsafe fn run(&self, kernels: &Kernels, rows: Range<usize>, d_w: &Shared<f32>) {
        let GradientOfImages { shape, images, x, d_y, accumulate } = *self;
        let (input, output, patch) = (shape.input(), shape.output(), shape.patch());
        assert!(x.len() >= images * input.len() && d_y.len() >= images * output.len());
        // Row `q` of the gradient is float `q % run` of filter line `q / run`.
        let run = shape.size * shape.inputs;
        let a_rows = Rows { width: run, height: shape.size, step: 1, line: input.line(), image: 0 };
        let loops = ReductionLoops {
            count: [images, shape.rows, shape.cols],
            a: [input.len(), input.line(), input.channels],
            b: [output.len(), output.line(), output.channels],
        };
        let b = d_y.as_ptr().wrapping_add(output.interior());
        let (n, strip, d_w) = (shape.outputs, patch * STRIP, d_w.as_ptr());
        let gradient = PanelRows { a: x.as_ptr(), a_rows, b, n, loops, accumulate, d_w, strip };
        // SAFETY: a term is a float of the patch of a pixel inside `x`, and of a pixel inside `d_y` whose last strip is
        // masked; of the rows, the caller promises it.
        unsafe { gradient.problem().run_rows(kernels, rows) };
    }
}

impl Work {
    /// As [`Work::products`], for convolutions.
    pub(crate) fn convs(
        products: usize,
        images: usize,
        shape: &ConvShape,
        then: &'static str,
        floats: usize,
    ) -> Work {
        let weights = shape.patch() * shape.outputs;
        let pixels = images * shape.rows * shape.cols;
        let shape = Shape::Conv { images, shape: *shape, then };
        Work::new(shape, 2 * products * pixels * weights, 4 * (floats + products * weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::pack::{self, Part, unpack};
    use crate::layout::MatRef;
    use crate::reference;
    use crate::testing::{SameBits, assert_close, floats, kernel_sets};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn forward_and_both_gradients_are_those_of_the_dense_reference(
            rows in 1usize..7, cols in 1usize..7, half in 0usize..3, inputs in 1usize..5,
            outputs in 1usize..20, images in 1usize..4, seed in 1u64..1000,
        ) {
            let shape = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
            let (j, k) = (rows * cols * inputs, rows * cols * outputs);
            let (x, w, dy) = (floats(images * j, seed), floats(shape.patch() * outputs, seed + 1), floats(images * k, seed + 2));
            let dense = reference::conv_as_dense(&shape, &w);
            let y = reference::gemm(&x, &dense, images, k, j);
            let dx = reference::gemm(&dy, &reference::transposed(&dense, j, k), images, j, k);
            let packed = pack::pack(&w, shape.patch(), outputs);
            let panels = Panels::new(&packed, shape.patch(), outputs);
            let mut back = vec![0.0; panels_len(shape.reversed().patch(), inputs)];
            pack::reverse_conv(&shape, panels, Part::All, &mut back);
            let (padded_x, padded_dy) = (shape.input().padded(&x, images), shape.output().padded(&dy, images));
            let mut patches = vec![0.0; images * rows * cols * shape.patch()];
            im2col::im2col(&shape, &padded_x, images, &mut patches);
            let pixels = images * rows * cols;
            let dw = reference::gemm(&reference::transposed(&patches, pixels, shape.patch()), &dy, shape.patch(), outputs, pixels);
            let mut bits = [SameBits::default(), SameBits::default(), SameBits::default()];
            for kernels in kernel_sets() {
                let mut out = vec![f32::NAN; pixels * outputs];
                let view = MatMut::new(&mut out, pixels, outputs);
                conv(&kernels, Conv { shape: &shape, x: &padded_x, images, w: panels, init: Init::Zero, epilogue: Epilogue::Store, y: view }).expect("fits");
                assert_close("conv", &out, &y, 1e-5);
                bits[0].check(&kernels, "conv", &out);
                let mut out = vec![f32::NAN; pixels * inputs];
                let view = MatMut::new(&mut out, pixels, inputs);
                let weights = Panels::new(&back, shape.reversed().patch(), inputs);
                conv(&kernels, Conv { shape: &shape.reversed(), x: &padded_dy, images, w: weights, init: Init::Zero, epilogue: Epilogue::Store, y: view }).expect("fits");
                assert_close("input gradient", &out, &dx, 1e-5);
                bits[1].check(&kernels, "input gradient", &out);
                let mut out = vec![f32::NAN; packed.len()];
                conv_weight_gradient(&kernels, &shape, &padded_x, &padded_dy, images, &mut out).expect("fits");
                assert_close("weight gradient", &unpack(Panels::new(&out, shape.patch(), outputs)), &dw, 1e-5);
                bits[2].check(&kernels, "weight gradient", &out);
                let gemm_of_patches = {
                    let mut c = vec![0.0; pixels * outputs];
                    crate::gemm(&kernels, MatRef::new(&patches, pixels, shape.patch()), panels, Init::Zero, Epilogue::Store, MatMut::new(&mut c, pixels, outputs)).expect("fits");
                    c
                };
                assert_close("im2col", &gemm_of_patches, &y, 1e-5);
            }
        }
    }
}

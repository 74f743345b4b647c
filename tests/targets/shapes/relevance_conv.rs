//! The rules of convolutions, against those of the dense layer that a convolution is.

use super::convolution::{floats, huge, images_of, inside, near, patch, small};
use super::draw::{Draw, same, times};
use super::operand::{Mat, Out, agrees, close, largest};
use kernels::pack::{Part, pack};
use kernels::relevance::z_beta::ZBeta;
use kernels::relevance::{self, EPS, PackedPart};
use kernels::{ConvShape, Kernels, Panels, reference};

/// What every rule has.
struct Layer {
    kernels: &'static Kernels,
    /// The shape that it is called with, and the one that its operands have, but for one of them.
    shape: ConvShape,
    right: ConvShape,
    images: usize,
    w: Vec<f32>,
    x: Vec<f32>,
    r_out: Mat,
    r_in: Out,
    c: Vec<f32>,
    lost: Vec<f64>,
}

impl Layer {
    fn drawn(draw: &mut Draw, values: fn(&mut Draw, usize) -> Vec<f32>) -> Layer {
        let kernels = draw.kernels();
        let (right, images) = (small(draw), draw.below(3));
        let w = draw.values(right.patch() * right.outputs);
        let x = images_of(draw, &right.input(), images, values);
        let pixels = images * right.rows * right.cols;
        let (rows, cols) = (draw.near(pixels), draw.near(right.outputs));
        let r_out = Mat::drawn(draw, rows, cols, Draw::values);
        let (rows, cols) = (draw.near(pixels), draw.near(right.inputs));
        let r_in = Out::drawn(draw, rows, cols, false);
        let c = vec![0.0; draw.near_len(images * right.output().len())];
        let lost = vec![1.0; draw.near_len(images)];
        let shape = near(draw, &right);
        Layer { kernels, shape, right, images, w, x, r_out, r_in, c, lost }
    }

    fn part(&self, part: Part) -> PackedPart {
        let packed = pack(&self.w, self.right.patch(), self.right.outputs);
        PackedPart::conv(&self.right, Panels::new(&packed, self.right.patch(), self.right.outputs), part)
    }

    /// Whether what all rules have fits.
    fn fits(&self) -> bool {
        let (shape, images) = (&self.shape, self.lost.len());
        let pixels = times(&[images, shape.rows, shape.cols]);
        !shape.size.is_multiple_of(2)
            && same(&[
                (self.right.patch(), patch(shape)),
                (self.right.outputs, shape.outputs as u128),
                (self.right.reversed().patch(), patch(&shape.reversed())),
                (self.right.inputs, shape.inputs as u128),
                (self.c.len(), floats(&shape.output(), images)),
                (self.r_out.rows, pixels),
                (self.r_out.cols, shape.outputs as u128),
                (self.r_in.rows(), pixels),
                (self.r_in.cols(), shape.inputs as u128),
            ])
    }

    fn x_fits(&self) -> bool {
        same(&[(self.x.len(), floats(&self.shape.input(), self.lost.len()))])
    }

    fn huge(&self) -> bool {
        huge(&self.shape, self.lost.len())
    }

    fn untouched(&self, c: &[f32]) {
        self.r_in.untouched();
        assert_eq!(self.c, c, "scratch written although it was refused");
        assert!(self.lost.iter().all(|&lost| lost == 1.0), "lost something although it was refused");
    }

    fn compare(&self, one: impl Fn(&[f32], &[f32], &[f64]) -> (Vec<f64>, f64)) {
        let (shape, images) = (&self.shape, self.lost.len());
        let dense = reference::conv_as_dense(shape, &self.w);
        let (j, k) = (shape.rows * shape.cols * shape.inputs, shape.rows * shape.cols * shape.outputs);
        let x = if self.x_fits() { inside(&shape.input(), &self.x, images) } else { vec![] };
        let r = self.r_out.plain();
        let found = self.r_in.written();
        let scale = 4.0 * largest(&r) * k.max(1) as f64;
        for i in 0..images {
            let r: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
            let x = if x.is_empty() { &[][..] } else { &x[i * j..][..j] };
            let (want, lost) = one(x, &dense, &r);
            close("relevance", &found[i * j..][..j], &want, scale);
            close("lost", &[(self.lost[i] - 1.0) as f32], &[lost], scale);
        }
        let (mut border, plane) = (self.c.clone(), shape.output());
        if !plane.is_empty() && images > 0 {
            let mut pixels = plane.pixels_mut(&mut border, images);
            (0..pixels.rows()).for_each(|i| pixels.row_mut(i).fill(0.0));
        }
        assert!(border.iter().all(|&c| c == 0.0), "the border stays zero");
    }
}

pub fn z_plus(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw, Draw::activations);
    let fits = layer.fits() && layer.x_fits();
    if fits && layer.huge() {
        return;
    }
    let part = layer.part(Part::Positive);
    let before = layer.c.clone();
    let Layer { kernels, shape, x, r_out, r_in, c, lost, .. } = &mut layer;
    let (r_out, r_in) = (r_out.view(), r_in.view());
    let result = relevance::z_plus::z_plus_conv(kernels, shape, x, &part, r_out, r_in, c, lost);
    if !agrees(draw, result, fits) {
        return layer.untouched(&before);
    }
    layer.compare(|a, w, r| reference::z_plus(a, w, r, f64::from(EPS)));
}

pub fn alpha_beta(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw, Draw::activations);
    // The negative part may be that of fewer outputs.
    let other = ConvShape { outputs: draw.near_len(layer.right.outputs) % 64, ..layer.right };
    let fits = layer.fits() && layer.x_fits() && other == layer.right;
    if fits && layer.huge() {
        return;
    }
    let positive = layer.part(Part::Positive);
    let negative = if other == layer.right {
        layer.part(Part::Negative)
    } else {
        let packed = pack(&draw.values(other.patch() * other.outputs), other.patch(), other.outputs);
        PackedPart::conv(&other, Panels::new(&packed, other.patch(), other.outputs), Part::Negative)
    };
    let before = layer.c.clone();
    let Layer { kernels, shape, x, r_out, r_in, c, lost, .. } = &mut layer;
    let (r_out, r_in) = (r_out.view(), r_in.view());
    let result = relevance::alpha_beta::alpha_beta_conv(
        kernels,
        (2.0, 1.0),
        shape,
        x,
        &positive,
        &negative,
        r_out,
        r_in,
        c,
        lost,
    );
    if !agrees(draw, result, fits) {
        return layer.untouched(&before);
    }
    layer.compare(|a, w, r| reference::alpha_beta((2.0, 1.0), a, w, r, f64::from(EPS)));
}

pub fn w_square(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw, Draw::values);
    let square = layer.part(Part::Square);
    let of = near(draw, &layer.right);
    let weights_fit = !of.size.is_multiple_of(2)
        && same(&[(layer.right.patch(), patch(&of)), (layer.right.outputs, of.outputs as u128)]);
    // What fits and is large is made, as it was asked for.
    if weights_fit && huge(&of, 1) && floats(&of.input(), 1) <= usize::MAX as u128 {
        return;
    }
    let made = relevance::w_square::conv_denominators(layer.kernels, &of, &square);
    assert_eq!(made.is_ok(), weights_fit && !huge(&of, 1), "{made:?}");
    let mut z = made.unwrap_or_default();
    let pixels = layer.right.rows * layer.right.cols * layer.right.outputs;
    z.resize(draw.near_len(pixels), 1.0);
    let ConvShape { rows, cols, outputs, .. } = layer.shape;
    let fits = layer.fits() && same(&[(z.len(), times(&[rows, cols, outputs]))]);
    if fits && (layer.huge() || of != layer.shape) {
        return;
    }
    let before = layer.c.clone();
    let Layer { kernels, shape, r_out, r_in, c, lost, .. } = &mut layer;
    let (r_out, r_in) = (r_out.view(), r_in.view());
    let result = relevance::w_square::w_square_conv(kernels, shape, &square, &z, r_out, r_in, c, lost);
    if !agrees(draw, result, fits) {
        return layer.untouched(&before);
    }
    let j = layer.shape.rows * layer.shape.cols * layer.shape.inputs;
    layer.compare(|_, w, r| reference::w_square(j, w, r, f64::from(EPS)));
}

/// Pixels from −1 to 1.
pub fn pixels(draw: &mut Draw, len: usize) -> Vec<f32> {
    (0..len).map(|_| draw.value() / 2.0).collect()
}

pub fn z_beta(draw: &mut Draw) {
    let mut layer = Layer::drawn(draw, pixels);
    let packed = pack(&layer.w, layer.right.patch(), layer.right.outputs);
    let weights = Panels::new(&packed, layer.right.patch(), layer.right.outputs);
    let of = near(draw, &layer.right);
    let weights_fit = !of.size.is_multiple_of(2)
        && same(&[(layer.right.patch(), patch(&of)), (layer.right.outputs, of.outputs as u128)]);
    if weights_fit && huge(&of, 1) && floats(&of.input(), 1) <= usize::MAX as u128 {
        return;
    }
    let made = ZBeta::conv(layer.kernels, &of, weights, -1.0, 1.0);
    assert_eq!(made.is_ok(), weights_fit && !huge(&of, 1), "{made:?}");
    let Ok(rule) = made else { return };
    let of_rule = times(&[of.rows, of.cols, of.outputs]);
    let ConvShape { rows, cols, outputs, .. } = layer.shape;
    let fits = layer.fits() && layer.x_fits() && of_rule == times(&[rows, cols, outputs]);
    // A rule for as many pixels of another form cannot be told apart.
    if fits && (layer.huge() || of != layer.shape) {
        return;
    }
    if fits && layer.images > 0 && !layer.shape.output().is_empty() {
        let (shape, images) = (&layer.shape, layer.lost.len());
        let dense = reference::conv_as_dense(shape, &layer.w);
        let (j, k) = (shape.rows * shape.cols * shape.inputs, shape.rows * shape.cols * shape.outputs);
        let x = inside(&shape.input(), &layer.x, images);
        let product = reference::gemm(&x, &dense, images, k, j);
        let product: Vec<f32> = product.iter().map(|&z| z as f32).collect();
        layer.c = shape.output().padded(&product, images);
    }
    let before = layer.c.clone();
    let Layer { kernels, shape, x, r_out, r_in, c, lost, .. } = &mut layer;
    let (r_out, r_in) = (r_out.view(), r_in.view());
    let result = relevance::z_beta::z_beta_conv(kernels, &rule, shape, x, c, r_out, r_in, lost);
    if !agrees(draw, result, fits) {
        return layer.untouched(&before);
    }
    layer.compare(|x, w, r| reference::z_beta(x, w, (-1.0, 1.0), r, f64::from(EPS)));
}

//! Convolutions followed by a max-pool.

use super::convolution::{floats, huge, images_of, inside, near, patch, small};
use super::draw::{Draw, panels, same, times};
use super::operand::{Mat, Out, agrees, close, largest, same_bits};
use super::relevance::{domain, rule};
use super::relevance_conv::of_image;
use kernels::conv::max_pool::{
    ConvMaxPool, ConvMaxPoolInputGradient, ConvMaxPoolWeightGradient, ConvPoolShape, Filters, MaxIndices,
    conv_max_pool, conv_max_pool_input_gradient, conv_max_pool_weight_gradient,
};
use kernels::pack::{Part, pack, unpack};
use kernels::relevance::{PackedRule, RelevanceConvMaxPool, relevance_conv_max_pool};
use kernels::{Epilogue, Kernels, MatMut, Panels, Rows, panels_len, reference};

/// A layer, a consistent batch, and their results.
struct Forward {
    kernels: &'static Kernels,
    shape: ConvPoolShape,
    images: usize,
    /// Padded.
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    max_indices: MaxIndices,
    /// The sums at the argmax positions, `[images·windows, outputs]`.
    z: Vec<f32>,
}

fn windows(shape: &ConvPoolShape, images: usize) -> u128 {
    let size = shape.window.max(1);
    times(&[images, shape.conv.rows.div_ceil(size), shape.conv.cols.div_ceil(size)])
}

/// Whether the layer is valid and the argmax positions fit it; without windows those of any layer do.
fn same_max_indices(a: &ConvPoolShape, b: &ConvPoolShape) -> bool {
    let sound = !a.conv.size.is_multiple_of(2) && (1..=15).contains(&a.window);
    sound && (a == b || windows(a, 1) == 0)
}

/// Whether `v` has the shape of the windows of this many images.
fn have(shape: &ConvPoolShape, all: usize, v: &Mat, images: usize) -> bool {
    let spaced = v.map.width >= v.rows;
    let (rows, outputs) = (windows(shape, images), shape.conv.outputs as u128);
    images <= all && spaced && same(&[(v.rows, rows), (v.cols, outputs)])
}

impl Forward {
    fn drawn(draw: &mut Draw, values: fn(&mut Draw, usize) -> Vec<f32>) -> Forward {
        let kernels = draw.kernels();
        let (conv, images) = (small(draw), draw.below(3));
        let shape = ConvPoolShape { conv, window: 1 + draw.below(3) };
        let bare = values(draw, images * conv.rows * conv.cols * conv.inputs);
        let plane = conv.input();
        let x = if plane.is_empty() { vec![0.0; images * plane.len()] } else { plane.padded(&bare, images) };
        let w = draw.values(conv.patch() * conv.outputs);
        let mut bias = draw.values(conv.outputs);
        bias.resize(conv.outputs.next_multiple_of(16), 0.0);
        let len = images * shape.windows() * conv.outputs;
        let (max_indices, z) = (MaxIndices::new(&shape, images), vec![0.0; len]);
        let mut forward = Forward { kernels, shape, images, x, w, bias, max_indices, z };
        let packed = forward.packed();
        let Forward { max_indices, z, x, bias, .. } = &mut forward;
        let (panels, mut y) = (Panels::new(&packed, conv.patch(), conv.outputs), vec![0.0; len]);
        let to = MatMut::new(&mut y, images * shape.windows(), conv.outputs);
        conv_max_pool(
            kernels,
            ConvMaxPool { shape: &shape, x, images, w: panels, bias, y: to, max_indices, z: Some(z) },
        )
        .expect("fits");
        forward
    }

    fn packed(&self) -> Vec<f32> {
        pack(&self.w, self.shape.conv.patch(), self.shape.conv.outputs)
    }

    /// Values of the first `images` images' windows, at their argmax positions, as rows of the dense layer's outputs.
    fn at_positions(&self, v: &[f32], images: usize) -> Vec<f64> {
        let conv = &self.shape.conv;
        let (_, positions) = pooled(&self.shape, &self.sums(images), &self.bias, images);
        let mut dense = vec![0.0; images * conv.rows * conv.cols * conv.outputs];
        for (&argmax, &v) in positions.iter().zip(v) {
            dense[argmax] = f64::from(v);
        }
        dense
    }

    fn sums(&self, images: usize) -> Vec<f64> {
        let (j, k) = self.dense_size();
        let x = &self.x[..images * self.shape.conv.input().len()];
        let x = inside(&self.shape.conv.input(), x, images);
        reference::gemm(&x, &reference::conv_as_dense(&self.shape.conv, &self.w), images, k, j)
    }

    fn dense_size(&self) -> (usize, usize) {
        let conv = &self.shape.conv;
        (conv.rows * conv.cols * conv.inputs, conv.rows * conv.cols * conv.outputs)
    }

    /// The gradient or relevance of the windows, or a matrix of another shape.
    fn values(&self, draw: &mut Draw) -> Mat {
        let rows = draw.near(self.images * self.shape.windows());
        let cols = draw.near(self.shape.conv.outputs);
        Mat::drawn(draw, rows, cols, Draw::values)
    }

    fn lines(&self, draw: &mut Draw) -> Out {
        let conv = &self.shape.conv;
        let (rows, cols) = (draw.near(self.images * conv.rows), draw.near(conv.cols * conv.inputs));
        Out::drawn(draw, rows, cols, false)
    }

    fn have_lines(&self, out: &Out, images: usize) -> bool {
        let conv = &self.shape.conv;
        same(&[(out.rows(), times(&[images, conv.rows])), (out.cols(), times(&[conv.cols, conv.inputs]))])
    }
}

/// The maximum of each window of each image, and the index of its sum.
fn pooled(shape: &ConvPoolShape, sums: &[f64], bias: &[f32], images: usize) -> (Vec<f32>, Vec<usize>) {
    let conv = &shape.conv;
    let of_image = conv.rows * conv.cols * conv.outputs;
    let relu = |(i, &sum): (usize, &f64)| (sum as f32 + bias[i % conv.outputs]).max(0.0);
    let (mut y, mut positions) = (Vec::new(), Vec::new());
    for image in 0..images {
        let a: Vec<f32> = sums[image * of_image..][..of_image].iter().enumerate().map(relu).collect();
        let (most, from) = reference::max_pool([conv.rows, conv.cols, conv.outputs], shape.window, &a);
        y.extend(most);
        positions.extend(from.into_iter().map(|i| image * of_image + i));
    }
    (y, positions)
}

pub fn forward(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (conv, images) = (small(draw), draw.below(3));
    let right = ConvPoolShape { conv, window: 1 + draw.below(3) };
    let x = images_of(draw, &conv.input(), images, Draw::values);
    let (k, n) = (draw.near_len(conv.patch()) % 2048, draw.near_len(conv.outputs) % 64);
    let w = draw.values(k * n);
    let packed = pack(&w, k, n);
    let bias_len = draw.near_len(conv.outputs.next_multiple_of(16));
    let bias = draw.values(bias_len);
    let (rows, cols) = (draw.near(images * right.windows()), draw.near(conv.outputs));
    let mut y = Out::drawn(draw, rows, cols, false);
    let z_len = draw.near_len(images * right.windows() * conv.outputs);
    let mut z = draw.flag().then(|| vec![f32::NAN; z_len]);
    // Argmax positions of another layer, or of another number of images.
    let of = ConvPoolShape { window: 1 + draw.near(right.window - 1) % 4, ..right };
    let (room, shape) = (draw.near(images) % 4, near(draw, &conv));
    let (shape, images) = (ConvPoolShape { conv: shape, window: draw.near(right.window) }, draw.near(images));
    let mut max_indices = MaxIndices::new(&of, room);
    let even = |map: &Rows| map.width == usize::MAX || map.width.is_multiple_of(shape.out_cols().max(1));
    let outputs = shape.conv.outputs as u128;
    let fits = same_max_indices(&shape, &of)
        && images <= room
        && same(&[
            (k, patch(&shape.conv)),
            (n, outputs),
            (x.len(), floats(&shape.conv.input(), images)),
            (y.rows(), windows(&shape, images)),
            (y.cols(), outputs),
        ])
        && [outputs, outputs.div_ceil(16) * 16].contains(&(bias.len() as u128))
        && z.as_ref().is_none_or(|z| z.len() as u128 == windows(&shape, images) * outputs)
        && (y.rows() == 0 || even(y.map()));
    if fits && huge(&shape.conv, images) {
        return;
    }
    let (z_before, panels) = (z.clone(), Panels::new(&packed, k, n));
    let to = z.as_deref_mut();
    let result = conv_max_pool(
        kernels,
        ConvMaxPool {
            shape: &shape,
            x: &x,
            images,
            w: panels,
            bias: &bias,
            y: y.view(),
            max_indices: &mut max_indices,
            z: to,
        },
    );
    if !agrees(draw, result, fits) {
        let untouched = z.iter().zip(&z_before).all(|(z, before)| same_bits(z, before));
        assert!(untouched, "sums written although it was refused");
        return y.untouched();
    }
    let (j, k) = (shape.conv.rows * shape.conv.cols * shape.conv.inputs, shape.conv.output().pixels() * n);
    let dense = reference::conv_as_dense(&shape.conv, &w);
    let sums = reference::gemm(&inside(&shape.conv.input(), &x, images), &dense, images, k, j);
    let (most, positions) = pooled(&shape, &sums, &bias, images);
    close("maxima", &y.written(), &most.iter().map(|&y| f64::from(y)).collect::<Vec<_>>(), 0.0);
    if let Some(z) = z {
        close(
            "sums at the argmax positions",
            &z,
            &positions.iter().map(|&i| sums[i]).collect::<Vec<_>>(),
            0.0,
        );
    }
}

pub fn back(draw: &mut Draw) {
    let layer = Forward::drawn(draw, Draw::activations);
    let (conv, packed) = (layer.shape.conv, layer.packed());
    let v = layer.values(draw);
    let mut out = layer.lines(draw);
    let (images, count) = (draw.near(layer.images), draw.near_len(2) % 3);
    let filters = Filters::new(
        &layer.shape,
        Panels::new(&packed, conv.patch(), conv.outputs),
        Part::Positive,
        Some(Part::Negative),
    );
    let a = conv.input().lines_of(&layer.x, layer.images);
    let epilogues = [(-1.0, false), (1.0, true)].map(|(shift, add)| Epilogue::Times { a, shift, add });
    let fits = have(&layer.shape, layer.images, &v, images)
        && layer.have_lines(&out, images)
        && count == 2
        && same(&[(a.rows(), times(&[images, conv.rows]))]);
    let result = conv_max_pool_input_gradient(
        layer.kernels,
        ConvMaxPoolInputGradient {
            filters: &filters,
            max_indices: &layer.max_indices,
            d_h: v.view(),
            images,
            epilogues: &epilogues[..count],
            d_x: out.view(),
        },
    );
    if !agrees(draw, result, fits) {
        return out.untouched();
    }
    let (j, k) = layer.dense_size();
    let (dense, v) = (reference::conv_as_dense(&conv, &layer.w), layer.at_positions(&v.plain(), images));
    let mut want = vec![0.0; images * j];
    let x = inside(&conv.input(), &layer.x, images);
    for ((i, want), x) in want.iter_mut().enumerate().zip(x) {
        let (image, x) = (i / j, f64::from(x));
        for o in 0..k {
            let w = f64::from(dense[i % j * k + o]);
            *want += v[image * k + o] * (w.max(0.0) * (x + 1.0) + w.min(0.0) * (x - 1.0));
        }
    }
    close("input gradient", &out.written(), &want, 1.0);
}

pub fn weight_gradient(draw: &mut Draw) {
    let mut layer = Forward::drawn(draw, Draw::values);
    let d_y = layer.values(draw);
    let len = draw.near_len(layer.x.len());
    let shape = ConvPoolShape { conv: near(draw, &layer.shape.conv), window: draw.near(layer.shape.window) };
    let (images, conv) = (draw.near(layer.images), layer.shape.conv);
    let mut d_w = vec![f32::NAN; draw.near_len(panels_len(conv.patch(), conv.outputs))];
    let fits = same_max_indices(&shape, &layer.shape)
        && have(&shape, layer.images, &d_y, images)
        && same(&[
            (len, floats(&shape.conv.input(), images)),
            (d_w.len(), panels(patch(&shape.conv), shape.conv.outputs)),
        ]);
    if fits && huge(&shape.conv, images) {
        return;
    }
    layer.x.resize(len, 1.0);
    let (before, view) = (d_w.clone(), d_y.view());
    let Forward { kernels, x, max_indices, .. } = &layer;
    let result = conv_max_pool_weight_gradient(
        kernels,
        ConvMaxPoolWeightGradient { shape: &shape, x, max_indices, d_h: view, images, d_w: &mut d_w },
    );
    if !agrees(draw, result, fits) {
        return assert!(same_bits(&d_w, &before), "written although it was refused");
    }
    let conv = shape.conv;
    let (pixels, patch) = (images * conv.output().pixels(), conv.patch());
    let mut patches = vec![0.0; pixels * patch];
    if patch * conv.outputs > 0 {
        kernels::conv::im2col::im2col(&conv, &layer.x, images, &mut patches);
    }
    let d_y: Vec<f32> = layer.at_positions(&d_y.plain(), images).iter().map(|&d| d as f32).collect();
    let patches = reference::transposed(&patches, pixels, patch);
    let want = reference::gemm(&patches, &d_y, patch, conv.outputs, pixels);
    close("weight gradient", &unpack(Panels::new(&d_w, patch, conv.outputs)), &want, 0.0);
}

pub fn relevance(draw: &mut Draw) {
    let rule = rule(draw);
    let mut layer = Forward::drawn(draw, domain(&rule));
    let (conv, packed) = (layer.shape.conv, layer.packed());
    let panels = Panels::new(&packed, conv.patch(), conv.outputs);
    let packed =
        &PackedRule::conv_max_pool(layer.kernels, &rule, &layer.shape, panels).expect("the layer's weights");
    let r_out = layer.values(draw);
    let mut r_in = layer.lines(draw);
    let (x_len, z_len) = (draw.near_len(layer.x.len()), draw.near_len(layer.z.len()));
    let mut absorbed = vec![1.0; draw.near_len(layer.images)];
    let images = absorbed.len();
    let z_fits = same(&[(z_len, windows(&layer.shape, images) * conv.outputs as u128)]);
    let fits = have(&layer.shape, layer.images, &r_out, images)
        && layer.have_lines(&r_in, images)
        && same(&[(x_len, floats(&conv.input(), images))])
        && (!packed.reads_forward() || z_fits);
    layer.x.resize(x_len, 1.0);
    layer.z.resize(z_len, 1.0);
    let Forward { kernels, x, z, max_indices, .. } = &layer;
    let operands = RelevanceConvMaxPool {
        rule: packed,
        x,
        max_indices,
        z: Some(z),
        r_out: r_out.view(),
        r_in: r_in.view(),
        absorbed: &mut absorbed,
    };
    if !agrees(draw, relevance_conv_max_pool(kernels, operands), fits) {
        assert!(absorbed.iter().all(|&a| a == 1.0), "absorbed something although it was refused");
        return r_in.untouched();
    }
    let ((j, k), found) = (layer.dense_size(), r_in.written());
    let r = layer.at_positions(&r_out.plain(), images);
    let x = inside(&conv.input(), &layer.x, images);
    let scale = 4.0 * largest(&r_out.plain()) * k.max(1) as f64;
    for i in 0..images {
        let a = if x.is_empty() { &[][..] } else { &x[i * j..][..j] };
        let (want, of_stabilisers) = of_image(&conv, &rule, a, &layer.w, &r[i * k..][..k]);
        close("relevance", &found[i * j..][..j], &want, scale);
        close("absorbed", &[(absorbed[i] - 1.0) as f32], &[of_stabilisers], scale);
    }
}

//! Convolutions and pools.

use super::draw::{Draw, panels, same, times};
use super::operand::{Mat, Out, agrees, close, same_bits};
use super::product::Ends;
use kernels::pack::{pack, unpack};
use kernels::pool::{self, PoolBack, PoolKind, PoolShape};
use kernels::{ConvShape, Kernels, Panels, Plane, panels_len, reference};

/// A convolution of a few pixels.
pub fn small(draw: &mut Draw) -> ConvShape {
    let (inputs, outputs) = (draw.below(11), [0, 1, 1, 2, 3, 16, 17][draw.below(7)]);
    ConvShape { rows: draw.below(5), cols: draw.below(5), size: draw.below(4) * 2 + 1, inputs, outputs }
}

/// The same convolution, or one that differs.
pub fn near(draw: &mut Draw, shape: &ConvShape) -> ConvShape {
    let ConvShape { rows, cols, size, inputs, outputs } = *shape;
    ConvShape {
        rows: draw.near(rows),
        cols: draw.near(cols),
        size: draw.near(size),
        inputs: draw.near(inputs),
        outputs: draw.near(outputs),
    }
}

pub fn patch(shape: &ConvShape) -> u128 {
    times(&[shape.size, shape.size, shape.inputs])
}

/// Floats of the images of a plane, without overflow.
pub fn floats(plane: &Plane, images: usize) -> u128 {
    let [rows, cols] = [plane.rows, plane.cols].map(|size| size as u128 + 2 * plane.pad as u128);
    rows.saturating_mul(cols).saturating_mul(times(&[plane.channels, images]))
}

pub fn huge(shape: &ConvShape, images: usize) -> bool {
    let ConvShape { rows, cols, size, inputs, outputs } = *shape;
    [rows, cols, size, inputs, outputs, images].into_iter().any(|size| size > 256)
}

/// As many floats as the images have, or another number; if the number is right, they are images with a
/// border.
pub fn images_of(
    draw: &mut Draw,
    plane: &Plane,
    images: usize,
    values: fn(&mut Draw, usize) -> Vec<f32>,
) -> Vec<f32> {
    let right = images * plane.len();
    let len = draw.near_len(right);
    let pixels = images * plane.pixels() * plane.channels;
    let pixels = values(draw, pixels);
    let mut padded = if plane.is_empty() { vec![0.0; right] } else { plane.padded(&pixels, images) };
    padded.resize(len, 1.0);
    padded
}

/// The pixels without the border, row-major.
pub fn inside(plane: &Plane, padded: &[f32], images: usize) -> Vec<f32> {
    if plane.is_empty() {
        return vec![];
    }
    let view = plane.pixels_of(padded, images);
    (0..view.rows()).flat_map(|i| view.row(i).to_vec()).collect()
}

pub fn conv(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (right, images) = (small(draw), draw.below(3));
    let x = images_of(draw, &right.input(), images, Draw::values);
    let (k, n) = (draw.near_len(right.patch()) % 2048, draw.near_len(right.outputs) % 64);
    let w = draw.values(k * n);
    let packed = pack(&w, k, n);
    let pixels = images * right.rows * right.cols;
    let ends = Ends::drawn(draw, pixels, right.outputs);
    let (c_m, c_n) = (draw.near(pixels), draw.near(right.outputs));
    let mut c = Out::drawn(draw, c_m, c_n, ends.reads_c());
    let (shape, images) = (near(draw, &right), draw.near(images));
    let fits = !shape.size.is_multiple_of(2)
        && same(&[
            (k, patch(&shape)),
            (n, shape.outputs as u128),
            (x.len(), floats(&shape.input(), images)),
            (c.rows(), times(&[images, shape.rows, shape.cols])),
            (c.cols(), shape.outputs as u128),
        ])
        && ends.fit(c.rows(), c.cols());
    if fits && huge(&shape, images) {
        return;
    }
    let before = c.before();
    let panels = Panels::new(&packed, k, n);
    let result = kernels::conv(
        kernels,
        kernels::Conv {
            shape: &shape,
            x: &x,
            images,
            w: panels,
            init: ends.init(),
            epilogue: ends.epilogue(),
            y: c.view(),
        },
    );
    if !agrees(draw, result, fits) {
        return c.untouched();
    }
    let dense = reference::conv_as_dense(&shape, &w);
    let (j, k) = (shape.rows * shape.cols * shape.inputs, shape.rows * shape.cols * shape.outputs);
    let sums = reference::gemm(&inside(&shape.input(), &x, images), &dense, images, k, j);
    close("conv", &c.written(), &ends.want(&sums, &before, n), 0.0);
}

pub fn conv_weight_gradient(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (right, images) = (small(draw), draw.below(3));
    let x = images_of(draw, &right.input(), images, Draw::values);
    let d_y = images_of(draw, &right.output(), images, Draw::values);
    let mut d_w = vec![f32::NAN; draw.near_len(panels_len(right.patch(), right.outputs))];
    let (shape, images) = (near(draw, &right), draw.near(images));
    let fits = !shape.size.is_multiple_of(2)
        && same(&[
            (x.len(), floats(&shape.input(), images)),
            (d_y.len(), floats(&shape.output(), images)),
            (d_w.len(), panels(patch(&shape), shape.outputs)),
        ]);
    if fits && huge(&shape, images) {
        return;
    }
    let before = d_w.clone();
    let result = kernels::conv_weight_gradient(kernels, &shape, &x, &d_y, images, &mut d_w);
    if !agrees(draw, result, fits) {
        return assert!(same_bits(&d_w, &before), "written although it was refused");
    }
    let (pixels, patch) = (images * shape.rows * shape.cols, shape.patch());
    let mut patches = vec![0.0; pixels * patch];
    let d_y = inside(&shape.output(), &d_y, images);
    if patch * shape.outputs > 0 {
        kernels::conv::im2col::im2col(&shape, &x, images, &mut patches);
    }
    let patches = reference::transposed(&patches, pixels, patch);
    let d_y = if d_y.is_empty() { vec![0.0; pixels * shape.outputs] } else { d_y };
    let want = reference::gemm(&patches, &d_y, patch, shape.outputs, pixels);
    close("weight gradient", &unpack(Panels::new(&d_w, patch, shape.outputs)), &want, 0.0);
}

/// A pool's shape, a number of images, and the required sizes of its operands.
struct Pooled {
    shape: PoolShape,
    images: usize,
    pixels: u128,
    pooled: u128,
}

impl Pooled {
    fn of(shape: PoolShape, images: usize) -> Pooled {
        let size = shape.size.max(1);
        let pooled = times(&[images, shape.rows.div_ceil(size), shape.cols.div_ceil(size)]);
        Pooled { shape, images, pixels: times(&[images, shape.rows, shape.cols]), pooled }
    }

    fn fits(&self, x: [(usize, usize, &kernels::Rows); 2], y: [(usize, usize, &kernels::Rows); 2]) -> bool {
        let PoolShape { cols, channels, size, .. } = self.shape;
        let even = |map: &kernels::Rows, cols: usize| {
            map.width == usize::MAX || map.width.is_multiple_of(cols.max(1))
        };
        (1..=15).contains(&size)
            && x.iter().all(|&(m, n, map)| m as u128 == self.pixels && n == channels && even(map, cols))
            && y.iter().all(|&(m, n, map)| {
                m as u128 == self.pooled && n == channels && even(map, cols.div_ceil(size))
            })
    }

    fn huge(&self) -> bool {
        let PoolShape { rows, cols, channels, .. } = self.shape;
        [rows, cols, channels, self.images].into_iter().any(|size| size > 256)
    }
}

fn small_pool(draw: &mut Draw) -> (PoolShape, usize) {
    let kind = if draw.flag() { PoolKind::Max } else { PoolKind::Sum };
    let (rows, cols, channels) = (draw.below(7), draw.below(7), draw.size());
    (PoolShape { rows, cols, channels, size: 1 + draw.below(4), kind }, draw.below(3))
}

fn near_pool(draw: &mut Draw, shape: PoolShape, images: usize) -> Pooled {
    let PoolShape { rows, cols, channels, size, kind } = shape;
    let shape = PoolShape {
        rows: draw.near(rows),
        cols: draw.near(cols),
        channels: draw.near(channels),
        size: draw.near(size),
        kind,
    };
    Pooled::of(shape, draw.near(images))
}

pub fn pool(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (shape, images) = small_pool(draw);
    let Pooled { pixels, pooled, .. } = Pooled::of(shape, images);
    let (rows, cols) = (draw.near(pixels as usize), draw.near(shape.channels));
    let x = Mat::drawn(draw, rows, cols, Draw::values);
    let (rows, cols) = (draw.near(pooled as usize), draw.near(shape.channels));
    let mut y = Out::drawn(draw, rows, cols, false);
    let of = near_pool(draw, shape, images);
    let ((x_is, y_is), shape) = (((x.rows, x.cols, &x.map), (y.rows(), y.cols(), y.map())), of.shape);
    let fits = of.fits([x_is; 2], [y_is; 2]);
    if fits && of.huge() {
        return;
    }
    let result = pool::pool(kernels, shape, of.images, x.view(), y.view());
    if !agrees(draw, result, fits) {
        return y.untouched();
    }
    let expected = expected(&of, &x.plain(), None);
    close("pool", &y.written(), &expected.0, 0.0);
}

/// The pooled pixels, and the gradient or relevance of the input from that of the pooled pixels.
fn expected(of: &Pooled, x: &[f32], back: Option<(&[f32], PoolBack)>) -> (Vec<f64>, Vec<f64>) {
    let PoolShape { rows, cols, channels, size, kind } = of.shape;
    let (mut y, mut d_x) = (Vec::new(), Vec::new());
    for x in x.chunks_exact((rows * cols * channels).max(1)) {
        let (most, from) = reference::max_pool([rows, cols, channels], size, x);
        let (sums, into) = reference::sum_pool([rows, cols, channels], size, x);
        let before = y.len();
        match kind {
            PoolKind::Max => y.extend(most.iter().map(|&y| f64::from(y))),
            PoolKind::Sum => y.extend(&sums),
        }
        let Some((back, what)) = back else { continue };
        for (i, &a) in x.iter().enumerate() {
            let wins = kind == PoolKind::Sum || from[into[i]] == i;
            let (a, r) = (f64::from(a), if wins { f64::from(back[before + into[i]]) } else { 0.0 });
            d_x.push(match what {
                PoolBack::Gradient { .. } if a <= 0.0 => 0.0,
                PoolBack::Gradient { guided } => {
                    if guided {
                        r.max(0.0)
                    } else {
                        r
                    }
                }
                PoolBack::Relevance { .. } if kind == PoolKind::Max => r,
                PoolBack::Relevance { eps } => r * a / (sums[into[i]] + f64::from(eps)),
            });
        }
    }
    (y, d_x)
}

pub fn pool_backward(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (shape, images) = small_pool(draw);
    let Pooled { pixels, pooled, .. } = Pooled::of(shape, images);
    let what = match draw.below(3) {
        0 => PoolBack::Gradient { guided: false },
        1 => PoolBack::Gradient { guided: true },
        _ => PoolBack::Relevance { eps: 1e-9 },
    };
    let mut matrix = |rows: u128, values: fn(&mut Draw, usize) -> Vec<f32>| {
        let (rows, cols) = (draw.near(rows as usize), draw.near(shape.channels));
        Mat::drawn(draw, rows, cols, values)
    };
    let (a, back) = (matrix(pixels, Draw::activations), matrix(pooled, Draw::values));
    let mut y = matrix(pooled, Draw::activations);
    let (rows, cols) = (draw.near(pixels as usize), draw.near(shape.channels));
    let mut out = Out::drawn(draw, rows, cols, false);
    let of = near_pool(draw, shape, images);
    let shape_of = |mat: &Mat| (mat.rows, mat.cols);
    let fits = {
        let (a, out) = ((a.rows, a.cols, &a.map), (out.rows(), out.cols(), out.map()));
        of.fits([a, out], [(back.rows, back.cols, &back.map), (y.rows, y.cols, &y.map)])
    };
    if fits && of.huge() {
        return;
    }
    if fits {
        // The result of pooling `a`, which the kernel may rely on; `y` has the right shape.
        let (rows, cols) = shape_of(&y);
        let pooled = expected(&of, &a.plain(), None).0;
        assert_eq!(pooled.len(), rows * cols);
        let data = pooled.iter().map(|&y| y as f32).collect();
        y = Mat::plainly(rows, cols, data);
    }
    let result = pool::pool_backward(
        kernels,
        pool::PoolBackward {
            shape: of.shape,
            images: of.images,
            what,
            a: a.view(),
            pooled: y.view(),
            back: back.view(),
            out: out.view(),
        },
    );
    if !agrees(draw, result, fits) {
        return out.untouched();
    }
    let (_, want) = expected(&of, &a.plain(), Some((&back.plain(), what)));
    close("pool_backward", &out.written(), &want, 0.0);
}

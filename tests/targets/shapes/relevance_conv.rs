//! Every rule of convolutions, against that of the dense layer that a convolution is.

use super::convolution::{floats, huge, images_of, inside, near, patch, small};
use super::draw::{Draw, same, times};
use super::operand::{Mat, Out, agrees, close, largest};
use super::relevance::{domain, rule};
use kernels::pack::pack;
use kernels::reference::{self, Input};
use kernels::relevance::{PackedRule, RelevanceConv, Rule, relevance_conv};
use kernels::{ConvShape, Panels};

/// Pixels from −1 to 1.
pub fn pixels(draw: &mut Draw, len: usize) -> Vec<f32> {
    (0..len).map(|_| draw.value() / 2.0).collect()
}

/// The relevance of an image by the definition of the rule.
pub fn of_image(shape: &ConvShape, rule: &Rule, a: &[f32], w: &[f32], r: &[f64]) -> (Vec<f64>, f64) {
    let dense = reference::conv_as_dense(shape, w);
    let connected = reference::conv_as_dense(shape, &vec![1.0; w.len()]);
    let k = r.len();
    let w = |i: usize, o: usize| (connected[i * k + o] != 0.0).then(|| dense[i * k + o]);
    let (r_in, absorbed) = reference::shared_relevance(&[Input { rule, a, w: &w }], r);
    (r_in.into_iter().flatten().collect(), absorbed)
}

pub fn relevance(draw: &mut Draw) {
    let (kernels, rule) = (draw.kernels(), rule(draw));
    let (right, images) = (small(draw), draw.below(3));
    let w = draw.values(right.patch() * right.outputs);
    // The convolution whose weights they are, or one that has others.
    let shape = near(draw, &right);
    let weights_fit = !shape.size.is_multiple_of(2)
        && same(&[(right.patch(), patch(&shape)), (right.outputs, shape.outputs as u128)]);
    // What fits and is large is made, as it was asked for.
    if weights_fit && huge(&shape, 1) && floats(&shape.input(), 1) <= usize::MAX as u128 {
        return;
    }
    let packed = pack(&w, right.patch(), right.outputs);
    let packed = Panels::new(&packed, right.patch(), right.outputs);
    let made = PackedRule::conv(kernels, &rule, &shape, packed);
    assert_eq!(made.is_ok(), weights_fit && !huge(&shape, 1), "{made:?}");
    let Ok(packed) = made else { return };
    let count = images * right.rows * right.cols;
    let x = images_of(draw, &right.input(), images, domain(&rule));
    let (rows, cols) = (draw.near(count), draw.near(right.outputs));
    let r_out = Mat::drawn(draw, rows, cols, Draw::values);
    let (rows, cols) = (draw.near(count), draw.near(right.inputs));
    let mut r_in = Out::drawn(draw, rows, cols, false);
    let mut absorbed = vec![1.0; draw.near_len(images)];
    let images = absorbed.len();
    let of_shape = times(&[images, shape.rows, shape.cols]);
    let (rows, cols) = (draw.near(count), draw.near(right.outputs));
    let mut z = Mat::drawn(draw, rows, cols, Draw::values);
    let z_fits = same(&[(z.rows, of_shape), (z.cols, shape.outputs as u128)]);
    let fits = same(&[
        (x.len(), floats(&shape.input(), images)),
        (r_out.rows, of_shape),
        (r_out.cols, shape.outputs as u128),
        (r_in.rows(), of_shape),
        (r_in.cols(), shape.inputs as u128),
    ]) && (!packed.reads_forward() || z_fits);
    if fits && huge(&shape, images) {
        return;
    }
    let (j, k) = (shape.rows * shape.cols * shape.inputs, shape.rows * shape.cols * shape.outputs);
    let bare = if fits { inside(&shape.input(), &x, images) } else { vec![] };
    if fits && z_fits {
        let product = reference::gemm(&bare, &reference::conv_as_dense(&shape, &w), images, k, j);
        z = Mat::plainly(z.rows, z.cols, product.iter().map(|&z| z as f32).collect());
    }
    let operands = RelevanceConv {
        rule: &packed,
        a: &x,
        z: Some(z.view()),
        r_out: r_out.view(),
        r_in: r_in.view(),
        absorbed: &mut absorbed,
    };
    if !agrees(draw, relevance_conv(kernels, operands), fits) {
        assert!(absorbed.iter().all(|&a| a == 1.0), "absorbed something although it was refused");
        return r_in.untouched();
    }
    let (r, found) = (r_out.plain(), r_in.written());
    let scale = 4.0 * largest(&r) * k.max(1) as f64;
    for i in 0..images {
        let r: Vec<f64> = r[i * k..][..k].iter().map(|&r| f64::from(r)).collect();
        let (want, of_stabilisers) = of_image(&shape, &rule, &bare[i * j..][..j], &w, &r);
        close("relevance", &found[i * j..][..j], &want, scale);
        close("absorbed", &[(absorbed[i] - 1.0) as f32], &[of_stabilisers], scale);
    }
}

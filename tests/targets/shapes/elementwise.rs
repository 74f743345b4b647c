//! Sums, losses, biases and optimisers.

use super::draw::Draw;
use super::operand::{Mat, Out, agrees, close, same_bits};
use kernels::elementwise::optimiser::{self, AdamStep};
use kernels::elementwise::{activation, reduce, softmax};
use kernels::{Kernels, reference};

pub fn column_sums(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (m, n) = (draw.size(), draw.size() * (1 + draw.below(3)));
    let (rows, cols) = (draw.near(m), draw.near(n));
    let x = Mat::drawn(draw, rows, cols, Draw::values);
    let mut sums = vec![f32::NAN; draw.near_len(n)];
    let fits = sums.len() == x.cols;
    if fits && x.rows > 1024 {
        return;
    }
    let result = reduce::column_sums(kernels, x.view(), &mut sums);
    if !agrees(draw, result, fits) {
        return assert!(sums.iter().all(|x| x.is_nan()), "written although it was refused");
    }
    let mut want = vec![0.0; x.cols];
    for i in 0..x.rows {
        want.iter_mut().zip(x.row(i)).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    close("column_sums", &sums, &want, 0.0);
}

pub fn cross_entropy(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (n, classes) = (draw.below(9), draw.below(20));
    let (rows, cols) = (draw.near(n), draw.near(classes));
    let logits = Mat::drawn(draw, rows, cols, Draw::values);
    let labels: Vec<u8> = (0..draw.near_len(n))
        .map(|_| (draw.near(0) as u8).wrapping_add(draw.below(classes.max(1)) as u8))
        .collect();
    let mut losses = vec![7.0; draw.near_len(n)];
    let (rows, cols) = (draw.near(n), draw.near(classes));
    let mut gradient = Out::drawn(draw, rows, cols, false);
    let (n, classes) = (logits.rows, logits.cols);
    let fits = labels.len() == n
        && losses.len() == n
        && (gradient.rows(), gradient.cols()) == (n, classes)
        && labels.iter().all(|&label| usize::from(label) < classes);
    let zero_logit = draw.below(2) == 1;
    let operands = softmax::CrossEntropy {
        logits: logits.view(),
        labels: &labels,
        zero_logit,
        gradient: gradient.view(),
        losses: &mut losses,
    };
    let result = softmax::cross_entropy(kernels, operands);
    if !agrees(draw, result, fits) {
        assert!(losses.iter().all(|&loss| loss == 7.0), "written although it was refused");
        return gradient.untouched();
    }
    let found = gradient.written();
    for (i, &label) in labels.iter().enumerate() {
        let (loss, want) = reference::cross_entropy(logits.row(i), usize::from(label), n, zero_logit);
        close("losses", &[losses[i]], &[loss], 1.0);
        close("gradient", &found[i * classes..][..classes], &want, 1.0);
    }
}

pub fn softplus(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let k = draw.size();
    let b = draw.values(k);
    let longer = k + draw.below(20);
    let mut bias = vec![f32::NAN; draw.near_len(longer)];
    let fits = bias.len() >= k;
    let result = activation::softplus_bias(kernels, &b, &mut bias);
    if agrees(draw, result, fits) {
        let softplus = |i| if i < k { -reference::softplus(f64::from(b[i])) } else { 0.0 };
        let want: Vec<f64> = (0..bias.len()).map(softplus).collect();
        close("softplus", &bias, &want, 0.0);
    } else {
        assert!(bias.iter().all(|x| x.is_nan()), "written although it was refused");
    }
    let len = draw.near_len(k);
    let before = draw.values(len);
    let mut d_b = before.clone();
    let result = activation::softplus_gradient(kernels, &b, &mut d_b);
    if !agrees(draw, result, len == k) {
        return assert!(same_bits(&d_b, &before), "written although it was refused");
    }
    let one = |(&d, &b): (&f32, &f32)| -f64::from(d) * reference::sigmoid(f64::from(b));
    close("softplus'", &d_b, &before.iter().zip(&b).map(one).collect::<Vec<f64>>(), 0.0);
}

pub fn bias_relu(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let (m, k) = (draw.size(), draw.size());
    let (rows, cols) = (draw.near(m), draw.near(k));
    let z = Mat::drawn(draw, rows, cols, Draw::values);
    let longer = k + draw.below(20);
    let len = draw.near_len(longer);
    let bias = draw.values(len);
    let (rows, cols) = (draw.near(m), draw.near(k));
    let mut a = Out::drawn(draw, rows, cols, false);
    let fits = (a.rows(), a.cols()) == (z.rows, z.cols) && len >= z.cols;
    let result = activation::bias_relu(kernels, z.view(), &bias, a.view());
    if !agrees(draw, result, fits) {
        return a.untouched();
    }
    let z = z.plain();
    let k = a.cols();
    let one = |(i, &z): (usize, &f32)| f64::from((z + bias[i % k]).max(0.0));
    close("bias_relu", &a.written(), &z.iter().enumerate().map(one).collect::<Vec<f64>>(), 0.0);
}

pub fn adam(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let p = draw.size();
    let lens = [0; 4].map(|_| draw.near_len(p));
    let (grad, param) = (draw.values(lens[0]), draw.values(lens[3]));
    let (mut m, mut v, mut new) = (vec![0.0; lens[1]], vec![0.0; lens[2]], param.clone());
    let fits = lens.iter().all(|&len| len == lens[3]);
    let result = optimiser::adam(kernels, AdamStep::new(0.1, 1), &grad, &mut m, &mut v, &mut new);
    if !agrees(draw, result, fits) {
        return assert!(same_bits(&new, &param) && m.iter().chain(&v).all(|&x| x == 0.0), "written");
    }
    let one = |(&p, &g): (&f32, &f32)| reference::adam(f64::from(0.1f32), &[f64::from(g)], f64::from(p));
    close("adam", &new, &param.iter().zip(&grad).map(one).collect::<Vec<f64>>(), 1.0);
}

pub fn sgd(draw: &mut Draw) {
    let kernels: &Kernels = draw.kernels();
    let p = draw.size();
    let lens = [0; 3].map(|_| draw.near_len(p));
    let (grad, param) = (draw.values(lens[0]), draw.values(lens[2]));
    let (mut m, mut new) = (vec![0.0; lens[1]], param.clone());
    let fits = lens.iter().all(|&len| len == lens[2]);
    let result = optimiser::sgd(kernels, 0.5, 0.5, &grad, &mut m, &mut new);
    if !agrees(draw, result, fits) {
        return assert!(same_bits(&new, &param) && m.iter().all(|&x| x == 0.0), "written");
    }
    let one = |(&p, &g): (&f32, &f32)| reference::sgd(0.5, 0.5, &[f64::from(g)], f64::from(p));
    close("sgd", &new, &param.iter().zip(&grad).map(one).collect::<Vec<f64>>(), 0.0);
}

//! Temporary: the rules as data have the bits of the rule kernels.
use super::pooled::{PooledRule, relevance_pooled};
use super::z_beta::{ZBeta, z_beta, z_beta_conv};
use super::{alpha_beta, joint, w_square, z_plus, *};
use crate::conv::max_pool::*;
use crate::conv::{Conv, conv};
use crate::gemm::gemm;
use crate::testing::{activations, floats, kernel_sets};
use crate::{ConvShape, Epilogue, Init};
use proptest::prelude::*;

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dense(n in 0usize..150, j in 1usize..80, k in 1usize..80, which in 0usize..4, seed in 1u64..1000) {
        let (x, w, r) = (floats(n * j, seed), floats(j * k, seed + 1), floats(n * k, seed + 2));
        let a_of = activations(n * j, seed);
        let packed = pack::pack(&w, j, k);
        let panels = Panels::new(&packed, j, k);
        for kernels in kernel_sets() {
            let a = MatRef::new(if which < 2 { &a_of } else { &x }, n, j);
            let r_out = MatRef::new(&r, n, k);
            let mut z = vec![0.0; n * k];
            gemm(&kernels, a, panels, Init::Zero, Epilogue::Store, MatMut::new(&mut z, n, k)).unwrap();
            let (mut old, mut lost) = (vec![f32::NAN; n * j], vec![0.0; n]);
            let out = MatMut::new(&mut old, n, j);
            let part = |p| PackedPart::dense(panels, p);
            let rule = match which {
                0 => {
                    z_plus::z_plus(&kernels, a, &part(Part::Positive), r_out, out, &mut lost).unwrap();
                    Rule::z_plus()
                }
                1 => {
                    alpha_beta::alpha_beta(&kernels, (2.0, 1.0), a, &part(Part::Positive), &part(Part::Negative), r_out, out, &mut lost).unwrap();
                    Rule::alpha_beta(2.0, 1.0)
                }
                2 => {
                    let rule = ZBeta::dense(panels, -1.0, 1.0);
                    z_beta(&kernels, &rule, a, &mut z.clone(), r_out, out, &mut lost).unwrap();
                    Rule::z_beta(-1.0, 1.0)
                }
                _ => {
                    let square = part(Part::Square);
                    let z = w_square::dense_denominators(&square);
                    w_square::w_square(&kernels, &square, &z, r_out, out, &mut vec![0.0; n * k], &mut lost).unwrap();
                    Rule::w_square()
                }
            };
            let rule = PackedRule::dense(&rule, panels);
            let (mut new, mut absorbed) = (vec![f32::NAN; n * j], vec![0.0; n]);
            let z = Some(MatRef::new(&z, n, k));
            relevance(&kernels, Relevance { rule: &rule, a, z, r_out, r_in: MatMut::new(&mut new, n, j), absorbed: &mut absorbed }).unwrap();
            assert_eq!(bits(&old), bits(&new), "{:?} {}", kernels.name(), which);
            assert_eq!(lost, absorbed);
        }
    }

    #[test]
    fn joint_bits(n in 0usize..30, p in 1usize..40, j in 1usize..40, k in 1usize..60, pixels in 0usize..3, beta in 0usize..2, exists: bool, seed in 1u64..1000) {
        let (x, a) = (if pixels == 0 { activations(n * p, seed) } else { floats(n * p, seed) }, activations(n * j, seed + 1));
        let (wx, wr, r) = (floats(p * k, seed + 2), floats(j * k, seed + 3), floats(n * k, seed + 4));
        let (px, pr) = (pack::pack(&wx, p, k), pack::pack(&wr, j, k));
        let (wx, wr) = (Panels::new(&px, p, k), Panels::new(&pr, j, k));
        let groups = 1 + beta;
        let beta = beta as f32;
        for kernels in kernel_sets() {
            let (x, r_out) = (MatRef::new(&x, n, p), MatRef::new(&r, n, k));
            let r_t = if exists { MatRef::new(&a, n, j) } else { MatRef::new(&[], n, 0) };
            let mut z = vec![0.0; n * k];
            gemm(&kernels, x, wx, Init::Zero, Epilogue::Store, MatMut::new(&mut z, n, k)).unwrap();
            let parts = [Part::Positive, Part::Negative].map(|q| PackedPart::dense(wr, q));
            let parts_x = [Part::Positive, Part::Negative].map(|q| PackedPart::dense(wx, q));
            let z_beta = ZBeta::dense(wx, -1.0, 1.0);
            let square = PackedPart::dense(wx, Part::Square);
            let mut old = Vec::new();
            let mut lost = vec![0.0; n];
            let mut cs = Vec::new();
            for g in 0..groups {
                let mut base = vec![0.0; n * k];
                if pixels == 0 {
                    gemm(&kernels, x, parts_x[g].forward(), Init::Zero, Epilogue::Store, MatMut::new(&mut base, n, k)).unwrap();
                } else if g == 0 && pixels == 1 {
                    base = z.clone();
                    z_beta.subtract_v(&kernels, MatMut::new(&mut base, n, k)).unwrap();
                } else if g == 0 {
                    let sums = w_square::dense_denominators(&square);
                    base = sums.repeat(n);
                }
                let mut c = vec![0.0; n * k];
                let (coefficient, eps) = [(1.0 + beta, EPS), (-beta, -EPS)][g];
                joint::ratios(&kernels, MatRef::new(&base, n, k), r_t, &parts[g], (coefficient, eps), r_out, MatMut::new(&mut c, n, k), &mut lost).unwrap();
                old.extend(base);
                old.extend(&c);
                cs.push(c);
            }
            let pools: Vec<_> = cs.iter().enumerate().map(|(g, c)| (MatRef::new(c, n, k), &parts[g])).collect();
            let mut r_a = vec![0.0; n * j];
            joint::messages(&kernels, &pools, MatRef::new(&a, n, j), MatMut::new(&mut r_a, n, j)).unwrap();
            old.extend(r_a);
            let mut r_x = vec![0.0; n * p];
            let out = MatMut::new(&mut r_x, n, p);
            match pixels {
                0 => {
                    let pools: Vec<_> = cs.iter().enumerate().map(|(g, c)| (MatRef::new(c, n, k), &parts_x[g])).collect();
                    joint::messages(&kernels, &pools, x, out).unwrap();
                }
                1 => z_beta.numerators(&kernels, x, MatRef::new(&cs[0], n, k), out).unwrap(),
                _ => gemm(&kernels, MatRef::new(&cs[0], n, k), square.back(), Init::Zero, Epilogue::Store, out).unwrap(),
            }
            old.extend(r_x);

            let other = Rule::alpha_beta(1.0 + beta, beta);
            let first = [other.clone(), Rule::z_beta(-1.0, 1.0), Rule::w_square()][pixels].clone();
            let shared = Rule::shared(&[&first, &other]);
            let (first, other) = (PackedRule::dense(&first, wx), PackedRule::dense(&other, wr));
            let mut new = Vec::new();
            let mut absorbed = vec![0.0; n];
            let mut cs = Vec::new();
            for g in 0..groups {
                let (mut base, mut c) = (vec![f32::NAN; n * k], vec![f32::NAN; n * k]);
                denominators(&kernels, Denominators { rule: &first, group: g, a: x, z: Some(MatRef::new(&z, n, k)), out: MatMut::new(&mut base, n, k) }).unwrap();
                ratios(&kernels, Ratios { shared: shared[g], rule: &other, group: g, base: MatRef::new(&base, n, k), a: r_t, z: None, r_out, c: MatMut::new(&mut c, n, k), absorbed: &mut absorbed }).unwrap();
                new.extend(base);
                new.extend(&c);
                cs.push(c);
            }
            let c: Vec<_> = cs.iter().map(|c| MatRef::new(c, n, k)).collect();
            let (mut r_a, mut r_x) = (vec![0.0; n * j], vec![0.0; n * p]);
            messages(&kernels, Messages { rule: &other, c: &c, a: MatRef::new(&a, n, j), r_in: MatMut::new(&mut r_a, n, j) }).unwrap();
            messages(&kernels, Messages { rule: &first, c: &c, a: x, r_in: MatMut::new(&mut r_x, n, p) }).unwrap();
            new.extend(r_a);
            new.extend(r_x);
            assert_eq!(bits(&old), bits(&new), "{:?}", kernels.name());
            assert_eq!(lost, absorbed);
        }
    }

    #[test]
    fn convs(rows in 0usize..9, cols in 1usize..9, half in 0usize..3, inputs in 1usize..14, outputs in 1usize..40, images in 0usize..5, which in 0usize..4, seed in 1u64..1000) {
        let shape = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
        let w = floats(shape.patch() * outputs, seed);
        let packed = pack::pack(&w, shape.patch(), outputs);
        let panels = Panels::new(&packed, shape.patch(), outputs);
        let pixels = images * rows * cols;
        let x = if which < 2 { activations(pixels * inputs, seed) } else { floats(pixels * inputs, seed) };
        let x = shape.input().padded(&x, images);
        let r = floats(pixels * outputs, seed + 1);
        let r_out = MatRef::new(&r, pixels, outputs);
        for kernels in kernel_sets() {
            let mut z = vec![0.0; images * shape.output().len()];
            let y = shape.output().pixels_mut(&mut z, images);
            conv(&kernels, Conv { shape: &shape, images, x: &x, w: panels, init: Init::Zero, epilogue: Epilogue::Store, y }).unwrap();
            let (mut old, mut lost) = (vec![f32::NAN; pixels * inputs], vec![0.0; images]);
            let out = MatMut::new(&mut old, pixels, inputs);
            let part = |p| PackedPart::conv(&shape, panels, p);
            let mut c = vec![0.0; images * shape.output().len()];
            let rule = match which {
                0 => {
                    z_plus::z_plus_conv(&kernels, &shape, &x, &part(Part::Positive), r_out, out, &mut c, &mut lost).unwrap();
                    Rule::z_plus()
                }
                1 => {
                    alpha_beta::alpha_beta_conv(&kernels, (2.0, 1.0), &shape, &x, &part(Part::Positive), &part(Part::Negative), r_out, out, &mut c, &mut lost).unwrap();
                    Rule::alpha_beta(2.0, 1.0)
                }
                2 => {
                    let rule = ZBeta::conv(&kernels, &shape, panels, -1.0, 1.0).unwrap();
                    z_beta_conv(&kernels, &rule, &shape, &x, &mut z.clone(), r_out, out, &mut lost).unwrap();
                    Rule::z_beta(-1.0, 1.0)
                }
                _ => {
                    let square = part(Part::Square);
                    let z = w_square::conv_denominators(&kernels, &shape, &square).unwrap();
                    w_square::w_square_conv(&kernels, &shape, &square, &z, r_out, out, &mut c, &mut lost).unwrap();
                    Rule::w_square()
                }
            };
            let rule = PackedRule::conv(&kernels, &rule, &shape, panels).unwrap();
            let (mut new, mut absorbed) = (vec![f32::NAN; pixels * inputs], vec![0.0; images]);
            let z = Some(shape.output().pixels_of(&z, images));
            relevance_conv(&kernels, RelevanceConv { rule: &rule, a: &x, z, r_out, r_in: MatMut::new(&mut new, pixels, inputs), absorbed: &mut absorbed }).unwrap();
            assert_eq!(bits(&old), bits(&new), "{:?} {}", kernels.name(), which);
            assert_eq!(lost, absorbed);
        }
    }

    #[test]
    fn pooled(rows in 1usize..9, cols in 1usize..9, half in 0usize..3, inputs in 1usize..14, outputs in 1usize..40, window in 1usize..4, images in 0usize..5, which in 0usize..4, seed in 1u64..1000) {
        let conv = ConvShape { rows, cols, size: 2 * half + 1, inputs, outputs };
        let shape = ConvMaxPoolShape { conv, window };
        let w = floats(conv.patch() * outputs, seed);
        let packed = pack::pack(&w, conv.patch(), outputs);
        let panels = Panels::new(&packed, conv.patch(), outputs);
        let x = if which < 2 { activations(images * rows * cols * inputs, seed) } else { floats(images * rows * cols * inputs, seed) };
        let x = conv.input().padded(&x, images);
        let windows = images * shape.windows();
        let r = floats(windows * outputs, seed + 1);
        let r_out = MatRef::new(&r, windows, outputs);
        for kernels in kernel_sets() {
            let (mut y, mut z, mut max_indices) = (vec![0.0; windows * outputs], vec![0.0; windows * outputs], MaxIndices::new(&shape, images));
            conv_max_pool(&kernels, ConvMaxPool { shape: &shape, images, x: &x, w: panels, bias: &vec![0.1; outputs.next_multiple_of(16)], y: MatMut::new(&mut y, windows, outputs), max_indices: &mut max_indices, z: Some(&mut z) }).unwrap();
            let (lines, line) = (images * rows, cols * inputs);
            let (mut old, mut lost) = (vec![f32::NAN; lines * line], vec![0.0; images]);
            let (old_rule, rule) = match which {
                0 => (PooledRule::alpha_beta(&shape, panels, 1.0, 0.0), Rule::z_plus()),
                1 => (PooledRule::alpha_beta(&shape, panels, 2.0, 1.0), Rule::alpha_beta(2.0, 1.0)),
                2 => (PooledRule::z_beta(&kernels, &shape, panels, -1.0, 1.0).unwrap(), Rule::z_beta(-1.0, 1.0)),
                _ => (PooledRule::w_square(&kernels, &shape, panels).unwrap(), Rule::w_square()),
            };
            relevance_pooled(&kernels, &old_rule, &x, &max_indices, &z, r_out, MatMut::new(&mut old, lines, line), &mut lost).unwrap();
            let rule = PackedRule::conv_max_pool(&kernels, &rule, &shape, panels).unwrap();
            let (mut new, mut absorbed) = (vec![f32::NAN; lines * line], vec![0.0; images]);
            relevance_conv_max_pool(&kernels, RelevanceConvMaxPool { rule: &rule, x: &x, max_indices: &max_indices, z: Some(&z), r_out, r_in: MatMut::new(&mut new, lines, line), absorbed: &mut absorbed }).unwrap();
            assert_eq!(bits(&old), bits(&new), "{:?} {}", kernels.name(), which);
            assert_eq!(lost, absorbed);
        }
    }
}

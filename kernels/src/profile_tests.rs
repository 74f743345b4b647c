//! Tests of the calls that a profile records.

use crate::conv::{Conv, conv};
use crate::exec::Kernels;
use crate::gemm::pack;
use crate::gemm::problem::{Epilogue, Init};
use crate::image::ConvShape;
use crate::layout::{MatMut, MatRef};
use crate::matmul::gemm;
use crate::panels::Panels;
use crate::profile::{Profile, Work};
use crate::relevance::{PackedRule, Relevance, RelevanceConv, Rule, relevance, relevance_conv};
use std::sync::Arc;

fn profiled() -> (Arc<Profile>, Kernels) {
    let profile = Arc::new(Profile::new());
    (Arc::clone(&profile), Kernels::default().profiled(profile))
}

#[test]
fn a_rule_counts_once_and_its_products_do_not() {
    let (profile, kernels) = profiled();
    let shape = ConvShape { rows: 2, cols: 3, size: 3, inputs: 2, outputs: 4 };
    let w = pack::pack(&[0.5; 18 * 4], 18, 4);
    let w = Panels::new(&w, 18, 4);
    let rule = &PackedRule::conv(&kernels, &Rule::z_plus(), &shape, w).expect("fits");
    let a = vec![1.0; shape.input().len()];
    profile.take();
    let (r_out, mut r_in) = ([1.0; 6 * 4], [0.0; 6 * 2]);
    let (r_out, r_in) = (MatRef::new(&r_out, 6, 4), MatMut::new(&mut r_in, 6, 2));
    let operands = RelevanceConv { rule, a: &a, z: None, r_out, r_in, absorbed: &mut [0.0] };
    relevance_conv(&kernels, operands).expect("fits");
    let mut y = [0.0; 6 * 4];
    let y = MatMut::new(&mut y, 6, 4);
    conv(
        &kernels,
        Conv { shape: &shape, x: &a, images: 1, w, init: Init::Zero, epilogue: Epilogue::Store, y },
    )
    .expect("fits");
    let calls = profile.take();
    let names: Vec<&str> = calls.iter().map(|call| call.name).collect();
    assert_eq!(names, ["relevance_conv", "conv"]);
    let flop: Vec<u64> = calls.iter().map(|call| call.work.flop).collect();
    assert_eq!(flop, [2 * 2 * 6 * 18 * 4, 2 * 6 * 18 * 4]);
    assert_eq!(calls[1].work.shape.to_string(), "1×2×3, 3×3, 2→4");
    assert!(calls[0].start + calls[0].took <= calls[1].start, "one after the other");
    assert!(profile.take().is_empty(), "taken once");
}

#[test]
fn operands_count_once_each() {
    let (profile, kernels) = profiled();
    let w = pack::pack(&[1.0; 6], 3, 2);
    let w = Panels::new(&w, 3, 2);
    let (x, mut y) = ([1.0; 12], [0.0; 8]);
    let (x, a) = (MatRef::new(&x, 4, 3), MatRef::new(&[1.0; 8], 4, 2));
    let relu = Epilogue::ReluGradient { a, scale: 1.0, guided: false };
    gemm(&kernels, x, w, Init::Accumulate, relu, MatMut::new(&mut y, 4, 2)).expect("fits");
    let rule = &PackedRule::dense(&Rule::z_plus(), w);
    let (mut r_in, mut absorbed) = ([0.0; 12], [0.0; 4]);
    let r_in = MatMut::new(&mut r_in, 4, 3);
    let operands = Relevance { rule, a: x, z: None, r_out: a, r_in, absorbed: &mut absorbed };
    relevance(&kernels, operands).expect("fits");
    let calls = profile.take();
    // x, w, then y read and written and a; x and r_in, r_out, both orientations of w.
    let floats = [12 + 6 + 3 * 8, 2 * 12 + 8 + 2 * 6];
    assert_eq!(calls.iter().map(|call| call.work.bytes).collect::<Vec<_>>(), floats.map(|n| 4 * n));
    assert_eq!(calls[0].work.shape.to_string(), "4×2×3, relu gradient");
}

#[test]
fn calls_inside_a_span_are_part_of_it() {
    let (profile, kernels) = profiled();
    {
        let _outer = kernels.span("pack", || Work::elements([1, 10], 0, 2));
        let _inner = kernels.span("softplus_bias", || Work::elements([1, 2], 1, 2));
    }
    drop(Kernels::default().span("pack", || unreachable!("no profile, no work")));
    let calls = profile.take();
    assert_eq!(calls.iter().map(|call| (call.name, call.work.bytes)).collect::<Vec<_>>(), [("pack", 80)]);
}

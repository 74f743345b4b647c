//! Public kernels on operands of consistent and of slightly inconsistent shapes.
//!
//! Required properties: operands of consistent shapes give the result of the f64 reference implementation,
//! and only the rows of the output are written; other operands are refused and nothing is written. The tests
//! compute consistency independently, in integers that do not overflow. Inputs have exactly the required
//! length, so that the address sanitizer detects an out-of-bounds read, and hold NaN between their rows, so
//! that a read there changes the result.

mod constructors;
mod convolution;
mod draw;
mod elementwise;
mod operand;
mod pooled;
mod product;
mod relevance;
mod relevance_conv;

use draw::Draw;

/// A kernel's operands, its call, and the checks.
type Case = fn(&mut Draw);

const CASES: [Case; 22] = [
    constructors::matrices,
    constructors::panels,
    constructors::planes,
    product::gemm,
    product::gemm_tn,
    convolution::conv,
    convolution::conv_weight_gradient,
    convolution::pool,
    convolution::pool_backward,
    pooled::forward,
    pooled::back,
    pooled::weight_gradient,
    pooled::relevance,
    relevance::one_input,
    relevance::shared,
    relevance_conv::relevance,
    elementwise::column_sums,
    elementwise::cross_entropy,
    elementwise::softplus,
    elementwise::bias_relu,
    elementwise::adam,
    elementwise::sgd,
];

/// Calls the kernel selected by the first byte on operands described by the other bytes; returns whether it
/// accepted them.
///
/// # Panics
/// If the kernel panics or violates a required property.
pub fn shapes(bytes: &[u8]) -> bool {
    let (&first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut draw = Draw::new(rest.to_vec());
    CASES[usize::from(first) % CASES.len()](&mut draw);
    draw.taken
}

//! Public kernels on operands that fit together or just do not.
//!
//! What must hold: operands that fit give what the f64 reference implementation gives, and nothing but the rows of the output is written;
//! operands that do not are refused and nothing at all is written. What fits is worked out here a second time, in
//! integers that do not overflow. Inputs are as long as they must be, so that the address sanitizer sees a read
//! beyond, and hold NaN between their rows, so that a read there shows.

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

/// A kernel's operands, its call, and what must hold.
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

/// Calls the kernel that the first byte names on operands that the others describe; whether it took them.
///
/// # Panics
/// If the kernel does, or does not do what it promises.
pub fn shapes(bytes: &[u8]) -> bool {
    let (&first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut draw = Draw::new(rest.to_vec());
    CASES[usize::from(first) % CASES.len()](&mut draw);
    draw.taken
}

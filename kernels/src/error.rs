//! What a kernel says when its operands do not fit together.

/// Operands of a kernel that do not fit together; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// An axis that two operands share has two lengths.
    #[error("{kernel}: axis {axis} is {found} in `{operand}`, {expected} expected")]
    Axis {
        /// The kernel.
        kernel: &'static str,
        /// The letter of the axis in the kernel's documentation.
        axis: &'static str,
        /// The operand that differs.
        operand: &'static str,
        /// Its length there.
        found: usize,
        /// The length that the other operands have.
        expected: usize,
    },
    /// A SAME convolution needs a centre, so an odd filter.
    #[error("{kernel}: a SAME convolution needs an odd filter, found {size}×{size}")]
    EvenFilter {
        /// The kernel.
        kernel: &'static str,
        /// Rows of the filter.
        size: usize,
    },
    /// A relevance rule was prepared for another kind of layer.
    #[error("{kernel}: a rule prepared for {found}, one for {expected} expected")]
    Layer {
        /// The kernel.
        kernel: &'static str,
        /// What the rule is for.
        found: &'static str,
        /// What the kernel computes.
        expected: &'static str,
    },
    /// A shape with more floats than memory can have.
    #[error("{kernel}: a shape of more floats than memory can hold")]
    TooLarge {
        /// The kernel.
        kernel: &'static str,
    },
}

pub(crate) fn axis(
    kernel: &'static str,
    axis: &'static str,
    operand: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), ShapeError> {
    if found == expected { Ok(()) } else { Err(ShapeError::Axis { kernel, axis, operand, found, expected }) }
}

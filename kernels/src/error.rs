//! The errors of this crate.

/// A value of [`Tuning::parse`](crate::Tuning::parse) that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` is not key=number with one of the keys {keys}, or the number is out of bounds")]
pub struct TuningError {
    pub(crate) entry: String,
    pub(crate) keys: String,
}

/// The operands of a kernel have inconsistent shapes; nothing was written.
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
    /// The filter of a SAME convolution is even, so it has no centre.
    #[error("{kernel}: a SAME convolution needs an odd filter, found {size}×{size}")]
    EvenFilter {
        /// The kernel.
        kernel: &'static str,
        /// Rows of the filter.
        size: usize,
    },
    /// A relevance rule was packed for another kind of layer.
    #[error("{kernel}: a rule prepared for {found}, one for {expected} expected")]
    Layer {
        /// The kernel.
        kernel: &'static str,
        /// The kind of layer of the rule.
        found: &'static str,
        /// The kind of layer of the kernel.
        expected: &'static str,
    },
    /// A shape has more floats than memory can hold.
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

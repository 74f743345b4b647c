//! The gradient methods: sensitivity, simple Taylor and guided backprop (sections 3.2.1, 3.2.2).

use crate::error::ModelError;
use crate::network::Network;
use crate::pass::{Pass, Sample, plain};
use crate::stage::layer::Context;
use kernels::Kernels;

/// A method that reads the gradient by the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GradientMethod {
    Sensitivity,
    SimpleTaylor,
    GuidedBackprop,
}

impl GradientMethod {
    /// What a pixel's explanation is, from the pixels and gradients of the last backward pass.
    pub fn read(self, pass: &Pass, sample: Sample, image: &mut [f32]) {
        match self {
            GradientMethod::Sensitivity => pass.pixels(sample, image, |_, d| d * d),
            GradientMethod::SimpleTaylor => pass.pixels(sample, image, |x, d| x * d),
            GradientMethod::GuidedBackprop => pass.pixels(sample, image, |_, d| d),
        }
    }
}

/// Finds `∂f/∂x` of each sample of the last forward pass, `f = Σ_c γ_c h_c` with constant rows `γ` `[N, C]`.
pub(crate) fn gradient_of_value(
    kernels: &Kernels,
    network: &Network,
    pass: &mut Pass,
    method: GradientMethod,
    gamma: &[f32],
) -> Result<(), ModelError> {
    let n = gamma.len() / network.task().classes;
    let (_, d_logits) = pass.logits_and_back(n);
    d_logits.copy_from_slice(gamma);
    let guided = method == GradientMethod::GuidedBackprop;
    pass.backward(&Context { guided, ..plain(kernels, network) }, n, None)
}

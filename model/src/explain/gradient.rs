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

/// Finds `∂h_target/∂x` of each sample of the last forward pass.
pub(crate) fn gradient_of_logits(
    kernels: &Kernels,
    network: &Network,
    pass: &mut Pass,
    method: GradientMethod,
    target: &[usize],
) -> Result<(), ModelError> {
    let classes = network.task().classes;
    let (_, d_logits) = pass.logits_and_back(target.len());
    d_logits.fill(0.0);
    for (d_logits, &class) in d_logits.chunks_exact_mut(classes).zip(target) {
        d_logits[class] = 1.0;
    }
    let guided = method == GradientMethod::GuidedBackprop;
    pass.backward(&Context { guided, ..plain(kernels, network) }, target.len(), None)
}

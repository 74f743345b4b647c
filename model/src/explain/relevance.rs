//! The relevance methods: a logit is redistributed layer by layer, each by its rule (Algorithm 1).

use crate::error::ModelError;
use crate::pass::Pass;
use kernels::Kernels;

/// Finds the relevance of the pixels for the logit `target` of each sample of the last forward pass. What `ε` absorbs
/// is added for each sample.
pub(crate) fn relevance_of_logits(
    kernels: &Kernels,
    pass: &mut Pass,
    target: &[usize],
    absorbed: &mut [f64],
) -> Result<(), ModelError> {
    let n = target.len();
    let (logits, relevance) = pass.logits_and_back(n);
    let classes = logits.len() / n.max(1);
    relevance.fill(0.0);
    for (i, &class) in target.iter().enumerate() {
        relevance[i * classes + class] = logits[i * classes + class];
    }
    pass.relevance(kernels, n, absorbed)
}

//! The gradient methods: sensitivity, simple Taylor and guided backprop (sections 3.2.1, 3.2.2).

use crate::walk::backward::{Back, Way};
use crate::walk::forward::Trace;
use crate::{ModelError, Network};
use kernels::Kernels;

/// The way back of a logit's gradient to the pixels.
#[derive(Clone, Debug)]
pub(crate) struct GradientWay {
    back: Back,
}

impl GradientWay {
    pub fn new(network: &Network, capacity: usize) -> GradientWay {
        let mut back = Back::new(&network.plan, capacity, true);
        back.refresh(&Kernels::default(), network);
        GradientWay { back }
    }

    /// Finds `∂h_target/∂x`.
    pub fn run(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        trace: &Trace,
        target: &[usize],
        guided: bool,
    ) -> Result<(), ModelError> {
        self.back_from(kernels, network, trace, target.len(), guided, |i, d_logits| {
            d_logits.fill(0.0);
            d_logits[target[i]] = 1.0;
        })
    }

    /// Goes back from the logits' gradient that `set` writes for each sample.
    pub fn back_from(
        &mut self,
        kernels: &Kernels,
        network: &Network,
        trace: &Trace,
        n: usize,
        guided: bool,
        mut set: impl FnMut(usize, &mut [f32]),
    ) -> Result<(), ModelError> {
        let classes = network.task().classes;
        if let Some(d_logits) = self.back.d_head.last_mut() {
            for (i, d_logits) in d_logits.chunks_exact_mut(classes).take(n).enumerate() {
                set(i, d_logits);
            }
        }
        let way = Way { scale: 1.0, guided };
        self.back.backward(kernels, network, trace, n, way, None)
    }

    /// The gradient by the first activation.
    pub fn pixels(&self) -> &[f32] {
        &self.back.d_acts[0]
    }
}

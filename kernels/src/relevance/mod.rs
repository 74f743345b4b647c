//! Relevance rules: how a layer redistributes the relevance of its outputs onto its inputs.
//!
//! A [`Rule`] is data: groups of terms `φ(a)·ψ(w)`, each group with a coefficient and a stabiliser (thesis,
//! Table 3.1). [`PackedRule`] prepares the weights of one layer for it. For each kind of layer one function
//! takes any rule: [`relevance`], [`relevance_conv`], [`relevance_conv_max_pool`],
//! [`relevance_conv_sum_pool`]; [`denominators`],
//! [`ratios`] and [`messages`] are the parts of the first, for dense layers whose inputs share their
//! denominators, as [`denominators_conv`], [`ratios_conv`] and [`messages_conv`] are of the second;
//! [`relevance_neuron`] is for a layer of one neuron with weights of its own for each sample.
//!
//! Biases are ignored. A denominator is `z + s`, so that an output with `z = 0` absorbs its relevance instead
//! of dividing by zero; every function sums the absorbed relevance of each sample.

mod conv;
mod conv_pool;
mod conv_shared;
mod conv_sum_pool;
mod dense;
mod fused;
mod neuron;
mod packed;
mod ratios;
mod terms;
#[cfg(test)]
mod tests;

pub use conv::{RelevanceConv, relevance_conv};
pub use conv_pool::{RelevanceConvMaxPool, relevance_conv_max_pool};
pub use conv_shared::{
    DenominatorsConv, MessagesConv, RatiosConv, denominators_conv, messages_conv, ratios_conv,
};
pub use conv_sum_pool::{RelevanceConvSumPool, relevance_conv_sum_pool};
pub use dense::{
    Denominators, Messages, OwnRelevance, Ratios, Relevance, denominators, messages, ratios, relevance,
};
pub use neuron::{RelevanceNeuron, relevance_neuron};
pub use packed::{DenseGroup, PackedRule};
pub use terms::{Group, InputMap, Rule, SharedGroup, Stabiliser, Term};

/// The stabiliser of every rule but ε and γ; a group whose denominators are negative has `−EPS`.
pub const EPS: f32 = 1e-9;

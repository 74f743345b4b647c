//! Whole-system tests. Golden values come from an independent float64 implementation.

mod cli;
mod conservation;
mod golden;
mod golden_final;
mod gradients;
mod support;
mod variants;

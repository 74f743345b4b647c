//! Matrix products below the entry points [`gemm`](crate::gemm()) and [`gemm_tn`](crate::gemm_tn): one loop nest over one
//! register tile serves forward (NN), input gradient (NT, over transposed panels), weight gradient (TN) and convolution.
//!
//! A product is a [`Problem`](problem::Problem); a [`MatmulBackend`](backend::MatmulBackend) computes the rows of each
//! thread.

pub mod backend;
mod driver;
pub(crate) mod epilogue;
pub mod pack;
pub(crate) mod problem;
mod tile;
pub(crate) mod tuning;

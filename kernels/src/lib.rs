//! SIMD kernels for small relu networks and their explanation by layer-wise relevance propagation (LRP).
//!
//! Kernels take slices and write slices: there is no tensor type, no graph and no allocation. Each takes a
//! [`Kernels`] first: an instruction set, found at run time, and the threads to use.
//!
//! # Example
//! ```
//! use kernels::relevance::{PackedRule, Relevance, Rule, relevance};
//! use kernels::{Backend, Conv, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, PackedWeights, Threads};
//! use kernels::{conv, gemm};
//! let kernels = &Kernels::new(Backend::best(), Threads::one());
//!
//! // A dense layer, y = relu(x·W + bias): two inputs, three outputs, one sample.
//! let w = PackedWeights::new(&[1., 0., -1., 2., 1., 0.], 2, 3)?;
//! let (x, mut y) = (MatRef::new(&[1., 2.], 1, 2), [0.; 3]);
//! let epilogue = Epilogue::BiasRelu(&[0., 1., 0.]);
//! gemm(kernels, x, w.panels(), Init::Zero, epilogue, MatMut::new(&mut y, 1, 3))?;
//! assert_eq!(y, [5., 3., 0.]);
//!
//! // The relevance of its inputs by the z⁺ rule, for a relevance of 5 of the first output.
//! let rule = &PackedRule::dense(&Rule::z_plus(), w.panels());
//! let (r_out, mut r_in, mut absorbed) = ([5., 0., 0.], [0.; 2], [0.]);
//! let (r_out, to) = (MatRef::new(&r_out, 1, 3), MatMut::new(&mut r_in, 1, 2));
//! relevance(kernels, Relevance { rule, a: x, z: None, r_out, r_in: to, absorbed: &mut absorbed })?;
//! assert_eq!(r_in, [1., 4.]);
//!
//! // A 3×3 convolution of one image of 2×2 pixels, with a border of zeros around it.
//! let shape = &ConvShape { rows: 2, cols: 2, size: 3, inputs: 1, outputs: 1 };
//! let (image, w) = (shape.input().padded(&[1., 2., 3., 4.], 1), PackedWeights::new(&[1.; 9], 9, 1)?);
//! let (init, epilogue, mut y) = (Init::Zero, Epilogue::Store, [0.; 4]);
//! let to = MatMut::new(&mut y, 4, 1);
//! conv(kernels, Conv { shape, images: 1, x: &image, w: w.panels(), init, epilogue, y: to })?;
//! assert_eq!(y, [10.; 4]);
//! # Ok::<(), kernels::ShapeError>(())
//! ```
//!
//! # Memory layouts
//! - [`MatRef`] and [`MatMut`] view a slice as a matrix `[rows, cols]`: row-major with `new`, or with the rows
//!   at any regular spacing with `mapped` ([`Rows`]).
//! - Images are NHWC with a border of zeros, so that a convolution needs no special case at the edge:
//!   [`Plane`] says how large they are and views their pixels or lines as matrices.
//! - Weights are packed once per version into strips of 16 columns: [`PackedWeights`] owns them, and
//!   [`Panels`] views them, or any slice that has this layout ([`panels_len`], [`panel_index`]). They are
//!   `[in, out]` for dense layers, and HWIO flattened to `[size·size·in, out]` for convolutions. Gradients
//!   and relevance of inputs need the transpose, or a convolution's reversed weights ([`pack`]).
//!
//! # Contents
//! - Products: [`gemm`], [`gemm_tn`] (weight gradients), [`fn@conv`], [`conv_weight_gradient`], and convolution,
//!   relu and max-pool as one layer ([`conv::max_pool`]). Sums begin with an [`Init`] and end with an
//!   [`Epilogue`]: bias, relu, dropout, the gradient of relu.
//! - [`mod@pool`]ing, [`elementwise`] functions with losses and optimisers, [`mod@relevance`] rules.
//! - [`mod@reference`]: naive reference implementations of all of it in f64.
//! - [`MatmulBackend`]: another library's GEMM in place of ours. [`profile`]: the time that each call takes.
//!
//! # Errors
//! A kernel compares the shapes of its operands before it writes anything. [`ShapeError`] names the kernel,
//! the axis, the operand and both numbers. Views panic where a slice is too short for its matrix.
//!
//! # Bits
//! Every sum has one accumulator, to which terms are added in the order of their index by fused multiply-add;
//! with a max-pool it has a few, in a fixed order ([`conv::max_pool`]). So the instruction sets `reference`,
//! `avx2` and `avx512`, every tile shape and every thread count give the same bits. `portable` is exempt:
//! without a fused multiply-add in the build it rounds twice.
//!
//! # Supported CPUs
//! x86-64 with AVX-512F or AVX2+FMA, found at run time; any other CPU runs `portable`.

#[cfg(test)]
mod bits;
mod buffer;
pub mod conv;
mod dropout;
pub mod elementwise;
mod error;
mod exec;
mod gemm;
#[cfg(test)]
mod huge_sizes;
mod image;
mod layout;
mod matmul;
#[cfg(test)]
mod page_edge;
mod panels;
pub mod peak;
#[cfg(feature = "peers")]
pub mod peers;
pub mod pool;
mod prepack;
pub mod profile;
#[cfg(test)]
mod profile_tests;
pub mod reference;
pub mod relevance;
mod simd;
#[cfg(test)]
mod testing;
mod threads;

pub use buffer::Buffer;
pub use conv::{Conv, conv, conv_weight_gradient};
pub use dropout::Dropout;
pub use error::{ShapeError, TuningError};
pub use exec::Kernels;
pub use gemm::backend::{Abilities, Ends, MatmulBackend, MatmulBlock, MatmulTask, Then};
pub use gemm::pack;
pub use gemm::pack::PackedWeights;
pub use gemm::problem::{Epilogue, Init};
pub use gemm::tuning::{Cpu, Tuning};
pub use image::{ConvShape, Plane};
pub use layout::{MatMut, MatRef, Rows, STRIP, Strided};
pub use matmul::{WeightGradient, gemm, gemm_tn};
pub use panels::{Panels, panel_index, panels_len};
pub use prepack::{PrepackCache, Prepacked};
pub use simd::dispatch::Backend;
pub use threads::Threads;

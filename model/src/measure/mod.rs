//! Numbers of heatmaps and their intervals: plain functions of arrays.
//!
//! ```
//! use model::measure::{Bootstrap, heatmap, shares};
//!
//! // Two heatmaps of 2 x 4 pixels, read in two steps.
//! let (a, b) = ([0.0, 0.1, 0.6, 0.3, 0.0, 0.0, 0.5, 0.5], [0.0, 0.2, 0.5, 0.3, 0.1, 0.0, 0.4, 0.5]);
//! let by_step = shares::normalised(&shares::per_step(&a, 2, 4, 2));
//! assert!((by_step[1] - 0.95).abs() < 1e-6);
//! assert!(heatmap::cosine(&a, &b).is_some_and(|cosine| cosine > 0.97));
//! let interval = Bootstrap::default().mean(&[0.91, 0.95, 0.90, 0.94]);
//! assert!(interval.is_some_and(|of| of.low < of.estimate && of.estimate < of.high));
//! ```

mod bootstrap;
pub mod heatmap;
pub mod shares;

pub use bootstrap::{Bootstrap, Interval};

//! Measurements on a trained network: the distribution of its relevance, and the reliability of its heatmaps.
//!
//! The numbers and the heatmaps of a run stay in its folder, so that a report needs neither the data nor the network.
//! Everything is a function of network, data and [`settings::Measure`]; random numbers come from fixed seeds.

pub mod classes;
pub mod explanations;
pub mod flipping;
pub mod fold;
pub mod heatmaps;
pub mod intervals;
pub mod majority;
pub mod methods;
pub mod network;
pub mod numbers;
pub mod quality;
pub mod randomise;
pub mod result;
pub mod samples;
pub mod settings;
pub mod studentised_range;
pub mod tukey;

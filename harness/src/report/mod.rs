//! Output formats, one per file.
//!
//! Everything with text is SVG ([`svg`]): charts ([`curve`], [`share`]), drawings ([`mod@architecture`], [`root_point`]) and grids
//! ([`panel`]) of pictures ([`picture`]) with a [`colour_bar`], which lie in it as lossless PNG. Tables ([`table`]) are text, JSON or CSV ([`tidy`]); a
//! [`document`] holds them together, with the [`matrix`] of its claims; its figures are also written in other [`formats`]. The same values give the same bytes.

pub mod architecture;
pub mod colormap;
pub mod colour_bar;
pub mod curve;
pub mod document;
pub mod formats;
mod html;
pub mod matrix;
pub mod panel;
pub mod picture;
pub mod root_point;
pub mod share;
pub mod svg;
pub mod table;
pub mod tidy;
mod write;

//! Output formats, one per file.
//!
//! Pictures ([`picture`], [`panel`]) are PNG, charts ([`curve`], [`share`]) and drawings ([`mod@architecture`], [`root_point`]) SVG,
//! tables ([`table`]) text, JSON or CSV; a [`document`] holds them together. The same values give the same bytes.

pub mod architecture;
pub mod colormap;
pub mod curve;
pub mod document;
mod html;
pub mod panel;
pub mod picture;
pub mod root_point;
pub mod share;
pub mod table;
mod write;

//! What a command leaves behind: one output format a file.
//!
//! Pictures ([`picture`], [`panel`]) are PNG, curves ([`curve`], [`share`]) and drawings ([`cell`], [`root_point`]) SVG,
//! arrays ([`npy`], [`export`]) NumPy's formats and tables ([`table`]) text, JSON or CSV; a [`page`] holds them together.
//! The same values give the same bytes, and a file appears whole or not at all ([`draft`]).

pub mod cell;
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

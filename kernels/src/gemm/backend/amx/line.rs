//! The rows of tiles.

/// Columns of a tile of sums, and pairs of a line.
pub const WIDTH: usize = 16;
/// Columns of a pair of tiles.
pub const COLUMNS: usize = 2 * WIDTH;

/// One row of a tile.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Line(pub [u32; WIDTH]);

//! A cell as data: encoder, combine, recurrent, head (sections 4.3, 4.4), and the task it is put to.

use crate::ModelError;
use kernels::pool::PoolKind;

/// One layer of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// Fully connected, then dropout.
    Dense {
        /// Outputs.
        units: usize,
    },
    /// A SAME convolution with stride 1, then a 2×2 pool.
    Conv {
        /// Rows and columns of the filter.
        size: usize,
        /// Output channels.
        channels: usize,
    },
}

/// What the layers of a cell are. The four cells of the thesis differ in nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The name it goes by in files and tables.
    pub name: String,
    /// Layers 1′, 1″ on `x_t`; empty: the combine layer sees the pixels.
    pub encoder: Vec<Encoder>,
    /// Width of layer 4, on `[e_t, r_t]`.
    pub combine: usize,
    /// Width of layer 5, which gives `r_{t+1}`; absent where T = 1.
    pub recurrent: usize,
    /// Widths of layers 4′ between layer 4 and the logits.
    pub head: Vec<usize>,
    /// Drop probability behind every dense encoder layer, and behind layer 4 of the last step.
    pub dropout: f32,
}

impl Cell {
    /// Names of the thesis cells.
    pub const PRESETS: [&'static str; 4] = ["shallow", "deep", "deepv2", "convdeep"];

    /// A cell of the thesis with its default widths.
    ///
    /// # Errors
    /// [`ModelError::UnknownCell`] if no cell has that name.
    pub fn preset(name: &str) -> Result<Cell, ModelError> {
        use Encoder::{Conv, Dense};
        let (encoder, combine, head, dropout) = match name {
            "shallow" => (vec![], 768, vec![], 0.0),
            "deep" => (vec![Dense { units: 512 }], 256, vec![64], 0.5),
            "deepv2" => (vec![Dense { units: 512 }, Dense { units: 256 }], 128, vec![64], 0.5),
            "convdeep" => {
                (vec![Conv { size: 5, channels: 24 }, Conv { size: 3, channels: 48 }], 256, vec![128], 0.5)
            }
            _ => return Err(ModelError::UnknownCell { found: name.to_owned() }),
        };
        Ok(Cell { name: name.to_owned(), encoder, combine, recurrent: 128, head, dropout })
    }

    /// The name as the thesis prints it.
    pub fn title(&self) -> &str {
        match self.name.as_str() {
            "shallow" => "Shallow",
            "deep" => "Deep",
            "deepv2" => "DeepV2",
            "convdeep" => "ConvDeep",
            other => other,
        }
    }
}

/// What a network sees and says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// Image rows.
    pub rows: usize,
    /// Image columns.
    pub cols: usize,
    /// Steps T: column strips of `cols / T`.
    pub seq_len: usize,
    /// Classes.
    pub classes: usize,
    /// Smallest pixel value, the `l` of z^β.
    pub low: f32,
    /// Largest pixel value, the `h` of z^β.
    pub high: f32,
    /// How convolutional encoders pool.
    pub pool: PoolKind,
}

/// Rows or columns of an image: with the bounds of [`crate::plan`], no product of sizes leaves a `usize`.
const MAX_PIXELS: usize = 4096;
/// A label is a byte.
const MAX_CLASSES: usize = 256;

impl Default for Task {
    /// MNIST in one step.
    fn default() -> Self {
        Task { rows: 28, cols: 28, seq_len: 1, classes: 10, low: -1.0, high: 1.0, pool: PoolKind::Max }
    }
}

impl Task {
    /// Columns of one step.
    pub fn step_cols(&self) -> usize {
        self.cols / self.seq_len
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        for (what, found, most) in [
            ("rows", self.rows, MAX_PIXELS),
            ("cols", self.cols, MAX_PIXELS),
            ("seq_len", self.seq_len, MAX_PIXELS),
            ("classes", self.classes, MAX_CLASSES),
        ] {
            if found == 0 {
                return Err(ModelError::Zero { what });
            }
            if found > most {
                return Err(ModelError::TooLarge { what, found, most });
            }
        }
        if !self.cols.is_multiple_of(self.seq_len) {
            return Err(ModelError::SequenceLength { seq_len: self.seq_len, cols: self.cols });
        }
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        if !(low.is_finite() && low <= 0.0) {
            return Err(ModelError::Range { what: "low", found: low, expected: "finite and ≤ 0" });
        }
        if !(high.is_finite() && high >= 0.0 && high > low) {
            let expected = "finite, ≥ 0 and above low";
            return Err(ModelError::Range { what: "high", found: high, expected });
        }
        Ok(())
    }
}

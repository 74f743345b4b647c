//! Arguments of `harness explain`.

use crate::command::method::MethodArgs;
use crate::command::source::SourceArgs;
use crate::error::UsageError;
use crate::report::colormap::Look;
use crate::report::formats::FigureFormats;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `harness explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The model and the samples.
    #[command(flatten)]
    pub source: SourceArgs,
    /// The method of explanation.
    #[command(flatten)]
    pub method: MethodArgs,
    /// The class to explain: predicted, true, a class number, or all [default: predicted]
    #[arg(long, value_name = "WHICH")]
    pub target: Option<String>,
    /// What to explain of its logit h: logit, relu (0 if negative), centred (less the mean), runner-up (less the largest
    /// other), contrast (less the others by softmax); or FILE.npy, f32 [N, classes]: weights of the logits of each sample
    /// [default: logit; with --convention author-code relu]
    #[arg(long, value_name = "VALUE")]
    pub value: Option<String>,
    /// Exit with status 1 if relevance and absorbed relevance do not add up to the explained value
    #[arg(long)]
    pub check: bool,
    /// Only samples of this class
    #[arg(long, value_name = "K")]
    pub class: Option<u8>,
    /// Only the first N of them [default: all; 16 for pictures, 8 for a page]
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// Methods that a page shows, each as in --method [default: that of --method]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub methods: Vec<String>,
    /// Values that a page shows, each as in --value [default: that of --value]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub values: Vec<String>,
    /// FILE.npy: relevance [N, 1, rows, cols]; FILE.npz: x_batch, a_batch, y_batch, index, label, target, logit; FILE.html:
    /// a page with inputs, heatmaps, shares by step and absorbed relevance; a name without an ending: a folder for pictures
    #[arg(long, value_name = "FILE|DIR")]
    pub out: PathBuf,
    /// How heatmaps are drawn.
    #[command(flatten)]
    pub look: Look,
    /// What pictures are written as.
    #[command(flatten)]
    pub formats: FigureFormats,
    /// Replace an existing file, or pictures in a folder
    #[arg(long)]
    pub overwrite: bool,
}

impl ExplainArgs {
    /// The explained value: that of `--value`, or that of the convention.
    ///
    /// # Errors
    /// [`UsageError`] if there is no such convention.
    pub fn value_name(&self) -> Result<&str, UsageError> {
        self.value.as_deref().map_or_else(|| Ok(self.method.convention()?.value), Ok)
    }
}

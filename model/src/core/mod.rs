//! The recurrent cores, one per file, and the table that builds them from an architecture.

pub(crate) mod layer;
mod r_lstm;
mod rnn;

use crate::architecture::Core;
use crate::params::Specs;
use crate::stage::edge::Edge;
use crate::stage::masks::Mask;
use crate::task::Task;
use layer::CoreLayer;
use r_lstm::RLstm;
use rnn::{Rnn, Widths};

/// The core on `input`; `dropout` is the mask of its last output. To add a kind of core, add a file to this
/// folder and a row here.
pub(crate) fn core(
    core: Core,
    task: &Task,
    input: Edge,
    dropout: Mask,
    specs: &mut Specs,
) -> Box<dyn CoreLayer> {
    match core {
        Core::Rnn { combine, recurrent } => {
            Box::new(Rnn::new(specs, input, Widths { combine, recurrent, steps: task.seq_len }, dropout))
        }
        Core::RLstm { cells } => Box::new(RLstm::new(specs, input, cells, task.seq_len, dropout)),
    }
}

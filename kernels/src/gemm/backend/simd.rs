//! The register tile, compiled for each instruction set.

use super::{MatmulBackend, MatmulTask};
use crate::gemm::driver::run_rows;
use crate::panels::Panels;
use crate::prepack::Prepacked;
use crate::simd::dispatch::Backend;

impl MatmulBackend for Backend {
    fn name(&self) -> &str {
        Backend::name(*self)
    }

    fn promises_bits(&self) -> bool {
        Backend::promises_bits(*self)
    }

    /// Panels are its form already.
    fn prepack(&self, _: Panels, _: &mut Prepacked) {}

    fn run(&self, task: MatmulTask) {
        // SAFETY: the code that makes a task guarantees what the tile requires.
        unsafe { run_rows(*self, task.problem, task.rows) };
    }
}

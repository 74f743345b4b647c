//! The register tile, compiled for each instruction set.

use super::{MatmulBackend, MatmulTask};
use crate::gemm::driver::run_rows;
use crate::simd::dispatch::Backend;

impl MatmulBackend for Backend {
    fn name(&self) -> &str {
        Backend::name(*self)
    }

    fn promises_bits(&self) -> bool {
        Backend::promises_bits(*self)
    }

    fn run(&self, task: MatmulTask) {
        // SAFETY: whoever makes a task promises what the tile needs.
        unsafe { run_rows(*self, task.problem, task.rows) };
    }
}

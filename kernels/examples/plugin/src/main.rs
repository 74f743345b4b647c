//! `cargo run --release -- train --kernels own …`: the whole `harness`, with one more GEMM backend.
use kernels::{MatmulBackend, MatmulTask};
#[derive(Debug)]
struct Own;
impl MatmulBackend for Own {
    fn name(&self) -> &str {
        "own"
    }
    fn run(&self, task: MatmulTask) {
        task.each_block(|block| {
            let [m, n, k] = block.sizes();
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                block.c[i * block.c_stride + j] = (0..k).map(|q| block.a.at(i, q) * block.b.at(q, j)).sum();
            }
        });
    }
}
fn main() -> std::process::ExitCode {
    harness::cli::main_with(&[std::sync::Arc::new(Own)])
}

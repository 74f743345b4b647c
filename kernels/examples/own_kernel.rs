//! Runs training and explanation on an external GEMM backend, compares the results with the reference, and prints the
//! share of the time that its products take.
//!
//! `cargo run --release -p kernels --example own_kernel`

mod workload;

use kernels::{
    Abilities, Backend, Kernels, MatmulBackend, MatmulBlock, MatmulTask, Panels, Prepacked, Threads,
};
use std::sync::Arc;

/// The external GEMM: here three plain loops, over weights in a form of its own.
#[derive(Debug)]
struct Own;

/// Row-major weights; a library would keep its packed matrix here.
#[derive(Default)]
struct Rows(Vec<Vec<f32>>);

impl MatmulBackend for Own {
    fn name(&self) -> &str {
        "own"
    }

    /// Called once per version of the weights.
    fn prepack(&self, weights: Panels, form: &mut Prepacked) {
        let Rows(rows) = form.get_or_default();
        rows.resize(weights.k(), Vec::new());
        for (i, row) in rows.iter_mut().enumerate() {
            row.clear();
            row.extend((0..weights.n().div_ceil(16)).flat_map(|strip| weights.strip(i, strip)));
        }
    }

    fn run(&self, task: MatmulTask) {
        let rows = task.prepacked::<Rows>();
        // It can add to what the output holds; bias and other epilogues are left to the caller.
        let abilities = Abilities { accumulate: true, ..Abilities::default() };
        task.each_block_with(abilities, |MatmulBlock { a, b, c, c_stride }, ends| {
            for (i, c) in c.chunks_mut(c_stride).enumerate() {
                if !ends.accumulate {
                    c.fill(0.0);
                }
                for q in 0..b.rows() {
                    let own = rows.map(|Rows(rows)| &rows[q][..]);
                    let b = own.or(b.row(q)).expect("where weights are not prepacked, columns are adjacent");
                    let a = a.at(i, q);
                    c.iter_mut().zip(b).for_each(|(c, &b)| *c += a * b);
                }
            }
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let own = Kernels::with_matmul(Backend::best(), Threads::one(), Arc::new(Own));
    // Adam divides by gradients that differ in their last bits, so parameters are not compared.
    workload::run(&own, &["gemm", "gemm_tn"], 0)
}

//! f32 products on AMX: each f32 is split into bf16 parts, `a·b ≈ Σ aᵢ·bⱼ` over the largest of their products, which
//! TDPBF16PS adds up in f32. Three products of two parts are nearly as exact as a chain of f32 ([`Amx<_, 2>`], `amx`), six
//! of three parts are more exact (`amx-exact`).
//!
//! A [`Tile`] multiplies: the instructions, or their model in plain Rust, which has the same bits on every CPU and is the
//! reference implementation. See `docs/amx.md`.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod instructions;
mod line;
mod model;
mod product;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod self_check;
mod split;
#[cfg(test)]
mod tests;
mod tile;

use super::{MatmulBackend, MatmulTask};
use crate::layout::STRIP;
use crate::panels::Panels;
use crate::prepack::Prepacked;
use line::Line;
use product::{Sums, multiply, split_factor};
use split::{Right, Source};
use std::cell::Cell;
use std::sync::Arc;
use tile::{Model, Tile};

/// The names of the backends that run on the instructions.
pub const NAMES: [&str; 2] = ["amx", "amx-exact"];

/// The names of the same on the model: slow, for tests and for comparing bits.
pub const MODEL_NAMES: [&str; 2] = ["amx-model", "amx-exact-model"];

/// The backend of that name: none if it is of another kind, an error of one line if this machine cannot run it.
pub fn by_name(name: &str) -> Option<Result<Arc<dyn MatmulBackend>, String>> {
    match name {
        "amx" => Some(on_instructions::<2>()),
        "amx-exact" => Some(on_instructions::<3>()),
        "amx-model" => Some(Ok(Arc::new(Amx::<_, 2>(Model)))),
        "amx-exact-model" => Some(Ok(Arc::new(Amx::<_, 3>(Model)))),
        _ => None,
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn on_instructions<const P: usize>() -> Result<Arc<dyn MatmulBackend>, String> {
    let tile = self_check::checked()?;
    Ok(Arc::new(Amx::<_, P>(tile)))
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn on_instructions<const P: usize>() -> Result<Arc<dyn MatmulBackend>, String> {
    Err("AMX is used on Linux and x86-64 only".to_owned())
}

/// Products of `P` bf16 parts on tiles `T`.
#[derive(Clone, Copy, Debug)]
struct Amx<T, const P: usize>(T);

thread_local! {
    /// Split rows, and a right factor that nobody prepacked.
    static SCRATCH: Cell<[Vec<Line>; 2]> = Cell::default();
}

impl<T: Tile, const P: usize> MatmulBackend for Amx<T, P> {
    fn name(&self) -> &str {
        if T::IS_MODEL { MODEL_NAMES[P - 2] } else { NAMES[P - 2] }
    }

    /// The same for every thread count and split, on the instructions and on the model.
    fn family(&self) -> Option<&str> {
        Some(NAMES[P - 2])
    }

    fn prepack(&self, weights: Panels, form: &mut Prepacked) {
        let (data, strip) = weights.floats();
        let source = Source { data, line: 1, term: STRIP, strip };
        split_factor(self.0, &source, [weights.k(), weights.n()], form.get_or_default::<Right<P>>());
    }

    /// Kernels that visit argmax positions only are no products.
    fn prefers_products(&self) -> bool {
        false
    }

    fn run(&self, task: MatmulTask) {
        let [_, n, k] = task.sizes();
        let prepacked = task.prepacked::<Right<P>>().filter(|right| (right.k, right.n) == (k, n));
        let [mut rows, lines] = SCRATCH.take();
        let mut own = Right::<P> { k: 0, n: 0, lines };
        task.each_block(|block| {
            let [_, n, k] = block.sizes();
            let right = prepacked.unwrap_or_else(|| {
                // All blocks of a task have the same right factor.
                if own.k == 0 {
                    let b = &block.b;
                    let line = b.col_stride();
                    let source = Source { data: b.floats(), line, term: b.row_stride(), strip: STRIP * line };
                    split_factor(self.0, &source, [k, n], &mut own);
                }
                &own
            });
            let sums = Sums { c: block.c, row: block.c_stride };
            multiply(self.0, &block.a, right, sums, &mut rows);
        });
        SCRATCH.set([rows, own.lines]);
    }
}

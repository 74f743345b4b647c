//! Swaps the kernel of a relevance rule and an elementwise kernel, runs training and explanation on them, compares the
//! results with the reference, and prints the share of the time that the swapped kernels take.
//!
//! `cargo run --release -p kernels --example own_rule`

mod workload;

use kernels::elementwise::optimiser::{AdamOperands, OwnAdam};
use kernels::relevance::{OwnRelevance, Relevance, Stabiliser, relevance};
use kernels::{Kernels, ShapeError};

/// `r_in[n,j] = a[n,j]·Σ_k w⁺[j,k]·r_out[n,k] / (Σ_j a[n,j]·w⁺[j,k] + ε)`, and every other rule as before.
fn own_z_plus(kernels: &Kernels, mut operands: Relevance) -> Result<(), ShapeError> {
    let groups = operands.rule.dense_groups();
    let [group] = &groups[..] else { return relevance(kernels, operands) };
    let (Some(w), [back], Stabiliser::Constant(eps)) =
        (group.product, &group.back[..], group.shared.stabiliser)
    else {
        return relevance(kernels, operands);
    };
    let (outputs, inputs) = (w.n(), w.k());
    for n in 0..operands.a.rows() {
        let (a, r_out) = (operands.a.row(n), operands.r_out.row(n));
        let mut c = vec![0.0; outputs];
        for (j, &a) in a.iter().enumerate() {
            for (strip, c) in c.chunks_mut(16).enumerate() {
                c.iter_mut().zip(w.strip(j, strip)).for_each(|(c, w)| *c += a * w);
            }
        }
        for (c, &r) in c.iter_mut().zip(r_out) {
            *c = group.shared.coefficient * r / (*c + eps);
            // What is not passed on.
            operands.absorbed[n] += f64::from(*c * eps);
        }
        let mut sums = vec![0.0; inputs];
        for (k, &c) in c.iter().enumerate() {
            for (strip, sums) in sums.chunks_mut(16).enumerate() {
                sums.iter_mut().zip(back.strip(k, strip)).for_each(|(sum, w)| *sum += c * w);
            }
        }
        let r_in = operands.r_in.row_mut(n).iter_mut().zip(sums).zip(a);
        r_in.for_each(|((r_in, sum), a)| *r_in = sum * a);
    }
    Ok(())
}

/// Adam, one parameter after the other.
fn own_adam(_: &Kernels, operands: AdamOperands) -> Result<(), ShapeError> {
    let AdamOperands { step, grad, m, v, param } = operands;
    for (((&g, m), v), param) in grad.iter().zip(m).zip(v).zip(param) {
        *m = step.beta1 * *m + (1.0 - step.beta1) * g;
        *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
        let rate = step.lr * step.correction2 / step.correction1;
        *param -= rate * *m / (v.sqrt() + step.eps * step.correction2);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let own = Kernels::default().swap(OwnRelevance(own_z_plus)).swap(OwnAdam(own_adam));
    workload::run(&own, &["relevance", "adam"], 1)
}

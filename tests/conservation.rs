//! Relevance is conserved except for the absorbed relevance (Eq. 3.8), and not negative for rules without
//! negative terms.

use crate::support::{
    Arrays, METHODS, bits, explain, gated_and_lateral, narrow, samples_for, thesis, unpooled,
};
use kernels::Kernels;
use kernels::pool::PoolKind;
use model::explain::{Explanation, Method, Target};
use model::{Architecture, Network};

const CONSERVING: [Method; 4] =
    [Method::DEEP_TAYLOR, Method::lrp(1.0, 0.0), Method::lrp(2.0, 1.0), Method::W_SQUARE];

const POSITIVE: [Method; 3] = [Method::DEEP_TAYLOR, Method::lrp(1.0, 0.0), Method::W_SQUARE];

const TOLERANCE: f64 = 1e-4;

/// Recomputes Eq. 3.8 for every sample; returns the largest share of `f` that reaches the pixels.
fn check_conservation(what: &str, found: &Explanation) -> f64 {
    let n = found.target.len();
    let (size, classes) = (found.relevance.len() / n, found.logits.len() / n);
    let mut most = 0.0f64;
    for i in 0..n {
        let f = f64::from(found.explained[i]);
        assert_eq!(found.explained[i], found.logits[i * classes + found.target[i]], "{what} [{i}]");
        let image = &found.relevance[i * size..][..size];
        let sum: f64 = image.iter().map(|&r| f64::from(r)).sum();
        let error = (f - sum - found.absorbed[i]).abs() / f.abs();
        assert!(
            error <= TOLERANCE,
            "{what} [{i}]: f {f}, ΣR {sum}, absorbed {}: {error:.1e}",
            found.absorbed[i]
        );
        let reported = found.conservation_error[i];
        assert!((reported - error).abs() <= 1e-9, "{what} [{i}]: {reported} reported, {error} found");
        most = most.max((sum / f).abs());
    }
    most
}

fn check_network(what: &str, network: &Network, samples: &Arrays) {
    let kernels = Kernels::default();
    let indices: Vec<usize> = (0..samples.labels.len()).collect();
    for method in CONSERVING {
        let targets = [Target::Predicted, Target::True, Target::RunnerUp, Target::Class(2), Target::All];
        let mut most = 0.0f64;
        for target in targets {
            let found = explain(&kernels, network, method, (samples, &indices), target);
            let classes = network.task().classes;
            assert_eq!(found.len(), if target == Target::All { classes } else { 1 });
            for (k, one) in found.iter().enumerate() {
                let what = format!("{what} {method:?} {target:?} {k}");
                most = most.max(check_conservation(&what, one));
                let right = |i: usize| match target {
                    Target::True => usize::from(samples.labels[i]),
                    Target::Class(class) => class,
                    Target::All => k,
                    Target::Predicted | Target::RunnerUp => {
                        let h = &one.logits[i * classes..][..classes];
                        let label = usize::from(samples.labels[i]);
                        let others = |&k: &usize| target == Target::Predicted || k != label;
                        let all = (0..classes).rev().filter(others);
                        all.max_by(|&a, &b| h[a].total_cmp(&h[b])).expect("a class")
                    }
                };
                assert!(one.target.iter().enumerate().all(|(i, &class)| class == right(i)), "{what}");
            }
        }
        assert!(most > 0.5, "{what} {method:?}: at most {most} of f reaches the pixels; this shows nothing");
    }
}

#[test]
fn narrow_cells_conserve_relevance() {
    for name in Architecture::PRESETS {
        for seq_len in [1, 2, 4] {
            let network = narrow(name, seq_len, PoolKind::Max);
            check_network(&format!("narrow {name}-{seq_len}"), &network, &samples_for(&network, 9, 1));
        }
    }
}

#[test]
fn thesis_cells_conserve_relevance_through_seven_steps() {
    for name in Architecture::PRESETS {
        let network = thesis(name, 7);
        check_network(&format!("{name}-7"), &network, &samples_for(&network, 3, 2));
    }
}

#[test]
fn convolutions_without_a_pool_conserve_relevance() {
    for network in [1, 2].into_iter().flat_map(unpooled) {
        check_network(&network.architecture().name(), &network, &samples_for(&network, 9, 7));
    }
}

#[test]
fn gates_and_lateral_connections_conserve_relevance() {
    for network in [1, 2, 4].into_iter().flat_map(gated_and_lateral) {
        check_network(&network.architecture().name(), &network, &samples_for(&network, 9, 8));
    }
}

#[test]
fn sum_pooling_conserves_relevance() {
    for seq_len in [1, 2, 4] {
        let network = narrow("convdeep", seq_len, PoolKind::Sum);
        let samples = samples_for(&network, 9, 3);
        check_network(&format!("sum-pooled convdeep-{seq_len}"), &network, &samples);
        let of = |network: &Network| {
            let target = Target::Class(0);
            explain(&Kernels::default(), network, Method::DEEP_TAYLOR, (&samples, &[0]), target).remove(0)
        };
        let max = of(&narrow("convdeep", seq_len, PoolKind::Max));
        assert_ne!(of(&network).relevance, max.relevance, "the pool's kind counts");
    }
}

#[test]
fn relevance_has_the_sign_of_what_is_explained() {
    let kernels = Kernels::default();
    let narrow_cells = [1, 2, 4].map(|seq_len| move |name: &str| narrow(name, seq_len, PoolKind::Max));
    let all = Architecture::PRESETS.into_iter().flat_map(|name| {
        let wide = std::iter::once(thesis(name, 7));
        narrow_cells.iter().map(move |make| make(name)).chain(wide)
    });
    for network in all {
        let what = format!("{}-{}", network.architecture().name(), network.task().seq_len);
        let samples = samples_for(&network, 4, 4);
        let mut positive = 0;
        for method in POSITIVE {
            for one in explain(&kernels, &network, method, (&samples, &[0, 1, 2, 3]), Target::All) {
                let size = one.relevance.len() / 4;
                for (image, &f) in one.relevance.chunks_exact(size).zip(&one.explained) {
                    let bound = -1e-6 * f.abs();
                    let least = image.iter().fold(f32::INFINITY, |least, r| least.min(r * f.signum()));
                    assert!(least >= bound, "{what} {method:?}: {least} where f is {f}");
                    positive += usize::from(f > 0.0);
                }
            }
        }
        assert!(positive > 0, "{what}: no logit is positive; this shows nothing");
    }
}

/// The same network with every weight zero, or with hidden biases that no input exceeds.
fn dead(network: &Network, by_bias: bool) -> Network {
    let mut tensors = network.tensors();
    let last = format!("head.{}.bias", network.architecture().head.len());
    for tensor in &mut tensors {
        let is_bias = tensor.shape.len() == 1;
        if by_bias && is_bias && tensor.name != last {
            tensor.values.fill(1e4);
        } else if !by_bias && !is_bias {
            tensor.values.fill(0.0);
        }
    }
    Network::from_tensors(network.architecture().clone(), *network.task(), &tensors).expect("the same shapes")
}

#[test]
fn a_dead_network_absorbs_all_relevance_and_counts_it() {
    for name in Architecture::PRESETS {
        for (seq_len, pool) in [(1, PoolKind::Max), (4, PoolKind::Max), (2, PoolKind::Sum)] {
            for by_bias in [false, true] {
                let network = dead(&narrow(name, seq_len, pool), by_bias);
                let samples = samples_for(&network, 3, 5);
                for method in CONSERVING {
                    let what = format!("{name}-{seq_len} by bias: {by_bias} {method:?}");
                    let kernels = Kernels::default();
                    for one in explain(&kernels, &network, method, (&samples, &[0, 1, 2]), Target::All) {
                        assert!(one.relevance.iter().all(|&r| r == 0.0), "{what}: {:?}", one.relevance);
                        let numbers = one.explained.iter().zip(&one.absorbed).zip(&one.conservation_error);
                        for ((&f, absorbed), error) in numbers {
                            let f = f64::from(f);
                            assert!(f.is_finite() && f != 0.0, "{what}: f is {f}");
                            assert!(
                                (f - absorbed).abs() <= 1e-6 * f.abs(),
                                "{what}: {absorbed} absorbed of {f}"
                            );
                            assert!(*error <= 1e-6, "{what}: {error}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn all_classes_in_turn_are_each_class_alone() {
    let kernels = Kernels::default();
    for name in Architecture::PRESETS {
        let network = narrow(name, 4, PoolKind::Max);
        let samples = samples_for(&network, 5, 6);
        let batch = (&samples, &[4, 0, 3][..]);
        for method in METHODS {
            let all = explain(&kernels, &network, method, batch, Target::All);
            for (class, one) in all.iter().enumerate() {
                let alone = explain(&kernels, &network, method, batch, Target::Class(class)).remove(0);
                let what = format!("{name} {method:?} class {class}");
                assert_eq!(bits(&one.relevance), bits(&alone.relevance), "{what}");
                assert_eq!(one, &alone, "{what}");
            }
        }
    }
}

//! What must not change a result, what must, and what is refused.

use crate::support::{Arrays, METHODS, backends, bits, explain, narrow, random_samples, samples_for, thesis};
use kernels::pool::PoolKind;
use kernels::relevance::{PackedRule, Relevance, RelevanceConv, Rule, relevance, relevance_conv};
use kernels::{Conv, ConvShape, Epilogue, Init, Kernels, MatMut, MatRef, Panels, Threads, conv, gemm, pack};
use model::explain::{Ascent, Explainer, Explanation, Method, Target, prototype};
use model::{Architecture, Evaluator, NamedTensor, Network, Task};

/// Bits of all that one sample of an explanation says.
fn sample_bits(found: &Explanation, i: usize) -> Vec<u64> {
    let n = found.target.len();
    let part = |values: &[f32]| bits(&values[i * (values.len() / n)..][..values.len() / n]);
    let singles = [part(&found.explained), part(&found.logits), part(&found.relevance)].concat();
    let doubles = [found.absorbed[i].to_bits(), found.conservation_error[i].to_bits()];
    singles.into_iter().map(u64::from).chain(doubles).chain([found.target[i] as u64]).collect()
}

fn logits(kernels: &Kernels, network: &Network, samples: &Arrays, indices: &[usize]) -> Vec<u32> {
    let mut evaluator = Evaluator::new(network, indices.len());
    bits(evaluator.logits(kernels, network, samples, indices).expect("runs"))
}

#[test]
fn a_sample_alone_is_the_same_sample_in_a_batch() {
    for name in Architecture::PRESETS {
        let network = thesis(name, 4);
        let samples = samples_for(&network, 50, 1);
        for kernels in backends() {
            // The reference backend writes every sum out and would take a minute.
            let slow = kernels.backend().name() == "reference";
            let batch: Vec<usize> = (0..if slow { 5 } else { 50 }).collect();
            let alone = batch.len() - 2;
            let together = logits(&kernels, &network, &samples, &batch);
            let what = format!("{name} on {:?}", kernels.backend());
            assert_eq!(
                logits(&kernels, &network, &samples, &[alone]),
                together[alone * 10..][..10],
                "{what}"
            );
            for method in METHODS {
                let target = Target::Predicted;
                let mut explainer = Explainer::new(&kernels, &network, method, batch.len()).expect("fits");
                let mut of = |indices: &[usize]| {
                    let found = explainer.explain(&kernels, &samples, indices, target);
                    found.expect("runs").remove(0)
                };
                let want = sample_bits(&of(&batch), alone);
                // In buffers that a larger batch has used, and in its own.
                assert!(sample_bits(&of(&[alone]), 0) == want, "{what} {method:?}, used buffers");
                let found = explain(&kernels, &network, method, (&samples, &[alone]), target).remove(0);
                assert!(sample_bits(&found, 0) == want, "{what} {method:?}");
            }
        }
    }
}

#[test]
fn neither_threads_nor_the_split_of_a_batch_change_a_bit() {
    let fast = backends().into_iter().map(|k| k.backend()).filter(|b| b.name() != "reference");
    for backend in fast {
        let sets = [1, 2, 3, 7].map(|n| Kernels::new(backend, Threads::new(n).expect("threads")));
        for name in Architecture::PRESETS {
            let network = thesis(name, 4);
            let samples = samples_for(&network, 40, 2);
            for method in METHODS {
                let of = |kernels: &Kernels, batch: &[usize]| -> Vec<Vec<u64>> {
                    let found = explain(kernels, &network, method, (&samples, batch), Target::True).remove(0);
                    (0..batch.len()).map(|i| sample_bits(&found, i)).collect()
                };
                let all: Vec<usize> = (0..40).collect();
                let whole = of(&sets[0], &all);
                for kernels in &sets[1..] {
                    let what =
                        format!("{name} {method:?} {backend:?} on {} threads", kernels.threads().count());
                    assert!(of(kernels, &all) == whole, "{what}");
                    let (first, second) = all.split_at(23);
                    let parts = [of(kernels, first), of(kernels, second)].concat();
                    assert!(parts == whole, "{what}, 23 + 17 samples");
                }
            }
        }
    }
}

#[test]
fn every_backend_that_promises_bits_explains_like_the_reference() {
    let all = backends();
    let reference = all.iter().find(|k| k.backend().name() == "reference").expect("always there");
    for name in Architecture::PRESETS {
        for (seq_len, pool) in [(1, PoolKind::Max), (2, PoolKind::Sum), (4, PoolKind::Max)] {
            let network = narrow(name, seq_len, pool);
            let samples = samples_for(&network, 7, 3);
            let batch: Vec<usize> = (0..7).collect();
            for method in METHODS {
                let of = |kernels: &Kernels| -> Vec<u64> {
                    let found = explain(kernels, &network, method, (&samples, &batch), Target::All);
                    found.iter().flat_map(|one| (0..7).flat_map(|i| sample_bits(one, i))).collect()
                };
                let want = of(reference);
                for kernels in all.iter().filter(|k| k.backend().promises_bits()) {
                    assert!(of(kernels) == want, "{name}-{seq_len} {method:?} on {:?}", kernels.backend());
                }
            }
        }
    }
}

/// A layer's inputs hand out `r` in proportion to `q(j, k)`.
fn share(inputs: usize, r: &[f64], q: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let z = |k| (0..inputs).map(|j| q(j, k)).sum::<f64>();
    let of = |j| r.iter().enumerate().map(|(k, r)| q(j, k) / z(k) * r).sum();
    (0..inputs).map(of).collect()
}

type Numerator = fn(f64, f64, (f64, f64)) -> f64;

/// The numerator of z^β, and the one with `w⁻` and `w⁺` exchanged.
fn right(x: f64, w: f64, (low, high): (f64, f64)) -> f64 {
    x * w - low * w.max(0.0) - high * w.min(0.0)
}

fn swapped(x: f64, w: f64, (low, high): (f64, f64)) -> f64 {
    x * w - low * w.min(0.0) - high * w.max(0.0)
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

/// The kernel agrees with `right`; `wrong` keeps the sum too, but is more than a tenth of it away.
fn check_trap(what: &str, found: &[f32], right: &[f64], wrong: &[f64]) {
    let total = sum(right);
    for (&found, want) in found.iter().zip(right) {
        assert!((f64::from(found) - want).abs() <= 1e-5 * total, "{what}: {found}, {want} expected");
    }
    assert!((sum(wrong) - total).abs() <= 1e-9 * total, "{what}: the swapped form conserves");
    let apart: f64 = right.iter().zip(wrong).map(|(a, b)| (a - b).abs()).sum();
    assert!(apart > 0.1 * total, "{what}: {apart} of {total} apart");
}

#[test]
fn z_beta_subtracts_the_low_bound_where_weights_are_positive() {
    let x = [0.5f32, -0.25, 1.0];
    let w = [1.0f32, -0.5, -2.0, 0.25, 0.5, 1.5];
    let r = [2.0f32, 1.0];
    for (low, high) in [(-1.0f32, 1.0f32), (-0.25, 2.0), (-3.0, 1.0)] {
        for kernels in backends() {
            let packed = pack::pack(&w, 3, 2);
            let w = Panels::new(&packed, 3, 2);
            let (mut z, mut r_in, mut absorbed) = ([0.0; 2], [0.0; 3], [0.0]);
            let x = MatRef::new(&x, 1, 3);
            gemm(&kernels, x, w, Init::Zero, Epilogue::Store, MatMut::new(&mut z, 1, 2)).expect("fits");
            let rule = &PackedRule::dense(&Rule::z_beta(low, high), w);
            let operands = Relevance {
                rule,
                a: x,
                z: Some(MatRef::new(&z, 1, 2)),
                r_out: MatRef::new(&r, 1, 2),
                r_in: MatMut::new(&mut r_in, 1, 3),
                absorbed: &mut absorbed,
            };
            relevance(&kernels, operands).expect("fits");
            let bounds = (f64::from(low), f64::from(high));
            let q = |form: Numerator| {
                share(3, &[2.0, 1.0], |j, k| form(f64::from(x.row(0)[j]), f64::from(w.at(j, k)), bounds))
            };
            check_trap("dense", &r_in, &q(right), &q(swapped));
            if bounds == (-1.0, 1.0) {
                // By hand: the numerators x·w + |w| are 1.5, 2.5, 1 and 0.25, 0.1875, 3.
                let hand = [0.6 + 4.0 / 55.0, 1.0 + 3.0 / 55.0, 0.4 + 48.0 / 55.0];
                // Exchanged, x·w − |w|: −0.5, −1.5, 0 and −0.75, −0.3125, 0.
                let trap = [0.5 + 12.0 / 17.0, 1.5 + 5.0 / 17.0, 0.0];
                check_trap("by hand", &r_in, &hand, &trap);
            }
        }
    }
}

#[test]
fn z_beta_of_a_convolution_has_no_bounds_beyond_the_border() {
    let shape = ConvShape { rows: 2, cols: 3, size: 3, inputs: 1, outputs: 2 };
    let drawn = random_samples(1, 18, 1, 4).images;
    let image = random_samples(1, 6, 1, 5).images;
    let r: Vec<f32> = (0..12).map(|k| 0.5 + (k % 5) as f32).collect();
    let r64: Vec<f64> = r.iter().map(|&r| f64::from(r)).collect();
    // The weight from the pixel at (y, x) to output k, None where the filter does not reach.
    let weight = |y: isize, x: isize, k: usize| {
        let (out, o) = ((k / 2) as isize, k % 2);
        let (dy, dx) = (y - out / 3 + 1, x - out % 3 + 1);
        let inside = (0..3).contains(&dy) && (0..3).contains(&dx);
        inside.then(|| f64::from(drawn[(dy * 3 + dx) as usize * 2 + o]))
    };
    for (low, high) in [(-1.0, 1.0), (-0.25, 2.0)] {
        let bounds = (f64::from(low), f64::from(high));
        let q = |form: Numerator, j: usize, k: usize| {
            weight((j / 3) as isize, (j % 3) as isize, k)
                .map_or(0.0, |w| form(f64::from(image[j]), w, bounds))
        };
        let by = |form: Numerator| share(6, &r64, |j, k| q(form, j, k));
        for kernels in backends() {
            let packed = pack::pack(&drawn, 9, 2);
            let w = Panels::new(&packed, 9, 2);
            let (plane, out) = (shape.input(), shape.output());
            let (mut x, mut z) = (vec![0.0; plane.len()], vec![0.0; out.len()]);
            let mut inside = plane.pixels_mut(&mut x, 1);
            (0..6).for_each(|i| inside.row_mut(i)[0] = image[i]);
            let product = out.pixels_mut(&mut z, 1);
            conv(
                &kernels,
                Conv {
                    shape: &shape,
                    x: &x,
                    images: 1,
                    w,
                    init: Init::Zero,
                    epilogue: Epilogue::Store,
                    y: product,
                },
            )
            .expect("fits");
            let rule = PackedRule::conv(&kernels, &Rule::z_beta(low, high), &shape, w).expect("fits");
            let (mut r_in, mut absorbed) = ([0.0; 6], [0.0]);
            let operands = RelevanceConv {
                rule: &rule,
                a: &x,
                z: Some(out.pixels_of(&z, 1)),
                r_out: MatRef::new(&r, 6, 2),
                r_in: MatMut::new(&mut r_in, 6, 1),
                absorbed: &mut absorbed,
            };
            relevance_conv(&kernels, operands).expect("fits");
            check_trap("conv", &r_in, &by(right), &by(swapped));
        }
        // Had the border the bounds of the image, it would take relevance with it.
        let border = |k: usize| {
            let places = (-1..3isize).flat_map(|y| (-1..4isize).map(move |x| (y, x)));
            let outside = places.filter(|&(y, x)| !((0..2).contains(&y) && (0..3).contains(&x)));
            outside.filter_map(|(y, x)| weight(y, x, k)).map(|w| right(0.0, w, bounds)).sum::<f64>()
        };
        let bounded = share(7, &r64, |j, k| if j < 6 { q(right, j, k) } else { border(k) });
        assert!(bounded[6] > 0.1 * sum(&r64), "{bounded:?}");
    }
}

#[test]
fn the_sixteen_numbers_of_variables_are_those_of_table_4_3() {
    let table = [
        ("shallow", [610_570, 355_722, 291_210, 248_202]),
        ("deep", [550_346, 314_954, 271_946, 243_274]),
        ("deepv2", [575_050, 306_890, 263_882, 235_210]),
        ("convdeep", [647_594, 283_178, 197_162, 197_162]),
    ];
    for (name, counts) in table {
        for (seq_len, count) in [1, 4, 7, 14].into_iter().zip(counts) {
            let network = thesis(name, seq_len);
            assert_eq!(network.variables(), count, "{name}-{seq_len}");
            let values: usize = network.tensors().iter().map(|tensor| tensor.values.len()).sum();
            assert_eq!(values, count, "{name}-{seq_len}, counted by tensor");
        }
    }
}

#[test]
fn initial_values_are_a_truncated_normal_and_a_small_threshold() {
    for name in Architecture::PRESETS {
        let network = thesis(name, 4);
        for NamedTensor { name: tensor, shape, values } in network.tensors() {
            let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
            if shape.len() == 1 {
                let threshold = values.iter().map(|b| b.exp().ln_1p());
                assert!(threshold.into_iter().all(|s| (s - 0.01).abs() < 1e-7), "{name} {tensor}");
                continue;
            }
            // Moments of a normal with σ = 0.1 cut at ±2σ; tolerances of five standard errors.
            let (n, sigma) = (values.len() as f64, 0.1 * 0.773_741f64.sqrt());
            let mean = sum(&values) / n;
            let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            assert!(values.iter().all(|v| v.abs() <= 0.2 + 1e-8), "{name} {tensor}");
            assert!(mean.abs() < 5.0 * sigma / n.sqrt(), "{name} {tensor}: mean {mean}");
            assert!((std / sigma - 1.0).abs() < 5.0 / (2.0 * n).sqrt(), "{name} {tensor}: std {std}");
        }
        let of = |seed| Network::new(network.architecture().clone(), *network.task(), seed).expect("fits");
        assert!(bits(of(3).values()) == bits(network.values()), "{name}: the same seed");
        assert!(bits(of(4).values()) != bits(network.values()), "{name}: another seed");
    }
}

#[test]
fn refusals_name_the_culprit() {
    let preset = || Architecture::preset("convdeep").expect("a preset");
    let task = Task { seq_len: 5, ..Task::default() };
    let error = Network::new(preset(), task, 0).expect_err("5 does not divide 28").to_string();
    assert!(error.contains('5') && error.contains("28"), "{error}");
    let network = narrow("convdeep", 2, PoolKind::Max);
    let refusal = |change: &dyn Fn(&mut Vec<NamedTensor>)| {
        let mut tensors = network.tensors();
        change(&mut tensors);
        let found = Network::from_tensors(network.architecture().clone(), *network.task(), &tensors);
        found.expect_err("a broken set of tensors").to_string()
    };
    let error = refusal(&|tensors| tensors.retain(|t| t.name != "combine.bias"));
    assert!(error.contains("`combine.bias` is missing") && error.contains("[19]"), "{error}");
    let error = refusal(&|tensors| {
        tensors.push(NamedTensor { name: "head.7.bias".to_owned(), shape: vec![1], values: vec![0.0] });
    });
    assert!(error.contains("`head.7.bias`") && error.contains("head.1"), "{error}");
    let error = refusal(&|tensors| tensors[0].name = "encodre.0.weight".to_owned());
    assert!(error.contains("encoder.0.weight"), "{error}");
    let error = refusal(&|tensors| tensors[0].shape = vec![5, 5, 4, 1]);
    assert!(error.contains("`encoder.0.weight`"), "{error}");
    assert!(error.contains("[5, 5, 4, 1]") && error.contains("[5, 5, 1, 4]"), "{error}");
    let of =
        |alpha, beta| Explainer::new(&Kernels::default(), &network, Method::lrp(alpha, beta), 1).map(|_| ());
    assert_eq!(of(2.0, 1.0), Ok(()));
    let refused = [(2.0, 0.5, "1.5"), (1.0, 1.0, "0"), (f32::NAN, 0.0, "NaN"), (0.0, -1.0, "beta is -1")];
    for (alpha, beta, culprit) in refused {
        let error = of(alpha, beta).expect_err("α − β must be 1 and β ≥ 0").to_string();
        assert!(error.contains("beta") && error.contains(culprit), "α {alpha}, β {beta}: {error}");
    }
    let samples = samples_for(&network, 2, 6);
    let mut explainer = Explainer::new(&Kernels::default(), &network, Method::DEEP_TAYLOR, 1).expect("fits");
    let mut of = |indices: &[usize], target| {
        let found = explainer.explain(&Kernels::default(), &samples, indices, target);
        found.expect_err("too much").to_string()
    };
    assert!(of(&[0, 1], Target::Predicted).contains("2 samples"));
    assert!(of(&[0], Target::Class(5)).contains("class 5"));
}

#[test]
fn a_prototype_is_surer_of_its_class_than_the_mean_and_stays_in_range() {
    let kernels = Kernels::default();
    for name in Architecture::PRESETS {
        let network = thesis(name, 4);
        for class in [0, 9] {
            let mean = vec![-0.5; 784];
            let found =
                prototype(&kernels, &network, class, &mean, Ascent { steps: 40, rate: 0.02, lambda: 0.0 })
                    .expect("a class");
            assert_eq!(found.probability.len(), 41, "{name}");
            let (first, last) = (found.probability[0], found.probability[40]);
            assert!(last > first + 0.2, "{name} class {class}: {first} → {last}");
            assert!(found.image.iter().all(|x| (-1.0..=1.0).contains(x)), "{name}");
            let samples = Arrays { images: found.image, labels: vec![class as u8], size: 784 };
            let mut evaluator = Evaluator::new(&network, 1);
            let loss = evaluator.evaluate(&kernels, &network, &samples, &[0]).expect("runs").mean_loss();
            assert!(
                ((-loss).exp() - last).abs() < 1e-6,
                "{name}: the image is the one of the last probability"
            );
        }
        let ascent = Ascent { steps: 1, rate: 0.1, lambda: 0.0 };
        assert!(prototype(&kernels, &network, 10, &[0.0; 784], ascent).is_err());
        assert!(prototype(&kernels, &network, 0, &[0.0; 783], ascent).is_err());
    }
}

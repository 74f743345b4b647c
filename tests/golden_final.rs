//! Golden cases of an independent float64 implementation with values, rules and zero logits, each by the command line
//! that its metadata gives, on every backend.

use crate::support::{Golden, assert_close, backends, cases_of, final_cases, say, trainer};
use harness::cli::run;
use harness::io::array::{read_images, write_f32};
use harness::model_file;
use kernels::Backend;
use model::Evaluator;
use model::train::Optimiser;
use ndarray::{Array1, ArrayD};
use ndarray_npy::{read_npy, write_npy};
use std::ffi::OsString;
use std::path::Path;

/// A case as files.
struct Case<'a> {
    golden: &'a Golden,
    folder: &'a Path,
}

impl Case<'_> {
    fn write(&self) {
        let Golden { network, samples, tensors, .. } = self.golden;
        let (n, task) = (samples.labels.len(), network.task());
        model_file::save(&self.folder.join("m.safetensors"), network).expect("written");
        let shape = [n, task.rows, task.cols];
        write_f32(&self.folder.join("x.npy"), &shape, &samples.images).expect("written");
        let labels: Array1<i64> = samples.labels.iter().map(|&label| i64::from(label)).collect();
        write_npy(self.folder.join("y.npy"), &labels).expect("written");
        for (name, rows) in tensors {
            if let Some(name) = name.strip_prefix("gamma.") {
                let path = self.folder.join(format!("gamma-{name}.npy"));
                write_f32(&path, &[n, task.classes], rows).expect("written");
            }
        }
    }

    /// Relevance by the options of a command.
    fn explain(&self, name: &str, options: &str, backend: Backend) -> Vec<f32> {
        let out = self.folder.join("r.npy");
        let mut args: Vec<OsString> = vec!["harness".into(), "explain".into()];
        for (option, file) in [("--model", "m.safetensors"), ("--input", "x.npy"), ("--labels", "y.npy")] {
            args.extend([option.into(), self.folder.join(file).into()]);
        }
        args.extend(["--out".into(), out.clone().into()]);
        args.extend(options.split_whitespace().map(|word| match word {
            "{gamma}" => self.folder.join(format!("gamma-{name}.npy")).into(),
            word => word.into(),
        }));
        for word in ["--overwrite", "--threads", "1", "--kernels", backend.name(), "--quiet", "--json"] {
            args.push(word.into());
        }
        run(args).unwrap_or_else(|error| panic!("{options}: {error:#}"));
        if options.contains("--target all") {
            let all: ArrayD<f32> = read_npy(&out).expect("relevance");
            return all.into_raw_vec_and_offset().0;
        }
        read_images(&out).expect("relevance").0
    }
}

#[test]
fn values_and_rules_agree_on_every_backend_by_the_command_line() {
    let found = check_commands(final_cases(), 1e-4);
    say(&format!("{found} golden commands"));
}

#[test]
fn composites_agree_with_zennit_and_captum_on_every_backend() {
    let backends = Backend::available().len();
    // With the conventions of this program, and with those of zennit.
    assert_eq!(check_commands(cases_of("zennit"), 1e-5), 2 * 20 * backends);
    assert_eq!(check_commands(cases_of("captum"), 1e-5), 2 * 5 * backends);
}

/// Runs every command of the cases on every backend, to a tolerance relative to the largest relevance; returns how many
/// there were.
fn check_commands(cases: Vec<Golden>, tolerance: f64) -> usize {
    let mut commands = 0;
    for golden in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let case = Case { golden: &golden, folder: folder.path() };
        case.write();
        for backend in Backend::available() {
            for (name, options) in &golden.commands {
                let found = case.explain(name, options, backend);
                let what = format!("{} {name} ({options}) on {}", golden.name, backend.name());
                assert_close(&what, &found, &golden.tensors[&format!("relevance.{name}")], tolerance);
                commands += 1;
            }
        }
    }
    commands
}

#[test]
fn zero_logits_train_as_another_implementation_does() {
    for golden in final_cases() {
        let Golden { name, network, samples, tensors, .. } = &golden;
        let batch = samples.labels.len();
        for kernels in backends() {
            let mut evaluator = Evaluator::new(network, batch);
            let found = evaluator.evaluate(&kernels, network, samples, &golden.indices()).expect("runs");
            assert_close(&format!("{name} logits"), evaluator.last_logits(), &tensors["logits"], 1e-5);
            assert_close(&format!("{name} loss"), &[found.mean_loss() as f32], &tensors["loss"], 1e-5);
            let mut trainer = trainer(network, Optimiser::Adam { lr: 1e-3 }, batch, 0);
            for round in 0..3 {
                trainer.gradient_without_dropout(&kernels, samples, &golden.indices()).expect("runs");
                if round == 0 {
                    for tensor in network.export(trainer.gradients()) {
                        let want = &tensors[&format!("grad.{}", tensor.name)];
                        assert_close(&format!("{name} grad.{}", tensor.name), &tensor.values, want, 1e-4);
                    }
                }
                trainer.update(&kernels).expect("runs");
            }
            for tensor in trainer.network().tensors() {
                let want = &tensors[&format!("adam3.{}", tensor.name)];
                assert_close(&format!("{name} adam3.{}", tensor.name), &tensor.values, want, 1e-4);
            }
        }
    }
}

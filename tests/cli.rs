//! The command line from its arguments to the files it writes, in this process, with a separate folder per
//! test.

mod models;
mod refusals;
mod reproduction;

use anyhow::{Error, Result};
use harness::cli::run;
use harness::dataset::{Dataset, synth};
use harness::error::UsageError;
use harness::model_file;
use kernels::Backend;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

/// A folder with a small synthetic set, removed after the test.
struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new() -> Sandbox {
        let sandbox = Sandbox(tempfile::tempdir().expect("a folder"));
        synth::write(&sandbox.at("synth"), 3, 600, 200).expect("drawn");
        sandbox
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `harness` with the words of `line`; `@name` is a path in the folder. Threads and kernels are set,
    /// so that the environment has no effect.
    fn run(&self, line: &str) -> Result<()> {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.at(name).into_os_string(),
            None => word.into(),
        };
        let mut args = vec!["harness".into()];
        args.extend(line.split_whitespace().map(word));
        for (flag, value) in [("--threads", "1"), ("--kernels", Backend::best().name())] {
            if !line.contains(flag) {
                args.extend([flag.into(), value.into()]);
            }
        }
        args.push("--quiet".into());
        run(args)
    }

    fn does(&self, line: &str) {
        self.run(line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    }

    /// The error message: one line that contains all of `words`.
    fn refuses(&self, line: &str, words: &[&str]) -> Error {
        let error = self.run(line).expect_err(line);
        let text = format!("{error:#}");
        assert!(!text.contains('\n'), "{line}: {text}");
        for word in words {
            assert!(text.contains(word), "{line}: no {word:?} in {text:?}");
        }
        error
    }

    fn usage_error(&self, line: &str, words: &[&str]) {
        let error = self.refuses(line, words);
        assert!(error.downcast_ref::<UsageError>().is_some(), "{line}: {error:#}");
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).expect("UTF-8")
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).expect("JSON")
    }

    /// Files of a folder and their contents.
    fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.at(folder)).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let names = entries.map(|entry| name(entry).into_string().expect("UTF-8"));
        names.map(|name| (name.clone(), self.bytes(&format!("{folder}/{name}")))).collect()
    }

    fn metrics(&self, run: &str) -> Vec<Vec<String>> {
        let text = self.text(&format!("{run}/metrics.csv"));
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    fn dataset(&self) -> Dataset {
        Dataset::open("synth", Some(self.0.path())).expect("opens")
    }
}

/// Trains Deep with T = 7 on the synthetic set, the default.
const TRAIN: &str = "train --data-dir @ --limit-train 300 --limit-test 60";

/// Width and height of a picture that decodes to its last row.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("fits")];
    let frame = reader.next_frame(&mut pixels).expect("whole");
    (frame.width, frame.height)
}

#[test]
fn data_is_drawn_found_listed_and_verified() {
    let sandbox = Sandbox::new();
    sandbox.does("data synth --out @mine --train 30 --test 10 --seed 5");
    sandbox.refuses("data synth --out @mine --train 30 --test 10", &["mine", "--overwrite"]);
    sandbox.does("data synth --out @again --train 30 --test 10 --seed 5 --json");
    assert_eq!(sandbox.files("mine"), sandbox.files("again"));
    sandbox.does("data synth --out @again --train 30 --test 10 --seed 6 --overwrite");
    assert_ne!(sandbox.files("mine"), sandbox.files("again"));
    for name in ["synth", "mine"] {
        sandbox.does(&format!("data path {name} --data-dir @"));
    }
    sandbox.does("data list --data-dir @ --json");
    sandbox.does("data list --data-dir @");
    sandbox.does("data verify mine --data-dir @");
    sandbox.refuses("data verify synth --data-dir @", &["4 of 4 files"]);
    sandbox.refuses("data path absent --data-dir @", &["absent", "--data-dir"]);
    sandbox.refuses("data list --data-dir @nowhere", &["nowhere", "no such folder"]);
}

#[test]
fn a_training_leaves_a_manifest_metrics_and_models() {
    let sandbox = Sandbox::new();
    sandbox.does(&format!("{TRAIN} --cell deep --seq-len 7 --dataset synth --epochs 2 --seed 4 --out @run"));
    let names: Vec<_> = sandbox.files("run").into_keys().collect();
    assert_eq!(
        names,
        ["best.safetensors", "last.safetensors", "lock", "metrics.csv", "resume.safetensors", "run.json"]
    );
    let manifest = sandbox.json("run/run.json");
    assert_eq!(manifest["state"], "done");
    assert_eq!(manifest["kernels"], Backend::best().name());
    assert_eq!(manifest["samples"], json!([275, 25, 60]));
    assert_eq!(manifest["threads"], 1);
    let settings = &manifest["settings"];
    assert_eq!(
        (&settings["cell"], &settings["seq-len"], &settings["seed"]),
        (&"deep".into(), &7.into(), &4.into())
    );
    let data = sandbox.dataset();
    for (half, split) in [("train", &data.train), ("test", &data.test)] {
        let sums = split.sha256();
        assert_eq!(manifest["data_sha256"][half]["images"], sums.images);
        assert_eq!(manifest["data_sha256"][half]["labels"], sums.labels);
    }
    let metrics = sandbox.metrics("run");
    let norms = (1..=7).map(|t| format!("gradient_norm_{t}")).collect::<Vec<_>>();
    assert_eq!(metrics[0][metrics[0].len() - 7..], norms);
    assert_eq!(metrics.iter().map(|line| &line[0][..]).collect::<Vec<_>>(), ["epoch", "1", "2"]);
    for cell in metrics[1..].iter().flatten() {
        assert!(cell.parse::<f64>().is_ok_and(f64::is_finite), "{cell}");
    }
    let network = model_file::load(&sandbox.at("run/last.safetensors")).expect("a model");
    assert_eq!(manifest["variables"], network.variables());
    assert_eq!((network.architecture().name().as_str(), network.task().seq_len), ("deep", 7));
}

#[test]
fn a_run_is_kept_without_overwrite() {
    let sandbox = Sandbox::new();
    sandbox.does(&format!("{TRAIN} --epochs 1 --out @run"));
    let before = sandbox.files("run");
    sandbox.refuses(&format!("{TRAIN} --epochs 1 --seed 9 --out @run"), &["run", "--resume", "--overwrite"]);
    let changed =
        sandbox.refuses(&format!("{TRAIN} --epochs 2 --seed 9 --out @run --resume"), &["resume.safetensors"]);
    assert!(changed.to_string().contains("other settings"), "{changed}");
    assert_eq!(sandbox.files("run"), before);
    fs::write(sandbox.at("run/notes.txt"), "mine").expect("written");
    sandbox.does(&format!("{TRAIN} --epochs 1 --seed 9 --out @run --overwrite"));
    assert_eq!(sandbox.text("run/notes.txt"), "mine");
    assert_ne!(sandbox.bytes("run/last.safetensors"), before["last.safetensors"]);
    assert_eq!(sandbox.metrics("run").len(), 2);
}

#[test]
fn a_resumed_training_ends_in_the_bits_of_an_uninterrupted_one() {
    let sandbox = Sandbox::new();
    for (name, how) in [("adam", ""), ("sgd", "--optimiser sgd --lr 0.01 --cell shallow --dropout 0.2")] {
        sandbox.does(&format!("{TRAIN} {how} --epochs 3 --out @{name}-straight"));
        sandbox.does(&format!("{TRAIN} {how} --epochs 1 --out @{name}"));
        sandbox.does(&format!("{TRAIN} {how} --epochs 3 --out @{name} --resume --threads 2"));
        for file in ["last", "best", "resume"] {
            let of = |run: &str| sandbox.bytes(&format!("{run}/{file}.safetensors"));
            assert!(of(name) == of(&format!("{name}-straight")), "{name}: {file}");
        }
        assert_eq!(sandbox.metrics(name), sandbox.metrics(&format!("{name}-straight")));
        assert_eq!(sandbox.json(&format!("{name}/run.json"))["state"], "done");
    }
}

#[test]
fn resuming_needs_a_run_and_takes_its_settings() {
    let sandbox = Sandbox::new();
    sandbox.refuses("train --data-dir @ --resume --out @nowhere", &["nowhere", "no run to resume"]);
    fs::create_dir(sandbox.at("empty")).expect("a folder");
    sandbox.refuses("train --data-dir @ --resume --out @empty", &["empty", "no run to resume"]);
    assert!(!sandbox.at("nowhere").exists() && sandbox.files("empty").is_empty());
    let how = "--cell convdeep --pool sum --combine 24 --recurrent 12 --seq-len 4 --seed 8 --batch 30";
    sandbox.does(&format!("{TRAIN} {how} --epochs 2 --out @straight"));
    sandbox.does(&format!("{TRAIN} {how} --epochs 1 --out @run"));
    let before = sandbox.files("run");
    let line = "train --data-dir @ --resume --out @run --epochs 2";
    let error = sandbox.refuses(
        &format!("{line} --seed 9 --lr 1e-3 --batch 30"),
        &["other settings", "seed is 8 there, 9 is requested", "lr is 0.0005", "0.001"],
    );
    let text = format!("{error:#}");
    assert!(!text.contains("batch") && !text.contains('{'), "only what differs: {text}");
    assert_eq!(sandbox.files("run"), before);
    sandbox.does(line);
    assert!(sandbox.bytes("run/last.safetensors") == sandbox.bytes("straight/last.safetensors"));
    fs::remove_file(sandbox.at("run/run.json")).expect("removed");
    sandbox.does("train --data-dir @ --resume --out @run");
    assert_eq!(sandbox.json("run/run.json")["settings"]["epochs"], 2);
}

#[test]
fn a_manifest_names_the_commit_that_was_built() {
    let sandbox = Sandbox::new();
    sandbox.does(&format!("{TRAIN} --epochs 1 --out @run"));
    let commit = sandbox.json("run/run.json")["commit"].clone();
    assert!(commit.is_null() || commit.as_str().is_some_and(|text| text.len() >= 40), "{commit}");
    assert_eq!(commit.as_str(), harness::io::machine::commit().as_deref());
}

#[test]
fn a_seed_gives_the_same_bytes_on_any_threads_and_kernels() {
    let sandbox = Sandbox::new();
    let train = |out: &str, how: &str| {
        sandbox.does(&format!("{TRAIN} --epochs 1 --out @{out} {how}"));
        sandbox.bytes(&format!("{out}/last.safetensors"))
    };
    let want = train("run", "");
    assert!(train("again", "") == want);
    assert!(train("other", "--seed 2") != want);
    assert!(train("two", "--threads 2") == want, "2 threads");
    for name in Backend::NAMES {
        if name == "portable" || Backend::by_name(name).is_none() || Backend::best().name() == "portable" {
            crate::support::say(&format!(
                "skipped: {name} is not available, or portable, which may round twice"
            ));
            continue;
        }
        assert!(train(name, &format!("--kernels {name} --threads 2")) == want, "{name}");
        assert_eq!(sandbox.json(&format!("{name}/run.json"))["kernels"], name);
    }
}

#[test]
fn settings_come_from_a_file_and_the_command_line_goes_over_it() {
    let sandbox = Sandbox::new();
    let file = "cell = \"shallow\"\nseq-len = 4\nepochs = 2\nlimit-train = 120\nlimit-test = 20\n\
                input-range = [0.0, 1.0]\ndataset = \"synth\"\n";
    fs::write(sandbox.at("run.toml"), file).expect("written");
    sandbox.does("train --config @run.toml --epochs 1 --data-dir @ --out @run");
    let settings = &sandbox.json("run/run.json")["settings"];
    assert_eq!((&settings["cell"], &settings["seq-len"]), (&"shallow".into(), &4.into()));
    assert_eq!((&settings["epochs"], &settings["batch"]), (&1.into(), &50.into()));
    let network = model_file::load(&sandbox.at("run/last.safetensors")).expect("a model");
    assert_eq!((network.task().low, network.task().high), (0.0, 1.0));
    fs::write(sandbox.at("bad.toml"), "cell = \"deep\"\nepoch = 3\n").expect("written");
    sandbox.usage_error("train --config @bad.toml --data-dir @ --out @bad", &["bad.toml", "`epoch`"]);
    sandbox.refuses("train --config @absent.toml --data-dir @ --out @bad", &["absent.toml"]);
    assert!(!sandbox.at("bad").exists());
}

/// Changes the metadata of a safetensors file; the tensors stay.
fn change_metadata(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
    let (header, tensors) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(header).expect("JSON");
    change(&mut header["__metadata__"]);
    let text = serde_json::to_vec(&header).expect("JSON");
    [&(text.len() as u64).to_le_bytes()[..], &text, tensors].concat()
}

#[test]
fn an_architecture_is_trained_from_options_and_from_a_file_and_kept_in_every_file() {
    let sandbox = Sandbox::new();
    let line = format!("{TRAIN} --seq-len 4 --epochs 1");
    sandbox.does(&format!("{line} --encoder conv3x4,sum-pool,24 --core rnn:16:8 --head 12 --out @options"));
    let text = "cell = \"mine\"\nencoder = [{ conv = { size = 3, channels = 4 } }, { pool = \"sum\" }, { dense = 24 }]\n\
                head = [12]\n[core.rnn]\ncombine = 16\nrecurrent = 8\n";
    fs::write(sandbox.at("mine.toml"), text).expect("written");
    sandbox.does(&format!("{line} --config @mine.toml --out @file"));
    let want = json!({
        "encoder": [{ "conv": { "size": 3, "channels": 4, "lateral": false } }, { "pool": "sum" }, { "dense": 24 }],
        "core": { "rnn": { "combine": 16, "recurrent": 8 } },
        "head": [12],
    });
    for (run, cell, title) in [
        ("options", "conv3x4-sum-pool-dense24-rnn16_8-head12", "conv3x4-sum-pool-dense24-rnn16:8-head12-4"),
        ("file", "mine", "mine-4"),
    ] {
        let manifest = sandbox.json(&format!("{run}/run.json"));
        assert_eq!(manifest["settings"]["architecture"], want, "{run}");
        assert_eq!(
            (&manifest["settings"]["cell"], &manifest["outcome"]["title"]),
            (&cell.into(), &title.into())
        );
        let network = model_file::load(&sandbox.at(&format!("{run}/last.safetensors"))).expect("a model");
        assert_eq!(serde_json::to_value(network.architecture()).expect("JSON"), want);
    }
    assert!(sandbox.bytes("options/last.safetensors") == sandbox.bytes("file/last.safetensors"));
    sandbox.does("eval --model @file/last.safetensors --dataset synth --data-dir @");
    sandbox
        .does("explain --model @file/last.safetensors --dataset synth --data-dir @ --samples 2 --out @r.npy");
}

/// Older settings, checkpoints and models have a preset, a kind of pool and two widths instead of an
/// architecture.
#[test]
fn a_run_without_an_architecture_is_resumed_to_the_same_bits() {
    let sandbox = Sandbox::new();
    let line = format!("{TRAIN} --cell convdeep --pool sum --combine 48 --seq-len 4");
    sandbox.does(&format!("{line} --epochs 2 --out @straight"));
    sandbox.does(&format!("{line} --epochs 1 --out @run"));
    let older = |settings: &mut Value| {
        let settings = settings.as_object_mut().expect("an object");
        settings.remove("architecture").expect("an architecture");
        settings.extend(
            [("pool", json!("sum")), ("combine", json!(48)), ("recurrent", json!(128))]
                .map(|(key, value)| (key.to_owned(), value)),
        );
    };
    let mut manifest = sandbox.json("run/run.json");
    older(&mut manifest["settings"]);
    fs::write(sandbox.at("run/run.json"), manifest.to_string()).expect("written");
    let checkpoint = change_metadata(&sandbox.bytes("run/resume.safetensors"), |metadata| {
        let mut settings = serde_json::from_str(metadata["settings"].as_str().expect("text")).expect("JSON");
        older(&mut settings);
        metadata["settings"] = settings.to_string().into();
    });
    fs::write(sandbox.at("run/resume.safetensors"), checkpoint).expect("written");
    let model = change_metadata(&sandbox.bytes("run/last.safetensors"), |metadata| {
        metadata.as_object_mut().expect("an object").remove("architecture").expect("an architecture");
        (metadata["cell"], metadata["pool"]) = ("convdeep".into(), "sum".into());
    });
    fs::write(sandbox.at("older.safetensors"), model).expect("written");
    for (model, logits) in [("older", "older.npy"), ("run/last", "newer.npy")] {
        sandbox.does(&format!(
            "eval --model @{model}.safetensors --dataset synth --data-dir @ --logits @{logits}"
        ));
    }
    assert!(sandbox.bytes("older.npy") == sandbox.bytes("newer.npy"));
    sandbox.does(&format!("{line} --epochs 2 --out @run --resume"));
    for file in ["last.safetensors", "best.safetensors", "resume.safetensors", "metrics.csv"] {
        assert!(
            sandbox.bytes(&format!("run/{file}")) == sandbox.bytes(&format!("straight/{file}")),
            "{file}"
        );
    }
}

#[test]
fn bits_are_checked_on_every_kernel_set_that_promises_them() {
    let sandbox = Sandbox::new();
    sandbox.does("check bits --cells shallow,convdeep --steps 2 --batch 3 --samples 2 --seq-len 4 --json");
    sandbox.usage_error("check bits --steps 0", &["--steps is 0", "at least 1"]);
    sandbox.usage_error("check bits --cells lstm", &["lstm"]);
    sandbox.usage_error("check bits --seq-len 3", &["3", "does not divide"]);
}

#[test]
fn kernels_are_those_of_this_cpu() {
    let sandbox = Sandbox::new();
    sandbox.does("kernels --json --threads 2");
    let here: Vec<_> = Backend::available().iter().map(|backend| backend.name()).collect();
    sandbox.refuses("kernels --kernels nonsense", &["nonsense", &here.join(", ")]);
    sandbox.refuses(&format!("{TRAIN} --out @run --threads 0"), &["--threads"]);
    assert!(!sandbox.at("run").exists());
}

#[test]
fn usage_errors_are_distinguished_from_failures() {
    let sandbox = Sandbox::new();
    for (more, word) in [
        ("--batch 0", "--batch"),
        ("--cell lstm", "lstm"),
        ("--dropout 1", "--dropout"),
        ("--lr nan", "--lr"),
        ("--seq-len 5", "5"),
        ("--validation 600", "--validation"),
        ("--limit-test 0", "--limit-test"),
    ] {
        sandbox.usage_error(&format!("train --data-dir @ --out @run {more}"), &[word]);
    }
    assert!(!sandbox.at("run").exists());
    let parses = |line: &str| {
        let error = sandbox.run(line).expect_err(line);
        error.downcast::<clap::Error>().unwrap_or_else(|error| panic!("{line}: {error:#}")).use_stderr()
    };
    for line in ["train --epochs many", "train --resume", "eval", "reproduce --no-such-flag"] {
        assert!(parses(line), "{line}");
    }
    assert!(parses("eval --model @model.safetensors --dataset synth --input @x.npy"));
    assert!(parses("train --out @run --resume --overwrite"));
    for line in ["--help", "--version", "train --help"] {
        assert!(!parses(line), "{line}");
    }
    sandbox.usage_error("trian", &["trian", "--help"]);
    let failed = sandbox.refuses("train --dataset absent --data-dir @ --out @run", &["absent"]);
    assert!(failed.downcast_ref::<UsageError>().is_none(), "a failure, no misuse");
}

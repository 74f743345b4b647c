//! What a command reads: numbers, models, and pipes in the place of files.

use crate::sandbox::{OF_MODEL, Sandbox, fails, succeeds, text};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

#[test]
fn numbers_from_outside_are_bounded() {
    let sandbox = Sandbox::trained();
    let huge = "10000000000000";
    for (line, option) in [
        ("profile --batch", "--batch"),
        ("profile --steps", "--steps"),
        ("check bits --samples", "--samples"),
        ("check bits --batch", "--batch"),
        ("check bits --steps", "--steps"),
        ("check bits --seq-len", "--seq-len"),
        ("train --data-dir @ --out @x --batch", "--batch"),
        ("train --data-dir @ --out @x --epochs", "--epochs"),
        ("train --data-dir @ --out @x --seq-len", "--seq-len"),
        ("train --data-dir @ --out @x --combine", "width"),
        ("data synth --out @y --train", "--train"),
        ("data synth --out @y --test", "--test"),
        ("reproduce --data-dir @ --out @z --jobs", "--jobs"),
        ("reproduce --data-dir @ --out @z --seq-lens", "--seq-len"),
        ("reproduce --data-dir @ --out @z --epochs", "--epochs"),
        ("prototype --model @m.safetensors --class 1 --out @p.png --steps", "--steps"),
        ("kernels --threads", "--threads"),
    ] {
        fails(sandbox.run(&format!("{line} {huge} --quiet")), 2, &[option, huge, "at most"]);
    }
    for name in ["x", "y", "z", "p.png"] {
        assert!(!sandbox.at(name).exists(), "{name}");
    }
}

#[test]
fn a_network_that_sees_nothing_is_named_as_such() {
    let sandbox = Sandbox::trained();
    let model = sandbox.at("m.safetensors");
    let network = harness::model_file::load(&model).unwrap();
    let mut file = harness::model_file::describe(&network).unwrap();
    for (name, (_, values)) in &mut file.tensors {
        if name.ends_with(".bias") {
            values.fill(1e3);
        }
    }
    harness::io::tensors::write(&sandbox.at("dead.safetensors"), &file).unwrap();
    let output = succeeds(sandbox.run("eval --model @dead.safetensors --dataset synth --data-dir @"));
    assert!(text(&output.stderr).contains("warning: every sample has a layer in which all units are off"));
    let line = "prototype --model @dead.safetensors --class 1 --steps 3 --out @p.png --overwrite";
    let output = succeeds(sandbox.run(line));
    let warning = text(&output.stderr);
    assert!(warning.contains("did not move") && warning.contains("--dataset"), "{warning}");
    let output = succeeds(sandbox.run(&format!("eval {OF_MODEL}")));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

fn put_pipe(path: &Path) {
    let _ = fs::remove_file(path);
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

/// A pipe that nobody writes into would be read forever.
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_at_once() {
    let sandbox = Sandbox::trained();
    put_pipe(&sandbox.at("pipe.npy"));
    let refused = ["pipe.npy", "expected a file"];
    for line in [
        format!("explain {OF_MODEL} --quiet --out @a.npy --value @pipe.npy"),
        format!("explain {OF_MODEL} --quiet --out @a.npy --rules @pipe.npy"),
        "eval --model @m.safetensors --quiet --input @pipe.npy".to_owned(),
        "eval --model @pipe.npy --quiet --dataset synth --data-dir @".to_owned(),
        "train --quiet --config @pipe.npy".to_owned(),
        "reproduce --quiet @pipe.npy".to_owned(),
    ] {
        let output = sandbox.run(&line);
        let status = output.status.code().unwrap();
        assert!(status == 1 || status == 2, "{line}: {status}");
        fails(output, status, &refused);
    }
}

/// Every file of a reproduction in turn is a pipe: the report says that its run is damaged, and ends.
#[test]
fn a_pipe_in_a_reproduction_damages_its_run_only() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.at("e.toml"),
        "name = \"e\"\ndatasets = [\"synth\"]\ncells = [\"shallow\"]\nseq-lens = [4]\nseeds = [1]\nlr = 1e-3\n\
         [train]\nepochs = 1\ncombine = 8\nrecurrent = 4\n[measure]\nsamples = 10\npopulation = 2\n",
    )
    .unwrap();
    succeeds(sandbox.run("reproduce @e.toml --data-dir @ --quiet --out @done"));
    let run = "done/synth/shallow-4-seed1";
    for file in ["measured.json", "heatmaps.npy", "run.json", "last.safetensors", "metrics.csv"] {
        let (path, kept) = (sandbox.at(&format!("{run}/{file}")), sandbox.at("kept"));
        fs::rename(&path, &kept).unwrap();
        put_pipe(&path);
        let output = succeeds(sandbox.run("report @done --quiet"));
        assert!(!output.stdout.is_empty(), "{file}");
        let page = fs::read_to_string(sandbox.at("done/report.html")).unwrap();
        assert!(page.contains("expected a file"), "{file}");
        fs::rename(&kept, &path).unwrap();
    }
    symlink("/dev/zero", sandbox.at("zero")).unwrap();
    fs::rename(sandbox.at("zero"), sandbox.at("done/synth/samples.json")).unwrap();
    succeeds(sandbox.run("report @done --quiet"));
}

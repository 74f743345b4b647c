//! Systems that lack something: variables, locks, mappings, threads, process ids, `/proc`, a cache folder.

use crate::sandbox::{BINARY, OF_MODEL, Sandbox, allowed, fails, succeeds, text};
use crate::shim::shim;
use std::fs;
use std::process::{Command, Stdio};

#[test]
fn an_empty_variable_is_unset_and_a_bad_one_is_named() {
    let sandbox = Sandbox::trained();
    let with = |name: &str, value: &str| {
        sandbox.command(&format!("eval {OF_MODEL} --quiet")).env(name, value).output().unwrap()
    };
    for name in ["RELEVANCE_THREADS", "RELEVANCE_KERNELS", "RELEVANCE_DATA_DIR", "XDG_CACHE_HOME"] {
        succeeds(with(name, ""));
    }
    fails(with("RELEVANCE_THREADS", "many"), 2, &["RELEVANCE_THREADS is \"many\""]);
    fails(with("RELEVANCE_THREADS", "0"), 2, &["RELEVANCE_THREADS is 0", "at least 1"]);
    fails(with("RELEVANCE_KERNELS", "sse"), 2, &["RELEVANCE_KERNELS=sse", "choose one of"]);
    succeeds(with("RELEVANCE_THREADS", "2"));
}

#[test]
fn file_systems_without_locks_or_mappings_are_used_all_the_same() {
    let Some(shim) = shim() else { return };
    let sandbox = Sandbox::new();
    let train = |out: &str, how: &str| {
        let line = format!("train --epochs 1 --combine 8 --recurrent 8 --data-dir @ --quiet --out @{out}");
        let mut command = sandbox.command(&line);
        command.env("LD_PRELOAD", shim).env("SHIM", how).output().unwrap()
    };
    succeeds(train("plain", ""));
    let model = |out: &str| fs::read(sandbox.at(out).join("last.safetensors")).unwrap();
    // ENOSYS, ENOLCK, EOPNOTSUPP; ENODEV.
    for (i, how) in ["flock=38", "flock=37", "flock=95", "shared=19", "mmap=19"].into_iter().enumerate() {
        let output = succeeds(train(&format!("run{i}"), how));
        // Where there are no locks, a claim file takes their place.
        assert_eq!(text(&output.stderr), "", "{how}");
        assert!(model(&format!("run{i}")) == model("plain"), "{how}");
    }
    // Another error of a lock is still one.
    fails(train("io", "flock=5"), 1, &["cannot be locked"]);
}

#[test]
fn a_reproduction_goes_on_with_the_threads_there_are() {
    let Some(shim) = shim() else { return };
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.at("e.toml"),
        "name = \"e\"\ndatasets = [\"synth\"]\ncells = [\"shallow\"]\nseq-lens = [2, 4]\nseeds = [1, 2]\nlr = 1e-3\n\
         [train]\nepochs = 1\ncombine = 8\nrecurrent = 4\n[measure]\nsamples = 10\npopulation = 2\n",
    )
    .unwrap();
    for threads in [0, 1, 3] {
        let line = format!("reproduce @e.toml --data-dir @ --jobs 4 --threads 4 --out @out{threads}");
        let mut command = sandbox.command(&line);
        let output =
            command.env("LD_PRELOAD", shim).env("SHIM", format!("threads={threads}")).output().unwrap();
        succeeds(output);
        assert!(sandbox.at(&format!("out{threads}/report.html")).exists());
    }
    let generate = sandbox
        .command("data synth --train 20 --test 5 --out @drawn")
        .env("LD_PRELOAD", shim)
        .env("SHIM", "threads=0")
        .output();
    succeeds(generate.unwrap());
}

/// Several processes with the same process id share a cache.
#[test]
fn trainings_in_pid_namespaces_of_their_own_share_a_cache() {
    if !allowed("unshare", &["-rpf", "--mount-proc", "true"]) {
        return;
    }
    let sandbox = Sandbox::new();
    for round in 0..2 {
        let cache = sandbox.at(&format!("cache{round}"));
        let start = |i: usize| {
            let mut command = Command::new("unshare");
            command.args(["-rpf", "--mount-proc", BINARY]);
            command.args(sandbox.words(&format!(
                "train --epochs 1 --combine 8 --recurrent 8 --limit-train 100 --limit-test 20 --threads 1 --quiet --out @r{round}{i}"
            )));
            command.current_dir(&sandbox.0).env("XDG_CACHE_HOME", &cache);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let all: Vec<_> = (0..3).map(start).collect();
        for child in all {
            succeeds(child.wait_with_output().unwrap());
        }
        let names = fs::read_dir(cache.join("relevance")).unwrap();
        assert_eq!(names.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["synth"]);
    }
}

#[test]
fn nothing_needs_proc() {
    // An empty file system over /proc, in a mount namespace.
    if !allowed("unshare", &["-rm", "sh", "-c", "mount -t tmpfs none /proc"]) {
        return;
    }
    let sandbox = Sandbox::trained();
    let line = format!("eval {OF_MODEL} --quiet --logits @out.npy");
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" \"$@\"", BINARY]);
    succeeds(command.args(sandbox.words(&line)).output().unwrap());
    assert!(fs::read(sandbox.at("out.npy")).unwrap().starts_with(b"\x93NUMPY"));
    let left: Vec<_> = fs::read_dir(sandbox.0.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn a_cache_folder_that_cannot_be_made_is_explained() {
    let sandbox = Sandbox::new();
    let line = "train --dataset synth --epochs 1 --quiet --out @run";
    let dir = tempfile::tempdir().unwrap();
    let mut command = sandbox.command(line);
    let output =
        command.current_dir(dir.path()).env_remove("XDG_CACHE_HOME").env("HOME", "/dev/null").output();
    fails(output.unwrap(), 1, &["/dev/null/.cache/relevance", "XDG_CACHE_HOME", "--data-dir"]);
}

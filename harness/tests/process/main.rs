//! Tests that need a process of their own: kills, signals, full disks, exit statuses.
#![allow(clippy::unwrap_used)]

mod final_thesis;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_harness");
/// Number of times that a training is killed.
const KILLS: usize = 20;

/// The command of a training into a folder, with further options.
type Training = fn(&Sandbox, &str, &[&str]) -> Command;

/// A folder with a small synthetic set.
struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new() -> Sandbox {
        let sandbox = Sandbox(tempfile::tempdir().unwrap());
        harness::dataset::synth::write(&sandbox.at("synth"), 3, 400, 100).unwrap();
        sandbox
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A training of a tenth of a second or more; `more` are further options.
    fn train(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        self.arguments(&mut command, out, more);
        command
    }

    /// A training of an R-LSTM with stationary dropout on a fold of the majority problem of the set.
    fn train_fold(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.env_remove("RELEVANCE_KERNELS").env_remove("RELEVANCE_THREADS");
        command.args([
            "train",
            "--cell",
            "small-sd",
            "--encoder",
            "24",
            "--core",
            "r-lstm:12",
            "--seq-len",
            "12",
        ]);
        command.args(["--dataset", "synth-maj", "--folds", "7", "--fold", "3"]);
        command.args(["--dropout-profile", "final", "--initial-values", "final", "--zero-logit"]);
        command.args(["--batch", "20", "--epochs", "3", "--quiet", "--threads", "1"]);
        command.arg("--data-dir").arg(self.0.path()).arg("--out").arg(self.at(out)).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn arguments(&self, command: &mut Command, out: &str, more: &[&str]) {
        command.env_remove("RELEVANCE_KERNELS").env_remove("RELEVANCE_THREADS");
        command.args([
            "train",
            "--cell",
            "shallow",
            "--seq-len",
            "4",
            "--combine",
            "48",
            "--recurrent",
            "24",
        ]);
        command.args(["--batch", "20", "--quiet"]);
        if !more.contains(&"--threads") {
            command.args(["--threads", "1"]);
        }
        if !more.iter().any(|option| option.starts_with("--epochs")) {
            command.arg("--epochs=6");
        }
        command.arg("--data-dir").arg(self.0.path()).arg("--out").arg(self.at(out)).args(more);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
    }

    /// The same, but a write beyond `bytes` of a file fails, or ends the process there.
    fn train_with_little_room(&self, out: &str, bytes: u64, fatal: bool, more: &[&str]) -> Command {
        let mut command = with_little_room(bytes, fatal);
        self.arguments(&mut command, out, more);
        command
    }

    /// Files of a run that do not depend on interruptions: all except times and the lock.
    fn result(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.at(out)).unwrap().map(|entry| entry.unwrap());
        let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
        let kept = named.filter(|(name, _)| name != "run.json" && name != "lock");
        kept.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
    }

    fn state(&self, out: &str) -> String {
        let text = fs::read(self.at(out).join("run.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        json["state"].as_str().unwrap().to_owned()
    }

    /// Resumes to the end; the result must be that of `want`.
    fn resume_to(&self, out: &str, want: &BTreeMap<String, Vec<u8>>, what: &str) {
        self.resume(Sandbox::train, out, want, what);
    }

    fn resume(&self, train: Training, out: &str, want: &BTreeMap<String, Vec<u8>>, what: &str) {
        if self.at(out).join("lock").exists() {
            succeeds(train(self, out, &["--resume"]).output().unwrap());
        } else {
            // Killed before it came to its folder: there is nothing to resume.
            fails(train(self, out, &["--resume"]).output().unwrap(), 1, &["no run to resume"]);
            succeeds(train(self, out, &[]).output().unwrap());
        }
        let found = self.result(out);
        assert!(found.keys().eq(want.keys()), "{what}: {:?}", found.keys());
        for (name, bytes) in want {
            assert!(found[name] == *bytes, "{what}: {name} differs");
        }
        assert_eq!(self.state(out), "done", "{what}");
    }
}

/// The program, in a process in which a write beyond `bytes` of a file fails, or ends the process.
fn with_little_room(bytes: u64, fatal: bool) -> Command {
    let mut command = Command::new("sh");
    let ignore = if fatal { "" } else { "trap '' XFSZ;" };
    let script = format!("{ignore} ulimit -c 0; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
    command.args(["-c", &script, BINARY]);
    command
}

fn succeeds(output: Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {text}", output.status);
}

/// One line on stderr with `words` in it, and this status.
fn fails(output: Output, status: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn wait_for(path: &Path, child: &mut Child) {
    while !path.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_training_killed_at_any_moment_resumes_to_the_same_bits() {
    killed_and_resumed(Sandbox::train, KILLS);
}

/// The majority problem is composed anew by every process: nothing of it is in a file.
#[test]
fn a_training_on_a_fold_killed_at_any_moment_resumes_to_the_same_bits() {
    killed_and_resumed(Sandbox::train_fold, KILLS / 2);
}

fn killed_and_resumed(train: Training, kills: usize) {
    let sandbox = Sandbox::new();
    let begin = Instant::now();
    succeeds(train(&sandbox, "straight", &[]).output().unwrap());
    let mut whole = begin.elapsed();
    let want = sandbox.result("straight");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(20);
    let (mut before_checkpoint, mut after, mut rounds) = (0, 0, 0);
    while before_checkpoint + after < kills {
        rounds += 1;
        assert!(rounds < 20 * kills, "{rounds} trainings, and most had ended before they were to be killed");
        let out = format!("killed-{rounds}");
        let moment = whole.mul_f64((random.next_u64() >> 11) as f64 / (1u64 << 53) as f64);
        let mut child = train(&sandbox, &out, &[]).spawn().unwrap();
        std::thread::sleep(moment);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.signal().is_none() {
            // It had ended already: a training takes less time than estimated.
            whole = moment;
            continue;
        }
        let saved = sandbox.at(&out).join("resume.safetensors").exists();
        *(if saved { &mut after } else { &mut before_checkpoint }) += 1;
        sandbox.resume(train, &out, &want, &format!("killed after {moment:?} of {whole:?}"));
    }
    say(&format!("{kills} kills: {before_checkpoint} before the first checkpoint, {after} after it"));
}

/// The system ends the process in the middle of a write: at each size, another part of another file is missing.
#[test]
fn a_training_killed_in_the_middle_of_writing_a_file_resumes_to_the_same_bits() {
    let sandbox = Sandbox::new();
    succeeds(sandbox.train("straight", &[]).output().unwrap());
    let want = sandbox.result("straight");
    let size = |name: &str| want[name].len() as u64;
    let (model, checkpoint) = (size("last.safetensors"), size("resume.safetensors"));
    assert!(2 * model < checkpoint && size("metrics.csv") < model);
    let mut kills = 0;
    for (i, bytes) in [1, model / 2, model - 512, 2 * model, checkpoint - 1024].into_iter().enumerate() {
        for after_an_epoch in [false, true] {
            let out = format!("torn-{i}-{after_an_epoch}");
            let more: &[&str] = if after_an_epoch { &["--resume"] } else { &[] };
            if after_an_epoch {
                succeeds(sandbox.train(&out, &["--epochs=1"]).output().unwrap());
            }
            let output = sandbox.train_with_little_room(&out, bytes, true, more).output().unwrap();
            assert_eq!(output.status.signal(), Some(Signal::SIGXFSZ as i32), "{bytes} bytes");
            kills += 1;
            sandbox.resume_to(&out, &want, &format!("torn at {bytes} bytes, resumed {after_an_epoch}"));
        }
    }
    say(&format!("{kills} kills in the middle of a write"));
}

/// A pipe whose reader is closed.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_pipe_ends_no_command() {
    let sandbox = Sandbox::new();
    let output = sandbox.train("run", &["--epochs=1"]).stdout(closed_pipe()).output().unwrap();
    assert!(output.stderr.is_empty());
    succeeds(output);
    assert_eq!(sandbox.state("run"), "done");
    let model = sandbox.at("run/last.safetensors").into_os_string().into_string().unwrap();
    let (data, npz) = (sandbox.0.path().to_str().unwrap(), sandbox.at("all.npz"));
    let of_model = ["--model", &model, "--dataset", "synth", "--data-dir", data, "--quiet"];
    let with = |words: &[&str], more: &[&str]| [words, more].concat().join("\n");
    for line in [
        with(&["--help"], &[]),
        with(&["train", "--help"], &[]),
        with(&["--version"], &[]),
        with(&["kernels"], &[]),
        with(&["data", "list", "--json", "--data-dir", data], &[]),
        with(&["eval", "--json"], &of_model),
        with(&["explain", "--out", npz.to_str().unwrap()], &of_model),
        with(&["profile", "--cell=shallow", "--steps=1", "--batch=2"], &[]),
    ] {
        let output = Command::new(BINARY).args(line.lines()).stdout(closed_pipe()).output().unwrap();
        assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        succeeds(output);
    }
    assert!(npz.exists());
    // The exit status is that of the command, whether or not its output is read.
    let verify = ["data", "verify", "synth", "--data-dir", data];
    fails(Command::new(BINARY).args(verify).stdout(closed_pipe()).output().unwrap(), 1, &["4 of 4 files"]);
}

#[test]
fn a_closed_stderr_ends_no_command() {
    let sandbox = Sandbox::new();
    let mut command = Command::new(BINARY);
    command.args(["train", "--cell=shallow", "--seq-len=4", "--combine=48", "--recurrent=24", "--epochs=2"]);
    command.arg("--data-dir").arg(sandbox.0.path()).arg("--out").arg(sandbox.at("run"));
    let output = command.stderr(closed_pipe()).output().unwrap();
    succeeds(output);
    assert_eq!(sandbox.state("run"), "done");
    let usage_error =
        Command::new(BINARY).args(["kernels", "--threads=0"]).stderr(closed_pipe()).status().unwrap();
    assert_eq!(usage_error.code(), Some(2));
}

#[test]
fn results_on_a_full_disk_are_one_line_and_the_run_is_kept() {
    let sandbox = Sandbox::new();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = sandbox.train("run", &["--epochs=1"]).stdout(full()).output().unwrap();
    fails(output, 1, &["stdout", "No space left"]);
    assert_eq!(sandbox.state("run"), "done");
    for word in ["--help", "kernels"] {
        let output = Command::new(BINARY).arg(word).stdout(full()).output().unwrap();
        fails(output, 1, &["stdout", "No space left"]);
    }
}

/// Truncated to its header, to the middle, or by one byte: the first two raise SIGBUS, the last one reads as
/// zeros.
#[test]
fn a_data_set_that_is_shortened_while_it_is_read_is_one_line_and_resume_goes_on() {
    const NAME: &str = "train-images-idx3-ubyte";
    let sandbox = Sandbox::new();
    let images = sandbox.at("synth").join(NAME);
    let whole = fs::read(&images).unwrap();
    let epochs_done =
        |out: &str| fs::read_to_string(sandbox.at(out).join("metrics.csv")).unwrap().lines().count() - 1;
    for (i, (bytes, threads)) in
        [(16, "1"), (whole.len() / 2, "2"), (whole.len() - 1, "1")].into_iter().enumerate()
    {
        let out = format!("cut-{i}");
        let more = ["--epochs=100000", "--threads", threads];
        let mut child = sandbox.train(&out, &more).spawn().unwrap();
        wait_for(&sandbox.at(&out).join("resume.safetensors"), &mut child);
        fs::OpenOptions::new().write(true).open(&images).unwrap().set_len(bytes as u64).unwrap();
        fails(child.wait_with_output().unwrap(), 1, &[NAME, "was truncated", "--resume"]);
        fails(sandbox.train(&out, &["--resume"]).output().unwrap(), 1, &[NAME, "damaged"]);
        fs::write(&images, &whole).unwrap();
        let epochs = format!("--epochs={}", epochs_done(&out) + 2);
        succeeds(sandbox.train(&format!("straight-{i}"), &[&epochs]).output().unwrap());
        succeeds(sandbox.train(&out, &[&epochs, "--resume"]).output().unwrap());
        assert!(sandbox.result(&out) == sandbox.result(&format!("straight-{i}")), "cut to {bytes} bytes");
    }
}

#[test]
fn a_bus_error_outside_of_maps_still_kills() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.train("run", &["--epochs=100000"]).spawn().unwrap();
    wait_for(&sandbox.at("run/resume.safetensors"), &mut child);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGBUS).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(Signal::SIGBUS as i32));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_full_disk_is_one_line_and_the_last_checkpoint_stays() {
    let sandbox = Sandbox::new();
    succeeds(sandbox.train("straight", &[]).output().unwrap());
    let want = sandbox.result("straight");
    let model = want["last.safetensors"].len() as u64;
    for (i, (bytes, file)) in
        [(model / 2, "safetensors"), (2 * model, "resume.safetensors")].into_iter().enumerate()
    {
        let out = format!("full-{i}");
        succeeds(sandbox.train(&out, &["--epochs=2"]).output().unwrap());
        let before = fs::read(sandbox.at(&out).join("resume.safetensors")).unwrap();
        let output = sandbox.train_with_little_room(&out, bytes, false, &["--resume"]).output().unwrap();
        fails(output, 1, &[file, "nothing was replaced"]);
        assert!(fs::read(sandbox.at(&out).join("resume.safetensors")).unwrap() == before);
        assert_eq!(sandbox.state(&out), "failed");
        sandbox.resume_to(&out, &want, file);
    }
}

#[test]
fn the_first_signal_ends_the_run_in_order_and_resume_goes_on() {
    let sandbox = Sandbox::new();
    succeeds(sandbox.train("straight", &[]).output().unwrap());
    let want = sandbox.result("straight");
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let out = signal.as_str();
        // Enough epochs that the signal arrives in time; the remaining ones are run afterwards.
        let mut child = sandbox.train(out, &["--epochs=100000"]).spawn().unwrap();
        wait_for(&sandbox.at(out).join("run.json"), &mut child);
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        fails(child.wait_with_output().unwrap(), status, &["interrupted", "--resume"]);
        assert_eq!(sandbox.state(out), "interrupted");
        if fs::read_to_string(sandbox.at(out).join("metrics.csv")).unwrap().lines().count() <= 7 {
            sandbox.resume_to(out, &want, out);
        }
    }
}

#[test]
fn a_second_signal_kills() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.train("run", &["--epochs=100000"]).spawn().unwrap();
    wait_for(&sandbox.at("run/run.json"), &mut child);
    // A stopped process receives both at once, the lower number first.
    let pid = Pid::from_raw(child.id() as i32);
    for signal in [Signal::SIGSTOP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGCONT] {
        kill(pid, signal).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(130 | 143)), "{:?}", output.status);
    assert!(output.stderr.is_empty(), "killed, so it prints nothing");
    assert_eq!(sandbox.state("run"), "running");
}

#[test]
fn a_folder_is_locked_by_one_process_and_free_after_its_end() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.train("run", &["--epochs=100000"]).spawn().unwrap();
    wait_for(&sandbox.at("run/resume.safetensors"), &mut child);
    for how in ["--resume", "--overwrite"] {
        let more = ["--epochs=100000", how];
        fails(sandbox.train("run", &more).output().unwrap(), 1, &["another process is using it", "run"]);
    }
    fails(sandbox.train("run", &[]).output().unwrap(), 1, &["already holds a run"]);
    child.kill().unwrap();
    child.wait().unwrap();
    succeeds(sandbox.train("run", &["--overwrite", "--epochs=1"]).output().unwrap());
}

#[test]
fn a_folder_of_another_experiment_is_left_as_it_is() {
    let sandbox = Sandbox::new();
    // Stopped before its first checkpoint, so only the manifest identifies the run.
    let mut child = sandbox.train("early", &["--epochs=100000", "--limit-train=400"]).spawn().unwrap();
    wait_for(&sandbox.at("early/run.json"), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    for file in ["resume.safetensors", "last.safetensors", "best.safetensors"] {
        let _ = fs::remove_file(sandbox.at("early").join(file));
    }
    succeeds(sandbox.train("done", &["--epochs=2"]).output().unwrap());
    fs::create_dir(sandbox.at("foreign")).unwrap();
    fs::write(sandbox.at("foreign/last.safetensors"), "a model of another program").unwrap();
    fs::create_dir(sandbox.at("damaged")).unwrap();
    fs::write(sandbox.at("damaged/resume.safetensors"), "no checkpoint").unwrap();
    for (folder, more, status, words) in [
        ("early", "--lr=1e-3", 1, ["run.json", "other settings"]),
        ("done", "--seed=2", 1, ["resume.safetensors", "other settings"]),
        ("done", "--epochs=1", 2, ["has 2 epochs", "--epochs 1"]),
        ("foreign", "--seed=1", 1, ["last.safetensors", "belongs to a run that cannot be continued"]),
        ("damaged", "--seed=1", 1, ["resume.safetensors", "announces a header"]),
    ] {
        let (before, state) = (sandbox.result(folder), fs::read(sandbox.at(folder).join("run.json")).ok());
        fails(sandbox.train(folder, &[more, "--resume"]).output().unwrap(), status, &words);
        assert!(sandbox.result(folder) == before, "{folder}");
        assert!(fs::read(sandbox.at(folder).join("run.json")).ok() == state, "{folder}");
    }
}

/// Explanations are written as they are computed. If the command is stopped, no partial file stays, and the
/// old file does.
#[test]
fn an_export_that_is_stopped_leaves_nothing_and_replaces_nothing() {
    const ROOM: u64 = 200 * 1024;
    let sandbox = Sandbox::new();
    succeeds(sandbox.train("run", &["--epochs=1"]).output().unwrap());
    harness::dataset::synth::write(&sandbox.at("many"), 3, 10, 4000).unwrap();
    let explain = |command: &mut Command, dataset: &str, out: &str| {
        command.args([
            "explain",
            "--target=all",
            "--quiet",
            "--overwrite",
            "--threads=1",
            "--dataset",
            dataset,
        ]);
        command.arg("--model").arg(sandbox.at("run/last.safetensors"));
        command.arg("--data-dir").arg(sandbox.0.path()).arg("--out").arg(sandbox.at("out").join(out));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
    };
    let there = || -> Vec<_> {
        let entries = fs::read_dir(sandbox.at("out")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    fs::create_dir(sandbox.at("out")).unwrap();
    for out in ["a.npy", "a.npz"] {
        fs::write(sandbox.at("out").join(out), "old").unwrap();
        let old =
            || assert!(there() == [out] && fs::read(sandbox.at("out").join(out)).unwrap() == b"old", "{out}");
        let mut full = with_little_room(ROOM, false);
        explain(&mut full, "synth", out);
        fails(full.output().unwrap(), 1, &[out, "nothing was replaced"]);
        old();
        let mut killed = with_little_room(ROOM, true);
        explain(&mut killed, "synth", out);
        assert_eq!(killed.output().unwrap().status.signal(), Some(Signal::SIGXFSZ as i32));
        old();
        // The command is not finished at that time: many samples remain.
        let images = sandbox.at("many/t10k-images-idx3-ubyte");
        let whole = fs::read(&images).unwrap();
        let mut command = Command::new(BINARY);
        explain(&mut command, "many", out);
        let child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        fs::OpenOptions::new().write(true).open(&images).unwrap().set_len(16).unwrap();
        fails(child.wait_with_output().unwrap(), 1, &["t10k-images", "was truncated"]);
        old();
        fs::write(&images, whole).unwrap();
        fs::remove_file(sandbox.at("out").join(out)).unwrap();
    }
    let mut pictures = with_little_room(1024, false);
    explain(&mut pictures, "synth", "pictures");
    fails(pictures.output().unwrap(), 1, &["pictures", "completed"]);
    assert!(there().is_empty());
}

//! A folder with a small synthetic set and an experiment of narrow networks.
#![allow(dead_code)] // each test binary uses a part

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub const BINARY: &str = env!("CARGO_BIN_EXE_harness");

pub struct Sandbox(tempfile::TempDir);

impl Sandbox {
    /// `more` are lines of the experiment: its seeds and what else it has.
    pub fn new(more: &str, epochs: usize) -> Sandbox {
        let sandbox = Sandbox(tempfile::tempdir().unwrap());
        harness::dataset::synth::write(&sandbox.at("data/synth"), 3, 400, 100).unwrap();
        let text = format!(
            "name = \"tiny\"\ndatasets = [\"synth\"]\ncells = [\"narrow\"]\nseq-lens = [4]\n{more}\n{}\
             [train]\nepochs = {epochs}\nbatch = 20\n[search]\nrates = [1e-3, 1e-4]\nepochs = 1\n\
             [[architectures]]\nname = \"narrow\"\nencoder = \"none\"\ncore = \"rnn:48:24\"\nhead = \"none\"\n\
             [measure]\nmethods = [\"deep-taylor\"]\nsamples = 3\nregion = 14\npopulation = 3\n",
            if more.contains("lr =") { "" } else { "lr = 5e-4\n" },
        );
        fs::write(sandbox.at("tiny.toml"), text).unwrap();
        sandbox
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program with the words of a line; `@name` is a path in the folder.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        for name in ["RELEVANCE_KERNELS", "RELEVANCE_THREADS", "RELEVANCE_LOCK", "SLURM_ARRAY_TASK_ID"] {
            command.env_remove(name);
        }
        command.env("RELEVANCE_DATA_DIR", self.at("data"));
        for word in line.split_whitespace() {
            match word.strip_prefix('@') {
                Some(name) => command.arg(self.at(name)),
                None => command.arg(word),
            };
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    pub fn plan(&self, out: &str, more: &[&str]) -> Output {
        let data = self.at("data");
        self.command(&format!("plan @tiny.toml --out @{out} --quiet"))
            .arg("--data-dir")
            .arg(data)
            .args(more)
            .output()
            .unwrap()
    }

    pub fn reproduce(&self, out: &str, more: &[&str]) -> Output {
        self.command(&format!("reproduce @tiny.toml --out @{out} --threads 2 --quiet"))
            .args(more)
            .output()
            .unwrap()
    }

    /// The files of two folders of the experiment are the same, but for times, locks and what only one kind of run writes.
    pub fn same(&self, a: &str, b: &str) {
        let files = |name: &str| {
            let mut found = BTreeMap::new();
            collect(&self.at(name), &self.at(name), &mut found);
            found
        };
        let (a, b) = (files(a), files(b));
        assert!(a.keys().eq(b.keys()), "{:?} and {:?}", a.keys(), b.keys());
        assert!(a.len() > 20, "{:?}", a.keys());
        for (name, bytes) in &a {
            assert!(b[name] == *bytes, "{} differs", name.display());
        }
    }
}

/// All files under `folder`, by their path from `root`.
fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // What holds times, is of one process, or is of a plan alone. Reports hold seconds in a table of runs.
        let own =
            ["run.json", "lock", "plan.jsonl", "submit.sh", "logs", "report.html", "report.json", "runs.csv"];
        if own.contains(&&name[..]) || name.starts_with("claim-") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn succeeds(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {text}", output.status);
}

/// One line on stderr with `words` in it, and this status.
pub fn fails(output: &Output, status: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

//! A folder with data and a model, and the program run in it.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

pub const BINARY: &str = env!("CARGO_BIN_EXE_harness");

/// A folder with a small synthetic set, and in `m` a trained model.
pub struct Sandbox(pub tempfile::TempDir);

impl Sandbox {
    pub fn new() -> Sandbox {
        let sandbox = Sandbox(tempfile::tempdir().unwrap());
        harness::dataset::synth::write(&sandbox.at("synth"), 3, 120, 40).unwrap();
        sandbox
    }

    pub fn trained() -> Sandbox {
        static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
        let sandbox = Sandbox::new();
        let model = MODEL.get_or_init(|| {
            succeeds(sandbox.run("train --epochs 1 --combine 16 --recurrent 8 --data-dir @ --out @first"));
            fs::read(sandbox.at("first/last.safetensors")).unwrap()
        });
        fs::write(sandbox.at("m.safetensors"), model).unwrap();
        sandbox
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program with the words of `line`; `@name` is a path in the folder.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.env_remove("RELEVANCE_KERNELS").env_remove("RELEVANCE_THREADS");
        command.current_dir(self.0.path()).args(self.words(line)).stdin(Stdio::null());
        command
    }

    pub fn words(&self, line: &str) -> Vec<OsString> {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.at(name).into_os_string(),
            None => word.into(),
        };
        line.split_whitespace().map(word).collect()
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }
}

pub const OF_MODEL: &str = "--model @m.safetensors --dataset synth --data-dir @";

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn succeeds(output: Output) -> Output {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
    output
}

/// One line on stderr with `words` in it, and this status.
pub fn fails(output: Output, status: i32, words: &[&str]) {
    let text = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

pub fn skip(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Whether a command of the system succeeds.
pub fn allowed(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let allowed = status.is_ok_and(|status| status.success());
    if !allowed {
        skip(&format!("{program} {} is not allowed here", args.join(" ")));
    }
    allowed
}

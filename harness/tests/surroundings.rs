//! Devices, links, pipes, names that are no text, file systems that lack something, and systems that allow few threads.
//!
//! A test that needs what the system does not allow is skipped with a line that says so.
#![allow(clippy::unwrap_used)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

const BINARY: &str = env!("CARGO_BIN_EXE_harness");

/// A folder with a small synthetic set, and in `m` a trained model.
struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new() -> Sandbox {
        let sandbox = Sandbox(tempfile::tempdir().unwrap());
        harness::dataset::synth::write(&sandbox.at("synth"), 3, 120, 40).unwrap();
        sandbox
    }

    fn trained() -> Sandbox {
        static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
        let sandbox = Sandbox::new();
        let model = MODEL.get_or_init(|| {
            succeeds(sandbox.run("train --epochs 1 --combine 16 --recurrent 8 --data-dir @ --out @first"));
            fs::read(sandbox.at("first/last.safetensors")).unwrap()
        });
        fs::write(sandbox.at("m.safetensors"), model).unwrap();
        sandbox
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program with the words of `line`; `@name` is a path in the folder.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.env_remove("RELEVANCE_KERNELS").env_remove("RELEVANCE_THREADS");
        command.current_dir(self.0.path()).args(self.words(line)).stdin(Stdio::null());
        command
    }

    fn words(&self, line: &str) -> Vec<OsString> {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.at(name).into_os_string(),
            None => word.into(),
        };
        line.split_whitespace().map(word).collect()
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }
}

const OF_MODEL: &str = "--model @m.safetensors --dataset synth --data-dir @";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeds(output: Output) -> Output {
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output.stderr));
    output
}

/// One line on stderr with `words` in it, and this status.
fn fails(output: Output, status: i32, words: &[&str]) {
    let text = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

fn skip(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Whether a command of the system succeeds.
fn allowed(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let allowed = status.is_ok_and(|status| status.success());
    if !allowed {
        skip(&format!("{program} {} is not allowed here", args.join(" ")));
    }
    allowed
}

/// A library that makes system calls fail as `SHIM` says: `flock=N`, `shared=N` and `mmap=N` with that error number,
/// `threads=N` after so many threads.
fn shim() -> Option<&'static Path> {
    const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
static int of(const char *name) {
    const char *at = getenv("SHIM");
    if (!at || !(at = strstr(at, name)) || at[strlen(name)] != '=') return -1;
    return atoi(at + strlen(name) + 1);
}
static int refused(int fd, int flags) {
    if (fd < 0) return 0;
    int error = of("mmap");
    if (error < 0 && (flags & MAP_SHARED)) error = of("shared");
    if (error < 0) return 0;
    errno = error;
    return 1;
}
int flock(int fd, int how) {
    static int (*next)(int, int);
    if (of("flock") >= 0) { errno = of("flock"); return -1; }
    if (!next) next = dlsym(RTLD_NEXT, "flock");
    return next(fd, how);
}
void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (refused(fd, flags)) return MAP_FAILED;
    if (!next) next = dlsym(RTLD_NEXT, "mmap");
    return next(at, n, prot, flags, fd, offset);
}
void *mmap64(void *at, size_t n, int prot, int flags, int fd, off64_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off64_t);
    if (refused(fd, flags)) return MAP_FAILED;
    if (!next) next = dlsym(RTLD_NEXT, "mmap64");
    return next(at, n, prot, flags, fd, offset);
}
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *with) {
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static int started;
    int most = of("threads");
    if (most >= 0 && __sync_fetch_and_add(&started, 1) >= most) return EAGAIN;
    if (!next) next = dlsym(RTLD_NEXT, "pthread_create");
    return next(thread, attr, run, with);
}
"#;
    static BUILT: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (dir.path().join("shim.c"), dir.path().join("shim.so"));
        fs::write(&source, SOURCE).unwrap();
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-w", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        done.is_ok_and(|status| status.success()).then_some((dir, library))
    });
    if built.is_none() {
        skip("there is no C compiler for the shim");
    }
    built.as_ref().map(|(_, library)| library.as_path())
}

#[test]
fn a_device_is_written_into_and_stays() {
    let sandbox = Sandbox::trained();
    for name in ["nul", "nul.npy", "nul.npz", "nul.json", "nul.png"] {
        let path = sandbox.at(name);
        let (path, null) = (path.to_str().unwrap().to_owned(), ["-m", "666", "", "c", "1", "3"]);
        let args: Vec<&str> = null.iter().map(|&arg| if arg.is_empty() { &path } else { arg }).collect();
        if !allowed("mknod", &args) {
            return;
        }
        if fs::write(&path, "x").is_err() {
            return skip("devices cannot be opened here");
        }
    }
    for line in [
        format!("eval {OF_MODEL} --logits @nul"),
        format!("eval {OF_MODEL} --logits @nul --overwrite"),
        format!("eval {OF_MODEL} --logits @nul.npy --overwrite"),
        "prototype --model @m.safetensors --class 1 --steps 2 --out @nul --overwrite".to_owned(),
        "prototype --model @m.safetensors --class 1 --steps 2 --out @nul.png".to_owned(),
        "profile --cell shallow --batch 2 --steps 1 --trace @nul --overwrite".to_owned(),
        format!("explain {OF_MODEL} --out @nul.npy --overwrite"),
        format!("explain {OF_MODEL} --out @nul.npz"),
    ] {
        succeeds(sandbox.run(&line));
    }
    fails(sandbox.run(&format!("explain {OF_MODEL} --quiet --out @nul")), 1, &["nul", "is no folder"]);
    for name in ["nul", "nul.npy", "nul.npz", "nul.json", "nul.png"] {
        assert!(fs::metadata(sandbox.at(name)).unwrap().file_type().is_char_device(), "{name}");
    }
}

#[test]
fn a_pipe_gets_the_whole_file_and_stays() {
    let sandbox = Sandbox::trained();
    for (plain, pipe, line) in [
        ("a.npy", "pipe", format!("eval {OF_MODEL} --logits")),
        ("a.npz", "pipe.npz", format!("explain {OF_MODEL} --out")),
        ("a.png", "pipe.png", "prototype --model @m.safetensors --class 1 --steps 2 --out".to_owned()),
    ] {
        succeeds(sandbox.run(&format!("{line} @{plain}")));
        nix::unistd::mkfifo(&sandbox.at(pipe), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let child = sandbox
            .command(&format!("{line} @{pipe}"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let found = fs::read(sandbox.at(pipe)).unwrap();
        succeeds(child.wait_with_output().unwrap());
        assert!(found == fs::read(sandbox.at(plain)).unwrap(), "{pipe}");
        assert!(fs::symlink_metadata(sandbox.at(pipe)).unwrap().file_type().is_fifo());
    }
    let output = succeeds(sandbox.run(&format!("eval {OF_MODEL} --logits /dev/stdout")));
    assert!(
        output.stdout.starts_with(&fs::read(sandbox.at("a.npy")).unwrap()),
        "through a pipe of the caller"
    );
}

#[test]
fn a_link_is_written_through() {
    let sandbox = Sandbox::trained();
    let line = format!("eval {OF_MODEL} --quiet --logits @link.npy");
    symlink("real.npy", sandbox.at("link.npy")).unwrap();
    fails(sandbox.run(&line), 1, &["link.npy", "is a link to", "real.npy", "--overwrite"]);
    succeeds(sandbox.run(&format!("{line} --overwrite")));
    fails(sandbox.run(&line), 1, &["link.npy", "already exists"]);
    fs::write(sandbox.at("real.npy"), "old").unwrap();
    succeeds(sandbox.run(&format!("{line} --overwrite")));
    assert!(fs::read(sandbox.at("real.npy")).unwrap().starts_with(b"\x93NUMPY"));
    assert!(fs::symlink_metadata(sandbox.at("link.npy")).unwrap().is_symlink());
}

#[test]
fn long_names_are_written_and_longer_ones_refused_at_once() {
    let sandbox = Sandbox::trained();
    for length in [248, 251, 255] {
        let name = "n".repeat(length - 4);
        succeeds(sandbox.run(&format!("eval {OF_MODEL} --logits @{name}.npy")));
    }
    let name = "n".repeat(252);
    let output = sandbox.run(&format!("eval {OF_MODEL} --quiet --logits @{name}.npy"));
    fails(output, 1, &["File name too long"]);
}

/// Every command that prints a path, in a folder whose name is not UTF-8 and holds escape sequences.
#[test]
fn names_that_are_no_text_are_shown_lossily_and_escaped() {
    let sandbox = Sandbox::trained();
    let base = sandbox.at("d");
    let odd = |name: &[u8]| base.join(OsStr::from_bytes(name));
    let folder = odd(b"caf\xe9\x1b[31m\xc2\x9b1m\n");
    fs::create_dir_all(folder.join("synth")).unwrap();
    for entry in fs::read_dir(sandbox.at("synth")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join("synth").join(path.file_name().unwrap())).unwrap();
    }
    let model = folder.join("m.safetensors");
    fs::copy(sandbox.at("m.safetensors"), &model).unwrap();
    for (i, json) in [&["--json"][..], &[], &["--quiet"]].into_iter().enumerate() {
        let run = |words: &[&str], out: &str| {
            let mut command = sandbox.command(words[0]);
            for word in &words[1..] {
                command.arg(match *word {
                    "OUT" => folder.join(format!("{i}{out}")).into_os_string(),
                    "MODEL" => model.clone().into_os_string(),
                    "FOLDER" => folder.clone().into_os_string(),
                    word => word.into(),
                });
            }
            let command = command.args(json).env("XDG_CACHE_HOME", &folder);
            let output = command.output().unwrap();
            let all = [&output.stdout[..], &output.stderr].concat();
            let shown = String::from_utf8(all).expect("text");
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{words:?}: {shown:?}");
            assert!(matches!(output.status.code(), Some(0..=2)), "{words:?}: {shown}");
            if json == ["--json"] && output.status.success() {
                serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON");
            }
            (output.status.success(), shown)
        };
        let done = |words: &[&str], out: &str| {
            let (success, shown) = run(words, out);
            assert!(success, "{words:?}: {shown}");
            shown
        };
        let data = ["--dataset", "synth", "--data-dir", "FOLDER"];
        let with = |words: &[&'static str]| [words, &data].concat();
        done(&with(&["eval", "--model", "MODEL", "--logits", "OUT"]), "a.npy");
        let shown = done(&with(&["explain", "--model", "MODEL", "--out", "OUT"]), "a");
        assert!(shown.contains("caf\u{fffd}"), "{shown}");
        done(&["prototype", "--model", "MODEL", "--class", "1", "--steps", "1", "--out", "OUT"], "a.png");
        done(&with(&["train", "--epochs", "1", "--combine", "8", "--recurrent", "8", "--out", "OUT"]), "run");
        done(&["profile", "--cell", "shallow", "--batch", "2", "--steps", "1", "--trace", "OUT"], "a.json");
        done(&["data", "list", "--data-dir", "FOLDER"], "");
        done(&["data", "path", "synth", "--data-dir", "FOLDER"], "");
        done(&["data", "synth", "--train", "5", "--test", "5", "--out", "OUT"], "drawn");
        done(&["data", "maj", "--from", "synth", "--data-dir", "FOLDER", "--out", "OUT"], "maj");
        run(&["data", "verify", "synth", "--data-dir", "FOLDER"], "");
        let (success, _) = run(&["report", "FOLDER"], "");
        assert!(!success, "it holds no experiment");
        let (success, _) = run(&["compare", "FOLDER", "FOLDER"], "");
        assert!(!success, "it holds no experiment");
        let (success, _) = run(&["report", "x", "\u{1b}[31m\u{9b}"], "");
        assert!(!success, "a word too many");
    }
}

#[test]
fn a_terminal_that_cannot_draw_bars_gets_lines() {
    if !allowed("script", &["--version"]) {
        return;
    }
    let sandbox = Sandbox::new();
    for (i, term) in [Some("dumb"), None, Some("xterm")].into_iter().enumerate() {
        let out = sandbox.at(&format!("run{i}"));
        let mut command = Command::new("script");
        let line = format!(
            "{BINARY} train --epochs 2 --combine 8 --recurrent 8 --data-dir {} --out {}",
            sandbox.0.path().display(),
            out.display()
        );
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).env_remove("TERM");
        if let Some(term) = term {
            command.env("TERM", term);
        }
        let output = succeeds(command.output().unwrap());
        let seen = text(&output.stdout);
        assert!(seen.contains("epoch 2/2") && seen.contains("validation"), "{term:?}: {seen}");
        assert_eq!(seen.contains('\u{1b}'), term == Some("xterm"), "{term:?}: {seen:?}");
    }
}

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
        let warnings = text(&output.stderr).lines().filter(|line| line.starts_with("warning: ")).count();
        assert_eq!(warnings, usize::from(how.starts_with("flock")), "{how}");
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

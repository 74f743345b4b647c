//! What is shown: names that are no text, terminals that cannot draw, `--quiet`.

use crate::sandbox::{BINARY, Sandbox, allowed, succeeds, text};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

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
fn quiet_commands_print_results_only() {
    let sandbox = Sandbox::trained();
    for line in [
        "data synth --train 2 --test 2 --out @drawn",
        "data maj --from synth --data-dir @ --out @composed",
        "eval --model @ --dataset synth --data-dir @",
        "train --epochs 1 --combine 8 --recurrent 8 --limit-train 20 --data-dir @ --out @run",
    ] {
        fs::copy(sandbox.at("m.safetensors"), sandbox.at("best.safetensors")).unwrap();
        let output = succeeds(sandbox.run(&format!("{line} --quiet")));
        assert!(output.stderr.is_empty() && !output.stdout.is_empty(), "{line}: {}", text(&output.stderr));
    }
}

//! The page of `explain`, the numbers of `measure`, the list of `runs`, and `compare` of three.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn harness(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .env("XDG_CACHE_HOME", folder)
        .output()
        .expect("harness starts")
}

fn does(folder: &Path, line: &str) -> String {
    let output = harness(folder, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn refuses(folder: &Path, line: &str, part: &str) {
    let output = harness(folder, line);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{line}: {text}");
    let last = text.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("error: ") && last.contains(part), "{line}: {text}");
}

const TRAIN: &str = "train --cell deep --seq-len 4 --dataset synth --data-dir . --epochs 2 --limit-train 240 \
                     --limit-test 60 --lr 5e-4 --quiet --out";
const OF: &str = "--model runs/a --dataset synth --data-dir .";

#[test]
fn a_model_is_shown_measured_and_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    does(at, &format!("{TRAIN} runs/a"));
    does(at, &format!("{TRAIN} runs/deeper/b --seed 2"));

    let line =
        format!("explain {OF} --samples 3 --target all --methods deep-taylor,lrp --values logit,centred");
    does(at, &format!("{line} --out page.html"));
    let page = fs::read_to_string(at.join("page.html")).expect("a page");
    // Per sample the input, 2 methods · 2 values · 10 classes and the colour bar; and once 3 inputs, 12 maps and a bar.
    assert_eq!(page.matches("<image").count(), 3 * 42 + 16);
    for part in
        ["id=\"ledger-2\"", "lrp, centred", "encoder.0 absorbed", "share of each step", "id=\"sample-0\""]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("href=\"figures") && !page.contains("<script"));
    refuses(at, &format!("{line} --out maps.npz"), "--methods and --values are of a page");
    refuses(at, &format!("explain {OF} --methods magic --out p.html"), "magic");
    assert!(!at.join("p.html").exists());

    let line = format!("measure {OF} --samples 4 --region 14 --methods deep-taylor,smooth-grad,random");
    let text = does(at, &format!("{line} --out m.json"));
    assert!(text.contains("4 samples") && text.contains("smooth-grad") && text.contains('['), "{text}");
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(at.join("m.json")).expect("read")).expect("JSON");
    assert_eq!(found["methods"].as_array().map(Vec::len), Some(3));
    let gain = &found["methods"][0]["measured"]["intervals"]["gain"];
    let [low, estimate, high] = ["low", "estimate", "high"].map(|key| gain[key].as_f64().expect("a number"));
    assert!(low <= estimate && estimate <= high, "{gain}");
    refuses(at, &format!("measure {OF} --methods magic"), "--methods magic");
    refuses(at, &format!("measure {OF} --value magic"), "--value magic");

    let text = does(at, &format!("measure {OF} --samples 3 --value all --out all.json"));
    assert!(
        text.contains("epsilon-gamma-box") && text.contains("runner-up") && text.contains("3 samples"),
        "{text}"
    );
    let all: serde_json::Value =
        serde_json::from_slice(&fs::read(at.join("all.json")).expect("read")).expect("JSON");
    let methods = all["methods"].as_array().expect("a list");
    assert!(
        methods.len() >= 50 && methods.iter().all(|of| of["cosine"]["estimate"].is_number()),
        "{methods:?}"
    );
    refuses(at, &format!("measure {OF} --value all --methods lrp"), "leave out --methods and --region");

    let text = does(at, "runs runs --sort accuracy");
    assert!(text.contains("runs/a") && text.contains("runs/deeper/b") && text.contains("2/2"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&does(at, "runs runs --filter deeper --json")).expect("JSON");
    assert_eq!((json.as_array().map(Vec::len), json[0]["state"].as_str()), (Some(1), Some("done")));
    refuses(at, "runs nowhere", "is no folder");
}

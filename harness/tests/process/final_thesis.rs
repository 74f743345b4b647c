//! The experiments of the finished thesis, in small, from a TOML file to the claims of the report.

use super::{BINARY, Sandbox, fails, succeeds};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

/// An experiment of two parts, small enough for a test.
const FINAL: &str = r#"
name = "tiny"
report = "final"
seeds = [1]
lr = 1e-3
[[parts]]
number = 1
datasets = ["synth"]
cells = ["final-shallow"]
seq-lens = [7]
[[parts]]
number = 2
datasets = ["synth-maj"]
cells = ["final-shallow", "final-deep", "final-deep-sd", "r-lstm"]
seq-lens = [12]
folds = 2
[train]
epochs = 1
batch = 20
dropout-profile = "final"
initial-values = "final"
zero-logit = true
limit-train = 80
limit-test = 40
[measure]
methods = ["sensitivity", "guided-backprop", "deep-taylor", "lrp-alpha1.5-beta0.5"]
target = "true"
checks = false
population = 2
"#;

/// The tables of a report by name, as lists of rows.
fn tables(report: &serde_json::Value) -> BTreeMap<String, Vec<serde_json::Value>> {
    let sections = report["sections"].as_array().unwrap().iter();
    let parts = sections.flat_map(|section| section["parts"].as_array().unwrap());
    let tables = parts.filter_map(|part| Some((part["table"].as_str()?, part["rows"].as_array()?.clone())));
    tables.map(|(name, rows)| (name.to_owned(), rows)).collect()
}

#[test]
fn the_finished_thesis_is_reproduced_part_by_part() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.at("tiny.toml"), FINAL).unwrap();
    let reproduce = |more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.env_remove("RELEVANCE_KERNELS").env_remove("RELEVANCE_THREADS");
        command.arg("reproduce").arg(sandbox.at("tiny.toml")).args(["--quiet", "--threads", "1"]);
        command.arg("--data-dir").arg(sandbox.0.path()).arg("--out").arg(sandbox.at("out")).args(more);
        command.stdout(Stdio::null()).output().unwrap()
    };
    let report = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(sandbox.at("out").join("report.json")).unwrap()).unwrap()
    };
    let verdict = |tables: &BTreeMap<String, Vec<serde_json::Value>>, of: &str| -> Vec<(String, i64)> {
        let rows = tables["statements"].iter().filter(|row| row["network"] == of);
        rows.map(|row| (row["verdict"].as_str().unwrap().to_owned(), row["folds"].as_i64().unwrap()))
            .collect()
    };
    fails(reproduce(&["--experiment", "3"]), 2, &["--experiment 3", "1, 2"]);
    fails(reproduce(&["--folds", "2"]), 2, &["--folds 2", "0 to 1"]);
    fails(reproduce(&["--cells", "deepv2"]), 2, &["--cells deepv2", "final-deep"]);
    assert!(!sandbox.at("out").exists(), "a refused choice writes nothing");

    succeeds(reproduce(&["--experiment", "2", "--cells", "shallow,deep", "--folds", "0"]));
    let first = tables(&report());
    let deeper = verdict(&first, "Deep − Shallow");
    assert!(
        deeper.len() == 2 && deeper.iter().all(|(verdict, folds)| verdict != "not measured" && *folds == 1)
    );
    assert_eq!(verdict(&first, "R-LSTM − Deep"), vec![("not measured".to_owned(), 0); 2]);
    assert_eq!(first["final-cosines-synth-maj"].len(), 2 * 4);
    assert!(!first.contains_key("final-tukey-deep-taylor-synth-maj"), "one fold has no variance");
    let model = sandbox.at("out").join("synth-maj/final-deep-12-fold0-seed1/last.safetensors");
    let before = (fs::read(&model).unwrap(), fs::metadata(&model).unwrap().modified().unwrap());

    succeeds(reproduce(&["--resume"]));
    assert_eq!(before, (fs::read(&model).unwrap(), fs::metadata(&model).unwrap().modified().unwrap()));
    let all = tables(&report());
    assert_eq!(verdict(&all, "R-LSTM − Deep").len(), 2);
    assert!(
        verdict(&all, "R-LSTM − Deep")
            .iter()
            .all(|(verdict, folds)| verdict != "not measured" && *folds == 2)
    );
    assert!(verdict(&all, "Deep-SD − Deep").iter().all(|(verdict, _)| verdict != "not measured"));
    let whole = fs::read_to_string(sandbox.at("out").join("report.json")).unwrap();
    assert!(!whole.contains("− final-") && whole.contains("does not plan"), "cells that are not planned");
    assert_eq!(all["final-accuracy"].len(), 5);
    assert_eq!(all["final-cosines-synth-maj"].len(), 4 * 4);
    assert_eq!(all["final-shares-synth-maj"].len(), 4 * 4);
    assert_eq!(all["final-tukey-deep-taylor-synth-maj"].len(), 6, "pairs of four cells");
    assert_eq!(all["final-steps-synth"].len(), 2);
    for row in &all["final-cosines-synth-maj"] {
        let cosine = row["cosine"].as_f64().unwrap();
        assert!((-1.0..=1.0).contains(&cosine) && row["low"].as_f64().unwrap() <= cosine, "{row}");
    }
    for figure in
        ["3.11-synth-maj", "3.12-synth-maj", "3.17-synth-maj", "3.3-synth", "3.6-synth", "3.7-synth"]
    {
        let name = format!("figure-{figure}.");
        let mut files = fs::read_dir(sandbox.at("out").join("figures")).unwrap();
        assert!(files.any(|file| file.unwrap().file_name().to_str().unwrap().starts_with(&name)), "{figure}");
    }
}

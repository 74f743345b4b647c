//! The program with one more backend trains and explains on it.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn run(arguments: &str, folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness-plugin"));
    command.current_dir(folder).args(arguments.split(' ')).env("XDG_CACHE_HOME", folder);
    let output = command.output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(arguments: &str, folder: &Path) -> Value {
    serde_json::from_str(&run(&format!("{arguments} --json --quiet"), folder)).expect("JSON")
}

#[test]
fn own_is_listed_as_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = json("kernels --kernels own --threads 1", folder.path());
    let chosen: Vec<&str> = all["kernels"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|set| set["chosen"] == true)
        .filter_map(|set| set["name"].as_str())
        .collect();
    assert_eq!(chosen, ["own"]);
}

#[test]
fn a_network_trained_on_own_has_the_loss_of_the_default_kernels_within_rounding() {
    let folder = tempfile::tempdir().expect("a folder");
    let loss = |name: &str| {
        let options = "--epochs 1 --limit-train 100 --limit-test 20 --validation 20 --threads 1";
        run(
            &format!("train {options} --cell deep --seq-len 4 --kernels {name} --out {name} --quiet"),
            folder.path(),
        );
        let path = format!("{name}/last.safetensors");
        let evaluated = json(&format!("eval --model {path} --dataset synth --kernels {name}"), folder.path());
        let options = format!("--kernels {name} --samples 20 --out {name}.npz --check --quiet");
        run(&format!("explain --model {path} --dataset synth {options}"), folder.path());
        evaluated["loss"].as_f64().expect("a loss")
    };
    let [own, best] = ["own", kernels::Backend::best().name()].map(loss);
    assert!((own - best).abs() <= 1e-4 * best, "{own} on own, {best} on the default kernels");
}

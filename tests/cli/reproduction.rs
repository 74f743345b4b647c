//! A reproduction from its experiment to its page, and the page of incomplete runs.

use super::Sandbox;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// Two presets at T = 4, one epoch, few samples.
const TINY: &str = "reproduce @tiny.toml --data-dir @";

const EXPERIMENT: &str = r#"
name = "tiny"
datasets = ["synth"]
cells = ["shallow", "deep"]
seq-lens = [4]
seeds = [1, 2]
lr = 5e-4
[train]
epochs = 1
limit-train = 240
limit-test = 60
[[also]]
cell = "deep"
seq-len = 4
optimiser = "sgd"
lr = 0.01
[measure]
samples = 5
region = 14
population = 3
"#;

impl Sandbox {
    fn with_experiment() -> Sandbox {
        let sandbox = Sandbox::new();
        fs::write(sandbox.at("tiny.toml"), EXPERIMENT).expect("written");
        sandbox
    }

    /// The page, the JSON, the tables and the figures.
    fn report(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for inner in ["", "/tables", "/figures"] {
            let path = self.at(&format!("{folder}{inner}"));
            for entry in fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                let name = entry.to_string_lossy().into_owned();
                if entry.is_file() && !name.ends_with("experiment.toml") {
                    found.insert(name, fs::read(&entry).expect("readable"));
                }
            }
        }
        found
    }

    /// The state of each run in the table of the page.
    fn states(&self, folder: &str) -> Vec<String> {
        let text = self.text(&format!("{folder}/tables/runs.csv"));
        text.lines().skip(1).map(|line| line.split(',').nth(1).unwrap_or_default().to_owned()).collect()
    }
}

/// All texts and numbers of a JSON value, as they are printed.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(map) => {
            for (key, item) in map {
                found.push(key.clone());
                leaves(item, found);
            }
        }
        Value::String(text) => found.push(text.clone()),
        other => found.push(other.to_string()),
    }
}

/// The texts between `<tag …>` and `</tag>`, with the few entities of the page decoded.
fn texts(html: &str, tag: &str) -> Vec<String> {
    let open = format!("<{tag}");
    let close = format!("</{tag}>");
    let piece = |rest: &str| {
        let inside = rest.split_once('>')?.1.split_once(&close)?.0;
        let plain = inside.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        (!inside.contains('<')).then(|| plain.replace("&amp;", "&"))
    };
    html.split(&open).skip(1).filter_map(piece).collect()
}

#[test]
fn a_report_is_rebuilt_bit_for_bit_and_stands_alone() {
    let sandbox = Sandbox::with_experiment();
    sandbox.does(&format!("{TINY} --out @all --threads 2"));
    let first = sandbox.report("all");
    assert!(sandbox.states("all").iter().all(|state| state == "done"), "{:?}", sandbox.states("all"));
    for file in ["all/report.html", "all/report.json", "all/tables/runs.csv"] {
        fs::remove_file(sandbox.at(file)).expect("removed");
    }
    sandbox.does("report @all");
    assert!(sandbox.report("all") == first, "rebuilt");
    // Nothing is trained or measured again, and no file changes.
    let model = |run: &str| fs::metadata(sandbox.at(run)).and_then(|data| data.modified()).expect("a time");
    let file = "all/synth/deep-4-seed2/measured.json";
    let before = model(file);
    sandbox.does(&format!("{TINY} --out @all --resume"));
    assert!(sandbox.report("all") == first && model(file) == before);
    // Run one after the other, all but the seconds is the same.
    sandbox.does(&format!("{TINY} --out @again --jobs 1"));
    for file in
        ["statements.csv", "table-4.5.csv", "methods-synth.csv", "aopc-synth.csv", "shares-synth-t4.csv"]
    {
        assert_eq!(
            sandbox.text(&format!("all/tables/{file}")),
            sandbox.text(&format!("again/tables/{file}")),
            "{file}"
        );
    }
    let page = sandbox.text("all/report.html");
    for fetched in ["<script", "<link", "src=\"http", "url(", "@import"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    sandbox.refuses(&format!("{TINY} --out @all"), &["--resume", "--overwrite"]);
    fs::write(sandbox.at("other.toml"), EXPERIMENT.replace("\"tiny\"", "\"other\"")).expect("written");
    sandbox.refuses("reproduce @other.toml --data-dir @ --out @all --resume", &["holds tiny, not other"]);
    sandbox.does("compare @all @again --out @both");
    assert!(sandbox.text("both/tables/table-4.5.csv").contains("Deep-4 (SGD)"));
}

#[test]
fn results_depend_neither_on_jobs_nor_on_threads() {
    let sandbox = Sandbox::with_experiment();
    sandbox.does(&format!("{TINY} --out @alone --threads 1 --jobs 1"));
    for (folder, threads) in [("side", "--threads 2 --jobs 2"), ("team", "--threads 2 --jobs 1")] {
        sandbox.does(&format!("{TINY} --out @{folder} {threads}"));
        for run in ["shallow-4-seed1", "shallow-4-seed2", "deep-4-seed1", "deep-4-seed2"] {
            for file in ["last.safetensors", "heatmaps.npy", "measured.json"] {
                let of = |folder: &str| sandbox.bytes(&format!("{folder}/synth/{run}/{file}"));
                assert!(of(folder) == of("alone"), "{run}/{file} with {threads}");
            }
        }
    }
}

#[test]
fn every_number_of_the_page_is_in_the_json_and_every_figure_is_a_file() {
    let sandbox = Sandbox::with_experiment();
    sandbox.does(&format!("{TINY} --out @all --seeds 1 --cells deep"));
    let page = sandbox.text("all/report.html");
    let json = sandbox.json("all/report.json");
    let mut known = Vec::new();
    leaves(&json, &mut known);
    let number = |text: &str| text.parse::<f64>().ok();
    let known_numbers: Vec<f64> = known.iter().filter_map(|text| number(text)).collect();
    let mut cells = 0;
    for tag in ["td", "th", "figcaption", "p", "h2"] {
        for text in texts(&page, tag) {
            // `x ± s`, `x [low, high]` and `≤ x` are numbers of their own in the JSON.
            let same = |part: &str| {
                known.iter().any(|of| of == part) || number(part).is_some_and(|n| known_numbers.contains(&n))
            };
            let parts = text.split(['±', '[', ',', ']', '≤', '≥']).map(str::trim);
            let found = parts.filter(|part| !matches!(*part, "" | "–")).all(same);
            assert!(known.contains(&text) || found, "{tag}: {text}");
            cells += 1;
        }
    }
    assert!(cells > 200, "{cells} texts were looked at");
    let mut figures = 0;
    for part in
        json["sections"].as_array().expect("sections").iter().flat_map(|s| s["parts"].as_array()).flatten()
    {
        let Some(file) = part["file"].as_str() else { continue };
        let bytes = sandbox.bytes(&format!("all/{file}"));
        match file.rsplit_once('.').map(|(_, end)| end) {
            Some("svg") => assert!(bytes.starts_with(b"<svg") && bytes.trim_ascii_end().ends_with(b"</svg>")),
            _ => assert!(file.starts_with("tables/"), "{file}"),
        }
        figures += usize::from(!part["figure"].is_null());
        assert!(part["caption"].as_str().is_some_and(|caption| caption.len() > 20), "{file}");
    }
    assert!(figures >= 14, "{figures}");
    for name in
        ["statements", "table-4.1", "table-4.2", "table-4.3", "table-4.5", "runs", "conservation-synth"]
    {
        assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
    }
    for name in ["3.2", "3.4", "3.5", "3.6", "4.4-deep", "4.7-synth", "4.8-synth", "4.9-synth-t4"] {
        assert!(page.contains(&format!("id=\"figure-{name}\"")), "{name}");
    }
}

#[test]
fn an_experiment_trains_architectures_of_its_own() {
    let sandbox = Sandbox::with_experiment();
    let own =
        "[[architectures]]\nname = \"narrow\"\nencoder = \"24\"\ncore = \"rnn:16:8\"\nhead = [12]\n[measure]";
    let text = EXPERIMENT.replace("[measure]", own).replace("\"deep\"]", "\"narrow\"]");
    let text = text.replace("cell = \"deep\"", "encoder = \"none\"\ncore = \"rnn:20:8\"\nhead = \"none\"");
    fs::write(sandbox.at("own.toml"), text).expect("written");
    sandbox.does("reproduce @own.toml --data-dir @ --out @all --seeds 1");
    assert_eq!(sandbox.states("all"), ["done", "done", "done"]);
    let settings = &sandbox.json("all/synth/narrow-4-seed1/run.json")["settings"];
    assert_eq!(settings["architecture"]["encoder"], serde_json::json!([{ "dense": 24 }]));
    let statements = sandbox.text("all/tables/statements.csv");
    for line in [
        "networks with and without an encoder are equally accurate,synth,Shallow-4 and narrow-4,yes,",
        "\"without an encoder, relevance concentrates on the last steps\",synth,Shallow-4,yes,",
        "\"without an encoder, relevance concentrates on the last steps\",synth,narrow-4,no,",
        "\"with an encoder, relevance follows the digit\",synth,narrow-4,yes,",
    ] {
        assert!(statements.contains(line), "{line}: {statements}");
    }
    let table = sandbox.text("all/tables/table-4.5.csv");
    for title in ["Shallow-4", "narrow-4", "rnn20:8-4 (SGD)"] {
        assert!(table.contains(title), "{title}: {table}");
    }
    let page = sandbox.text("all/report.html");
    for name in ["figure-4.4-shallow", "architecture-narrow", "architecture-rnn20_8"] {
        assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
    }
    // The experiment's own copy plans the same runs.
    sandbox.does("report @all");
    assert_eq!(sandbox.states("all"), ["done", "done", "done"]);
    let seven = "reproduce @own.toml --data-dir @ --out @bad --seq-lens 5";
    sandbox.usage_error(seven, &["Shallow-5", "--seq-len 5", "does not divide 28"]);
    let even = sandbox.text("own.toml").replace("\"24\"", "\"conv4x2\"");
    fs::write(sandbox.at("even.toml"), even).expect("written");
    sandbox.usage_error("reproduce @even.toml --data-dir @ --out @bad", &["narrow-4", "filter is 4", "odd"]);
    assert!(!sandbox.at("bad").exists());
}

#[test]
fn an_incomplete_run_is_shown_as_such() {
    let sandbox = Sandbox::with_experiment();
    sandbox.does(&format!("{TINY} --out @all --seeds 1"));
    let run = |name: &str| sandbox.at(&format!("all/synth/{name}-seed1"));
    assert_eq!(sandbox.states("all"), ["done", "done", "done"]);
    fs::remove_dir_all(run("shallow-4")).expect("removed");
    let model = run("deep-4").join("last.safetensors");
    let mut bytes = fs::read(&model).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&model, bytes).expect("written");
    let manifest = run("deep-4-sgd").join("run.json");
    let text = fs::read_to_string(&manifest).expect("readable").replace("\"done\"", "\"running\"");
    fs::write(&manifest, text).expect("written");
    sandbox.does("report @all");
    let states = sandbox.states("all");
    assert_eq!(states[0], "missing");
    assert!(states[1].starts_with("damaged: ") && states[1].contains("last.safetensors"), "{}", states[1]);
    assert!(states[2].starts_with("unfinished: running"), "{}", states[2]);
    assert!(sandbox.text("all/report.html").contains("0 of 3 runs are complete"));
    // Half-written files.
    fs::write(&manifest, "{\"state\": \"do").expect("written");
    fs::write(sandbox.at("all/synth/samples.json"), "{").expect("written");
    sandbox.does("report @all");
    let states = sandbox.states("all");
    assert_eq!(states[0], "missing");
    assert!(states[1..].iter().all(|state| state.starts_with("damaged")), "{states:?}");
    fs::remove_file(sandbox.at("all/experiment.toml")).expect("removed");
    sandbox.refuses("report @all", &["all", "experiment.toml"]);
}

#[test]
fn a_reproduction_is_resumed_as_a_whole_or_not_at_all() {
    let sandbox = Sandbox::with_experiment();
    sandbox.does(&format!("{TINY} --epochs 2 --out @out"));
    let toml = sandbox.text("out/experiment.toml");
    let line = format!("{TINY} --out @out --resume");
    sandbox.usage_error(
        &format!("{line} --epochs 1"),
        &["has 2 epochs", "more than --epochs 1", "at least --epochs 2"],
    );
    sandbox
        .usage_error(&format!("{line} --epochs 2 --batch 10"), &["other settings", "batch is 50 there, 10"]);
    assert_eq!(sandbox.text("out/experiment.toml"), toml);
    sandbox.does(&format!("{line} --epochs 3"));
    sandbox.does(&format!("{TINY} --out @short --cells deep"));
    sandbox.does("compare @out @short --out @both");
    let lead = sandbox.json("both/report.json")["lead"].to_string();
    for part in
        ["what differs", "Only A has synth/shallow-4-seed1", "epochs is 3 in A, 1 in B: synth/deep-4-seed1"]
    {
        assert!(lead.contains(part), "{part}: {lead}");
    }
    sandbox.does("compare @out @out --out @same");
    assert!(!sandbox.json("same/report.json")["lead"].to_string().contains("differs"));
    fs::create_dir_all(sandbox.at("mine/figures")).expect("a folder");
    fs::write(sandbox.at("mine/figures/thesis.pdf"), "mine").expect("written");
    sandbox.refuses("compare @out @out --out @mine", &["figures", "not as part of a report"]);
    assert_eq!(sandbox.text("mine/figures/thesis.pdf"), "mine");
    sandbox.usage_error("compare @out @out --out @page.html", &["page.html", "without that ending"]);
    sandbox.usage_error("train --data-dir @ --out @model.safetensors", &["model.safetensors"]);
    assert!(sandbox.states("out").iter().all(|state| state == "done"), "{:?}", sandbox.states("out"));
}

/// A length that does not divide the columns of one data set, which is the last of several.
#[test]
fn every_network_is_checked_before_the_first_is_trained() {
    let sandbox = Sandbox::with_experiment();
    let image = |n: u32| [0x803u32, n, 32, 32].map(u32::to_be_bytes).concat();
    fs::create_dir(sandbox.at("wide")).expect("a folder");
    for (half, n) in [("train", 40u32), ("t10k", 20)] {
        let images = [image(n), vec![9; n as usize * 32 * 32]].concat();
        let labels =
            [[0x801u32, n].map(u32::to_be_bytes).concat(), (0..n).map(|i| (i % 10) as u8).collect()].concat();
        fs::write(sandbox.at(&format!("wide/{half}-images-idx3-ubyte")), images).expect("written");
        fs::write(sandbox.at(&format!("wide/{half}-labels-idx1-ubyte")), labels).expect("written");
    }
    sandbox.usage_error(
        &format!("{TINY} --dataset synth,wide --seq-lens 4,7 --limit-train 40 --limit-test 20 --out @out"),
        &["7 does not divide 32"],
    );
    assert!(!sandbox.at("out").exists());
}

#[test]
fn one_failed_run_does_not_stop_the_rest() {
    let sandbox = Sandbox::with_experiment();
    // A rate at which the loss of SGD becomes non-finite.
    let text = EXPERIMENT.replace("lr = 0.01", "lr = 1e30").replace("epochs = 1", "epochs = 2");
    fs::write(sandbox.at("wild.toml"), text).expect("written");
    let line = "reproduce @wild.toml --data-dir @ --seeds 1 --cells deep --out @wild";
    sandbox.refuses(line, &["1 of 2 runs failed", "synth/deep-4-sgd-seed1"]);
    let states = sandbox.states("wild");
    assert_eq!(states[0], "done");
    assert!(states[1].starts_with("unfinished: "), "{}", states[1]);
}

#[test]
fn a_learning_rate_is_searched_on_held_out_samples() {
    let sandbox = Sandbox::with_experiment();
    let search = "[search]\nrates = [1e-3, 1e-6]\nepochs = 1\n[measure]";
    fs::write(sandbox.at("search.toml"), EXPERIMENT.replace("[measure]", search)).expect("written");
    sandbox.does("reproduce @search.toml --data-dir @ --seeds 1 --cells deep --lr search --out @found");
    let rates = sandbox.json("found/learning-rates.json");
    let tried = rates["synth/deep-4"].as_array().expect("candidates");
    assert_eq!(tried.len(), 2);
    assert!(tried[0]["validation_accuracy"].as_f64() > tried[1]["validation_accuracy"].as_f64(), "{tried:?}");
    assert!(rates["synth/deep-4-sgd"].is_null(), "its rate was given");
    let settings = &sandbox.json("found/synth/deep-4-seed1/run.json")["settings"];
    assert!((settings["lr"].as_f64().expect("a rate") - 1e-3).abs() < 1e-9);
    assert!(sandbox.text("found/report.html").contains("id=\"learning-rates\""));
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let sandbox = Sandbox::with_experiment();
    for (line, words) in [
        ("reproduce quik --data-dir @", &["quik", "quick, draft, full"][..]),
        ("reproduce @absent.toml --data-dir @", &["absent.toml"]),
        ("reproduce quick --cells lstm --data-dir @", &["lstm"]),
        ("reproduce quick --seq-lens 4,4 --data-dir @", &["twice"]),
        ("report @", &["experiment.toml"]),
        ("compare @ @", &["experiment.toml"]),
    ] {
        sandbox.refuses(line, words);
    }
    // Without a command, the arguments are those of `reproduce`.
    sandbox.refuses("--dataset absent --data-dir @", &["absent"]);
}

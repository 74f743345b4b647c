//! The page in a real browser: three widths, dark and light, and printed. Skipped with a line where there is no Chromium.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const EXPERIMENT: &str = r#"
name = "tiny"
datasets = ["synth"]
cells = ["shallow", "deep"]
seq-lens = [4]
seeds = [1]
lr = 5e-4
[train]
epochs = 1
limit-train = 240
limit-test = 60
[measure]
methods = ["deep-taylor", "random"]
samples = 3
region = 14
population = 12
"#;

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

/// Runs the browser without a window; its profile is in `folder`.
fn browse(chromium: &Path, folder: &Path, args: &[&str]) -> Vec<u8> {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", &profile])
        .args(args)
        .stderr(Stdio::null())
        .output()
        .expect("chromium starts");
    output.stdout
}

#[test]
fn the_page_fits_every_width_loads_every_picture_and_can_be_read_and_printed() {
    let Some(chromium) = chromium() else {
        println!("skipped: there is no chromium in PATH");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("tiny.toml"), EXPERIMENT).expect("written");
    let status = Command::new(env!("CARGO_BIN_EXE_harness"))
        .args(["reproduce", "tiny.toml", "--data-dir", ".", "--out", "out", "--quiet"])
        .current_dir(folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("harness starts").success());
    let page = fs::read_to_string(at("out/report.html")).expect("a page");
    // A script element ends at its first closing tag, also inside a text.
    let text = serde_json::to_string(&page).expect("JSON").replace("</", "<\\/");
    let test = format!(
        "<!DOCTYPE html><meta charset=\"utf-8\"><body><script>const PAGE = {text};\n{}</script></body>",
        include_str!("browser.js")
    );
    fs::write(at("test.html"), test).expect("written");
    let url = format!("file://{}", at("test.html").display());
    for scheme in ["0", "1"] {
        let colours = format!("--blink-settings=preferredColorScheme={scheme}");
        let dom = browse(
            &chromium,
            folder.path(),
            &[&colours, "--virtual-time-budget=60000", "--window-size=1500,1000", "--dump-dom", &url],
        );
        let dom = String::from_utf8_lossy(&dom);
        let result = dom.split_once("id=\"result\">").and_then(|(_, rest)| rest.split_once("</pre>"));
        let (lines, _) = result.expect("the script ends");
        assert_eq!(lines.lines().count(), 3, "{lines}");
        for line in lines.lines() {
            let parts: Vec<&str> = line.split('|').collect();
            let number = |i: usize| parts[i].parse::<f64>().expect("a number");
            assert!(number(1) <= 0.0, "scheme {scheme}: the page scrolls sideways: {line}");
            assert!(
                parts[2] == parts[3] && number(3) > 20.0,
                "scheme {scheme}: a picture does not load: {line}"
            );
            assert!(number(4) >= 4.5, "scheme {scheme}: text has too little contrast: {line}");
            assert!(number(5) >= 9.5, "scheme {scheme}: text of a figure is too small: {line}");
        }
    }
    let pdf = format!("--print-to-pdf={}", at("page.pdf").display());
    let url = format!("file://{}", at("out/report.html").display());
    browse(&chromium, folder.path(), &[&pdf, "--no-pdf-header-footer", &url]);
    let bytes = fs::read(at("page.pdf")).expect("a PDF");
    assert!(bytes.starts_with(b"%PDF") && bytes.len() > 50_000, "{} bytes", bytes.len());
}

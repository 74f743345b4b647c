//! Builds the commit of the repository into the program, for the manifests of its runs.

use std::path::Path;
use std::process::Command;

/// What the program is made of, as seen from this package.
const SOURCES: [&str; 4] = ["src", "../model/src", "../kernels/src", "../Cargo.lock"];

/// The output of git in the folder of this package.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The commit, with `-modified` if the sources differ from it. None in a copy of the sources that is no repository, or
/// that lies in another project's.
fn commit() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.canonicalize().ok()?;
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if top != root {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    let status = ["status", "--porcelain", "--untracked-files=no", "--"];
    let clean = git(&[&status[..], &SOURCES[..]].concat())?.is_empty();
    Some(if clean { commit } else { format!("{commit}-modified") })
}

fn main() {
    // Whenever a source changes, not at each commit: the program is the same then.
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-env=HARNESS_COMMIT={}", commit().unwrap_or_default());
}

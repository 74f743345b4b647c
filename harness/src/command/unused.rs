//! Options that would have no effect are refused: who gives one expects that it does something.
//!
//! What clap can say by itself (`requires`, `conflicts_with`) is said beside the option; here is what depends on the value
//! of another option.

use crate::error::UsageError;
use crate::io::ending::ending;
use clap::ArgMatches;
use clap::parser::ValueSource;
use std::path::{Path, PathBuf};

/// The arguments of a command.
struct Given<'a>(&'a ArgMatches);

impl Given<'_> {
    /// Whether an option stands on the command line.
    fn has(&self, id: &str) -> bool {
        // An option of another command is none of this one.
        let known = self.0.try_contains_id(id).unwrap_or(false);
        known && self.0.value_source(id) == Some(ValueSource::CommandLine)
    }

    fn path(&self, id: &str) -> Option<&Path> {
        self.0.try_get_one::<PathBuf>(id).ok().flatten().map(PathBuf::as_path)
    }

    /// Refuses the first of `ids` that was given.
    fn refuse(&self, ids: &[&str], why: &str) -> Result<(), UsageError> {
        match ids.iter().find(|id| self.has(id)) {
            None => Ok(()),
            Some(id) => Err(UsageError(format!("--{} has no effect {why}", id.replace('_', "-")))),
        }
    }
}

/// Refuses options that have no effect beside the others.
///
/// # Errors
/// [`UsageError`] that names the option and what it needs.
pub fn check(matches: &ArgMatches) -> Result<(), UsageError> {
    let Some((command, matches)) = matches.subcommand() else { return Ok(()) };
    let given = Given(matches);
    match command {
        "train" if !given.has("config") && !given.has("resume") => {
            let sgd = given.has("optimiser") && text(matches, "optimiser").is_some_and(|name| name == "sgd");
            if !sgd {
                given.refuse(&["momentum"], "on Adam; give --optimiser sgd")?;
            }
        }
        "eval" | "explain" => {
            if !given.has("input") {
                given.refuse(&["labels"], "without --input; a data set has its own labels")?;
            }
            if !given.has("dataset") {
                given.refuse(&["data_dir"], "without --dataset")?;
            }
            let array = given.path("out").map(ending).filter(|found| found == "npy" || found == "npz");
            if let Some(found) = array {
                let why = format!("on .{found}, which holds the numbers; it is for pictures");
                given.refuse(&["cmap", "relevance_norm", "scale", "figure_format"], &why)?;
            }
            if given.path("out").map(ending).is_some_and(|found| found == "html") {
                given.refuse(&["figure_format"], "on .html: pictures lie in the page")?;
            }
        }
        "compare" if !given.has("out") => given.refuse(&["figure_format"], "without --out")?,
        "prototype" if !given.has("dataset") => given.refuse(&["data_dir"], "without --dataset")?,
        "profile" => {
            if !given.has("dataset") {
                given.refuse(&["data_dir"], "without --dataset")?;
            }
            if !given.has("trace") {
                given.refuse(&["overwrite"], "without --trace")?;
            }
            if text(matches, "what").is_none_or(|what| what != "explain") {
                let rules =
                    ["method", "first", "middle", "last", "rules", "alpha", "beta", "epsilon", "gamma"];
                let gradients = ["points", "baseline", "noise", "noise_seed"];
                let method = [&rules[..], &gradients].concat();
                given.refuse(&method, "on a training step; give --what explain")?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The text of an option as it was given.
fn text(matches: &ArgMatches, id: &str) -> Option<String> {
    let mut raw = matches.try_get_raw(id).ok().flatten()?;
    raw.next().map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::cli::run;
    use crate::error::UsageError;
    use std::ffi::OsString;

    /// The refusal of a command line, before anything is read.
    fn refusal(line: &str) -> Option<String> {
        let words = std::iter::once("harness").chain(line.split(' '));
        let error = run(words.map(OsString::from)).unwrap_err();
        error.downcast::<UsageError>().ok().map(|UsageError(text)| text)
    }

    #[test]
    fn an_option_without_effect_is_refused_with_what_it_needs() {
        for (line, words) in [
            ("train --momentum 0.5", ["--momentum", "--optimiser sgd"]),
            ("train --momentum 0.5 --optimiser adam", ["--momentum", "--optimiser sgd"]),
            ("eval --model no --dataset no --labels y.npy", ["--labels", "--input"]),
            ("explain --model no --input x.npy --data-dir no --out a", ["--data-dir", "--dataset"]),
            ("explain --model no --dataset no --cmap hot --out a.NPY", ["--cmap", "pictures"]),
            (
                "explain --model no --dataset no --figure-format svg --out a.html",
                ["--figure-format", ".html"],
            ),
            ("compare a b --figure-format svg", ["--figure-format", "--out"]),
            ("profile --noise 0.5", ["--noise", "--what explain"]),
            (
                "explain --model no --dataset no --relevance-norm absolute --out a.npz",
                ["--relevance-norm", ".npz"],
            ),
            ("prototype --model no --class 1 --out a.png --data-dir no", ["--data-dir", "--dataset"]),
            ("profile --data-dir no", ["--data-dir", "--dataset"]),
            ("profile --overwrite", ["--overwrite", "--trace"]),
            ("profile --method lrp", ["--method", "--what explain"]),
            ("profile --what train --gamma 1", ["--gamma", "--what explain"]),
        ] {
            let text = refusal(line).unwrap_or_else(|| panic!("{line}: not refused"));
            for word in words {
                assert!(text.contains(word), "{line}: no {word:?} in {text}");
            }
        }
    }

    #[test]
    fn an_option_with_effect_is_not() {
        for line in [
            "train --momentum 0.5 --optimiser sgd --data-dir /no/such/folder",
            "eval --model /no/such/file --input x.npy --labels y.npy",
            "explain --model /no/such/file --dataset no --data-dir /no --cmap hot --out a",
            "profile --what explain --method lrp --alpha 3 --dataset no --data-dir /no/such/folder",
        ] {
            let text = refusal(line).unwrap_or_default();
            assert!(!text.contains("no effect"), "{line}: {text}");
        }
    }
}

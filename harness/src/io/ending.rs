//! The ending of an output file, which says its format.

use super::atomic::is_stream;
use super::show::shown;
use crate::error::UsageError;
use std::path::Path;

/// The ending of `path` in lower case, without the dot; empty if there is none. That of a name such as `deep-0.5` is none.
pub fn ending(path: &Path) -> String {
    let text = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    if text.bytes().all(|byte| byte.is_ascii_digit()) { String::new() } else { text }
}

/// The format of the file that `option` names: one of `known`. A device or a pipe without an ending takes the first.
///
/// # Errors
/// [`UsageError`] that names the endings there are.
pub fn format<'a>(option: &str, path: &Path, known: &[&'a str]) -> Result<&'a str, UsageError> {
    let found = ending(path);
    if let Some(format) = known.iter().find(|known| **known == found) {
        return Ok(format);
    }
    if is_stream(path) {
        return Ok(known[0]);
    }
    let all: Vec<String> = known.iter().map(|known| format!(".{known}")).collect();
    Err(UsageError(format!("{option} {}: its name must end in {}", shown(path), all.join(" or "))))
}

/// Endings of files that this or a similar program writes.
const OF_FILES: [&str; 14] = [
    "safetensors",
    "pt",
    "pth",
    "onnx",
    "h5",
    "npy",
    "npz",
    "png",
    "svg",
    "html",
    "json",
    "csv",
    "toml",
    "gz",
];

/// Checks that the folder that `option` names does not have the name of a file.
///
/// # Errors
/// [`UsageError`] if it has, and is no folder yet.
pub fn folder(option: &str, path: &Path) -> Result<(), UsageError> {
    if !path.is_dir() && OF_FILES.contains(&ending(path).as_str()) {
        let path = shown(path);
        return Err(UsageError(format!(
            "{option} {path}: is a folder of several files; give a name without that ending"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_not_named_like_a_file() {
        assert!(
            folder("--out", Path::new("runs/deep-7.v2")).is_ok() && folder("--out", Path::new("a")).is_ok()
        );
        let error = folder("--out", Path::new("model.safetensors")).unwrap_err().0;
        assert!(error.contains("model.safetensors") && error.contains("without that ending"), "{error}");
    }

    #[test]
    fn an_ending_means_what_it_says() {
        let of = |path: &str| format("--out", Path::new(path), &["png", "npy"]);
        assert_eq!(
            (of("a.PNG").unwrap(), of("a.b.npy").unwrap(), of("/dev/null").unwrap()),
            ("png", "npy", "png")
        );
        for path in ["a", "a.csv", "a.pt", "deep-0.5"] {
            assert!(of(path).unwrap_err().0.contains(".png or .npy"), "{path}");
        }
    }
}

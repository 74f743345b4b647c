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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_means_what_it_says() {
        let of = |path: &str| format("--out", Path::new(path), &["png", "npy"]);
        assert_eq!((of("a.PNG").unwrap(), of("a.b.npy").unwrap(), of("/dev/null").unwrap()), ("png", "npy", "png"));
        for path in ["a", "a.csv", "a.pt", "deep-0.5"] {
            assert!(of(path).unwrap_err().0.contains(".png or .npy"), "{path}");
        }
    }
}

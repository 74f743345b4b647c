//! How a path or a name from outside is shown: lossy where it is not UTF-8, with control characters escaped.
//!
//! A name may hold a line break, a terminal escape sequence, or a character that changes the direction of the text after
//! it. Nothing of that reaches a terminal.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::path::Path;

/// Whether a character changes how the text around it is shown.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text with its control characters escaped, line breaks among them.
pub fn escape(text: &str) -> Cow<'_, str> {
    replaced(text, is_hidden, |c, to| to.extend(c.escape_default()))
}

/// A text of several lines with all other control characters escaped.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_hidden(c) && c != '\n', |c, to| to.extend(c.escape_default()))
}

/// JSON text with the control characters escaped that JSON allows in a string, such as U+009B.
pub fn escape_json(text: &str) -> Cow<'_, str> {
    replaced(
        text,
        |c| is_hidden(c) && c != '\n',
        |c, to| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(to, "\\u{unit:04x}");
            }
        },
    )
}

fn replaced(text: &str, hidden: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { escape(c, &mut shown) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// A path as it is shown in a line of text.
pub fn shown(path: &Path) -> Shown<'_> {
    Shown(path)
}

/// See [`shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(&'a Path);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&escape(&self.0.to_string_lossy()))
    }
}

/// A path as a text of JSON. A path that is not UTF-8 has no exact one: its other bytes are replaced by U+FFFD.
pub fn json_path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Serializes a path as [`json_path`].
///
/// # Errors
/// Those of the serializer.
pub fn serialize_path<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Serializes a path that may be missing as [`json_path`], or null.
///
/// # Errors
/// Those of the serializer.
pub fn serialize_optional_path<S: serde::Serializer>(
    path: &Option<std::path::PathBuf>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serialize_path(path, serializer),
        None => serializer.serialize_none(),
    }
}

/// The most characters of an error that are shown. A name or a line that it quotes from a file may be of any length.
const MAX_ERROR: usize = 4000;

/// An error with its causes in one line. Control characters are escaped: a name in a file may hold a line break or a
/// terminal escape sequence. A cause that the text before it ends with already is left out, and of a very long text the
/// middle.
pub fn format_error(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if !text.ends_with(&cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += &cause;
        }
    }
    escape(&shortened(&text, MAX_ERROR)).into_owned()
}

/// A text of at most about `most` characters: the middle of a longer one is left out.
fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    let half = most / 2;
    let Some((end, _)) = text.char_indices().nth(half) else { return Cow::Borrowed(text) };
    let Some((start, _)) = text.char_indices().nth_back(half) else { return Cow::Borrowed(text) };
    if start <= end {
        return Cow::Borrowed(text);
    }
    let left_out = text[end..start].chars().count();
    Cow::Owned(format!("{} … ({left_out} characters) … {}", &text[..end], &text[start..]))
}

/// A duration with as many digits as an estimate has: `40 s`, `12 min`, `3.4 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_break_is_printed_in_one_line() {
        let error = anyhow::anyhow!("tensor `\nco\u{1b}[2Jder` é").context("x.safetensors: is not valid");
        assert_eq!(format_error(&error), r"x.safetensors: is not valid: tensor `\nco\u{1b}[2Jder` é");
    }

    #[test]
    fn a_cause_is_said_once_and_a_long_text_shortened() {
        let error =
            anyhow::anyhow!("expected a number").context("line 3: expected a number").context("x.toml");
        assert_eq!(format_error(&error), "x.toml: line 3: expected a number");
        let shown = format_error(&anyhow::anyhow!("é".repeat(100_000)).context("begin"));
        assert!(shown.starts_with("begin: é") && shown.ends_with("é") && shown.contains(" characters) …"));
        assert!(shown.chars().count() < MAX_ERROR + 50, "{}", shown.chars().count());
        for length in [0, 1, 2, 3, MAX_ERROR - 1, MAX_ERROR, MAX_ERROR + 1] {
            let text = "x".repeat(length);
            assert_eq!(&*shortened(&text, MAX_ERROR), text, "{length}");
        }
        assert_eq!(shortened("0123456789", 4), "01 … (5 characters) … 789");
    }

    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn nothing_that_moves_the_cursor_is_shown() {
        let path = Path::new(OsStr::from_bytes(b"a\x1b[31m\n\xe9\xc2\x9b\xe2\x80\xaeb"));
        assert_eq!(shown(path).to_string(), "a\\u{1b}[31m\\n\u{fffd}\\u{9b}\\u{202e}b");
        assert_eq!(escape("Größe α−β"), "Größe α−β");
        assert_eq!(escape_lines("a\nb\tc\r"), "a\nb\\tc\\r");
    }

    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "a": json_path(Path::new("x\u{9b}31m\u{1b}\n")) });
        let text = value.to_string();
        let shown = escape_json(&text);
        assert!(shown.chars().all(|c| !c.is_control()), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}

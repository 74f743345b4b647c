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

/// An error with its causes in one line. Control characters are escaped: a name in a file may hold a line break or a
/// terminal escape sequence.
pub fn format_error(error: &anyhow::Error) -> String {
    escape(&format!("{error:#}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_break_is_printed_in_one_line() {
        let error = anyhow::anyhow!("tensor `\nco\u{1b}[2Jder` é").context("x.safetensors: is not valid");
        assert_eq!(format_error(&error), r"x.safetensors: is not valid: tensor `\nco\u{1b}[2Jder` é");
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

//! Usage errors, and how any error is printed.

use crate::io::show::escape;

/// An error of the command line itself: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

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
}

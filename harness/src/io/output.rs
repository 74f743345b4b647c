//! Output: results on stdout, status lines on stderr. Nothing else writes to either.
//!
//! A reader that closes the pipe (`harness kernels | head -1`) does not stop the command: further output is discarded,
//! and the exit status is that of the command. Any other failure to write results, such as a full disk, is an error.
//!
//! Control characters are escaped here, whatever is printed: a name from outside may hold a terminal escape sequence.

use super::show::{escape_json, escape_lines};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Results, without a line end.
macro_rules! out {
    ($($text:tt)*) => { $crate::io::output::write_result(format_args!($($text)*)) };
}

/// A line of results.
macro_rules! outln {
    ($($text:tt)*) => { $crate::io::output::write_result(format_args!("{}\n", format_args!($($text)*))) };
}

/// A status line on stderr; it is discarded if stderr is closed.
macro_rules! status {
    ($($text:tt)*) => { $crate::io::output::write_status(format_args!($($text)*)) };
}

/// A status line that `--quiet` leaves out. Warnings and errors are not.
macro_rules! note {
    ($($text:tt)*) => { $crate::io::output::write_note(format_args!($($text)*)) };
}

pub(crate) use {note, out, outln, status};

/// Whether notes are left out.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out notes from now on.
pub(crate) fn be_quiet() {
    QUIET.store(true, Relaxed);
}

/// Writes a note to stderr.
pub(crate) fn write_note(text: fmt::Arguments) {
    if !QUIET.load(Relaxed) {
        write_status(text);
    }
}

/// Whether this process is the program. Tests use `print!` instead, so that the test runner captures the
/// output.
static PROGRAM: AtomicBool = AtomicBool::new(false);

/// Writes results to the stdout of the process from now on.
pub(crate) fn use_process_streams() {
    PROGRAM.store(true, Relaxed);
}

/// Writes to stdout and flushes.
///
/// # Errors
/// As [`ignore_broken_pipe`].
#[expect(clippy::print_stdout, reason = "in tests only, see `PROGRAM`")]
pub(crate) fn write_result(text: fmt::Arguments) -> Result<()> {
    let text = text.to_string();
    let text = escape_lines(&text);
    if !PROGRAM.load(Relaxed) {
        print!("{text}");
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    ignore_broken_pipe(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Writes a value as one line of JSON to stdout. Paths in it are those of [`json_path`](super::show::json_path).
///
/// # Errors
/// As [`ignore_broken_pipe`].
pub(crate) fn write_json_result(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).context("cannot write JSON")?;
    outln!("{}", escape_json(&text))
}

/// As [`write_json_result`], indented.
///
/// # Errors
/// As [`ignore_broken_pipe`].
pub(crate) fn write_pretty_json_result(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    outln!("{}", escape_json(&text))
}

/// Prints clap's help on stdout, or its error message on stderr.
///
/// # Errors
/// As [`ignore_broken_pipe`].
pub(crate) fn help(usage: &clap::Error) -> Result<()> {
    let text = usage.render().to_string();
    if escape_lines(&text) != text {
        // An argument holds control characters. Without colours, nothing else in the text does.
        write_status(format_args!("{}", text.trim_end()));
        return Ok(());
    }
    ignore_broken_pipe(usage.print().and_then(|()| io::stdout().flush()))
}

/// The result of a write to stdout, where a closed pipe is not an error.
///
/// # Errors
/// If stdout cannot be written for any other reason.
fn ignore_broken_pipe(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write results to stdout; files under --out are complete"),
    }
}

/// Writes a line to stderr; a failure is ignored, since there is nowhere to report it.
#[expect(clippy::print_stderr, reason = "in tests only, see `PROGRAM`")]
pub(crate) fn write_status(text: fmt::Arguments) {
    let text = text.to_string();
    let text = escape_lines(&text);
    if !PROGRAM.load(Relaxed) {
        return eprintln!("{text}");
    }
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_broken_pipe_is_ignored() {
        assert!(ignore_broken_pipe(Ok(())).is_ok());
        assert!(ignore_broken_pipe(Err(ErrorKind::BrokenPipe.into())).is_ok());
        let error = format!("{:#}", ignore_broken_pipe(Err(ErrorKind::StorageFull.into())).unwrap_err());
        assert!(error.starts_with("cannot write results to stdout") && error.contains("storage"), "{error}");
    }
}
